-- One row for each figure that a version of an estimator predicts: the latency, energy or memory of a model or of one of its
-- subgraphs. Two writers can bring in the same version at once: of a figure that was written twice, the earlier one counts.
-- example: select model, batch, predicted from predictions where quantity = 'latency' and subgraph_id is null
-- column subgraph_id [1]: Subgraph the prediction is for; NULL for the whole model
-- column quantity: latency (ms), energy (J of one pass) or memory (bytes)
-- column predicted [1]: The estimate, in the unit of its quantity
-- column estimate_run_id: Run of kind estimate that the estimate came with
WITH quantities AS (
    SELECT quantity
    FROM (VALUES ('latency'), ('energy'), ('memory')) AS v (quantity)
),
figures AS (
    SELECT
        e.hardware_id, e.precision, e.model, e.batch, e.estimator, e.estimator_version, e.subgraph_id, e.extrapolated,
        e.run_id AS estimate_run_id,
        q.quantity,
        CASE q.quantity
            WHEN 'latency' THEN e.predicted_latency_ms
            WHEN 'energy' THEN e.predicted_energy_j
            ELSE e.predicted_memory_bytes
        END AS predicted
    FROM estimates e
    CROSS JOIN quantities q
)
SELECT
    hardware_id, precision, model, batch, estimator, estimator_version, subgraph_id, extrapolated, estimate_run_id, quantity,
    predicted
FROM figures
WHERE predicted IS NOT NULL
QUALIFY rank() OVER (
    PARTITION BY hardware_id, precision, model, batch, estimator, estimator_version, subgraph_id, quantity
    ORDER BY estimate_run_id
) = 1
