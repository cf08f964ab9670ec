-- One row for each setting, fact of the environment, package or column of the ledger that differs between two experiments:
-- what was added, removed or changed from the other run to this one. Without names these are the newest good experiment, and
-- the one before it of the same model on the same hardware id.
-- example: lake query experiment_differences --param run_id=b --param other_run_id=a
-- param: run_id STRING = 'newest'; the run that is looked at, or the newest experiment
-- param: other_run_id STRING = 'before'; the run that it is compared with, or the one before it of its model and hardware id
-- column kind: config, environment, package, or run (a column of the ledger or of experiments)
-- column name: Path of the setting, name of the package, or name of the column
-- column change: added (only this run has it), removed (only the other run has it) or changed
-- column other_value: Its value in the other run, as text
-- column value: Its value in this run, as text
-- column run_id: This run
-- column other_run_id: The other run
WITH good AS (
    SELECT
        hardware_id, run_id, precision, model, batch, started_at, thermal_profile, os, python_version, torch_version,
        cuda_version, driver_version, tool_version, machine_fingerprint,
        row_number() OVER (ORDER BY started_at DESC NULLS LAST, run_id DESC) AS place
    FROM runs
    WHERE kind = 'llm_inference' AND status = 'ok'
),
newest AS (
    SELECT run_id
    FROM good
    WHERE place = 1
),
this_run AS (
    SELECT g.hardware_id, g.run_id, g.model, g.place
    FROM good g
    CROSS JOIN newest n
    CROSS JOIN params p
    WHERE g.run_id = coalesce(NULLIF(p.run_id, 'newest'), n.run_id)
    QUALIFY rank() OVER (ORDER BY g.place) = 1
),
other_run AS (
    SELECT g.hardware_id, g.run_id
    FROM good g
    CROSS JOIN this_run t
    CROSS JOIN params p
    WHERE
        (
            NULLIF(p.other_run_id, 'before') IS NULL
            AND g.place > t.place
            AND g.model = t.model
            AND g.hardware_id = t.hardware_id
        )
        OR g.run_id = p.other_run_id
    QUALIFY row_number() OVER (ORDER BY CASE WHEN g.run_id = p.other_run_id THEN 0 ELSE 1 END, g.place) = 1
),
columns_of AS (
    SELECT
        g.hardware_id,
        g.run_id,
        'run' AS kind,
        v.name,
        CASE v.name
            WHEN 'hardware_id' THEN g.hardware_id
            WHEN 'precision' THEN g.precision
            WHEN 'model' THEN g.model
            WHEN 'batch' THEN CAST(g.batch AS STRING)
            WHEN 'thermal_profile' THEN g.thermal_profile
            WHEN 'os' THEN g.os
            WHEN 'python_version' THEN g.python_version
            WHEN 'torch_version' THEN g.torch_version
            WHEN 'cuda_version' THEN g.cuda_version
            WHEN 'driver_version' THEN g.driver_version
            WHEN 'tool_version' THEN g.tool_version
            WHEN 'machine_fingerprint' THEN g.machine_fingerprint
            WHEN 'backend' THEN e.backend
            WHEN 'backend_version' THEN e.backend_version
            WHEN 'num_processes' THEN CAST(e.num_processes AS STRING)
            WHEN 'concurrency' THEN CAST(e.concurrency AS STRING)
            WHEN 'max_new_tokens' THEN CAST(e.max_new_tokens AS STRING)
            WHEN 'num_requests' THEN CAST(e.num_requests AS STRING)
            WHEN 'quantization_method' THEN e.quantization_method
            WHEN 'quantization_bits' THEN CAST(e.quantization_bits AS STRING)
        END AS value
    FROM good g
    JOIN experiments e ON e.hardware_id = g.hardware_id AND e.run_id = g.run_id
    CROSS JOIN (
        VALUES ('hardware_id'), ('precision'), ('model'), ('batch'), ('thermal_profile'), ('os'), ('python_version'),
        ('torch_version'), ('cuda_version'), ('driver_version'), ('tool_version'), ('machine_fingerprint'), ('backend'),
        ('backend_version'), ('num_processes'), ('concurrency'), ('max_new_tokens'), ('num_requests'),
        ('quantization_method'), ('quantization_bits')
    ) AS v (name)
),
facts AS (
    SELECT hardware_id, run_id, kind, name, value
    FROM experiment_settings
    UNION ALL
    SELECT hardware_id, run_id, kind, name, value
    FROM columns_of
    WHERE value IS NOT NULL
),
paired AS (
    SELECT
        f.kind,
        f.name,
        max(CASE WHEN f.hardware_id = t.hardware_id AND f.run_id = t.run_id THEN 1 ELSE 0 END) AS is_here,
        max(CASE WHEN f.hardware_id = o.hardware_id AND f.run_id = o.run_id THEN 1 ELSE 0 END) AS is_there,
        max(CASE WHEN f.hardware_id = o.hardware_id AND f.run_id = o.run_id THEN f.value END) AS other_value,
        max(CASE WHEN f.hardware_id = t.hardware_id AND f.run_id = t.run_id THEN f.value END) AS value,
        t.run_id,
        o.run_id AS other_run_id
    FROM facts f
    CROSS JOIN this_run t
    CROSS JOIN other_run o
    WHERE
        (f.hardware_id = t.hardware_id AND f.run_id = t.run_id)
        OR (f.hardware_id = o.hardware_id AND f.run_id = o.run_id)
    GROUP BY f.kind, f.name, t.run_id, o.run_id
)
SELECT
    kind,
    name,
    CASE WHEN is_there = 0 THEN 'added' WHEN is_here = 0 THEN 'removed' ELSE 'changed' END AS change,
    other_value,
    value,
    run_id,
    other_run_id
FROM paired
WHERE
    is_here <> is_there
    OR value <> other_value
    OR (value IS NULL) <> (other_value IS NULL)
