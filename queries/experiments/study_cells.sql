-- One row for each planned experiment of a study: whether it is done, failed, or missing. Plan and runs are matched by
-- hardware id, study, config_hash and cycle. An experiment with one good run is done, however often it failed before; where
-- a study was planned several times, the last plan of an experiment counts, and is_current says whether the study's last
-- plan has it still.
-- example: select position, model, batch, cycle, state, error from study_cells where state <> 'done' order by position
-- column state: done, failed (tried without a good run) or missing (not tried)
-- column is_current: Whether the last plan of the study has it; an experiment that was taken out of the study stays here
-- column num_done [1]: Good runs of it
-- column num_failed [1]: Failed attempts
-- column done_run_id: Its latest good run
-- column error: Why the latest attempt failed; NULL where it is done or was not tried
WITH planned AS (
    SELECT hardware_id, precision, model, batch, run_id, study, position, config_hash, cycle, settings_json
    FROM study_plan
    QUALIFY row_number() OVER (
        PARTITION BY hardware_id, study, config_hash, cycle
        ORDER BY run_id DESC, position
    ) = 1
),
last_plans AS (
    SELECT hardware_id, session_id, max(run_id) AS run_id
    FROM runs
    WHERE kind = 'study' AND status = 'ok'
    GROUP BY hardware_id, session_id
),
tried AS (
    SELECT
        hardware_id,
        session_id,
        config_hash,
        run_index,
        run_id,
        status,
        error,
        row_number() OVER (
            PARTITION BY hardware_id, session_id, config_hash, run_index, status
            ORDER BY started_at DESC NULLS LAST, recorded_at DESC, run_id DESC
        ) AS place
    FROM runs
    WHERE kind = 'llm_inference'
),
attempts AS (
    SELECT
        hardware_id,
        session_id,
        config_hash,
        run_index,
        count(CASE WHEN status = 'ok' THEN 1 END) AS num_done,
        count(CASE WHEN status = 'failed' THEN 1 END) AS num_failed,
        max(CASE WHEN status = 'ok' AND place = 1 THEN run_id END) AS done_run_id,
        max(CASE WHEN status = 'failed' AND place = 1 THEN error END) AS last_error
    FROM tried
    GROUP BY hardware_id, session_id, config_hash, run_index
)
SELECT
    p.hardware_id,
    p.precision,
    p.model,
    p.batch,
    p.study,
    p.position,
    p.config_hash,
    p.cycle,
    coalesce(p.run_id = l.run_id, FALSE) AS is_current,
    CASE WHEN a.num_done > 0 THEN 'done' WHEN a.num_failed > 0 THEN 'failed' ELSE 'missing' END AS state,
    coalesce(a.num_done, 0) AS num_done,
    coalesce(a.num_failed, 0) AS num_failed,
    a.done_run_id,
    CASE WHEN a.num_done = 0 THEN a.last_error END AS error,
    p.settings_json
FROM planned p
LEFT JOIN last_plans l ON l.hardware_id = p.hardware_id AND l.session_id = p.study
LEFT JOIN attempts a
    ON a.hardware_id = p.hardware_id
    AND a.session_id = p.study
    AND a.config_hash = p.config_hash
    AND a.run_index = p.cycle
