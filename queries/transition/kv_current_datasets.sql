-- One row for each group of evaluations: its data set as it was prepared last. Requests whose example is no longer in it
-- stay in the lake, and are counted nowhere.
-- example: select exp_group_id, dataset_id, tokenizer, population, selected from kv_current_datasets
-- column started_at: When it was prepared (UTC)
-- column num_prepared [1]: How often the group's data set was prepared
SELECT
    d.exp_group_id,
    d.hardware_id,
    d.run_id,
    d.dataset_id,
    d.task,
    d.source_uri,
    d.source_sha256,
    d.tokenizer,
    d.tokenizer_fingerprint,
    d.prompt_hash,
    d.population,
    d.left_out,
    d.selected,
    d.manifest_sha256,
    d.settings_hash,
    d.selection_json,
    r.started_at,
    count(*) OVER (PARTITION BY d.exp_group_id) AS num_prepared
FROM runs r
JOIN kv_datasets d ON d.hardware_id = r.hardware_id AND d.run_id = r.run_id
QUALIFY row_number() OVER (
    PARTITION BY d.exp_group_id
    ORDER BY r.started_at DESC NULLS LAST, r.recorded_at DESC, d.run_id DESC
) = 1
