-- One row for each image of a calibration set that an evaluation set has too: no rows when all is well. Images are the same
-- where size and pixels are, in whatever files they lie; an image that an evaluation set has twice has two rows.
-- example: select calibration_set, evaluation_set, count(*) from calibration_overlap group by calibration_set, evaluation_set
-- column label [1]: Class in the calibration set, from 0
-- column source_file: File that the calibration set has it from
-- column source_index [1]: Place in that file, from 0
-- column evaluation_label [1]: Class in the evaluation set
-- column evaluation_file: File that the evaluation set has it from
-- column evaluation_index [1]: Place in that file, from 0
SELECT
    c.calibration_set,
    e.evaluation_set,
    s.sample_id,
    s.ordinal,
    s.label,
    s.class_name,
    s.source_file,
    s.source_index,
    t.label AS evaluation_label,
    t.source_file AS evaluation_file,
    t.source_index AS evaluation_index
FROM calibration_current_sets c
JOIN calibration_samples s ON s.run_id = c.run_id
JOIN evaluation_samples t ON t.sample_id = s.sample_id
JOIN evaluation_sets e ON e.run_id = t.run_id
