-- One row for each operation type that a CPU and a GPU both ran, over the models and batch sizes that both measured in one
-- precision: what it takes on each, and which part of the whole. Subgraphs are timed by other methods on a CPU
-- (perf_counter) than on a GPU (device events, or a sync at each node), and the cost of timing differs: such a pair has the
-- verdict not_comparable and no ratio. Each latency and share stands on its own method and is right for that device.
-- example: select operation_type, cpu_latency_share, gpu_latency_share from cpu_against_gpu where precision = 'fp32'
-- column cpu_hardware_id: Hardware id of the CPU
-- column gpu_hardware_id: Hardware id of the GPU
-- column num_configurations [1]: Pairs of model and batch size with this operation that both measured
-- column cpu_latency_ms [ms]: Latency of the operation on the CPU, summed over those
-- column gpu_latency_ms [ms]: The same on the GPU
-- column cpu_latency_share [1]: Share of the latency of all operation types that both ran, on the CPU
-- column gpu_latency_share [1]: The same on the GPU
-- column cpu_achieved_flops [FLOP/s]: FLOPs / latency on the CPU
-- column gpu_achieved_flops [FLOP/s]: FLOPs / latency on the GPU
-- column gpu_speedup [1]: cpu_latency_ms / gpu_latency_ms; NULL when not comparable
-- column verdict: comparable or not_comparable
-- column reason: Why the two are not comparable; NULL when they are
-- column cpu_timing_method: timing_method of the CPU's runs
-- column gpu_timing_method: timing_method of the GPU's runs
-- column cpu_flops_method: flops_method of the CPU's runs
-- column gpu_flops_method: flops_method of the GPU's runs
WITH pairs AS (
    SELECT
        c.hardware_id AS cpu_hardware_id,
        g.hardware_id AS gpu_hardware_id,
        c.precision,
        c.operation_type,
        count(*) AS num_configurations,
        sum(c.latency_ms) AS cpu_latency_ms,
        sum(g.latency_ms) AS gpu_latency_ms,
        sum(c.flops) AS cpu_flops,
        sum(g.flops) AS gpu_flops,
        c.timing_method AS cpu_timing_method,
        g.timing_method AS gpu_timing_method,
        c.flops_method AS cpu_flops_method,
        g.flops_method AS gpu_flops_method
    FROM operation_latency_share c
    JOIN operation_latency_share g
        ON g.precision = c.precision
        AND g.model = c.model
        AND g.batch = c.batch
        AND g.operation_type = c.operation_type
    WHERE c.device = 'cpu' AND g.device = 'cuda'
    GROUP BY
        c.hardware_id, g.hardware_id, c.precision, c.operation_type, c.timing_method, g.timing_method, c.flops_method,
        g.flops_method
),
wholes AS (
    SELECT
        cpu_hardware_id, gpu_hardware_id, precision, operation_type, num_configurations, cpu_latency_ms, gpu_latency_ms,
        cpu_flops, gpu_flops, cpu_timing_method, gpu_timing_method, cpu_flops_method, gpu_flops_method,
        sum(cpu_latency_ms) OVER methods AS cpu_of_all_ms,
        sum(gpu_latency_ms) OVER methods AS gpu_of_all_ms,
        CASE
            WHEN cpu_timing_method <> gpu_timing_method THEN 'timed by different methods'
            WHEN cpu_flops_method IS DISTINCT FROM p.gpu_flops_method THEN 'counted by different methods'
            WHEN cpu_flops <> gpu_flops THEN 'the graphs have different FLOPs'
        END AS reason
    FROM pairs p
    WINDOW methods AS (
        PARTITION BY
            cpu_hardware_id, gpu_hardware_id, precision, cpu_timing_method, gpu_timing_method, cpu_flops_method,
            gpu_flops_method
    )
)
SELECT
    cpu_hardware_id,
    gpu_hardware_id,
    precision,
    operation_type,
    num_configurations,
    cpu_latency_ms,
    gpu_latency_ms,
    cpu_latency_ms / NULLIF(cpu_of_all_ms, 0) AS cpu_latency_share,
    gpu_latency_ms / NULLIF(gpu_of_all_ms, 0) AS gpu_latency_share,
    cpu_flops * 1000 / NULLIF(cpu_latency_ms, 0) AS cpu_achieved_flops,
    gpu_flops * 1000 / NULLIF(gpu_latency_ms, 0) AS gpu_achieved_flops,
    CASE WHEN reason IS NULL THEN cpu_latency_ms / NULLIF(gpu_latency_ms, 0) END AS gpu_speedup,
    CASE WHEN reason IS NULL THEN 'comparable' ELSE 'not_comparable' END AS verdict,
    reason,
    cpu_timing_method,
    gpu_timing_method,
    cpu_flops_method,
    gpu_flops_method
FROM wholes
