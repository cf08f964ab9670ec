-- One row for each subgraph of the latest run of a configuration: the latency that efficiency curves predict, which were
-- fitted on OTHER measurements of this lake: FLOPs / (recorded peak times the efficiency that the operation type reaches
-- at this size). A curve has the bins of the view efficiency_curves and is linear in the logarithm of the FLOPs between
-- them, constant beyond them. Subgraphs without FLOPs get the mean latency of such subgraphs. What is predicted is held
-- out of the fit: all runs of the same model (with inputs of any shape), batch, machine (aliases too), or fold of models.
-- `lake estimates fit efficiency-curve` writes these rows to `estimates`.
-- example: lake query efficiency_curve --param holdout=batch
-- param: holdout STRING = 'model' (model|batch|hardware|kfold|none); what the fit may not see of what it predicts
-- param: folds BIGINT = 5 (2..); number of folds of kfold, over the models of a device in alphabetical order
-- param: centre STRING = 'geometric' (geometric|compat); where the mean of a bin lies: at the geometric mean of its FLOPs,
--   or where v1 curves have it
-- column predicted_latency_ms [ms]: Predicted latency; NULL where the fit saw nothing to predict it from
-- column extrapolated: Whether the FLOPs lie outside of what the curve was fitted on, or the operation type was not seen
-- column curve: Operation type whose curve was used; any where its own was not seen; NULL without FLOPs
WITH measured AS (
    SELECT
        s.hardware_id,
        s.precision,
        s.model,
        s.batch,
        s.subgraph_id,
        s.operation_type,
        s.latency_mean_ms,
        s.flops,
        s.efficiency_mean,
        s.efficiency_samples,
        coalesce(s.theoretical_peak_flops, r.theoretical_peak_flops) AS theoretical_peak_flops,
        r.timing_method,
        coalesce(r.flops_method, 'unknown') AS flops_method,
        CASE p.holdout WHEN 'hardware' THEN coalesce(r.device, 'unknown') ELSE r.hardware_id END AS scope,
        CASE p.holdout
            WHEN 'model' THEN split_part(r.model, '@', 1)
            WHEN 'batch' THEN CAST(r.batch AS STRING)
            WHEN 'hardware' THEN m.machine
            WHEN 'kfold' THEN CAST(
                (
                    dense_rank() OVER (PARTITION BY r.hardware_id, r.precision ORDER BY split_part(r.model, '@', 1)) - 1
                ) % NULLIF(p.folds, 0) AS STRING
            )
            ELSE 'all'
        END AS fold,
        CASE WHEN s.flops > 0 THEN ln(s.flops) END AS log_flops,
        b.bin_from_flops,
        b.flops_bin_centre
    FROM latest_runs r
    JOIN subgraph_timings s ON s.hardware_id = r.hardware_id AND s.run_id = r.run_id
    JOIN flops_bins b ON s.flops >= b.bin_from_flops AND (s.flops < b.bin_to_flops OR b.bin_to_flops IS NULL)
    JOIN machine_aliases m ON m.hardware_id = r.hardware_id
    CROSS JOIN params p
),
folds AS (
    SELECT DISTINCT scope, precision, timing_method, flops_method, fold
    FROM measured
),
observed AS (
    SELECT
        scope,
        precision,
        timing_method,
        flops_method,
        fold,
        operation_type,
        bin_from_flops,
        flops_bin_centre,
        sum(efficiency_samples) AS weight,
        sum(efficiency_samples * efficiency_mean) AS weighted,
        count(*) AS subgraphs,
        sum(log_flops) AS log_flops,
        min(flops) AS min_flops,
        max(flops) AS max_flops
    FROM measured
    WHERE flops > 0 AND efficiency_samples > 0
    GROUP BY scope, precision, timing_method, flops_method, fold, operation_type, bin_from_flops, flops_bin_centre
),
of_all_types AS (
    SELECT
        scope, precision, timing_method, flops_method, fold, operation_type AS curve, bin_from_flops,
        flops_bin_centre, weight, weighted, subgraphs, log_flops, min_flops, max_flops
    FROM observed
    UNION ALL
    SELECT
        scope, precision, timing_method, flops_method, fold, 'any' AS curve, bin_from_flops,
        flops_bin_centre, weight, weighted, subgraphs, log_flops, min_flops, max_flops
    FROM observed
),
points AS (
    SELECT
        f.scope,
        f.precision,
        f.timing_method,
        f.flops_method,
        f.fold,
        o.curve,
        CASE
            WHEN p.centre = 'compat' THEN ln(o.flops_bin_centre)
            ELSE sum(o.log_flops) / NULLIF(sum(o.subgraphs), 0)
        END AS log_flops,
        sum(o.weighted) / NULLIF(sum(o.weight), 0) AS efficiency,
        min(o.min_flops) AS min_flops,
        max(o.max_flops) AS max_flops
    FROM folds f
    JOIN of_all_types o
        ON o.scope = f.scope
        AND o.precision = f.precision
        AND o.timing_method = f.timing_method
        AND o.flops_method = f.flops_method
    CROSS JOIN params p
    WHERE o.fold <> f.fold OR p.holdout = 'none'
    GROUP BY
        f.scope, f.precision, f.timing_method, f.flops_method, f.fold, o.curve, o.bin_from_flops, o.flops_bin_centre,
        p.centre
    HAVING sum(o.weighted) > 0
),
segments AS (
    SELECT
        scope,
        precision,
        timing_method,
        flops_method,
        fold,
        curve,
        log_flops,
        efficiency,
        row_number() OVER in_order = 1 AS is_first,
        lead(log_flops) OVER in_order AS next_log_flops,
        lead(efficiency) OVER in_order AS next_efficiency,
        min(min_flops) OVER whole AS curve_from_flops,
        max(max_flops) OVER whole AS curve_to_flops
    FROM points
    WINDOW
        in_order AS (PARTITION BY scope, precision, timing_method, flops_method, fold, curve ORDER BY log_flops),
        whole AS (PARTITION BY scope, precision, timing_method, flops_method, fold, curve)
),
seen AS (
    SELECT DISTINCT scope, precision, timing_method, flops_method, fold, curve
    FROM points
),
overheads AS (
    SELECT f.scope, f.precision, f.timing_method, f.flops_method, f.fold, avg(m.latency_mean_ms) AS latency_ms
    FROM folds f
    JOIN measured m
        ON m.scope = f.scope
        AND m.precision = f.precision
        AND m.timing_method = f.timing_method
        AND m.flops_method = f.flops_method
    CROSS JOIN params p
    WHERE m.flops = 0 AND (m.fold <> f.fold OR p.holdout = 'none')
    GROUP BY f.scope, f.precision, f.timing_method, f.flops_method, f.fold
),
chosen AS (
    SELECT
        m.hardware_id,
        m.precision,
        m.model,
        m.batch,
        m.subgraph_id,
        m.operation_type,
        m.scope,
        m.timing_method,
        m.flops_method,
        m.fold,
        m.flops,
        m.log_flops,
        m.theoretical_peak_flops,
        CASE WHEN m.flops > 0 THEN coalesce(seen.curve, 'any') END AS curve
    FROM measured m
    LEFT JOIN seen
        ON seen.scope = m.scope
        AND seen.precision = m.precision
        AND seen.timing_method = m.timing_method
        AND seen.flops_method = m.flops_method
        AND seen.fold = m.fold
        AND seen.curve = m.operation_type
)
SELECT
    c.hardware_id,
    c.precision,
    c.model,
    c.batch,
    c.subgraph_id,
    CASE
        WHEN c.flops = 0 THEN o.latency_ms
        ELSE c.flops * 1000 / NULLIF(
            c.theoretical_peak_flops * CASE
                WHEN c.log_flops <= g.log_flops OR g.next_log_flops IS NULL THEN g.efficiency
                ELSE g.efficiency + (g.next_efficiency - g.efficiency)
                    * (c.log_flops - g.log_flops) / NULLIF(g.next_log_flops - g.log_flops, 0)
            END,
            0
        )
    END AS predicted_latency_ms,
    c.flops > 0
    AND (c.curve <> c.operation_type OR c.flops < g.curve_from_flops OR c.flops > g.curve_to_flops) AS extrapolated,
    c.curve
FROM chosen c
LEFT JOIN segments g
    ON g.scope = c.scope
    AND g.precision = c.precision
    AND g.timing_method = c.timing_method
    AND g.flops_method = c.flops_method
    AND g.fold = c.fold
    AND g.curve = c.curve
    AND (c.log_flops >= g.log_flops OR g.is_first)
    AND (c.log_flops < g.next_log_flops OR g.next_log_flops IS NULL)
LEFT JOIN overheads o
    ON o.scope = c.scope
    AND o.precision = c.precision
    AND o.timing_method = c.timing_method
    AND o.flops_method = c.flops_method
    AND o.fold = c.fold
