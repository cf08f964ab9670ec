-- One row for each subgraph of the latest run of a configuration: where it lies in the roofline of its device. The roof is
-- physical: peak and bandwidth are those of the table `hardware`, not the recorded peak. Bytes are counted, not measured:
-- in fp16 and bf16, imported v1 files halve those of the weights only, not those of the activations (4 bytes each), so
-- their intensity is too low and their rate of bytes too high. Caches and fp32 computed in tf32 let a subgraph lie above
-- the roof. total_bytes of 0 means that none were counted, and has no intensity.
-- example: select model, subgraph_id, bound, share_of_roof from roofline_position order by share_of_roof
-- column arithmetic_intensity [FLOP/byte]: flops / total_bytes; NULL without bytes
-- column achieved_flops [FLOP/s]: flops / latency_mean_ms
-- column achieved_bytes_per_s [byte/s]: total_bytes / latency_mean_ms
-- column physical_peak_flops [FLOP/s]: Physical peak of the device in this precision
-- column ridge_intensity [FLOP/byte]: Intensity at which the roof bends: physical_peak_flops / bandwidth
-- column roof_ms [ms]: Shortest latency that peak and bandwidth allow
-- column share_of_roof [1]: roof_ms / latency_mean_ms: 1 on the roof
-- column bound: compute or memory, whichever takes longer at the roof; none where no work was counted; NULL with a reason
-- column reason: Which figure of the device is missing; NULL where none is
WITH placed AS (
    SELECT
        s.hardware_id,
        s.precision,
        s.model,
        s.batch,
        s.run_id,
        s.subgraph_id,
        s.operation_type,
        s.fusion_pattern,
        s.flops,
        s.total_bytes,
        s.latency_mean_ms,
        r.timing_method,
        r.flops_method,
        p.physical_peak_flops,
        p.memory_bandwidth_bytes_per_s,
        p.ridge_intensity,
        s.flops * 1000 / NULLIF(p.physical_peak_flops, 0) AS compute_ms,
        s.total_bytes * 1000 / NULLIF(p.memory_bandwidth_bytes_per_s, 0) AS memory_ms,
        CASE
            WHEN p.physical_peak_flops IS NULL THEN p.reason
            WHEN p.memory_bandwidth_bytes_per_s IS NULL THEN 'the specification has no memory bandwidth'
        END AS reason
    FROM latest_runs r
    JOIN subgraph_timings s ON s.hardware_id = r.hardware_id AND s.run_id = r.run_id
    JOIN physical_peaks p ON p.hardware_id = r.hardware_id AND p.precision = r.precision
)
SELECT
    hardware_id,
    precision,
    model,
    batch,
    run_id,
    subgraph_id,
    operation_type,
    fusion_pattern,
    flops,
    total_bytes,
    flops / NULLIF(CAST(total_bytes AS DOUBLE), 0) AS arithmetic_intensity,
    latency_mean_ms,
    flops * 1000 / NULLIF(latency_mean_ms, 0) AS achieved_flops,
    total_bytes * 1000 / NULLIF(latency_mean_ms, 0) AS achieved_bytes_per_s,
    physical_peak_flops,
    memory_bandwidth_bytes_per_s,
    ridge_intensity,
    CASE WHEN reason IS NULL THEN greatest(compute_ms, memory_ms) END AS roof_ms,
    CASE WHEN reason IS NULL THEN greatest(compute_ms, memory_ms) END / NULLIF(latency_mean_ms, 0) AS share_of_roof,
    CASE
        WHEN reason IS NOT NULL THEN NULL
        WHEN flops = 0 AND total_bytes = 0 THEN 'none'
        WHEN memory_ms > compute_ms THEN 'memory'
        ELSE 'compute'
    END AS bound,
    reason,
    timing_method,
    flops_method
FROM placed
