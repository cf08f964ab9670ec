-- One row for each calibration set: the one that was recorded last under its name. A name has one content in a lake; where
-- lakes were merged that used it for two, num_contents says so.
-- example: select calibration_set, dataset, num_samples, set_fingerprint from calibration_current_sets
-- column run_id: Run that wrote it
-- column dataset: cifar10, image_folder or npz
-- column split: Part of the data set that the images are of: train, test or unknown
-- column source_sha256: Hash of the files that were read, in their order
-- column seed [1]: Seed of the selection
-- column recorded_at: When it was recorded (UTC)
-- column num_contents [1]: Different fingerprints that were recorded under the name: more than 1 must not be
WITH ranked AS (
    SELECT
        b.hardware_id,
        b.run_id,
        b.calibration_set,
        r.recorded_at,
        dense_rank() OVER (PARTITION BY b.calibration_set ORDER BY b.set_fingerprint) AS content
    FROM runs r
    JOIN calibration_builds b ON b.hardware_id = r.hardware_id AND b.run_id = r.run_id
),
latest AS (
    SELECT
        hardware_id,
        run_id,
        recorded_at,
        CAST(max(content) OVER (PARTITION BY calibration_set) AS BIGINT) AS num_contents,
        row_number() OVER (PARTITION BY calibration_set ORDER BY recorded_at DESC, run_id DESC) AS place
    FROM ranked
)
SELECT
    b.calibration_set,
    b.run_id,
    l.recorded_at,
    b.dataset,
    b.split,
    b.set_fingerprint,
    b.source_sha256,
    b.seed,
    b.samples_per_class,
    b.num_classes,
    b.num_samples,
    b.height,
    b.width,
    b.channels,
    b.class_names,
    b.preprocess,
    b.preprocessing_json,
    b.probe_sha256,
    b.preprocessing_fingerprint,
    l.num_contents
FROM latest l
JOIN calibration_builds b ON b.hardware_id = l.hardware_id AND b.run_id = l.run_id
WHERE l.place = 1
