-- One row for each calibration set: what it is made of, whether its classes are balanced, which bytes it has, and whether it
-- fits the evaluation sets of the lake: no image in common, and the same preprocessing. Both are unknown without any.
-- example: select calibration_set, num_samples, is_balanced, pixel_min, pixel_max, is_disjoint, preprocessing_matches
--   from calibration_sets
-- column dataset: cifar10, image_folder or npz
-- column split: Part of the data set that the images are of: train, test or unknown
-- column source_sha256: Hash of the files that were read, in their order
-- column seed [1]: Seed of the selection
-- column recorded_at: When it was recorded (UTC)
-- column stored_samples [1]: Images in the lake: num_samples when all is well
-- column smallest_class [1]: Images of the class with the fewest
-- column largest_class [1]: Images of the class with the most
-- column is_balanced: Whether each class has samples_per_class images
-- column pixel_min [1]: Smallest byte of all images: close to 0
-- column pixel_max [1]: Largest byte of all images: close to 255
-- column pixel_mean [1]: Mean byte of all images
-- column num_evaluation_sets [1]: Evaluation sets of the lake
-- column num_overlapping [1]: Images that any evaluation set has too; NULL where no evaluation set is registered, or where none is
--   found and images of either are missing from the lake
-- column is_disjoint: Whether there are none of those; NULL where that is unknown
-- column preprocessing_matches: Whether every evaluation set prepares images as this set does; NULL where none is registered
-- column preprocess: Function that prepares its images for a network; NULL leaves them float32, 0 to 255
-- column num_contents [1]: Different fingerprints that were recorded under the name: more than 1 must not be
WITH classes AS (
    SELECT
        calibration_set,
        CAST(sum(samples) AS BIGINT) AS stored_samples,
        min(samples) AS smallest_class,
        max(samples) AS largest_class,
        count(CASE WHEN NOT is_balanced THEN 1 END) AS num_unbalanced,
        min(pixel_min) AS pixel_min,
        max(pixel_max) AS pixel_max,
        sum(pixel_mean * samples) / NULLIF(CAST(sum(samples) AS DOUBLE), 0e0) AS pixel_mean
    FROM calibration_distribution
    GROUP BY calibration_set
),
overlapping AS (
    SELECT calibration_set, count(DISTINCT sample_id) AS num_overlapping
    FROM calibration_overlap
    GROUP BY calibration_set
),
evaluated AS (
    SELECT
        count(*) AS num_evaluation_sets,
        count(CASE WHEN t.stored_samples = e.num_samples THEN 1 END) AS num_whole
    FROM evaluation_sets e
    LEFT JOIN (SELECT run_id, count(*) AS stored_samples FROM evaluation_samples GROUP BY run_id) t
        ON t.run_id = e.run_id
),
shared AS (
    SELECT
        c.calibration_set,
        CASE
            WHEN o.num_overlapping > 0 THEN o.num_overlapping
            WHEN e.num_whole > 0 AND e.num_whole = e.num_evaluation_sets AND k.stored_samples = c.num_samples THEN 0
        END AS num_overlapping
    FROM calibration_current_sets c
    JOIN classes k ON k.calibration_set = c.calibration_set
    LEFT JOIN overlapping o ON o.calibration_set = c.calibration_set
    CROSS JOIN evaluated e
),
prepared AS (
    SELECT
        calibration_set,
        count(*) AS num_evaluation_sets,
        count(CASE WHEN matches THEN 1 END) AS num_matching
    FROM calibration_preprocessing
    GROUP BY calibration_set
)
SELECT
    c.calibration_set,
    c.dataset,
    c.split,
    c.num_samples,
    c.samples_per_class,
    c.num_classes,
    k.stored_samples,
    k.smallest_class,
    k.largest_class,
    k.num_unbalanced = 0 AND k.stored_samples = c.num_samples AS is_balanced,
    k.pixel_min,
    k.pixel_max,
    k.pixel_mean,
    coalesce(p.num_evaluation_sets, 0) AS num_evaluation_sets,
    s.num_overlapping,
    s.num_overlapping = 0 AS is_disjoint,
    p.num_matching = p.num_evaluation_sets AS preprocessing_matches,
    c.seed,
    c.height,
    c.width,
    c.channels,
    c.class_names,
    c.set_fingerprint,
    c.preprocess,
    c.preprocessing_fingerprint,
    c.source_sha256,
    c.run_id,
    c.recorded_at,
    c.num_contents
FROM calibration_current_sets c
JOIN classes k ON k.calibration_set = c.calibration_set
JOIN shared s ON s.calibration_set = c.calibration_set
LEFT JOIN prepared p ON p.calibration_set = c.calibration_set
