-- One row for each estimate beside its measurement and each way of grouping it, over the rows of estimator_error that have
-- an error: by model, precision, operation type, batch, hardware id, hardware id and precision, or all together. By
-- operation, an estimate is one subgraph; elsewhere it is one model.
-- example: select member, count(*) from estimator_error_by where dimension = 'model' group by member
-- column dimension: What the estimates are grouped by: all, hardware, precision, hardware_precision, model, batch, operation
-- column member: The group: a model, a batch size, ...; all over all
-- column quantity: latency, energy or memory
-- column compared_with: The measured figure that the estimate stands beside
-- column predicted [1]: The estimate, in the unit of its quantity
-- column measured [1]: The measured value in the same unit
-- column signed_error [1]: predicted - measured, in the unit of the quantity
-- column signed_error_percent [%]: signed_error / measured
-- column counted_ape_percent [%]: Absolute percentage error, or 0 within the noise
-- column within_noise: Whether the error is not larger than the noise; NULL where the noise is not known
WITH dimensions AS (
    SELECT dimension
    FROM (
        VALUES
        ('all'), ('hardware'), ('precision'), ('hardware_precision'), ('model'), ('batch'), ('operation')
    ) AS v (dimension)
)
SELECT
    e.estimator,
    e.estimator_version,
    e.quantity,
    e.compared_with,
    e.extrapolated,
    d.dimension,
    CASE d.dimension
        WHEN 'hardware' THEN e.hardware_id
        WHEN 'precision' THEN e.precision
        WHEN 'hardware_precision' THEN e.hardware_id || '/' || e.precision
        WHEN 'model' THEN e.model
        WHEN 'batch' THEN CAST(e.batch AS STRING)
        WHEN 'operation' THEN e.operation_type
        ELSE 'all'
    END AS member,
    e.hardware_id,
    e.precision,
    e.model,
    e.batch,
    e.subgraph_id,
    e.predicted,
    e.measured,
    e.signed_error,
    e.signed_error_percent,
    e.counted_ape_percent,
    e.within_noise
FROM estimator_error e
JOIN dimensions d ON (d.dimension = 'operation') = (e.level = 'subgraph')
WHERE e.reason IS NULL AND e.predicted >= 0
