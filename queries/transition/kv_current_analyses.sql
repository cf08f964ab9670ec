-- One row for each group of evaluations: its latest analysis. Intervals, changes and verdicts count where they are of this
-- run: kv_intervals and kv_deltas keep rows of earlier ones too, of bins and budgets that are gone. The latest is the one
-- that was recorded last, as those tables have it.
-- example: select a.exp_group_id, a.started_at, t.comparison, t.is_detected, t.from_budget, t.to_budget
--   from kv_current_analyses a join kv_transitions t on t.hardware_id = a.hardware_id and t.run_id = a.run_id
-- column started_at: When it was made (UTC)
-- column config_hash: Hash of the settings of the analysis and of all it was made from
-- column num_analyses [1]: How often the group was analysed
SELECT
    r.session_id AS exp_group_id,
    r.hardware_id,
    r.run_id,
    r.started_at,
    r.config_hash,
    count(*) OVER (PARTITION BY r.session_id) AS num_analyses
FROM runs r
WHERE r.kind = 'kv_analysis' AND r.status = 'ok' AND r.session_id IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY r.session_id ORDER BY r.recorded_at DESC, r.run_id DESC) = 1
