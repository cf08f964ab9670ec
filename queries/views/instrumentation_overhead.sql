-- One row for each configuration (hardware_id, precision, model, batch): the sum of the subgraphs' times in its latest run
-- beside the time of the whole model, which was run without instrumentation. The difference is what running operation by
-- operation costs, less the time of what belongs to no subgraph; noise of the machine between the two is in it as well.
-- An interpreter that waits for the device at each operation (timing_method node_sync) costs the most.
-- example: select model, batch, overhead_ms, overhead_per_subgraph_us from instrumentation_overhead where overhead_ratio > 1.1
-- column overhead_ms [ms]: total_latency_ms - end_to_end_latency_ms; below 0 where methods of the model take longer
-- column overhead_ratio [1]: total_latency_ms / end_to_end_latency_ms
-- column overhead_per_subgraph_us [us]: overhead_ms over num_subgraphs
-- column spread_ms [ms]: Standard deviation of one pass, of both kinds together
-- column verdict: longer or shorter (the subgraphs, by more than the spread), within_spread, or not_timed
-- column reason: Which of the two was not timed; NULL when both were
WITH timed AS (
    SELECT
        l.hardware_id,
        l.precision,
        l.model,
        l.batch,
        l.run_id,
        l.started_at,
        l.timing_method,
        l.flops_method,
        l.num_subgraphs,
        l.total_latency_ms,
        l.end_to_end_latency_ms,
        l.total_latency_ms - l.end_to_end_latency_ms AS overhead_ms,
        sqrt(
            l.total_latency_std_ms * l.total_latency_std_ms + r.end_to_end_latency_std_ms * r.end_to_end_latency_std_ms
        ) AS spread_ms,
        CASE
            WHEN l.total_latency_ms IS NULL AND l.end_to_end_latency_ms IS NULL THEN 'nothing was timed'
            WHEN l.total_latency_ms IS NULL THEN 'the subgraphs were not timed'
            WHEN l.end_to_end_latency_ms IS NULL THEN 'the whole model was not timed'
        END AS reason
    FROM latest_runs l
    JOIN runs r ON r.hardware_id = l.hardware_id AND r.run_id = l.run_id
)
SELECT
    hardware_id,
    precision,
    model,
    batch,
    total_latency_ms,
    end_to_end_latency_ms,
    overhead_ms,
    total_latency_ms / NULLIF(end_to_end_latency_ms, 0) AS overhead_ratio,
    num_subgraphs,
    overhead_ms * 1000 / NULLIF(num_subgraphs, 0) AS overhead_per_subgraph_us,
    spread_ms,
    CASE
        WHEN reason IS NOT NULL THEN 'not_timed'
        WHEN abs(overhead_ms) <= spread_ms THEN 'within_spread'
        WHEN overhead_ms < 0 THEN 'shorter'
        ELSE 'longer'
    END AS verdict,
    reason,
    timing_method,
    flops_method,
    run_id,
    started_at
FROM timed
