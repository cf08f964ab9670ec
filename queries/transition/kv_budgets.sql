-- One row for each budget of a group, as it was asked last: resumed work is the same budget. num_runs says in how many
-- pieces it was asked.
-- example: select exp_group_id, budget, policy, engine, planned_requests, num_runs from kv_budgets order by budget desc
-- column hardware_id: Device of the latest run
-- column precision: Precision of the latest run
-- column run_id: Latest run of the budget
-- column started_at: When the latest run began (UTC)
-- column repeats [1]: How often each example is asked, as the latest run of the group has it
-- column planned_requests [1]: Requests it has in all: examples of the data set as it was prepared last, times repeats
-- column num_runs [1]: Runs of the budget: more than 1 where work was resumed
SELECT
    k.exp_group_id,
    k.budget_id,
    k.budget,
    k.policy,
    k.policy_json,
    k.engine,
    k.engine_version,
    k.how_applied,
    k.hardware_id,
    k.precision,
    k.model,
    k.batch,
    k.run_id,
    k.dataset_id,
    k.temperature,
    k.max_tokens,
    k.seed,
    k.group_repeats AS repeats,
    k.prompt_hash,
    k.tokenizer_fingerprint,
    k.settings_hash,
    coalesce(d.selected * k.group_repeats, k.planned_requests) AS planned_requests,
    k.forced,
    k.started_at,
    count(*) OVER (PARTITION BY k.exp_group_id, k.budget_id) AS num_runs
FROM kv_current_runs k
LEFT JOIN kv_current_datasets d ON d.exp_group_id = k.exp_group_id
QUALIFY rank() OVER (PARTITION BY k.exp_group_id, k.budget_id ORDER BY k.place) = 1
