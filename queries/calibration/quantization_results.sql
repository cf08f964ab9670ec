-- One row for each quantization of a model: what it costs in accuracy, what it saves, how much of the time is really spent in
-- int8 kernels, and whether the calibration set it was made with fits the set that accuracy is of.
-- example: select model, backend, calibration_set, accuracy_before, accuracy_after, accuracy_loss, int8_time_share
--   from quantization_results
-- column run_id: Run of kind quantization
-- column started_at: When it was quantized (UTC)
-- column engine: Engine of the quantized operations: onednn, x86, fbgemm, qnnpack
-- column accuracy_loss [1]: accuracy_before less accuracy_after: above 0 where answers got worse
-- column weights_ratio [1]: weights_before_bytes / weights_after_bytes
-- column end_to_end_latency_ms [ms]: Mean latency of the whole quantized model, of the run that timed it; NULL where none did
-- column timing_method: How that run timed it; NULL where none did
-- column set_is_here: Whether the set of that name in this lake has this fingerprint; NULL where no set has the name
-- column num_overlapping [1]: Images that the calibration set and the evaluation set share: 0 when all is well; NULL where the
--   lake does not have both, with all their images
-- column preprocessing_matches: Whether the images that calibrated were prepared as the evaluation prepares them; NULL where the
--   lake does not have the sets to tell
WITH shared AS (
    SELECT calibration_set, evaluation_set, count(DISTINCT sample_id) AS num_overlapping
    FROM calibration_overlap
    GROUP BY calibration_set, evaluation_set
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
        p.calibration_set,
        p.evaluation_set,
        c.set_fingerprint,
        p.matches,
        CASE
            WHEN s.num_overlapping > 0 THEN s.num_overlapping
            WHEN m.stored_samples = c.num_samples AND t.stored_samples = e.num_samples THEN 0
        END AS num_overlapping
    FROM calibration_preprocessing p
    JOIN calibration_current_sets c ON c.calibration_set = p.calibration_set
    JOIN evaluation_sets e ON e.evaluation_set = p.evaluation_set
    LEFT JOIN calibrating m ON m.run_id = c.run_id
    LEFT JOIN evaluating t ON t.run_id = e.run_id
    LEFT JOIN shared s ON s.calibration_set = p.calibration_set AND s.evaluation_set = p.evaluation_set
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
    q.preprocess,
    q.evaluation_set,
    q.num_evaluated,
    q.accuracy_before,
    q.accuracy_after,
    q.accuracy_before - q.accuracy_after AS accuracy_loss,
    q.relative_output_error,
    q.int8_time_share,
    q.int8_kernels,
    q.weights_before_bytes,
    q.weights_after_bytes,
    CAST(q.weights_before_bytes AS DOUBLE) / NULLIF(q.weights_after_bytes, 0) AS weights_ratio,
    f.num_overlapping,
    CASE
        WHEN q.preprocessing_fingerprint IS NULL THEN f.matches
        ELSE q.preprocessing_fingerprint = e.preprocessing_fingerprint
    END AS preprocessing_matches,
    q.measured_run_id,
    m.end_to_end_latency_ms,
    m.timing_method,
    q.run_id,
    r.started_at
FROM runs r
JOIN quantizations q ON q.hardware_id = r.hardware_id AND q.run_id = r.run_id
LEFT JOIN runs m ON m.hardware_id = q.hardware_id AND m.run_id = q.measured_run_id
LEFT JOIN calibration_current_sets c ON c.calibration_set = q.calibration_set
LEFT JOIN evaluation_sets e ON e.evaluation_set = q.evaluation_set
LEFT JOIN fitting f
    ON f.calibration_set = q.calibration_set
    AND f.set_fingerprint = q.set_fingerprint
    AND f.evaluation_set = q.evaluation_set
