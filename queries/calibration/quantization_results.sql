-- One row for each quantization of a model: what it costs in accuracy, what it saves, how much of the time is really spent in
-- int8 kernels, and whether the calibration set it was made with fits the set that accuracy is of.
-- example: select model, backend, calibration_set, accuracy_before, accuracy_after, accuracy_loss, int8_time_share
--   from quantization_results
-- column run_id: Run of kind quantization
-- column started_at: When it was quantized (UTC)
-- column engine: Engine of the quantized operations: onednn, x86, fbgemm, qnnpack
-- column accuracy_loss [1]: accuracy_before less accuracy_after: above 0 where answers got worse; NULL where accuracy_before is
--   no better than chance (chance_accuracy), so that nothing could be lost or won
-- column weights_ratio [1]: weights_before_bytes / weights_after_bytes
-- column end_to_end_latency_ms [ms]: Mean latency of the whole quantized model, of the run that timed it; NULL where none did
-- column timing_method: How that run timed it; NULL where none did
-- column warnings: What is doubtful about that run and its network, such as outputs_destroyed; NULL where nothing is
-- column set_is_here: Whether the set of that name in this lake has this fingerprint; NULL where no set has the name
-- column evaluation_is_here: Whether its name stands today for the registration that was evaluated; NULL where none is known
-- column num_overlapping [1]: Images that the calibration set and the evaluation share, as it was registered when it was
--   evaluated: 0 when all is well; NULL where the lake does not have both, with all their images
-- column preprocessing_matches: Whether the images that calibrated were prepared as that registration prepares them; NULL where
--   the lake does not have the sets to tell
WITH used AS (
    SELECT
        q.hardware_id,
        q.run_id,
        c.run_id AS calibration_run_id,
        c.num_samples AS num_calibrating,
        c.preprocessing_fingerprint AS set_preprocessing,
        coalesce(q.evaluation_run_id, e.run_id) AS evaluation_run_id,
        CASE WHEN coalesce(q.evaluation_run_id, e.run_id) = e.run_id THEN e.num_samples ELSE q.num_evaluated END
            AS num_evaluating,
        coalesce(q.evaluation_fingerprint, e.preprocessing_fingerprint) AS evaluation_preprocessing
    FROM quantizations q
    LEFT JOIN calibration_current_sets c
        ON c.calibration_set = q.calibration_set AND c.set_fingerprint = q.set_fingerprint
    LEFT JOIN evaluation_sets e ON e.evaluation_set = q.evaluation_set
),
pairs AS (
    SELECT DISTINCT calibration_run_id, evaluation_run_id
    FROM used
    WHERE calibration_run_id IS NOT NULL AND evaluation_run_id IS NOT NULL
),
shared AS (
    SELECT p.calibration_run_id, p.evaluation_run_id, count(DISTINCT s.sample_id) AS num_overlapping
    FROM pairs p
    JOIN calibration_samples s ON s.run_id = p.calibration_run_id
    JOIN evaluation_samples t ON t.run_id = p.evaluation_run_id AND t.sample_id = s.sample_id
    GROUP BY p.calibration_run_id, p.evaluation_run_id
),
calibrating AS (
    SELECT run_id, count(*) AS stored_samples
    FROM calibration_samples
    GROUP BY run_id
),
evaluating AS (
    SELECT run_id, count(*) AS stored_samples
    FROM evaluation_samples
    GROUP BY run_id
),
fitting AS (
    SELECT
        u.hardware_id,
        u.run_id,
        u.set_preprocessing,
        u.evaluation_preprocessing,
        CASE
            WHEN s.num_overlapping > 0 THEN s.num_overlapping
            WHEN m.stored_samples = u.num_calibrating AND t.stored_samples = u.num_evaluating THEN 0
        END AS num_overlapping
    FROM used u
    LEFT JOIN calibrating m ON m.run_id = u.calibration_run_id
    LEFT JOIN evaluating t ON t.run_id = u.evaluation_run_id
    LEFT JOIN shared s
        ON s.calibration_run_id = u.calibration_run_id AND s.evaluation_run_id = u.evaluation_run_id
)
SELECT
    q.hardware_id,
    q.precision,
    q.model,
    q.batch,
    q.backend,
    q.engine,
    q.calibration_set,
    q.set_fingerprint,
    c.set_fingerprint = q.set_fingerprint AS set_is_here,
    q.num_calibration_samples,
    q.calibration_batch_size,
    q.preprocess,
    q.evaluation_set,
    q.evaluation_run_id,
    e.run_id = q.evaluation_run_id AS evaluation_is_here,
    q.num_evaluated,
    q.accuracy_before,
    q.accuracy_after,
    CASE
        WHEN q.chance_accuracy IS NULL OR q.accuracy_before > q.chance_accuracy THEN q.accuracy_before - q.accuracy_after
    END AS accuracy_loss,
    q.chance_accuracy,
    q.relative_output_error,
    q.int8_time_share,
    q.int8_kernels,
    q.weights_before_bytes,
    q.weights_after_bytes,
    CAST(q.weights_before_bytes AS DOUBLE) / NULLIF(q.weights_after_bytes, 0) AS weights_ratio,
    f.num_overlapping,
    coalesce(q.preprocessing_fingerprint, f.set_preprocessing) = f.evaluation_preprocessing AS preprocessing_matches,
    q.measured_run_id,
    m.end_to_end_latency_ms,
    m.timing_method,
    m.warnings,
    q.run_id,
    r.started_at
FROM runs r
JOIN quantizations q ON q.hardware_id = r.hardware_id AND q.run_id = r.run_id
LEFT JOIN runs m ON m.hardware_id = q.hardware_id AND m.run_id = q.measured_run_id
LEFT JOIN calibration_current_sets c ON c.calibration_set = q.calibration_set
LEFT JOIN evaluation_sets e ON e.evaluation_set = q.evaluation_set
LEFT JOIN fitting f ON f.hardware_id = q.hardware_id AND f.run_id = q.run_id
