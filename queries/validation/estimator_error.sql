-- One row for each estimate beside what was measured: of a whole model, or of one subgraph. Where an estimator predicts
-- subgraphs, their sum is its estimate of the model, if it has all of them. A sum of subgraphs stands beside the sum of
-- subgraph timings; an estimate of the whole model stands beside the end-to-end latency, or beside the sum of subgraphs
-- where only that was measured: compared_with says which, and figures compared with different things are never mixed. An
-- error within the noise of the measurement is not an error: counted_ape_percent is 0 there. A measurement that scatters by
-- more than 25 % judges nobody: such a row has a reason instead of a rating.
-- An estimate of the energy stands beside one rail, never beside a sum. Sensors do not say what a rail feeds: its name tells.
-- A rail of the whole comes before those of parts: the board of the GPU that the model ran on (nvml), then the input of a
-- module (a name that ends in _IN, as VDD_IN of a Jetson), a processor package (rapl package-0), and the platform (psys).
-- Among several of one kind, and where only parts are known, the largest counts: on a board without a rail for its input,
-- or with two packages, that is less than the whole. compared_with names it, with the index where several GPUs were read.
-- example: select model, batch, signed_error_percent, rating from estimator_error where level = 'model' order by ape_percent
-- column level: model or subgraph
-- column quantity: latency (ms), energy (J of one pass) or memory (bytes)
-- column predicted [1]: The estimate, in the unit of its quantity
-- column measured [1]: The measured value in the same unit; NULL where there is none, and reason says why
-- column compared_with: What was measured: total_latency_ms, end_to_end_latency_ms, latency_mean_ms, or a source and rail,
--   as nvml/gpu; with the index of the device, as nvml/gpu 1, where several were read
-- column signed_error [1]: predicted - measured, in the unit of the quantity
-- column signed_error_percent [%]: signed_error / measured
-- column ape_percent [%]: Absolute percentage error
-- column noise_percent [%]: What noise of the measurement explains, from run_noise; of a subgraph, its 95 % interval; NULL
--   where nothing is known, as of an energy that was never measured again
-- column noise_method: between runs, or within run; NULL where nothing is known
-- column within_noise: Whether the error is not larger than the noise; NULL where the noise is not known
-- column counted_ape_percent [%]: ape_percent, or 0 within the noise: what accuracies are made of
-- column rating: EXCELLENT below 10 % counted error, GOOD below 25 %, FAIR below 50 %, else POOR
-- column estimate_run_id: Run of kind estimate that the estimate came with; of a sum of subgraphs, the first
-- column is_representative: Whether the machine was fit when it was measured; false for a run that --force made
-- column reason: Why there is no error; NULL where there is one
WITH sums AS (
    SELECT
        g.hardware_id,
        g.precision,
        g.model,
        g.batch,
        g.estimator,
        g.estimator_version,
        g.quantity,
        max(CASE WHEN g.subgraph_id IS NULL THEN 1 ELSE 0 END) = 1 AS has_whole,
        count(g.subgraph_id) AS num_predicted,
        max(g.subgraph_id) AS last_subgraph_id,
        sum(CASE WHEN g.subgraph_id IS NOT NULL THEN g.predicted END) AS sum_predicted,
        max(CASE WHEN g.subgraph_id IS NULL THEN g.predicted END) AS whole_predicted,
        max(CASE WHEN g.extrapolated AND (g.subgraph_id IS NULL) THEN 1 ELSE 0 END) = 1 AS whole_extrapolated,
        max(CASE WHEN g.extrapolated THEN 1 ELSE 0 END) = 1 AS any_extrapolated,
        min(g.estimate_run_id) AS estimate_run_id
    FROM predictions g
    GROUP BY g.hardware_id, g.precision, g.model, g.batch, g.estimator, g.estimator_version, g.quantity
),
energies AS (
    SELECT
        e.hardware_id,
        e.run_id,
        e.compared_with,
        e.energy_per_pass_j,
        row_number() OVER (
            PARTITION BY e.hardware_id, e.run_id
            ORDER BY
                CASE
                    WHEN l.device = 'cuda' AND e.source = 'nvml' THEN 0
                    WHEN right(upper(e.rail), 3) = '_IN' THEN 1
                    WHEN e.source = 'rapl' AND e.rail LIKE 'package-%' AND e.rail NOT LIKE '%/%' THEN 2
                    WHEN e.source = 'rapl' AND e.rail LIKE 'psys%' THEN 3
                    ELSE 4
                END,
                e.energy_per_pass_j DESC, e.source, e.rail, e.device_index
        ) AS place
    FROM energy_per_inference e
    JOIN latest_runs l ON l.hardware_id = e.hardware_id AND l.run_id = e.run_id
),
models AS (
    SELECT
        s.estimator,
        s.estimator_version,
        s.quantity,
        s.hardware_id,
        s.precision,
        s.model,
        s.batch,
        l.run_id,
        l.timing_method,
        l.flops_method,
        l.started_at,
        l.is_representative,
        CASE WHEN s.has_whole THEN s.whole_extrapolated ELSE s.any_extrapolated END AS extrapolated,
        CASE WHEN s.has_whole THEN s.whole_predicted ELSE s.sum_predicted END AS predicted,
        CASE
            WHEN s.quantity = 'latency' AND s.has_whole AND l.end_to_end_latency_ms IS NOT NULL THEN 'end_to_end_latency_ms'
            WHEN s.quantity = 'latency' THEN 'total_latency_ms'
            WHEN s.quantity = 'energy' THEN e.compared_with
        END AS compared_with,
        CASE
            WHEN
                NOT s.has_whole AND (s.num_predicted <> l.num_subgraphs OR s.last_subgraph_id >= l.num_subgraphs)
                THEN NULL
            WHEN s.quantity = 'latency' AND s.has_whole THEN coalesce(l.end_to_end_latency_ms, l.total_latency_ms)
            WHEN s.quantity = 'latency' THEN l.total_latency_ms
            WHEN s.quantity = 'energy' THEN e.energy_per_pass_j
        END AS measured,
        CASE
            WHEN l.run_id IS NULL THEN 'this configuration was not measured'
            WHEN NOT s.has_whole AND l.num_subgraphs IS NULL THEN 'the subgraphs of the latest run are not counted'
            WHEN NOT s.has_whole AND s.num_predicted < l.num_subgraphs THEN 'not all subgraphs of the model are predicted'
            WHEN
                NOT s.has_whole AND (s.num_predicted > l.num_subgraphs OR s.last_subgraph_id >= l.num_subgraphs)
                THEN 'other subgraphs are predicted than the latest run has'
            WHEN s.quantity = 'memory' THEN 'the lake has no measured memory'
            WHEN s.quantity = 'energy' AND e.energy_per_pass_j IS NULL THEN 'the run has no energy; run_energy says why'
            WHEN s.quantity = 'latency' AND NOT s.has_whole AND l.total_latency_ms IS NULL THEN 'subgraphs were not timed'
        END AS reason,
        s.estimate_run_id
    FROM sums s
    LEFT JOIN latest_runs l
        ON l.hardware_id = s.hardware_id AND l.precision = s.precision AND l.model = s.model AND l.batch = s.batch
    LEFT JOIN energies e ON e.hardware_id = l.hardware_id AND e.run_id = l.run_id AND e.place = 1
),
paired AS (
    SELECT
        m.estimator, m.estimator_version, 'model' AS level, m.quantity, m.hardware_id, m.precision, m.model, m.batch,
        CAST(NULL AS BIGINT) AS subgraph_id,
        CAST(NULL AS STRING) AS operation_type,
        CAST(NULL AS STRING) AS fusion_pattern,
        m.predicted,
        m.measured,
        m.compared_with,
        n.noise_percent,
        n.noise_method,
        m.extrapolated,
        m.reason,
        m.estimate_run_id,
        m.run_id, m.timing_method, m.flops_method, m.started_at, m.is_representative
    FROM models m
    LEFT JOIN run_noise n ON n.hardware_id = m.hardware_id AND n.run_id = m.run_id AND n.quantity = m.compared_with
    UNION ALL
    SELECT
        estimator, estimator_version, 'subgraph' AS level, quantity, hardware_id, precision, model, batch, subgraph_id,
        operation_type, fusion_pattern, predicted, measured, compared_with, noise_percent, noise_method, extrapolated,
        reason, estimate_run_id, run_id, timing_method, flops_method, started_at, is_representative
    FROM subgraph_predictions
),
judged AS (
    SELECT
        estimator, estimator_version, level, quantity, hardware_id, precision, model, batch, subgraph_id, operation_type,
        fusion_pattern, predicted, measured, compared_with, noise_percent, noise_method, extrapolated,
        CASE
            WHEN reason IS NOT NULL THEN reason
            WHEN coalesce(measured, 0e0) <= 0 THEN 'the measured value is not above 0'
            WHEN noise_percent > 25 THEN 'the measurement scatters too much to judge'
        END AS reason,
        estimate_run_id, run_id, timing_method, flops_method, started_at, is_representative,
        (predicted - measured) / NULLIF(measured, 0) * 100 AS signed_error_percent
    FROM paired
),
counted AS (
    SELECT
        estimator, estimator_version, level, quantity, hardware_id, precision, model, batch, subgraph_id, operation_type,
        fusion_pattern, predicted, measured, compared_with, signed_error_percent, noise_percent, noise_method,
        extrapolated, reason, estimate_run_id, run_id, timing_method, flops_method, started_at, is_representative,
        abs(signed_error_percent) <= noise_percent AS within_noise,
        CASE WHEN abs(signed_error_percent) <= noise_percent THEN 0e0 ELSE abs(signed_error_percent) END
            AS counted_ape_percent
    FROM judged
)
SELECT
    estimator,
    estimator_version,
    level,
    quantity,
    hardware_id,
    precision,
    model,
    batch,
    subgraph_id,
    operation_type,
    fusion_pattern,
    predicted,
    measured,
    compared_with,
    predicted - measured AS signed_error,
    signed_error_percent,
    abs(signed_error_percent) AS ape_percent,
    noise_percent,
    noise_method,
    within_noise,
    counted_ape_percent,
    CASE
        WHEN reason IS NOT NULL THEN NULL
        WHEN counted_ape_percent < 10 THEN 'EXCELLENT'
        WHEN counted_ape_percent < 25 THEN 'GOOD'
        WHEN counted_ape_percent < 50 THEN 'FAIR'
        WHEN counted_ape_percent >= 50 THEN 'POOR'
    END AS rating,
    extrapolated,
    reason,
    estimate_run_id,
    run_id,
    timing_method,
    flops_method,
    started_at,
    is_representative
FROM counted
