-- One row for each measured configuration whose latency an estimator version does not predict, or not in full.
-- estimate_coverage counts them.
-- example: lake query estimate_gaps --param estimator=roofline
-- param: estimator STRING = 'all'; name of an estimator, or all
-- param: version STRING = 'all'; one of its versions, or all
-- column state: not predicted, or partly predicted (not all of its subgraphs, or of a run that was not cut into any)
-- column num_predicted_subgraphs [1]: Subgraphs with an estimate
-- column num_subgraphs [1]: Subgraphs of the latest run; NULL where it was not cut into any
WITH versions AS (
    SELECT DISTINCT e.estimator, e.estimator_version
    FROM estimates e
    CROSS JOIN params p
    WHERE
        (p.estimator = 'all' OR e.estimator = p.estimator)
        AND (p.version = 'all' OR e.estimator_version = p.version)
),
predicted AS (
    SELECT
        estimator,
        estimator_version,
        hardware_id,
        precision,
        model,
        batch,
        max(CASE WHEN subgraph_id IS NULL THEN 1 ELSE 0 END) = 1 AS has_whole,
        count(DISTINCT subgraph_id) AS num_predicted_subgraphs
    FROM estimates
    WHERE predicted_latency_ms IS NOT NULL
    GROUP BY estimator, estimator_version, hardware_id, precision, model, batch
)
SELECT
    v.estimator,
    v.estimator_version,
    l.hardware_id,
    l.precision,
    l.model,
    l.batch,
    CASE WHEN d.estimator IS NULL THEN 'not predicted' ELSE 'partly predicted' END AS state,
    coalesce(d.num_predicted_subgraphs, 0) AS num_predicted_subgraphs,
    l.num_subgraphs,
    l.run_id
FROM latest_runs l
CROSS JOIN versions v
LEFT JOIN predicted d
    ON d.estimator = v.estimator
    AND d.estimator_version = v.estimator_version
    AND d.hardware_id = l.hardware_id
    AND d.precision = l.precision
    AND d.model = l.model
    AND d.batch = l.batch
WHERE d.estimator IS NULL OR (NOT d.has_whole AND coalesce(d.num_predicted_subgraphs < l.num_subgraphs, true))
