-- One row for each good experiment (a run of kind llm_inference with status ok): what it measured, and the ratios under
-- names that say what they divide by. Energy is that of experiment_energy: one estimate, named by its source, method and
-- scope; never compare energies of two scopes. Throughput is over the wall clock, from the first start to the last end; sum
-- and mean of the processes' own throughputs are columns of their own. What tools recorded under a name that does not tell
-- the denominator is in recorded_ columns. Percentiles are over all values of all processes, from
-- experiment_latency_summary; they are NULL where one run timed tokens in several ways. Unknown is NULL, never 0.
-- example: select model, batch, energy_per_output_token_j, output_tokens_per_s, ttft_p95_ms, energy_scope
--   from experiment_summary order by energy_per_output_token_j
-- column configuration: Key that repeats share: a hash of hardware id, precision, model, batch, backend and its version, number
--   of processes, concurrency, methodology, power mode, software fingerprint and config_hash. Without a config_hash nobody
--   can tell a repeat, and a run is alone
-- column total_tokens [1]: Tokens of prompts and answers as recorded, else input_tokens + output_tokens
-- column num_requests [1]: Requests that were measured, failed ones too
-- column answered_requests [1]: Those of them that were answered; NULL where not each single request is known
-- column failed_requests [1]: Those of them that failed or were cancelled; NULL where not each single request is known
-- column energy_source: Who says so, as in energy_estimates
-- column energy_method: How the energy was made: counter, power_integral, sum_of_processes or reported
-- column energy_scope: What the energy is of: gpu, soc, machine, process, cpu or ram
-- column energy_window_s [s]: Length of time it covers; NULL where it is not known
-- column energy_j [J]: Energy of the whole work, by the estimate that stands for it
-- column mean_power_w [W]: energy_j / energy_window_s
-- column num_energy_estimates [1]: Estimates that it was chosen from; 0 without an energy
-- column energy_per_output_token_j [J]: energy_j / output_tokens
-- column energy_per_total_token_j [J]: energy_j / total_tokens
-- column energy_per_answered_request_j [J]: energy_j / answered_requests; what failed requests took is in it
-- column output_tokens_per_j [1/J]: output_tokens / energy_j
-- column total_tokens_per_j [1/J]: total_tokens / energy_j
-- column output_tokens_per_s [1/s]: output_tokens / wall_time_s
-- column total_tokens_per_s [1/s]: total_tokens / wall_time_s
-- column output_tokens_per_inference_s [1/s]: output_tokens / inference_time_s, the time in which processes inferred, summed
--   over them: the throughput of a mean process, which some tools write
-- column total_tokens_per_inference_s [1/s]: total_tokens / inference_time_s
-- column requests_per_s [1/s]: answered_requests / wall_time_s
-- column process_tokens_per_s_sum [1/s]: Sum of the processes' recorded throughputs; NULL where one is not known
-- column process_tokens_per_s_mean [1/s]: Their mean; NULL where one is not known
-- column num_ttft [1]: Times to first token behind the percentiles
-- column ttft_p50_ms [ms]: Median time to first token
-- column ttft_p95_ms [ms]: 95th percentile of the time to first token
-- column ttft_p99_ms [ms]: 99th percentile of the time to first token
-- column num_itl [1]: Inter-token latencies behind the percentiles
-- column itl_p50_ms [ms]: Median inter-token latency, first and last of each request included
-- column itl_p95_ms [ms]: 95th percentile of the inter-token latency
-- column itl_p99_ms [ms]: 99th percentile of the inter-token latency
-- column num_e2e [1]: End-to-end latencies of requests behind the percentiles
-- column e2e_p50_ms [ms]: Median end-to-end latency of a request
-- column e2e_p95_ms [ms]: 95th percentile of the end-to-end latency
-- column e2e_p99_ms [ms]: 99th percentile of the end-to-end latency
-- column token_timing: How tokens were timed, of those metrics that were timed in one way; the first in the alphabet
-- column num_warnings [1]: Doubts in measurement_warnings
-- column is_representative: Whether the machine was fit to be measured; false for a run that --force made
-- column flops [FLOP]: Floating-point operations, by the estimate with the best confidence
-- column flops_estimate_method: How they were estimated, as in flops_estimates
-- column flops_confidence: high, medium, low or unknown
WITH processes AS (
    SELECT
        hardware_id,
        run_id,
        count(*) AS num_rows,
        count(recorded_tokens_per_second) AS num_known,
        sum(recorded_tokens_per_second) AS tokens_per_s
    FROM experiment_processes
    GROUP BY hardware_id, run_id
),
requests AS (
    SELECT
        hardware_id,
        run_id,
        count(*) AS known_requests,
        count(CASE WHEN status <> 'ok' THEN 1 END) AS failed_requests,
        count(CASE WHEN status = 'ok' THEN 1 END) AS answered_requests
    FROM experiment_requests
    WHERE phase = 'measure'
    GROUP BY hardware_id, run_id
),
latencies AS (
    SELECT
        hardware_id,
        run_id,
        min(token_timing) AS token_timing,
        max(CASE WHEN metric = 'ttft' THEN num_values END) AS num_ttft,
        max(CASE WHEN metric = 'ttft' THEN p50_ms END) AS ttft_p50_ms,
        max(CASE WHEN metric = 'ttft' THEN p95_ms END) AS ttft_p95_ms,
        max(CASE WHEN metric = 'ttft' THEN p99_ms END) AS ttft_p99_ms,
        max(CASE WHEN metric = 'itl' THEN num_values END) AS num_itl,
        max(CASE WHEN metric = 'itl' THEN p50_ms END) AS itl_p50_ms,
        max(CASE WHEN metric = 'itl' THEN p95_ms END) AS itl_p95_ms,
        max(CASE WHEN metric = 'itl' THEN p99_ms END) AS itl_p99_ms,
        max(CASE WHEN metric = 'e2e' THEN num_values END) AS num_e2e,
        max(CASE WHEN metric = 'e2e' THEN p50_ms END) AS e2e_p50_ms,
        max(CASE WHEN metric = 'e2e' THEN p95_ms END) AS e2e_p95_ms,
        max(CASE WHEN metric = 'e2e' THEN p99_ms END) AS e2e_p99_ms
    FROM experiment_latency_summary
    WHERE is_only_timing AND metric IN ('ttft', 'itl', 'e2e')
    GROUP BY hardware_id, run_id
),
doubts AS (
    SELECT
        hardware_id,
        run_id,
        count(*) AS num_warnings,
        count(CASE WHEN code = 'not_representative' THEN 1 END) AS num_forced
    FROM measurement_warnings
    GROUP BY hardware_id, run_id
),
operations AS (
    SELECT hardware_id, run_id, flops, method, confidence
    FROM flops_estimates
    WHERE process_index IS NULL
    QUALIFY row_number() OVER (
        PARTITION BY hardware_id, run_id
        ORDER BY CASE confidence WHEN 'high' THEN 1 WHEN 'medium' THEN 2 WHEN 'low' THEN 3 ELSE 4 END, method, flops
    ) = 1
),
tokens AS (
    SELECT
        r.hardware_id,
        r.precision,
        r.model,
        r.batch,
        r.run_id,
        e.experiment_id,
        e.study,
        e.cycle,
        e.backend,
        e.backend_version,
        r.device,
        r.thermal_profile,
        r.software_fingerprint,
        r.started_at,
        r.config_hash,
        e.measurement_methodology,
        e.num_processes,
        e.concurrency,
        e.max_new_tokens,
        e.num_requests,
        e.warmup_requests,
        e.input_tokens,
        e.output_tokens,
        coalesce(e.total_tokens, e.input_tokens + e.output_tokens) AS total_tokens,
        e.wall_time_s,
        e.inference_time_s,
        e.recorded_tokens_per_second,
        e.recorded_energy_per_token_j,
        e.peak_memory_bytes,
        e.model_memory_bytes,
        e.quantization_method,
        e.quantization_bits,
        e.throttled,
        e.throttled_s,
        e.max_temperature_c,
        e.overlap_verified,
        e.devices_verified,
        coalesce(CAST(to_json(r.warnings) AS STRING) NOT LIKE '%"not_representative:%', true) AS is_representative
    FROM runs r
    JOIN experiments e ON e.hardware_id = r.hardware_id AND e.run_id = r.run_id
    WHERE r.status = 'ok' AND r.kind = 'llm_inference'
)
SELECT
    t.hardware_id,
    t.precision,
    t.model,
    t.batch,
    t.run_id,
    t.experiment_id,
    t.study,
    t.cycle,
    t.backend,
    t.backend_version,
    t.device,
    t.thermal_profile,
    t.software_fingerprint,
    t.started_at,
    t.config_hash,
    md5(
        t.hardware_id || '|' || t.precision || '|' || t.model || '|' || CAST(t.batch AS STRING) || '|' || t.backend
        || '|' || coalesce(t.backend_version, '') || '|' || coalesce(CAST(t.num_processes AS STRING), '')
        || '|' || coalesce(CAST(t.concurrency AS STRING), '') || '|' || t.measurement_methodology
        || '|' || coalesce(t.thermal_profile, '') || '|' || coalesce(t.software_fingerprint, '')
        || '|' || coalesce(t.config_hash, t.run_id)
    ) AS configuration,
    t.measurement_methodology,
    t.num_processes,
    t.concurrency,
    t.max_new_tokens,
    t.num_requests,
    q.answered_requests,
    q.failed_requests,
    t.warmup_requests,
    t.input_tokens,
    t.output_tokens,
    t.total_tokens,
    t.wall_time_s,
    t.inference_time_s,
    j.energy_source,
    j.energy_method,
    j.energy_scope,
    j.energy_window_s,
    j.energy_j,
    j.mean_power_w,
    j.baseline_power_w,
    j.baseline_method,
    j.baseline_age_s,
    j.energy_above_baseline_j,
    coalesce(j.num_estimates, 0) AS num_energy_estimates,
    j.energy_j / NULLIF(t.output_tokens, 0) AS energy_per_output_token_j,
    j.energy_j / NULLIF(t.total_tokens, 0) AS energy_per_total_token_j,
    j.energy_j / NULLIF(q.answered_requests, 0) AS energy_per_answered_request_j,
    t.output_tokens / NULLIF(j.energy_j, 0) AS output_tokens_per_j,
    t.total_tokens / NULLIF(j.energy_j, 0) AS total_tokens_per_j,
    t.output_tokens / NULLIF(t.wall_time_s, 0) AS output_tokens_per_s,
    t.total_tokens / NULLIF(t.wall_time_s, 0) AS total_tokens_per_s,
    t.output_tokens / NULLIF(t.inference_time_s, 0) AS output_tokens_per_inference_s,
    t.total_tokens / NULLIF(t.inference_time_s, 0) AS total_tokens_per_inference_s,
    q.answered_requests / NULLIF(t.wall_time_s, 0) AS requests_per_s,
    CASE WHEN p.num_known = coalesce(t.num_processes, p.num_rows) THEN p.tokens_per_s END AS process_tokens_per_s_sum,
    CASE
        WHEN p.num_known = coalesce(t.num_processes, p.num_rows) THEN p.tokens_per_s / NULLIF(p.num_known, 0)
    END AS process_tokens_per_s_mean,
    t.recorded_tokens_per_second,
    t.recorded_energy_per_token_j,
    l.token_timing,
    l.num_ttft,
    l.ttft_p50_ms,
    l.ttft_p95_ms,
    l.ttft_p99_ms,
    l.num_itl,
    l.itl_p50_ms,
    l.itl_p95_ms,
    l.itl_p99_ms,
    l.num_e2e,
    l.e2e_p50_ms,
    l.e2e_p95_ms,
    l.e2e_p99_ms,
    o.flops,
    o.method AS flops_estimate_method,
    o.confidence AS flops_confidence,
    t.peak_memory_bytes,
    t.model_memory_bytes,
    t.quantization_method,
    t.quantization_bits,
    t.throttled,
    t.throttled_s,
    t.max_temperature_c,
    t.overlap_verified,
    t.devices_verified,
    coalesce(d.num_warnings, 0) AS num_warnings,
    t.is_representative AND coalesce(d.num_forced, 0) = 0 AS is_representative
FROM tokens t
LEFT JOIN experiment_energy j ON j.hardware_id = t.hardware_id AND j.run_id = t.run_id
LEFT JOIN processes p ON p.hardware_id = t.hardware_id AND p.run_id = t.run_id
LEFT JOIN requests q ON q.hardware_id = t.hardware_id AND q.run_id = t.run_id AND q.known_requests = t.num_requests
LEFT JOIN latencies l ON l.hardware_id = t.hardware_id AND l.run_id = t.run_id
LEFT JOIN operations o ON o.hardware_id = t.hardware_id AND o.run_id = t.run_id
LEFT JOIN doubts d ON d.hardware_id = t.hardware_id AND d.run_id = t.run_id
