-- One row for each configuration of experiments: the mean of its repeats and how much they scatter. Repeats are good runs with
-- the same key `configuration` of experiment_summary, whose energy is of the same source, method and scope, and whose tokens
-- were timed in the same way. Means and deviations are over runs, each of which counts once. A difference between two
-- configurations means something only beyond this scatter, and of fewer than three runs nobody knows it.
-- example: select model, batch, num_runs, energy_per_output_token_j, energy_per_output_token_cv from experiment_repeats
-- column configuration: Key that repeats share, as in experiment_summary
-- column energy_source: Who says what the energy is, as in energy_estimates
-- column energy_method: How the energy was made: counter, power_integral, sum_of_processes or reported
-- column energy_scope: What the energy is of: gpu, soc, machine, process, cpu or ram
-- column num_runs [1]: Repeats
-- column has_enough_runs: Whether there are at least three
-- column energy_per_output_token_j [J]: Mean over runs of energy_j / output_tokens
-- column energy_per_output_token_std_j [J]: Its sample standard deviation; NULL of one run
-- column energy_per_output_token_cv [1]: Deviation / mean, the coefficient of variation
-- column output_tokens_per_s [1/s]: Mean over runs of output_tokens / wall_time_s
-- column output_tokens_per_s_std [1/s]: Its sample standard deviation; NULL of one run
-- column output_tokens_per_s_cv [1]: Deviation / mean
-- column total_tokens_per_s [1/s]: Mean over runs of total_tokens / wall_time_s
-- column input_tokens_per_request [1]: Mean over runs of input_tokens / answered_requests: energies of short and of long
--   prompts cannot be compared; NULL where a run does not tell each request
-- column output_tokens_per_request [1]: Mean over runs of output_tokens / answered_requests; NULL as above
-- column failed_requests [1]: Requests of all runs that failed or were cancelled: their energy is in that of the others. NULL
--   where a run does not tell each request
-- column worst_ttft_p95_ms [ms]: Largest 95th percentile of the time to first token of a run; NULL where a run has none
-- column worst_itl_p99_ms [ms]: Largest 99th percentile of the inter-token latency of a run; NULL where a run has none
-- column throttled_runs [1]: Runs in which the device throttled
-- column throttling_unknown_runs [1]: Runs in which nobody looked
-- column runs_with_warnings [1]: Runs with a doubt
-- column first_started_at: Start of the first run
-- column last_started_at: Start of the last run
SELECT
    hardware_id,
    precision,
    model,
    batch,
    backend,
    backend_version,
    num_processes,
    concurrency,
    measurement_methodology,
    thermal_profile,
    software_fingerprint,
    config_hash,
    configuration,
    energy_source,
    energy_method,
    energy_scope,
    token_timing,
    count(*) AS num_runs,
    count(*) >= 3 AS has_enough_runs,
    avg(energy_per_output_token_j) AS energy_per_output_token_j,
    stddev_samp(energy_per_output_token_j) AS energy_per_output_token_std_j,
    stddev_samp(energy_per_output_token_j) / NULLIF(avg(energy_per_output_token_j), 0) AS energy_per_output_token_cv,
    avg(output_tokens_per_s) AS output_tokens_per_s,
    stddev_samp(output_tokens_per_s) AS output_tokens_per_s_std,
    stddev_samp(output_tokens_per_s) / NULLIF(avg(output_tokens_per_s), 0) AS output_tokens_per_s_cv,
    avg(total_tokens_per_s) AS total_tokens_per_s,
    CASE WHEN count(answered_requests) = count(*) THEN avg(input_tokens / NULLIF(answered_requests, 0)) END
    AS input_tokens_per_request,
    CASE WHEN count(answered_requests) = count(*) THEN avg(output_tokens / NULLIF(answered_requests, 0)) END
    AS output_tokens_per_request,
    CASE WHEN count(failed_requests) = count(*) THEN CAST(sum(failed_requests) AS BIGINT) END AS failed_requests,
    CASE WHEN count(ttft_p95_ms) = count(*) THEN max(ttft_p95_ms) END AS worst_ttft_p95_ms,
    CASE WHEN count(itl_p99_ms) = count(*) THEN max(itl_p99_ms) END AS worst_itl_p99_ms,
    count(CASE WHEN throttled THEN 1 END) AS throttled_runs,
    count(CASE WHEN throttled IS NULL THEN 1 END) AS throttling_unknown_runs,
    count(CASE WHEN num_warnings > 0 THEN 1 END) AS runs_with_warnings,
    min(started_at) AS first_started_at,
    max(started_at) AS last_started_at
FROM experiment_summary
GROUP BY
    hardware_id, precision, model, batch, backend, backend_version, num_processes, concurrency, measurement_methodology,
    thermal_profile, software_fingerprint, config_hash, configuration, energy_source, energy_method, energy_scope,
    token_timing
