-- One row for each model on a hardware id and precision: the batch size with the most inputs per second among those whose
-- pass stays within a limit of time. It compares the runs of one hardware id, precision, timing method and FLOP counting
-- only; where a model was timed by several methods, each has a row. Latencies are sums of separately timed subgraphs,
-- which include the cost of timing them: a model as a user runs it is faster.
-- example: lake query best_within_latency --param limit_ms=20
-- param: limit_ms DOUBLE = 50; longest total_latency_ms of a pass, in ms
-- column batch [1]: Batch size with the best throughput within the limit; the smallest of several
-- column throughput_fps [1/s]: batch / total_latency_ms
SELECT
    r.hardware_id,
    r.precision,
    r.model,
    r.batch,
    r.total_latency_ms,
    r.batch * 1000 / NULLIF(r.total_latency_ms, 0) AS throughput_fps,
    r.timing_method,
    r.flops_method,
    r.run_id
FROM latest_runs r
CROSS JOIN params p
WHERE r.total_latency_ms <= p.limit_ms AND r.total_latency_ms > 0 AND r.batch > 0
QUALIFY row_number() OVER (
    PARTITION BY r.hardware_id, r.precision, r.model, r.timing_method, r.flops_method
    ORDER BY r.batch * 1000 / NULLIF(r.total_latency_ms, 0) DESC, r.batch
) = 1
