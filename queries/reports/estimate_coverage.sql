-- One row for each estimator version and hardware id with a measurement: how many of the measured configurations it
-- predicts the latency of. An accuracy says nothing about what was left out: an estimator that skips the hard cases looks
-- good. estimate_gaps lists what is missing.
-- example: select estimator, estimator_version, hardware_id, predicted_share from estimate_coverage where predicted_share < 1
-- column num_measured [1]: Configurations that were measured on this hardware id
-- column num_predicted [1]: Those of them with an estimate of the whole model, or of all its subgraphs
-- column num_partly_predicted [1]: Those with estimates of some of their subgraphs only, or of a run not cut into any
-- column num_extrapolated [1]: Predicted ones of which an estimate is outside of what the estimator was fitted on
-- column predicted_share [1]: num_predicted / num_measured
-- column num_not_measured [1]: Configurations with an estimate on this hardware id that were not measured there
WITH predicted AS (
    SELECT
        estimator,
        estimator_version,
        hardware_id,
        precision,
        model,
        batch,
        max(CASE WHEN subgraph_id IS NULL THEN 1 ELSE 0 END) = 1 AS has_whole,
        count(DISTINCT subgraph_id) AS num_predicted_subgraphs,
        max(CASE WHEN extrapolated THEN 1 ELSE 0 END) = 1 AS is_extrapolated
    FROM estimates
    WHERE predicted_latency_ms IS NOT NULL
    GROUP BY estimator, estimator_version, hardware_id, precision, model, batch
),
versions AS (
    SELECT DISTINCT estimator, estimator_version
    FROM estimates
),
unmeasured AS (
    SELECT p.estimator, p.estimator_version, p.hardware_id, count(*) AS num_not_measured
    FROM predicted p
    LEFT JOIN latest_runs l
        ON l.hardware_id = p.hardware_id AND l.precision = p.precision AND l.model = p.model AND l.batch = p.batch
    WHERE l.run_id IS NULL
    GROUP BY p.estimator, p.estimator_version, p.hardware_id
),
counted AS (
    SELECT
        v.estimator,
        v.estimator_version,
        l.hardware_id,
        count(*) AS num_measured,
        count(CASE WHEN p.has_whole OR p.num_predicted_subgraphs >= l.num_subgraphs THEN 1 END) AS num_predicted,
        count(CASE WHEN NOT p.has_whole AND coalesce(p.num_predicted_subgraphs < l.num_subgraphs, true) THEN 1 END)
            AS num_partly_predicted,
        count(
            CASE WHEN p.is_extrapolated AND (p.has_whole OR p.num_predicted_subgraphs >= l.num_subgraphs) THEN 1 END
        ) AS num_extrapolated
    FROM latest_runs l
    CROSS JOIN versions v
    LEFT JOIN predicted p
        ON p.estimator = v.estimator
        AND p.estimator_version = v.estimator_version
        AND p.hardware_id = l.hardware_id
        AND p.precision = l.precision
        AND p.model = l.model
        AND p.batch = l.batch
    GROUP BY v.estimator, v.estimator_version, l.hardware_id
)
SELECT
    c.estimator,
    c.estimator_version,
    c.hardware_id,
    c.num_measured,
    c.num_predicted,
    c.num_partly_predicted,
    c.num_extrapolated,
    c.num_predicted / NULLIF(CAST(c.num_measured AS DOUBLE), 0) AS predicted_share,
    coalesce(u.num_not_measured, 0) AS num_not_measured
FROM counted c
LEFT JOIN unmeasured u
    ON u.estimator = c.estimator AND u.estimator_version = c.estimator_version AND u.hardware_id = c.hardware_id
