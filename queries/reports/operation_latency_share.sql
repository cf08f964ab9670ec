-- One row for each operation type of a configuration: its share of the latency of the latest run, and of the FLOPs. An
-- operation that takes more of the latency than of the FLOPs is where the model loses time. efficiency_by_operation adds
-- this up over the models of a hardware id.
-- example: select model, operation_type, latency_share, flops_share from operation_latency_share where device = 'cuda'
-- column num_subgraphs [1]: Subgraphs of this operation type
-- column latency_ms [ms]: Sum of their mean latencies
-- column latency_share [1]: Share of the latency of all subgraphs of the configuration
-- column flops [FLOP]: Sum of their counted FLOPs
-- column flops_share [1]: Share of the FLOPs of all subgraphs of the configuration; NULL where none were counted
WITH sums AS (
    SELECT
        s.hardware_id,
        r.device,
        s.precision,
        s.model,
        s.batch,
        s.run_id,
        s.operation_type,
        r.timing_method,
        r.flops_method,
        count(*) AS num_subgraphs,
        sum(s.latency_mean_ms) AS latency_ms,
        CAST(sum(s.flops) AS DOUBLE) AS flops
    FROM latest_runs r
    JOIN subgraph_timings s ON s.hardware_id = r.hardware_id AND s.run_id = r.run_id
    GROUP BY
        s.hardware_id, r.device, s.precision, s.model, s.batch, s.run_id, s.operation_type, r.timing_method,
        r.flops_method
),
totals AS (
    SELECT
        hardware_id, device, precision, model, batch, run_id, operation_type, timing_method, flops_method,
        num_subgraphs, latency_ms, flops,
        sum(latency_ms) OVER (PARTITION BY hardware_id, run_id) AS latency_of_all_ms,
        sum(flops) OVER (PARTITION BY hardware_id, run_id) AS flops_of_all
    FROM sums
)
SELECT
    hardware_id,
    device,
    precision,
    model,
    batch,
    operation_type,
    num_subgraphs,
    latency_ms,
    latency_ms / NULLIF(latency_of_all_ms, 0) AS latency_share,
    flops,
    flops / NULLIF(flops_of_all, 0) AS flops_share,
    timing_method,
    flops_method,
    run_id
FROM totals
