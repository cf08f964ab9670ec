-- One row for each hardware id and lower precision: in how many configurations it is slower than fp32, and where most. It
-- counts the pairs that precision_speedup calls comparable, and tells how many it does not.
-- example: lake query slower_in_lower_precision --param slower_than=1.1
-- param: slower_than DOUBLE = 1 (>0..); a pair is slower where the lower precision takes more than this many times as long
-- column num_pairs [1]: Pairs of one model and batch size that are comparable
-- column num_slower [1]: Those of them in which the lower precision is slower
-- column slower_share [1]: num_slower / num_pairs
-- column num_not_comparable [1]: Pairs that are not comparable
-- column median_slowdown [1]: Median of latency in this precision / latency in fp32
-- column largest_slowdown [1]: Largest of them
-- column smallest_slowdown [1]: Smallest of them
-- column worst_model: Model with the largest; the first of several
-- column worst_batch [1]: Its batch size there
WITH pairs AS (
    SELECT
        hardware_id,
        precision,
        model,
        batch,
        latency_ms / NULLIF(fp32_latency_ms, 0) AS slowdown,
        row_number() OVER (
            PARTITION BY hardware_id, precision, verdict
            ORDER BY latency_ms / NULLIF(fp32_latency_ms, 0) DESC NULLS LAST, model, batch
        ) AS place,
        verdict
    FROM precision_speedup
)
SELECT
    w.hardware_id,
    w.precision,
    count(CASE WHEN w.verdict = 'comparable' THEN 1 END) AS num_pairs,
    count(CASE WHEN w.verdict = 'comparable' AND w.slowdown > p.slower_than THEN 1 END) AS num_slower,
    count(CASE WHEN w.verdict = 'comparable' AND w.slowdown > p.slower_than THEN 1 END) * 1e0
    / NULLIF(count(CASE WHEN w.verdict = 'comparable' THEN 1 END), 0) AS slower_share,
    count(CASE WHEN w.verdict <> 'comparable' THEN 1 END) AS num_not_comparable,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY CASE WHEN w.verdict = 'comparable' THEN w.slowdown END)
        AS median_slowdown,
    max(CASE WHEN w.verdict = 'comparable' THEN w.slowdown END) AS largest_slowdown,
    min(CASE WHEN w.verdict = 'comparable' THEN w.slowdown END) AS smallest_slowdown,
    max(CASE WHEN w.verdict = 'comparable' AND w.place = 1 THEN w.model END) AS worst_model,
    max(CASE WHEN w.verdict = 'comparable' AND w.place = 1 THEN w.batch END) AS worst_batch
FROM pairs w
CROSS JOIN params p
GROUP BY w.hardware_id, w.precision
