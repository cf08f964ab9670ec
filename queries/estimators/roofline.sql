-- One row for each subgraph of the latest run of a configuration: the latency that the roofline model predicts from the
-- device's specification alone: the longer of computing (FLOPs / peak) and moving (bytes / bandwidth), and a fixed cost
-- for each operation. Nothing is fitted, so nothing is extrapolated. A figure that the table `hardware` does not have
-- gives no prediction. `lake estimates fit roofline` writes these rows to `estimates`.
-- Source of the model: Williams, Waterman, Patterson, Communications of the ACM 52 (4), 2009.
-- example: lake query roofline --param compute_share=0.7
-- param: compute_share DOUBLE = 1 (>0..); share of the physical peak that a computation can reach
-- param: bandwidth_share DOUBLE = 1 (>0..); share of the peak bandwidth that a memory access can reach
-- column predicted_latency_ms [ms]: Predicted latency; NULL where the peak or the bandwidth is not known
-- column extrapolated: Never true: nothing was fitted
-- column bound: compute or memory, whichever takes longer
-- column reason: Why there is no prediction; NULL where there is one
WITH work AS (
    SELECT
        s.hardware_id,
        s.precision,
        s.model,
        s.batch,
        s.subgraph_id,
        CASE s.precision
            WHEN 'fp32' THEN h.peak_fp32_flops
            WHEN 'tf32' THEN h.peak_tf32_flops
            WHEN 'fp16' THEN h.peak_fp16_flops
            WHEN 'bf16' THEN h.peak_bf16_flops
            WHEN 'int8' THEN h.peak_int8_ops
        END * p.compute_share AS compute_rate,
        h.memory_bandwidth_bytes_per_s * p.bandwidth_share AS memory_rate,
        coalesce(h.operation_overhead_s, 0e0) AS overhead_s,
        s.flops,
        s.total_bytes
    FROM latest_runs r
    JOIN subgraph_timings s ON s.hardware_id = r.hardware_id AND s.run_id = r.run_id
    LEFT JOIN hardware h ON h.hardware_id = r.hardware_id
    CROSS JOIN params p
),
parts AS (
    SELECT
        hardware_id,
        precision,
        model,
        batch,
        subgraph_id,
        overhead_s,
        flops / NULLIF(compute_rate, 0) AS compute_s,
        total_bytes / NULLIF(memory_rate, 0) AS memory_s
    FROM work
)
SELECT
    hardware_id,
    precision,
    model,
    batch,
    subgraph_id,
    CASE WHEN compute_s >= memory_s THEN compute_s WHEN memory_s > compute_s THEN memory_s END * 1000
        + overhead_s * 1000 AS predicted_latency_ms,
    false AS extrapolated,
    CASE WHEN compute_s >= memory_s THEN 'compute' WHEN memory_s > compute_s THEN 'memory' END AS bound,
    CASE
        WHEN compute_s IS NULL THEN 'the peak of this precision is not known; lake hw add tells it'
        WHEN memory_s IS NULL THEN 'the memory bandwidth is not known; lake hw add tells it'
    END AS reason
FROM parts
