-- One row for each pair of a calibration set and an evaluation set: whether both prepare images in the same way. What counts is
-- what comes out of both for the same probe images: numbers, their type and their layout, not how the code is called.
-- example: select calibration_set, evaluation_set, matches, preprocess from calibration_preprocessing
-- column matches: Whether both fingerprints are equal
-- column set_preprocess: Function that prepares the calibration set's images; NULL leaves them float32, 0 to 255
-- column preprocess: Function that prepares the evaluation's images
-- column preprocessing_fingerprint: Fingerprint of the calibration set's preprocessing
-- column evaluation_fingerprint: Fingerprint of the evaluation's preprocessing
SELECT
    c.calibration_set,
    e.evaluation_set,
    c.preprocessing_fingerprint = e.preprocessing_fingerprint AS matches,
    c.preprocessing_fingerprint,
    e.preprocessing_fingerprint AS evaluation_fingerprint,
    c.preprocess AS set_preprocess,
    c.preprocessing_json,
    e.preprocess,
    e.output_dtype,
    e.output_min,
    e.output_max
FROM calibration_current_sets c
CROSS JOIN evaluation_sets e
