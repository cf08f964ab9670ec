-- One row for each reason for which runs of one kind failed on a hardware id: how many, which models, and whether the same
-- configurations have succeeded since. The reason is the first line of the error. A run that was never tried is not here;
-- coverage_gaps has both.
-- example: select hardware_id, reason, num_runs, models from failed_runs order by num_runs desc
-- column reason: First line of the error
-- column num_runs [1]: Failed runs with this reason
-- column num_configurations [1]: Configurations they tried
-- column num_measured [1]: Those of them that have a good run all the same
-- column models: Models they tried
-- column first_failed_at: Start of the first of them (UTC); NULL where no start is known
-- column last_failed_at: Start of the last of them (UTC)
WITH failures AS (
    SELECT
        r.hardware_id,
        r.kind,
        r.model,
        r.precision || '/' || r.model || '/' || CAST(r.batch AS STRING) AS configuration,
        l.run_id IS NOT NULL AS is_measured,
        split_part(r.error, chr(10), 1) AS reason,
        r.started_at
    FROM runs r
    LEFT JOIN latest_runs l
        ON l.hardware_id = r.hardware_id AND l.precision = r.precision AND l.model = r.model AND l.batch = r.batch
    WHERE r.status = 'failed'
)
SELECT
    hardware_id,
    kind,
    reason,
    count(*) AS num_runs,
    count(DISTINCT configuration) AS num_configurations,
    count(DISTINCT CASE WHEN is_measured THEN configuration END) AS num_measured,
    array_sort(array_agg(DISTINCT model)) AS models,
    min(started_at) AS first_failed_at,
    max(started_at) AS last_failed_at
FROM failures
GROUP BY hardware_id, kind, reason
