-- One row for each estimator version in the lake: what it predicts, and since when. The latest version of an estimator is
-- the one that was begun last; `lake validate` looks at that one unless it is told otherwise.
-- example: select estimator, estimator_version, num_configurations, is_latest from estimator_versions
-- column num_configurations [1]: Configurations with an estimate
-- column num_estimates [1]: Estimates, of whole models and of subgraphs
-- column num_hardware_ids [1]: Hardware ids they are about
-- column first_recorded_at: When the first of them was written (UTC)
-- column last_recorded_at: When the last of them was written (UTC)
-- column is_latest: Whether no other version of this estimator was begun later, by the time-ordered ids of the runs
WITH versions AS (
    SELECT
        e.estimator,
        e.estimator_version,
        count(DISTINCT e.hardware_id || '/' || e.precision || '/' || e.model || '/' || CAST(e.batch AS STRING))
            AS num_configurations,
        count(*) AS num_estimates,
        count(DISTINCT e.hardware_id) AS num_hardware_ids,
        min(r.recorded_at) AS first_recorded_at,
        max(r.recorded_at) AS last_recorded_at,
        min(e.run_id) AS first_run_id
    FROM estimates e
    JOIN runs r ON r.hardware_id = e.hardware_id AND r.run_id = e.run_id
    GROUP BY e.estimator, e.estimator_version
)
SELECT
    estimator,
    estimator_version,
    num_configurations,
    num_estimates,
    num_hardware_ids,
    first_recorded_at,
    last_recorded_at,
    row_number() OVER (PARTITION BY estimator ORDER BY first_run_id DESC, estimator_version DESC) = 1 AS is_latest
FROM versions
