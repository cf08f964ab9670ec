-- One row for each hardware_id, precision and operation type, over the latest run of each configuration: how much of the
-- latency it takes and how much of the recorded peak it reaches. Runs of different timing_method, flops_method or
-- source of the peak are never added up: each combination has rows of its own. Recorded peaks are not physical ones, so
-- compare achieved_flops, not efficiencies, across devices, power modes and precisions.
-- example: select operation_type, latency_share, efficiency from efficiency_by_operation where precision = 'fp32'
-- column num_configurations [1]: Configurations behind the row
-- column num_subgraphs [1]: Subgraphs of this operation type, over all configurations
-- column num_subgraphs_with_flops [1]: Those of them with counted FLOPs, for which an efficiency applies
-- column latency_ms [ms]: Sum of their mean latencies, those without FLOPs included
-- column latency_share [1]: Share of the latency of all operation types there, by the same methods
-- column flops [FLOP]: Sum of their counted FLOPs
-- column achieved_flops [FLOP/s]: flops / latency_ms, the latency of subgraphs without FLOPs included
-- column efficiency [1]: flops / (latency_ms times recorded peak): the share of the peak reached as a whole
-- column efficiency_mean [1]: Plain mean of the subgraphs' efficiencies, where one applies (flops above 0)
WITH operations AS (
    SELECT
        s.hardware_id,
        s.precision,
        s.operation_type,
        r.timing_method,
        r.flops_method,
        r.theoretical_peak_source,
        count(DISTINCT r.run_id) AS num_configurations,
        count(*) AS num_subgraphs,
        count(CASE WHEN s.flops > 0 THEN 1 END) AS num_subgraphs_with_flops,
        sum(s.latency_mean_ms) AS latency_ms,
        sum(sum(s.latency_mean_ms)) OVER (
            PARTITION BY s.hardware_id, s.precision, r.timing_method, r.flops_method, r.theoretical_peak_source
        ) AS latency_of_all_ms,
        CAST(sum(s.flops) AS DOUBLE) AS flops,
        CAST(sum(CASE WHEN r.theoretical_peak_flops > 0 THEN s.flops END) AS DOUBLE) AS flops_with_peak,
        sum(s.latency_mean_ms / 1000 * r.theoretical_peak_flops) AS flops_at_peak,
        avg(CASE WHEN s.flops > 0 THEN s.efficiency_mean END) AS efficiency_mean
    FROM latest_runs r
    JOIN subgraph_timings s ON s.hardware_id = r.hardware_id AND s.run_id = r.run_id
    GROUP BY
        s.hardware_id, s.precision, s.operation_type, r.timing_method, r.flops_method, r.theoretical_peak_source
)
SELECT
    hardware_id,
    precision,
    operation_type,
    timing_method,
    flops_method,
    theoretical_peak_source,
    num_configurations,
    num_subgraphs,
    num_subgraphs_with_flops,
    latency_ms,
    latency_ms / NULLIF(latency_of_all_ms, 0) AS latency_share,
    flops,
    flops / NULLIF(latency_ms / 1000, 0) AS achieved_flops,
    flops_with_peak / NULLIF(flops_at_peak, 0) AS efficiency,
    efficiency_mean
FROM operations
