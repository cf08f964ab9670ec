-- One row for each of the worst estimates of each estimator version: where it is most wrong. Errors are those of
-- estimator_error; by default of whole models, and extrapolated ones with the others, marked. What is within the noise of
-- the measurement is no error and comes last. Estimates beside different measured figures are ranked apart.
-- example: lake query worst_estimates --param estimator=roofline --param level=subgraph --param top=20
-- param: estimator STRING = 'all'; name of an estimator, or all
-- param: version STRING = 'all'; one of its versions, or all
-- param: hardware_id STRING = 'all'; a hardware id, or all
-- param: level STRING = 'model' (model|subgraph); what the estimates are of
-- param: quantity STRING = 'latency' (latency|energy); what they predict, in ms or J; memory is never measured
-- param: top BIGINT = 10 (1..); how many estimates of each version
-- column place [1]: Rank by the counted error, then by the error itself, from 1
-- column quantity: latency (ms) or energy (J of one pass)
-- column compared_with: The measured figure that the estimate stands beside
-- column predicted [1]: The estimate, in the unit of its quantity
-- column measured [1]: The measured value in the same unit
-- column signed_error_percent [%]: (predicted - measured) / measured
-- column counted_ape_percent [%]: Absolute percentage error, 0 within the noise
-- column noise_percent [%]: What noise of the measurement explains
-- column rating: EXCELLENT, GOOD, FAIR or POOR
WITH ranked AS (
    SELECT
        e.estimator,
        e.estimator_version,
        e.hardware_id,
        e.precision,
        e.model,
        e.batch,
        e.subgraph_id,
        e.operation_type,
        e.fusion_pattern,
        e.quantity,
        e.compared_with,
        e.predicted,
        e.measured,
        e.signed_error_percent,
        e.counted_ape_percent,
        e.noise_percent,
        e.rating,
        e.extrapolated,
        e.timing_method,
        e.run_id,
        p.top,
        row_number() OVER (
            PARTITION BY e.estimator, e.estimator_version, e.compared_with
            ORDER BY
                e.counted_ape_percent DESC, e.ape_percent DESC, e.hardware_id, e.precision, e.model, e.batch,
                e.subgraph_id NULLS FIRST
        ) AS place
    FROM estimator_error e
    CROSS JOIN params p
    WHERE
        e.reason IS NULL
        AND e.level = p.level
        AND e.quantity = p.quantity
        AND (p.estimator = 'all' OR e.estimator = p.estimator)
        AND (p.version = 'all' OR e.estimator_version = p.version)
        AND (p.hardware_id = 'all' OR e.hardware_id = p.hardware_id)
)
SELECT
    estimator,
    estimator_version,
    place,
    hardware_id,
    precision,
    model,
    batch,
    subgraph_id,
    operation_type,
    fusion_pattern,
    quantity,
    compared_with,
    predicted,
    measured,
    signed_error_percent,
    counted_ape_percent,
    noise_percent,
    rating,
    extrapolated,
    timing_method,
    run_id
FROM ranked
WHERE place <= top
ORDER BY estimator, estimator_version, compared_with, place
