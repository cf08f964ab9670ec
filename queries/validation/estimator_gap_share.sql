-- One row for each fusion pattern of a model on one hardware id, precision and batch, and for each estimator version that
-- predicts its subgraphs: which part of the error it carries. Ordered by gap_share_percent, the rows say where to look
-- first.
-- example: select model, fusion_pattern, gap_ms, gap_share_percent from estimator_gap_share order by gap_share_percent desc
-- column num_subgraphs [1]: Subgraphs of the pattern
-- column predicted_ms [ms]: Sum of their estimates
-- column measured_ms [ms]: Sum of their mean latencies
-- column gap_ms [ms]: predicted_ms - measured_ms: what is left when their errors offset each other
-- column absolute_gap_ms [ms]: Sum of the absolute errors of the subgraphs
-- column gap_share_percent [%]: absolute_gap_ms as a share of that of the whole model
-- column latency_share_percent [%]: measured_ms as a share of that of the whole model: beside it a share of the error means more
-- column worst_subgraph_id [1]: Subgraph with the largest absolute error; the first of several
WITH errors AS (
    SELECT
        estimator, estimator_version, hardware_id, precision, model, batch, run_id, fusion_pattern, operation_type,
        subgraph_id, predicted, measured,
        predicted - measured AS signed_error,
        max(abs(predicted - measured)) OVER (
            PARTITION BY estimator, estimator_version, hardware_id, precision, model, batch, fusion_pattern
        ) AS largest
    FROM subgraph_predictions
    WHERE reason IS NULL
),
patterns AS (
    SELECT
        estimator,
        estimator_version,
        hardware_id,
        precision,
        model,
        batch,
        run_id,
        fusion_pattern,
        count(*) AS num_subgraphs,
        sum(predicted) AS predicted_ms,
        sum(measured) AS measured_ms,
        sum(signed_error) AS gap_ms,
        sum(abs(signed_error)) AS absolute_gap_ms,
        min(CASE WHEN abs(signed_error) = largest THEN subgraph_id END) AS worst_subgraph_id
    FROM errors
    GROUP BY estimator, estimator_version, hardware_id, precision, model, batch, run_id, fusion_pattern
),
totals AS (
    SELECT
        estimator, estimator_version, hardware_id, precision, model, batch, run_id, fusion_pattern, num_subgraphs,
        predicted_ms, measured_ms, gap_ms, absolute_gap_ms, worst_subgraph_id,
        sum(absolute_gap_ms) OVER whole AS gap_of_all_ms,
        sum(measured_ms) OVER whole AS measured_of_all_ms
    FROM patterns
    WINDOW whole AS (PARTITION BY estimator, estimator_version, hardware_id, precision, model, batch)
)
SELECT
    estimator,
    estimator_version,
    hardware_id,
    precision,
    model,
    batch,
    fusion_pattern,
    num_subgraphs,
    predicted_ms,
    measured_ms,
    gap_ms,
    absolute_gap_ms,
    absolute_gap_ms / NULLIF(gap_of_all_ms, 0) * 100 AS gap_share_percent,
    measured_ms / NULLIF(measured_of_all_ms, 0) * 100 AS latency_share_percent,
    worst_subgraph_id,
    run_id
FROM totals
