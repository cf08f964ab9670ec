-- One row for each file that the latest run of a configuration was read from, up to 20 of them; a run that was measured
-- into this lake has one row, without a file. It says what a figure rests on: file and hash, tool, schema, software and
-- machine. What a file does not say is NULL.
-- example: select model, batch, file, sha256, tool_version from provenance where hardware_id = 'dev'
-- column file_number [1]: Number of the file among those of the run, from 1; NULL without a file
-- column num_files [1]: Files with this measurement, twins in other layouts included; 0 without
-- column file: Path of the file, as the import saw it
-- column sha256: Hash of the file's bytes
-- column layout: Which of the known trees the file lies in
WITH found AS (
    SELECT
        r.hardware_id,
        r.precision,
        r.model,
        r.batch,
        r.run_id,
        coalesce(CAST(json_array_length(CAST(to_json(r.sources) AS STRING)) AS BIGINT), 0) AS num_files,
        CAST(to_json(r.sources) AS STRING) AS listed
    FROM runs r
    JOIN latest_runs l ON l.hardware_id = r.hardware_id AND l.run_id = r.run_id
),
numbered AS (
    SELECT
        f.hardware_id,
        f.precision,
        f.model,
        f.batch,
        f.run_id,
        f.num_files,
        n.position,
        CASE WHEN f.num_files > 0 THEN split_part(f.listed, '"uri":', n.position + 1) END AS file_text
    FROM found f
    CROSS JOIN (
        VALUES
            (1), (2), (3), (4), (5), (6), (7), (8), (9), (10),
            (11), (12), (13), (14), (15), (16), (17), (18), (19), (20)
    ) AS n (position)
    WHERE n.position = 1 OR n.position <= f.num_files
)
SELECT
    n.hardware_id,
    n.precision,
    n.model,
    n.batch,
    n.run_id,
    CASE WHEN n.num_files > 0 THEN CAST(n.position AS BIGINT) END AS file_number,
    n.num_files,
    -- The text as it was before JSON put a backslash before each quote and each backslash.
    replace(
        replace(
            replace(
                NULLIF(split_part(substring(n.file_text, 2, length(n.file_text)), '","', 1), ''),
                chr(92) || chr(92), chr(1)
            ),
            chr(92) || '"', '"'
        ),
        chr(1), chr(92)
    ) AS file,
    NULLIF(split_part(split_part(n.file_text, '"sha256":"', 2), '"', 1), '') AS sha256,
    NULLIF(split_part(split_part(n.file_text, '"layout":"', 2), '"', 1), '') AS layout,
    r.tool_version,
    r.schema_version,
    r.source_hardware_id,
    r.source_measurement_date,
    r.started_at,
    r.started_at_zone_source,
    r.recorded_at,
    r.os,
    r.python_version,
    r.torch_version,
    r.cuda_version,
    r.driver_version,
    r.machine_fingerprint,
    r.software_fingerprint,
    r.note
FROM numbered n
JOIN runs r ON r.hardware_id = n.hardware_id AND r.run_id = n.run_id
