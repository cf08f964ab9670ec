-- One row for each class of a calibration set: how many of its images are of the class, and how many there should be. A
-- class without any image has a row too.
-- example: select calibration_set, class_name, samples, share, is_balanced from calibration_distribution
-- column label [1]: Class, from 0
-- column class_name: Name of the class
-- column samples [1]: Images of the class
-- column share [1]: samples / all images of the set; NULL where it has none
-- column expected [1]: Images that each class should have
-- column is_balanced: Whether samples is expected
-- column pixel_min [1]: Smallest byte of its images, 0 to 255
-- column pixel_max [1]: Largest byte of its images
-- column pixel_mean [1]: Mean byte of its images
WITH counted AS (
    SELECT
        run_id,
        label,
        count(*) AS samples,
        min(pixel_min) AS pixel_min,
        max(pixel_max) AS pixel_max,
        avg(pixel_mean) AS pixel_mean
    FROM calibration_samples
    GROUP BY run_id, label
),
classes AS (
    SELECT
        c.calibration_set,
        k.position AS label,
        k.class_name,
        coalesce(n.samples, 0) AS samples,
        sum(n.samples) OVER (PARTITION BY c.calibration_set) AS stored,
        c.samples_per_class,
        n.pixel_min,
        n.pixel_max,
        n.pixel_mean
    FROM calibration_current_sets c
    JOIN calibration_classes k ON k.run_id = c.run_id
    LEFT JOIN counted n ON n.run_id = c.run_id AND n.label = k.position
)
SELECT
    calibration_set,
    label,
    class_name,
    samples,
    samples / NULLIF(CAST(stored AS DOUBLE), 0e0) AS share,
    samples_per_class AS expected,
    samples = samples_per_class AS is_balanced,
    pixel_min,
    pixel_max,
    pixel_mean
FROM classes
