-- One row for each latency metric of each experiment, by how its tokens were timed: number of values, and true percentiles
-- over all values of all its processes (linear interpolation between the two nearest values). Tell how many values stand
-- behind a percentile: the 99th of 20 is close to the largest.
-- example: select run_id, metric, token_timing, num_values, p50_ms, p95_ms, p99_ms from experiment_latency_summary
-- column metric: ttft, itl, itl_trimmed or e2e, as in experiment_latencies
-- column token_timing: How tokens were timed: streaming, per_request_batch, proportional; unknown where nobody tells
-- column num_values [1]: Values behind the row
-- column mean_ms [ms]: Mean
-- column std_ms [ms]: Sample standard deviation; NULL of one value
-- column min_ms [ms]: Smallest value
-- column p50_ms [ms]: Median
-- column p90_ms [ms]: 90th percentile
-- column p95_ms [ms]: 95th percentile
-- column p99_ms [ms]: 99th percentile
-- column max_ms [ms]: Largest value
-- column is_only_timing: Whether all values of this metric in the run were timed in this way
SELECT
    hardware_id,
    precision,
    model,
    batch,
    run_id,
    metric,
    coalesce(token_timing, 'unknown') AS token_timing,
    count(*) AS num_values,
    avg(latency_ms) AS mean_ms,
    stddev_samp(latency_ms) AS std_ms,
    min(latency_ms) AS min_ms,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms) AS p50_ms,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY latency_ms) AS p90_ms,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms) AS p95_ms,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY latency_ms) AS p99_ms,
    max(latency_ms) AS max_ms,
    count(*) OVER (PARTITION BY hardware_id, run_id, metric) = 1 AS is_only_timing
FROM experiment_latencies
GROUP BY hardware_id, precision, model, batch, run_id, metric, coalesce(token_timing, 'unknown')
