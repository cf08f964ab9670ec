-- One row for each prediction of a subgraph beside what was measured in the latest run of its configuration. A measurement
-- whose 95 % interval is wider than 25 % to either side judges nobody: such a row has a reason.
-- example: select model, subgraph_id, predicted, measured from subgraph_predictions where reason is null
-- column quantity: latency (ms), energy (J of one pass) or memory (bytes)
-- column predicted [1]: The estimate, in the unit of its quantity
-- column measured [1]: The measured latency in ms; NULL where there is none, and reason says why
-- column compared_with: What was measured: latency_mean_ms
-- column noise_percent [%]: Half of the 95 % interval of the mean latency
-- column noise_method: within run: only the scatter of one run is known of a subgraph
-- column extrapolated: Whether the prediction lies outside the range the estimator was fitted on; false where it is not known
-- column estimate_run_id: Run of kind estimate that the estimate came with
-- column is_representative: Whether the machine was fit when it was measured; false for a run that --force made
-- column reason: Why the two cannot be compared; NULL where they can
WITH paired AS (
    SELECT
        g.estimator, g.estimator_version, g.quantity, g.hardware_id, g.precision, g.model, g.batch, g.subgraph_id,
        s.operation_type,
        s.fusion_pattern,
        g.predicted,
        CASE WHEN g.quantity = 'latency' THEN s.latency_mean_ms END AS measured,
        CASE WHEN g.quantity = 'latency' THEN 'latency_mean_ms' END AS compared_with,
        CASE
            WHEN g.quantity = 'latency'
                THEN (s.latency_ci_upper_ms - s.latency_ci_lower_ms) / 2 / NULLIF(s.latency_mean_ms, 0) * 100
        END AS noise_percent,
        CASE WHEN g.quantity = 'latency' AND s.latency_ci_upper_ms IS NOT NULL THEN 'within run' END AS noise_method,
        coalesce(g.extrapolated, false) AS extrapolated,
        s.subgraph_id AS measured_subgraph_id,
        g.estimate_run_id,
        l.run_id, l.timing_method, l.flops_method, l.started_at, l.is_representative
    FROM predictions g
    LEFT JOIN latest_runs l
        ON l.hardware_id = g.hardware_id AND l.precision = g.precision AND l.model = g.model AND l.batch = g.batch
    LEFT JOIN subgraph_timings s
        ON s.hardware_id = l.hardware_id AND s.run_id = l.run_id AND s.subgraph_id = g.subgraph_id
    WHERE g.subgraph_id IS NOT NULL
)
SELECT
    estimator, estimator_version, quantity, hardware_id, precision, model, batch, subgraph_id, operation_type, fusion_pattern,
    predicted, measured, compared_with, noise_percent, noise_method, extrapolated,
    CASE
        WHEN run_id IS NULL THEN 'this configuration was not measured'
        WHEN quantity <> 'latency' THEN 'only the latency of a subgraph is measured'
        WHEN measured_subgraph_id IS NULL THEN 'the latest run has no such subgraph'
        WHEN coalesce(measured, 0e0) <= 0 THEN 'the measured value is not above 0'
        WHEN noise_percent > 25 THEN 'the measurement scatters too much to judge'
    END AS reason,
    estimate_run_id, run_id, timing_method, flops_method, started_at, is_representative
FROM paired
