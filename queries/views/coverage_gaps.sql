-- One row for each configuration that is missing on one hardware id: tried there without success, or tried only
-- elsewhere. Wanted on a hardware id is every (precision, model, batch) that any hardware id of the same kind of device
-- (cpu, cuda) has ever tried, itself included; so a plan that was run in full on one device shows what the others lack,
-- and nothing is made up that nobody ever tried. in_own_sweep = true keeps to the precisions and batch sizes that the
-- hardware id itself has tried. A hardware id that ran on several kinds of device counts for the last by name.
-- example: select precision, model, batch, last_error from coverage_gaps where state = 'failed'
-- column device: Kind of device of the hardware id; unknown where no run names it
-- column state: failed (tried here, never with success) or never tried
-- column in_own_sweep: Whether this hardware id has tried this precision at this batch size, with any model
-- column measured_on [1]: Hardware ids of the same kind of device that have a run with status ok
-- column failed_runs [1]: Failed runs on this hardware id; 0 when never tried
-- column last_failed_at: Start of the latest failed run (UTC); NULL where it is not known, or never tried
-- column last_error: Reason of the latest failed run; NULL when never tried
WITH devices AS (
    SELECT hardware_id, coalesce(max(device), 'unknown') AS device
    FROM runs
    WHERE kind = 'efficiency'
    GROUP BY hardware_id
),
wanted AS (
    SELECT
        d.device,
        c.precision,
        c.model,
        c.batch,
        count(CASE WHEN c.state = 'measured' THEN 1 END) AS measured_on
    FROM coverage c
    JOIN devices d ON d.hardware_id = c.hardware_id
    GROUP BY d.device, c.precision, c.model, c.batch
),
sweeps AS (
    SELECT DISTINCT hardware_id, precision, batch
    FROM coverage
)
SELECT
    d.hardware_id,
    w.precision,
    w.model,
    w.batch,
    CASE WHEN c.hardware_id IS NULL THEN 'never tried' ELSE 'failed' END AS state,
    d.device,
    s.hardware_id IS NOT NULL AS in_own_sweep,
    w.measured_on,
    coalesce(c.failed_runs, 0) AS failed_runs,
    c.last_failed_at,
    c.last_error
FROM devices d
JOIN wanted w ON w.device = d.device
LEFT JOIN coverage c
    ON c.hardware_id = d.hardware_id AND c.precision = w.precision AND c.model = w.model AND c.batch = w.batch
LEFT JOIN sweeps s
    ON s.hardware_id = d.hardware_id AND s.precision = w.precision AND s.batch = w.batch
WHERE c.hardware_id IS NULL OR c.state = 'failed'
ORDER BY d.hardware_id, w.precision, w.model, w.batch
