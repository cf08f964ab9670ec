-- One row for each latency that an experiment measured: of its requests (those that were measured and answered), and of the
-- samples of imported results that do not say which request each belongs to. Percentiles are made from these rows, once,
-- over whatever they are grouped by: percentiles of parts cannot be put together. Never pool rows of two values of metric
-- or of token_timing: chunks that came one by one and a time divided by its tokens are different things.
-- example: select metric, token_timing, count(*) as n from experiment_latencies group by metric, token_timing
-- column request_index [1]: Number of the request in its process, from 0; NULL where the result does not tell
-- column metric: ttft (time to first token), itl (inter-token latency), itl_trimmed (itl without the first and the last of
--   each request, none of a request with fewer than three) or e2e (whole request)
-- column latency_ms [ms]: The latency
SELECT
    hardware_id,
    precision,
    model,
    batch,
    run_id,
    process_index,
    request_index,
    'ttft' AS metric,
    time_to_first_token_ms AS latency_ms,
    token_timing
FROM experiment_requests
WHERE phase = 'measure' AND status = 'ok' AND time_to_first_token_ms IS NOT NULL
UNION ALL
SELECT
    hardware_id,
    precision,
    model,
    batch,
    run_id,
    process_index,
    request_index,
    'e2e' AS metric,
    end_to_end_latency_ms AS latency_ms,
    token_timing
FROM experiment_requests
WHERE phase = 'measure' AND status = 'ok' AND end_to_end_latency_ms IS NOT NULL
UNION ALL
SELECT
    hardware_id,
    precision,
    model,
    batch,
    run_id,
    process_index,
    request_index,
    'itl' AS metric,
    inter_token_latency_ms AS latency_ms,
    token_timing
FROM inter_token_latencies
WHERE phase = 'measure' AND status = 'ok'
UNION ALL
SELECT
    t.hardware_id,
    t.precision,
    t.model,
    t.batch,
    t.run_id,
    t.process_index,
    t.request_index,
    'itl_trimmed' AS metric,
    t.inter_token_latency_ms AS latency_ms,
    t.token_timing
FROM (
    SELECT
        hardware_id, precision, model, batch, run_id, process_index, request_index, position, inter_token_latency_ms,
        token_timing,
        max(position) OVER (PARTITION BY hardware_id, run_id, process_index, request_index) AS last_position
    FROM inter_token_latencies
    WHERE phase = 'measure' AND status = 'ok'
) t
WHERE t.position > 0 AND t.position < t.last_position
UNION ALL
SELECT
    hardware_id,
    precision,
    model,
    batch,
    run_id,
    process_index,
    CAST(NULL AS BIGINT) AS request_index,
    metric,
    latency_ms,
    token_timing
FROM latency_sample_values
