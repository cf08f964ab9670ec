-- One row for each model on a hardware id: the configuration with the least energy per output token among those that meet a
-- latency objective (SLO) in every repeat, and in which no repeat throttled. A run in which nobody looked whether it
-- throttled counts as not throttled; throttling_unknown_runs says how many. A configuration whose percentile is not known
-- does not meet a limit of it. Only energies of the same source, method and scope, over the same part of a run, are
-- compared: where there are several, each has a row. Look at the tokens of a request: the cost of an answer depends on them.
-- example: lake query cheapest_within_slo --param ttft_p95_ms=150 --param itl_p99_ms=0
-- param: ttft_p95_ms DOUBLE = 200 (0..); largest 95th percentile of the time to first token, in ms; 0 for no limit
-- param: itl_p99_ms DOUBLE = 50 (0..); largest 99th percentile of the inter-token latency, in ms; 0 for no limit
-- column configuration: Key that its repeats share, as in experiment_summary
-- column energy_per_output_token_j [J]: Mean over its repeats
-- column energy_per_output_token_cv [1]: Standard deviation / mean over its repeats; NULL of one run
-- column output_tokens_per_s [1/s]: Mean over its repeats of output_tokens / wall_time_s
-- column worst_ttft_p95_ms [ms]: Largest 95th percentile of the time to first token of a repeat
-- column worst_itl_p99_ms [ms]: Largest 99th percentile of the inter-token latency of a repeat
-- column input_tokens_per_request [1]: Mean tokens of a prompt that was answered; NULL where not each request is known
-- column output_tokens_per_request [1]: Mean tokens of an answer; NULL where not each request is known
-- column num_runs [1]: Repeats behind the energy; those without one of this kind count for the objective, too
-- column throttling_unknown_runs [1]: Repeats in which nobody looked whether the device throttled
-- column num_within [1]: Configurations that meet the objective and were compared
-- column energy_source: Who says what the energy is, as in energy_estimates
-- column energy_method: How the energy was made: counter, power_integral, sum_of_processes or reported
-- column energy_scope: What the energy is of: gpu, soc, machine, process, cpu or ram
WITH worst AS (
    SELECT
        configuration,
        max(ttft_p95_ms) AS ttft_p95_ms,
        max(itl_p99_ms) AS itl_p99_ms,
        count(CASE WHEN throttled THEN 1 END) AS throttled_runs
    FROM experiment_summary
    GROUP BY configuration
)
SELECT
    r.hardware_id,
    r.model,
    r.precision,
    r.batch,
    r.backend,
    r.concurrency,
    r.num_processes,
    r.config_hash,
    r.configuration,
    r.energy_per_output_token_j,
    r.energy_per_output_token_cv,
    r.output_tokens_per_s,
    w.ttft_p95_ms AS worst_ttft_p95_ms,
    w.itl_p99_ms AS worst_itl_p99_ms,
    r.token_timing,
    r.input_tokens_per_request,
    r.output_tokens_per_request,
    r.num_runs,
    r.throttling_unknown_runs,
    count(*) OVER alike AS num_within,
    r.energy_source,
    r.energy_method,
    r.energy_scope,
    r.measurement_methodology
FROM experiment_repeats r
JOIN worst w ON w.configuration = r.configuration
CROSS JOIN params p
WHERE
    r.energy_per_output_token_j IS NOT NULL
    AND w.throttled_runs = 0
    AND (p.ttft_p95_ms = 0 OR w.ttft_p95_ms <= p.ttft_p95_ms)
    AND (p.itl_p99_ms = 0 OR w.itl_p99_ms <= p.itl_p99_ms)
WINDOW alike AS (
    PARTITION BY
        r.hardware_id, r.model, r.energy_source, r.energy_method, r.energy_scope, r.measurement_methodology
)
QUALIFY row_number() OVER (
    PARTITION BY
        r.hardware_id, r.model, r.energy_source, r.energy_method, r.energy_scope, r.measurement_methodology
    ORDER BY r.energy_per_output_token_j, r.configuration
) = 1
