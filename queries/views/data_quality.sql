-- One row for each finding about a good run, or about the peaks recorded for a device (run_id, model and batch are then
-- NULL). Good runs have kind efficiency and status ok. A finding is something to know before trusting a number, not an error in itself:
-- efficiency_above_1, zero_bytes, work_without_flops (more than a tenth of the latency lies in subgraphs counted with no
-- FLOPs), few_samples (fewer than 30 passes), rows_missing and summary_differs (the ledger and the subgraphs disagree),
-- flops_differ (the graph's FLOPs are not those of most runs of the model at this batch size), no_end_to_end, no_peak,
-- assumed_utc, warning (recorded with the run, up to 20 each), peak_shared_by_precisions, peak_varies,
-- peak_differs_from_alias.
-- example: select finding, count(*) from data_quality group by finding order by finding
-- column run_id: Run the finding is about; NULL when it is about a device
-- column precision: Precision of the run, or of the recorded peak
-- column model: Model of the run; NULL when the finding is about a device
-- column batch [1]: Batch size of the run; NULL when the finding is about a device
-- column finding: Short name of the finding
-- column value [1]: The number behind the finding, as its explanation says; NULL where there is none
-- column explanation: What the finding means
WITH good AS (
    SELECT
        hardware_id,
        precision,
        model,
        batch,
        run_id,
        started_at_zone_source,
        theoretical_peak_flops,
        flops_method,
        total_flops,
        num_subgraphs,
        total_latency_ms,
        end_to_end_latency_ms,
        warnings
    FROM runs
    WHERE status = 'ok' AND kind = 'efficiency'
),
subgraphs AS (
    SELECT
        hardware_id,
        run_id,
        count(*) AS num_rows,
        max(efficiency_mean) AS largest_efficiency,
        count(CASE WHEN total_bytes = 0 THEN 1 END) AS num_without_bytes,
        sum(latency_mean_ms) AS latency_ms,
        sum(CASE WHEN flops = 0 THEN latency_mean_ms ELSE 0 END) AS latency_without_flops_ms,
        min(latency_samples) AS fewest_samples
    FROM subgraph_timings
    GROUP BY hardware_id, run_id
),
graphs AS (
    SELECT
        model,
        batch,
        flops_method,
        total_flops,
        count(*) AS num_runs,
        max(count(*)) OVER (PARTITION BY model, batch, flops_method) AS most_runs,
        first_value(total_flops) OVER (
            PARTITION BY model, batch, flops_method ORDER BY count(*) DESC, total_flops
        ) AS usual_flops
    FROM good
    WHERE total_flops IS NOT NULL
    GROUP BY model, batch, flops_method, total_flops
),
checked AS (
    SELECT
        r.hardware_id,
        r.precision,
        r.model,
        r.batch,
        r.run_id,
        s.largest_efficiency,
        s.num_without_bytes,
        s.latency_without_flops_ms / NULLIF(s.latency_ms, 0) AS share_without_flops,
        s.fewest_samples,
        r.num_subgraphs - coalesce(s.num_rows, 0) AS num_rows_missing,
        s.latency_ms / NULLIF(r.total_latency_ms, 0) - 1 AS latency_difference,
        abs(s.latency_ms - r.total_latency_ms) > 1e-6 * r.total_latency_ms AS latency_differs,
        CAST(r.total_flops AS DOUBLE) / NULLIF(g.usual_flops, 0) - 1 AS flops_difference,
        g.num_runs < g.most_runs AS flops_differ,
        r.end_to_end_latency_ms,
        r.theoretical_peak_flops,
        r.started_at_zone_source
    FROM good r
    LEFT JOIN subgraphs s ON s.hardware_id = r.hardware_id AND s.run_id = r.run_id
    LEFT JOIN graphs g
        ON g.model = r.model
        AND g.batch = r.batch
        AND g.flops_method IS NOT DISTINCT FROM r.flops_method
        AND g.total_flops = r.total_flops
),
numbered AS (
    SELECT
        g.hardware_id,
        g.precision,
        g.model,
        g.batch,
        g.run_id,
        n.position,
        CAST(json_array_length(CAST(to_json(g.warnings) AS STRING)) AS BIGINT) AS num_warnings,
        CAST(to_json(g.warnings) AS STRING) AS listed
    FROM good g
    CROSS JOIN (
        VALUES
            (1), (2), (3), (4), (5), (6), (7), (8), (9), (10),
            (11), (12), (13), (14), (15), (16), (17), (18), (19), (20)
    ) AS n (position)
    WHERE g.warnings IS NOT NULL
),
peaks AS (
    SELECT hardware_id, precision, theoretical_peak_flops AS peak
    FROM good
    WHERE theoretical_peak_flops IS NOT NULL
    GROUP BY hardware_id, precision, theoretical_peak_flops
)
SELECT
    c.run_id,
    c.hardware_id,
    c.precision,
    c.model,
    c.batch,
    f.finding,
    CASE f.finding
        WHEN 'efficiency_above_1' THEN c.largest_efficiency
        WHEN 'zero_bytes' THEN CAST(c.num_without_bytes AS DOUBLE)
        WHEN 'work_without_flops' THEN c.share_without_flops
        WHEN 'few_samples' THEN CAST(c.fewest_samples AS DOUBLE)
        WHEN 'rows_missing' THEN CAST(c.num_rows_missing AS DOUBLE)
        WHEN 'summary_differs' THEN c.latency_difference
        WHEN 'flops_differ' THEN c.flops_difference
    END AS value,
    f.explanation
FROM checked c
CROSS JOIN (
    VALUES
        ('efficiency_above_1', 'Faster than the recorded peak (value: largest efficiency): peak too low, or FLOPs counted too high'),
        ('zero_bytes', 'Subgraphs counted with no bytes (value: how many) have no arithmetic intensity'),
        ('work_without_flops', 'Subgraphs counted with no FLOPs take much of the latency (value: their share)'),
        ('few_samples', 'A subgraph was timed in fewer than 30 passes (value: how many): its interval is wide'),
        ('rows_missing', 'The run counts another number of subgraphs than there are rows (value: how many more)'),
        ('summary_differs', 'The latencies of the subgraphs do not add up to the total of the run (value: relative difference)'),
        ('flops_differ', 'The graph has other FLOPs than most runs of this model at this batch size (value: relative difference)'),
        ('no_end_to_end', 'The whole model was not timed: total_latency_ms sums separately timed subgraphs'),
        ('no_peak', 'No peak was recorded: there is no efficiency'),
        ('assumed_utc', 'The file names no time zone, UTC was assumed: started_at may be off by hours')
) AS f (finding, explanation)
WHERE
    CASE f.finding
        WHEN 'efficiency_above_1' THEN c.largest_efficiency > 1
        WHEN 'zero_bytes' THEN c.num_without_bytes > 0
        WHEN 'work_without_flops' THEN c.share_without_flops > 0.1
        WHEN 'few_samples' THEN c.fewest_samples < 30
        WHEN 'rows_missing' THEN c.num_rows_missing <> 0
        WHEN 'summary_differs' THEN c.latency_differs
        WHEN 'flops_differ' THEN c.flops_differ
        WHEN 'no_end_to_end' THEN c.end_to_end_latency_ms IS NULL
        WHEN 'no_peak' THEN c.theoretical_peak_flops IS NULL
        WHEN 'assumed_utc' THEN c.started_at_zone_source = 'assumed_utc'
    END
UNION ALL
SELECT
    run_id,
    hardware_id,
    precision,
    model,
    batch,
    'warning' AS finding,
    CAST(num_warnings AS DOUBLE) AS value,
    -- The text as it was before JSON put a backslash before each quote and each backslash.
    replace(
        replace(
            replace(
                split_part(substring(listed, 3, length(listed) - 4), '","', position),
                chr(92) || chr(92), chr(1)
            ),
            chr(92) || '"', '"'
        ),
        chr(1), chr(92)
    ) AS explanation
FROM numbered
WHERE position <= num_warnings
UNION ALL
SELECT
    NULL AS run_id,
    p.hardware_id,
    p.precision,
    NULL AS model,
    NULL AS batch,
    'peak_shared_by_precisions' AS finding,
    p.peak AS value,
    'The peak recorded for this precision is that of fp32 (value, in FLOP/s)' AS explanation
FROM peaks p
JOIN peaks fp32 ON fp32.hardware_id = p.hardware_id AND fp32.peak = p.peak
WHERE fp32.precision = 'fp32' AND p.precision <> 'fp32'
UNION ALL
SELECT
    NULL AS run_id,
    hardware_id,
    precision,
    NULL AS model,
    NULL AS batch,
    'peak_varies' AS finding,
    max(peak) / NULLIF(min(peak), 0) AS value,
    'Runs of this device and precision recorded different peaks (value: largest / smallest)' AS explanation
FROM peaks
GROUP BY hardware_id, precision
HAVING count(*) > 1
UNION ALL
SELECT
    NULL AS run_id,
    p.hardware_id,
    p.precision,
    NULL AS model,
    NULL AS batch,
    'peak_differs_from_alias' AS finding,
    max(p.peak / NULLIF(other.peak, 0)) AS value,
    'The same device measured under another id has another recorded peak (value: largest ratio)' AS explanation
FROM peaks p
JOIN hardware h ON h.hardware_id = p.hardware_id
JOIN peaks other ON other.precision = p.precision AND array_contains(h.aliases, other.hardware_id)
WHERE other.peak <> p.peak
GROUP BY p.hardware_id, p.precision
