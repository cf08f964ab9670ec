-- One row for each model on a hardware id and precision, and for each of its latencies: the batch size with the most inputs
-- per second among those whose pass stays within a limit of time. It compares one latency of the runs of one hardware id,
-- precision, timing method and FLOP counting only; where a model was timed by several methods, each has a row. A sum of
-- separately timed subgraphs (total_latency_ms) includes the cost of timing them: the model as a user runs it is faster,
-- and is end_to_end_latency_ms, where it was timed.
-- example: lake query best_within_latency --param limit_ms=20
-- param: limit_ms DOUBLE = 50 (>0..); longest latency of a pass, in ms
-- column quantity: The latency that is limited: total_latency_ms or end_to_end_latency_ms
-- column batch [1]: Batch size with the best throughput within the limit; the smallest of several
-- column latency_ms [ms]: That latency at this batch size
-- column throughput_fps [1/s]: batch / latency_ms
WITH timed AS (
    SELECT
        hardware_id, precision, model, batch, run_id, device, timing_method, flops_method,
        'total_latency_ms' AS quantity, total_latency_ms AS latency_ms
    FROM latest_runs
    UNION ALL
    SELECT
        hardware_id, precision, model, batch, run_id, device, timing_method, flops_method,
        'end_to_end_latency_ms' AS quantity, end_to_end_latency_ms AS latency_ms
    FROM latest_runs
)
SELECT
    r.hardware_id,
    r.precision,
    r.model,
    r.quantity,
    r.batch,
    r.latency_ms,
    r.batch * 1000 / NULLIF(r.latency_ms, 0) AS throughput_fps,
    r.timing_method,
    r.flops_method,
    r.run_id
FROM timed r
CROSS JOIN params p
WHERE r.latency_ms <= p.limit_ms AND r.latency_ms > 0 AND r.batch > 0
QUALIFY row_number() OVER (
    PARTITION BY r.hardware_id, r.precision, r.model, r.quantity, r.device, r.timing_method, r.flops_method
    ORDER BY r.batch * 1000 / NULLIF(r.latency_ms, 0) DESC, r.batch
) = 1
