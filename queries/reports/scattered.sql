-- One row for each configuration with subgraphs that scatter beyond limits of your own, in its latest run: how many they
-- are, and how much of the latency lies in them. noisy_subgraphs lists subgraphs, with fixed limits.
-- example: lake query scattered --param cv=0.3 --param least_share=0.05
-- param: cv DOUBLE = 0.1 (0..); coefficient of variation (standard deviation / mean) above which a subgraph scatters
-- param: max_to_mean DOUBLE = 10 (1..); largest sample / mean above which a subgraph scatters
-- param: least_share DOUBLE = 0 (0..1); share of the latency that must lie in them for a configuration to be listed
-- column num_scattered [1]: Subgraphs that scatter
-- column num_subgraphs [1]: Subgraphs in all
-- column scattered_share [1]: Share of the latency that lies in those that scatter
-- column largest_cv [1]: Largest coefficient of variation
-- column largest_max_to_mean [1]: Largest of largest sample / mean
-- column worst_subgraph_id [1]: Subgraph with the largest coefficient of variation; the first of several
WITH spreads AS (
    SELECT
        s.hardware_id,
        s.precision,
        s.model,
        s.batch,
        s.run_id,
        s.subgraph_id,
        r.timing_method,
        s.latency_mean_ms,
        s.latency_std_ms / NULLIF(s.latency_mean_ms, 0) AS own_cv,
        s.latency_max_ms / NULLIF(s.latency_mean_ms, 0) AS own_max_to_mean,
        max(s.latency_std_ms / NULLIF(s.latency_mean_ms, 0)) OVER (
            PARTITION BY s.hardware_id, s.run_id
        ) AS largest_cv
    FROM latest_runs r
    JOIN subgraph_timings s ON s.hardware_id = r.hardware_id AND s.run_id = r.run_id
),
sums AS (
    SELECT
        w.hardware_id,
        w.precision,
        w.model,
        w.batch,
        w.run_id,
        w.timing_method,
        w.largest_cv,
        p.least_share,
        count(*) AS num_subgraphs,
        count(CASE WHEN w.own_cv > p.cv OR w.own_max_to_mean > p.max_to_mean THEN 1 END) AS num_scattered,
        sum(CASE WHEN w.own_cv > p.cv OR w.own_max_to_mean > p.max_to_mean THEN w.latency_mean_ms ELSE 0e0 END)
        / NULLIF(sum(w.latency_mean_ms), 0) AS scattered_share,
        max(w.own_max_to_mean) AS largest_max_to_mean,
        min(CASE WHEN w.own_cv = w.largest_cv THEN w.subgraph_id END) AS worst_subgraph_id
    FROM spreads w
    CROSS JOIN params p
    GROUP BY
        w.hardware_id, w.precision, w.model, w.batch, w.run_id, w.timing_method, w.largest_cv, p.least_share
)
SELECT
    hardware_id,
    precision,
    model,
    batch,
    num_scattered,
    num_subgraphs,
    scattered_share,
    largest_cv,
    largest_max_to_mean,
    worst_subgraph_id,
    timing_method,
    run_id
FROM sums
WHERE num_scattered > 0 AND scattered_share >= least_share
