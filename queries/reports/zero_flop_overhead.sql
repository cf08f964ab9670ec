-- One row for each configuration: how much of the latency of its latest run is spent in subgraphs without counted FLOPs,
-- such as reshaping, concatenating and dropping out. No estimator that thinks in FLOPs sees it. A subgraph without FLOPs
-- has an efficiency that does not apply, not one of 0 %.
-- example: select hardware_id, model, zero_flop_share from zero_flop_overhead order by zero_flop_share desc
-- column num_subgraphs [1]: Subgraphs with a latency
-- column num_zero_flop [1]: Those of them without counted FLOPs
-- column latency_ms [ms]: Sum of the mean latencies of all subgraphs
-- column zero_flop_ms [ms]: Sum of those without counted FLOPs
-- column zero_flop_share [1]: zero_flop_ms / latency_ms
-- column zero_flop_each_us [us]: Mean latency of one subgraph without FLOPs; NULL where there is none
WITH sums AS (
    SELECT
        s.hardware_id,
        s.precision,
        s.model,
        s.batch,
        s.run_id,
        r.timing_method,
        r.flops_method,
        count(*) AS num_subgraphs,
        count(CASE WHEN s.flops = 0 THEN 1 END) AS num_zero_flop,
        sum(s.latency_mean_ms) AS latency_ms,
        sum(CASE WHEN s.flops = 0 THEN s.latency_mean_ms ELSE 0e0 END) AS zero_flop_ms
    FROM latest_runs r
    JOIN subgraph_timings s ON s.hardware_id = r.hardware_id AND s.run_id = r.run_id
    GROUP BY s.hardware_id, s.precision, s.model, s.batch, s.run_id, r.timing_method, r.flops_method
)
SELECT
    hardware_id,
    precision,
    model,
    batch,
    num_subgraphs,
    num_zero_flop,
    latency_ms,
    zero_flop_ms,
    zero_flop_ms / NULLIF(latency_ms, 0) AS zero_flop_share,
    zero_flop_ms * 1000 / NULLIF(num_zero_flop, 0) AS zero_flop_each_us,
    timing_method,
    flops_method,
    run_id
FROM sums
