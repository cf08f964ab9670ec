-- One row for each group of experiments and way of timing tokens: true percentiles of one latency over all values of all
-- requests, processes and runs of the group, put together first (linear interpolation between the two nearest values).
-- Values of different token_timing are never put together; unknown is one of them. A run with more requests weighs more.
-- example: lake query latency_percentiles --param metric=itl --param level=model
-- param: metric STRING = 'ttft' (ttft|itl|itl_trimmed|e2e); time to first token, inter-token latency, the same without the
--   first and last of each request, or the whole request
-- param: level STRING = 'backend' (run|batch|backend|model); what is put together: a run; a hardware id, precision, model,
--   backend, batch and concurrency; the same over all batches and concurrencies; or all that a model was measured on
-- column hardware_id: Device the experiments ran on; NULL over several
-- column precision: Precision of the weights; NULL over several
-- column backend: What ran the model; NULL over several
-- column batch [1]: Prompts in one batch; NULL over several
-- column concurrency [1]: Requests in flight at once; NULL over several, or where it is not known
-- column run_id: The run; NULL over several
-- column metric: The latency
-- column token_timing: How tokens were timed: streaming, per_request_batch, proportional; unknown where nobody tells
-- column num_runs [1]: Runs behind the row
-- column num_values [1]: Values behind the row
-- column mean_ms [ms]: Mean
-- column std_ms [ms]: Sample standard deviation; NULL of one value
-- column min_ms [ms]: Smallest value
-- column p50_ms [ms]: Median
-- column p90_ms [ms]: 90th percentile
-- column p95_ms [ms]: 95th percentile
-- column p99_ms [ms]: 99th percentile
-- column max_ms [ms]: Largest value
WITH values_of AS (
    SELECT
        CASE WHEN p.level <> 'model' THEN l.hardware_id END AS hardware_id,
        CASE WHEN p.level <> 'model' THEN l.precision END AS precision,
        l.model,
        CASE WHEN p.level <> 'model' THEN e.backend END AS backend,
        CASE p.level WHEN 'run' THEN l.batch WHEN 'batch' THEN l.batch END AS batch,
        CASE p.level WHEN 'run' THEN e.concurrency WHEN 'batch' THEN e.concurrency END AS concurrency,
        CASE p.level WHEN 'run' THEN l.run_id END AS run_id,
        l.metric,
        coalesce(l.token_timing, 'unknown') AS token_timing,
        l.hardware_id || '/' || l.run_id AS whose,
        l.latency_ms
    FROM experiment_latencies l
    JOIN experiments e ON e.hardware_id = l.hardware_id AND e.run_id = l.run_id
    JOIN params p ON p.metric = l.metric
)
SELECT
    hardware_id,
    precision,
    model,
    backend,
    batch,
    concurrency,
    run_id,
    metric,
    token_timing,
    count(DISTINCT whose) AS num_runs,
    count(*) AS num_values,
    avg(latency_ms) AS mean_ms,
    stddev_samp(latency_ms) AS std_ms,
    min(latency_ms) AS min_ms,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms) AS p50_ms,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY latency_ms) AS p90_ms,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms) AS p95_ms,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY latency_ms) AS p99_ms,
    max(latency_ms) AS max_ms
FROM values_of
GROUP BY hardware_id, precision, model, backend, batch, concurrency, run_id, metric, token_timing
