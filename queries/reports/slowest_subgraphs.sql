-- One row for each of the slowest subgraphs of a configuration, in its latest run: where the time goes, the first place
-- first. cumulative_share says how much is explained with those before it.
-- example: lake query slowest_subgraphs --param model=resnet18 --param top=5
-- param: hardware_id STRING = 'all'; a hardware id, or all
-- param: precision STRING = 'all'; a precision, or all
-- param: model STRING = 'all'; a model, or all
-- param: batch BIGINT = 0 (0..); a batch size, or 0 for all
-- param: top BIGINT = 10 (1..); how many subgraphs of each configuration
-- column place [1]: Rank of the subgraph by its mean latency within the configuration, from 1
-- column latency_share [1]: Share of the latency of all subgraphs of the configuration
-- column cumulative_share [1]: The same of this subgraph and those before it
-- column achieved_flops [FLOP/s]: flops / latency_mean_ms
WITH ranked AS (
    SELECT
        s.hardware_id,
        s.precision,
        s.model,
        s.batch,
        s.run_id,
        s.subgraph_id,
        s.operation_type,
        s.fusion_pattern,
        s.node_names,
        s.flops,
        s.total_bytes,
        s.latency_mean_ms,
        s.latency_std_ms,
        r.timing_method,
        row_number() OVER by_latency AS place,
        sum(s.latency_mean_ms) OVER whole AS latency_of_all_ms,
        sum(s.latency_mean_ms) OVER by_latency AS latency_so_far_ms,
        p.top
    FROM latest_runs r
    JOIN subgraph_timings s ON s.hardware_id = r.hardware_id AND s.run_id = r.run_id
    CROSS JOIN params p
    WHERE
        (p.hardware_id = 'all' OR r.hardware_id = p.hardware_id)
        AND (p.precision = 'all' OR r.precision = p.precision)
        AND (p.model = 'all' OR r.model = p.model)
        AND (p.batch = 0 OR r.batch = p.batch)
    WINDOW
        whole AS (PARTITION BY s.hardware_id, s.run_id),
        by_latency AS (PARTITION BY s.hardware_id, s.run_id ORDER BY s.latency_mean_ms DESC, s.subgraph_id)
)
SELECT
    hardware_id,
    precision,
    model,
    batch,
    place,
    subgraph_id,
    operation_type,
    fusion_pattern,
    node_names,
    latency_mean_ms,
    latency_std_ms,
    latency_mean_ms / NULLIF(latency_of_all_ms, 0) AS latency_share,
    latency_so_far_ms / NULLIF(latency_of_all_ms, 0) AS cumulative_share,
    flops,
    total_bytes,
    flops * 1000 / NULLIF(latency_mean_ms, 0) AS achieved_flops,
    timing_method,
    run_id
FROM ranked
WHERE place <= top
ORDER BY hardware_id, precision, model, batch, place
