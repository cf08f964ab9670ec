-- One row for each configuration (hardware_id, precision, model, batch) that was ever tried, with what became of it.
-- Runs of kind efficiency count; retracted ones do not.
-- example: select precision, count(*) from coverage where state = 'measured' group by precision
-- column state: measured (at least one run with status ok) or failed (tried, never with success)
-- column ok_runs [1]: Runs with status ok
-- column failed_runs [1]: Runs with status failed
-- column last_ok_at: Start of the latest run with status ok (UTC)
-- column last_failed_at: Start of the latest failed run (UTC); NULL where it is not known
-- column last_error: Reason of the latest failed run; NULL when nothing failed
SELECT
    hardware_id,
    precision,
    model,
    batch,
    CASE WHEN count(CASE WHEN status = 'ok' THEN 1 END) > 0 THEN 'measured' ELSE 'failed' END AS state,
    count(CASE WHEN status = 'ok' THEN 1 END) AS ok_runs,
    count(CASE WHEN status = 'failed' THEN 1 END) AS failed_runs,
    max(CASE WHEN status = 'ok' THEN started_at END) AS last_ok_at,
    max(CASE WHEN status = 'failed' THEN started_at END) AS last_failed_at,
    max(CASE WHEN status = 'failed' AND place = 1 THEN error END) AS last_error
FROM (
    SELECT
        hardware_id,
        precision,
        model,
        batch,
        status,
        started_at,
        error,
        row_number() OVER (
            PARTITION BY hardware_id, precision, model, batch, status
            ORDER BY started_at DESC NULLS LAST, recorded_at DESC, run_id DESC
        ) AS place
    FROM runs
    WHERE kind = 'efficiency'
) AS attempts
GROUP BY hardware_id, precision, model, batch
ORDER BY hardware_id, precision, model, batch
