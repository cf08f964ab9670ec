-- One row for each run of a group that counts: those that asked under the same settings, data and prompt as the group's
-- latest run did. Answers to earlier ones stay in the lake, and count again when the group is asked so again.
-- example: select exp_group_id, budget, place, forced from kv_current_runs order by exp_group_id, place
-- column place [1]: 1 for the latest run of its group, 2 for the one before, and so on
-- column started_at: When it began (UTC)
-- column group_repeats [1]: How often each example is asked, as the latest run of the group has it
WITH ordered AS (
    SELECT
        k.hardware_id,
        k.run_id,
        first_value(k.settings_hash) OVER latest_first AS latest_settings_hash,
        first_value(k.repeats) OVER latest_first AS group_repeats,
        row_number() OVER latest_first AS place,
        r.started_at
    FROM runs r
    JOIN kv_runs k ON k.hardware_id = r.hardware_id AND k.run_id = r.run_id
    WINDOW latest_first AS (
        PARTITION BY k.exp_group_id
        ORDER BY r.started_at DESC NULLS LAST, r.recorded_at DESC, k.run_id DESC
    )
)
SELECT
    k.exp_group_id,
    k.budget_id,
    k.budget,
    k.policy,
    k.policy_json,
    k.engine,
    k.engine_version,
    k.base_url,
    k.how_applied,
    k.hardware_id,
    k.precision,
    k.model,
    k.batch,
    k.run_id,
    k.dataset_id,
    k.dataset_run_id,
    k.temperature,
    k.max_tokens,
    k.seed,
    k.repeats,
    o.group_repeats,
    k.prompt_hash,
    k.tokenizer_fingerprint,
    k.settings_hash,
    k.planned_requests,
    k.forced,
    o.place,
    o.started_at
FROM kv_runs k
JOIN ordered o ON o.hardware_id = k.hardware_id AND o.run_id = k.run_id
WHERE k.settings_hash = o.latest_settings_hash
