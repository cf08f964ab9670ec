-- One row for each good run whose graph is not that of most runs of its model at this batch size: subgraphs with other
-- FLOPs, other bytes or another fusion pattern, or another number of subgraphs. The same model should be cut and counted
-- the same way everywhere: such a run was made with other software, or counted wrong. FLOPs and patterns are compared
-- over all precisions, bytes within one. Runs that were counted by different methods are never compared. Of two graphs
-- that are equally frequent, neither is called different.
-- example: select hardware_id, precision, model, num_flops_differ, first_subgraph_id from graph_differences
-- column num_runs [1]: Good runs of this model at this batch size, counted by the same method
-- column num_flops_differ [1]: Subgraphs whose FLOPs are not those of most runs
-- column num_bytes_differ [1]: Subgraphs whose bytes are not those of most runs in this precision
-- column num_patterns_differ [1]: Subgraphs whose fusion pattern is not that of most runs
-- column num_subgraphs [1]: Subgraphs of this run
-- column usual_num_subgraphs [1]: Subgraphs of most runs; the smallest of several equally frequent numbers
-- column first_subgraph_id [1]: First of the subgraphs that differ; NULL where only their number does
-- column extra_flops [FLOP]: FLOPs of the subgraphs that differ, less those that they have in most runs
WITH works AS (
    SELECT
        r.model,
        r.batch,
        coalesce(r.flops_method, 'unknown') AS flops_method,
        r.precision,
        r.hardware_id,
        r.run_id,
        s.subgraph_id,
        s.fusion_pattern,
        s.flops,
        s.total_bytes
    FROM good_runs r
    JOIN subgraph_timings s ON s.hardware_id = r.hardware_id AND s.run_id = r.run_id
),
shared_flops AS (
    SELECT
        model, batch, flops_method, subgraph_id, flops,
        count(*) AS num_same,
        max(count(*)) OVER (PARTITION BY model, batch, flops_method, subgraph_id) AS most_same,
        first_value(flops) OVER (
            PARTITION BY model, batch, flops_method, subgraph_id ORDER BY count(*) DESC, flops
        ) AS usual_flops
    FROM works
    GROUP BY model, batch, flops_method, subgraph_id, flops
),
shared_bytes AS (
    SELECT
        model, batch, flops_method, precision, subgraph_id, total_bytes,
        count(*) AS num_same,
        max(count(*)) OVER (PARTITION BY model, batch, flops_method, precision, subgraph_id) AS most_same
    FROM works
    GROUP BY model, batch, flops_method, precision, subgraph_id, total_bytes
),
shared_patterns AS (
    SELECT
        model, batch, flops_method, subgraph_id, fusion_pattern,
        count(*) AS num_same,
        max(count(*)) OVER (PARTITION BY model, batch, flops_method, subgraph_id) AS most_same
    FROM works
    GROUP BY model, batch, flops_method, subgraph_id, fusion_pattern
),
judged AS (
    SELECT
        w.model,
        w.batch,
        w.flops_method,
        w.precision,
        w.hardware_id,
        w.run_id,
        w.subgraph_id,
        w.flops - f.usual_flops AS extra_flops,
        f.num_same < f.most_same AS flops_differ,
        b.num_same < b.most_same AS bytes_differ,
        p.num_same < p.most_same AS patterns_differ
    FROM works w
    JOIN shared_flops f
        ON f.model = w.model
        AND f.batch = w.batch
        AND f.flops_method = w.flops_method
        AND f.subgraph_id = w.subgraph_id
        AND f.flops = w.flops
    JOIN shared_bytes b
        ON b.model = w.model
        AND b.batch = w.batch
        AND b.flops_method = w.flops_method
        AND b.precision = w.precision
        AND b.subgraph_id = w.subgraph_id
        AND b.total_bytes = w.total_bytes
    JOIN shared_patterns p
        ON p.model = w.model
        AND p.batch = w.batch
        AND p.flops_method = w.flops_method
        AND p.subgraph_id = w.subgraph_id
        AND p.fusion_pattern = w.fusion_pattern
),
graphs AS (
    SELECT
        model,
        batch,
        flops_method,
        precision,
        hardware_id,
        run_id,
        count(*) AS num_subgraphs,
        count(CASE WHEN flops_differ THEN 1 END) AS num_flops_differ,
        count(CASE WHEN bytes_differ THEN 1 END) AS num_bytes_differ,
        count(CASE WHEN patterns_differ THEN 1 END) AS num_patterns_differ,
        min(CASE WHEN flops_differ OR bytes_differ OR patterns_differ THEN subgraph_id END) AS first_subgraph_id,
        CAST(sum(CASE WHEN flops_differ THEN extra_flops ELSE 0 END) AS DOUBLE) AS extra_flops
    FROM judged
    GROUP BY model, batch, flops_method, precision, hardware_id, run_id
),
lengths AS (
    SELECT
        model, batch, flops_method, num_subgraphs,
        count(*) AS num_same,
        max(count(*)) OVER (PARTITION BY model, batch, flops_method) AS most_same,
        CAST(sum(count(*)) OVER (PARTITION BY model, batch, flops_method) AS BIGINT) AS num_runs,
        first_value(num_subgraphs) OVER (
            PARTITION BY model, batch, flops_method ORDER BY count(*) DESC, num_subgraphs
        ) AS usual_num_subgraphs
    FROM graphs
    GROUP BY model, batch, flops_method, num_subgraphs
)
SELECT
    g.hardware_id,
    g.precision,
    g.model,
    g.batch,
    g.run_id,
    g.flops_method,
    l.num_runs,
    g.num_flops_differ,
    g.num_bytes_differ,
    g.num_patterns_differ,
    g.num_subgraphs,
    l.usual_num_subgraphs,
    g.first_subgraph_id,
    g.extra_flops
FROM graphs g
JOIN lengths l
    ON l.model = g.model
    AND l.batch = g.batch
    AND l.flops_method = g.flops_method
    AND l.num_subgraphs = g.num_subgraphs
WHERE
    g.num_flops_differ > 0
    OR g.num_bytes_differ > 0
    OR g.num_patterns_differ > 0
    OR l.num_same < l.most_same
