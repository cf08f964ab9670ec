-- One row for each configuration whose latest good run is older than some days, seen from a date of reference. The
-- reference is the newest good run of the lake unless a date is given: the answer does not change from day to day, only
-- with what is measured. A configuration whose start is not known is listed with the verdict unknown.
-- example: lake query stale_measurements --param days=90 --param reference=2026-06-30
-- param: days DOUBLE = 30 (0..); age from which a run is stale, in days
-- param: reference STRING = 'newest' (newest|YYYY-MM-DD); date (its beginning, UTC) from which ages count, or that of the
--   newest good run
-- column age_days [d]: Days from the start of the run to the reference, to the minute; NULL where the start is not known
-- column reference_at: The reference (UTC)
-- column verdict: stale, or unknown where the start of the run is not known
WITH newest AS (
    SELECT max(started_at) AS newest_at
    FROM latest_runs
),
aged AS (
    SELECT
        r.hardware_id,
        r.precision,
        r.model,
        r.batch,
        r.started_at,
        r.run_id,
        coalesce(CAST(NULLIF(p.reference, 'newest') AS DATE), n.newest_at) AS reference_at,
        coalesce(CAST(NULLIF(p.reference, 'newest') AS DATE), n.newest_at) - r.started_at AS age,
        p.days
    FROM latest_runs r
    CROSS JOIN newest n
    CROSS JOIN params p
),
counted AS (
    SELECT
        hardware_id,
        precision,
        model,
        batch,
        started_at,
        run_id,
        reference_at,
        days,
        extract(DAY FROM (age)) + extract(HOUR FROM (age)) / 24e0 + extract(MINUTE FROM (age)) / 1440e0 AS age_days
    FROM aged
)
SELECT
    hardware_id,
    precision,
    model,
    batch,
    started_at,
    age_days,
    CASE WHEN started_at IS NULL THEN 'unknown' ELSE 'stale' END AS verdict,
    reference_at,
    run_id
FROM counted
WHERE age_days > days OR started_at IS NULL
