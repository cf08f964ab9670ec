-- One row for each configuration: how much of the latency of its latest run lies in subgraphs that the memory bounds, by
-- the physical roofline of the device (roofline_position). Bytes are counted: in fp16 and bf16 imported v1 files halve
-- those of the weights only, so the share is rather too high there. Shares are NULL where the table `hardware` lacks a
-- figure of the device.
-- example: select model, precision, memory_bound_share from memory_bound_share where memory_bound_share > 0.5
-- column latency_ms [ms]: Sum of the mean latencies of all subgraphs
-- column memory_bound_share [1]: Share of it in subgraphs that the memory bounds
-- column compute_bound_share [1]: Share in subgraphs that the arithmetic bounds
-- column no_work_share [1]: Share in subgraphs for which neither FLOPs nor bytes were counted
-- column num_memory_bound [1]: Subgraphs that the memory bounds
-- column num_subgraphs [1]: Subgraphs in all
-- column roof_ms [ms]: Sum of the shortest latencies that peak and bandwidth allow
-- column share_of_roof [1]: roof_ms / latency_ms
-- column reason: Which figure of the device is missing; NULL where none is
WITH sums AS (
    SELECT
        hardware_id,
        precision,
        model,
        batch,
        run_id,
        timing_method,
        flops_method,
        reason,
        count(*) AS num_subgraphs,
        count(CASE WHEN bound = 'memory' THEN 1 END) AS num_memory_bound,
        sum(latency_mean_ms) AS latency_ms,
        sum(CASE WHEN bound = 'memory' THEN latency_mean_ms ELSE 0e0 END) AS memory_ms,
        sum(CASE WHEN bound = 'compute' THEN latency_mean_ms ELSE 0e0 END) AS compute_ms,
        sum(CASE WHEN bound = 'none' THEN latency_mean_ms ELSE 0e0 END) AS no_work_ms,
        sum(roof_ms) AS roof_ms
    FROM roofline_position
    GROUP BY hardware_id, precision, model, batch, run_id, timing_method, flops_method, reason
)
SELECT
    hardware_id,
    precision,
    model,
    batch,
    latency_ms,
    CASE WHEN reason IS NULL THEN memory_ms / NULLIF(latency_ms, 0) END AS memory_bound_share,
    CASE WHEN reason IS NULL THEN compute_ms / NULLIF(latency_ms, 0) END AS compute_bound_share,
    CASE WHEN reason IS NULL THEN no_work_ms / NULLIF(latency_ms, 0) END AS no_work_share,
    CASE WHEN reason IS NULL THEN num_memory_bound END AS num_memory_bound,
    num_subgraphs,
    roof_ms,
    roof_ms / NULLIF(latency_ms, 0) AS share_of_roof,
    reason,
    timing_method,
    flops_method,
    run_id
FROM sums
