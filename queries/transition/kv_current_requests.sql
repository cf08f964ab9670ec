-- One row for each request of a group, however often it was sent: as the latest run left it that has an answer to it, or a
-- failure that stays; where none has, as the latest of all left it. A failure that may pass, which the next run asks again
-- (RATE_LIMITED, TIMEOUT, CONNECTION, ENGINE_ERROR, UNKNOWN_FAILURE), never stands before an answer, which two lakes that
-- are put together may both have. With the latest score of this answer. Bin and length are those of the data set as it was prepared last.
-- Requests of runs that no longer count (see kv_current_runs) have none, nor have repeats beyond those of the latest run.
-- example: select budget, bin_index, example_id, state, failure, accuracy from kv_current_requests where is_selected
-- column state: answered, failed, or missing (the run holds neither an answer nor a failure, which kv_integrity reports)
-- column is_selected: Whether the example is in the group's data set as it was prepared last; else nothing counts it
-- column bin_index [1]: Bin of the example in the group's data set; where that has it no longer, the bin it was asked in
-- column prompt_tokens [1]: Tokens of the whole prompt, as the data set's tokenizer counts; NULL where it is not selected
-- column engine_prompt_tokens [1]: The same as the engine counts; NULL where it does not tell
-- column is_scored: Whether the answer has a score
-- column accuracy [1]: The task's own metric, from 0 to 1; NULL of a failure
-- column accuracy_all [1]: accuracy, and 0 of a failure; NULL of an answer without a score
-- column exact_match [1]: 1 where the normalised answer is one of the right ones, else 0; NULL of a failure
-- column f1 [1]: Token overlap with the closest right answer (SQuAD); NULL of a failure
-- column failed [1]: 1 of a failure, 0 of an answer
WITH ended AS (
    SELECT
        q.hardware_id,
        q.precision,
        q.model,
        q.batch,
        q.run_id,
        q.exp_group_id,
        q.budget_id,
        q.request_id,
        q.example_id,
        q.bin_index,
        q.repeat,
        q.prompt_sha256,
        q.prompt_truncation,
        q.sent_at,
        q.num_attempts,
        k.policy,
        k.budget,
        k.engine,
        k.place,
        f.request_id AS failed_id,
        f.failure,
        f.http_status,
        f.failure IN ('RATE_LIMITED', 'TIMEOUT', 'CONNECTION', 'ENGINE_ERROR', 'UNKNOWN_FAILURE') AS may_pass
    FROM kv_current_runs k
    JOIN kv_requests q ON q.hardware_id = k.hardware_id AND q.run_id = k.run_id
    LEFT JOIN kv_failures f
        ON f.hardware_id = q.hardware_id AND f.run_id = q.run_id AND f.request_id = q.request_id
    WHERE q.repeat <= k.group_repeats
),
latest AS (
    SELECT
        hardware_id,
        precision,
        model,
        batch,
        run_id,
        exp_group_id,
        budget_id,
        request_id,
        example_id,
        bin_index,
        repeat,
        prompt_sha256,
        prompt_truncation,
        sent_at,
        num_attempts,
        policy,
        budget,
        engine,
        failed_id,
        failure,
        http_status
    FROM ended
    -- rank, not row_number: DuckDB 1.5 may lose rows where it makes a "first of each" of a window by one key (places differ).
    QUALIFY rank() OVER (
        PARTITION BY exp_group_id, request_id ORDER BY CASE WHEN may_pass THEN 1 ELSE 0 END, place
    ) = 1
),
selected AS (
    SELECT d.exp_group_id, e.example_id, e.bin_index, e.prompt_tokens
    FROM kv_current_datasets d
    JOIN kv_examples e ON e.hardware_id = d.hardware_id AND e.run_id = d.run_id
),
outcomes AS (
    SELECT
        q.hardware_id,
        q.precision,
        q.model,
        q.batch,
        q.run_id,
        q.exp_group_id,
        q.budget_id,
        q.budget,
        q.policy,
        q.engine,
        q.request_id,
        q.example_id,
        q.repeat,
        coalesce(e.bin_index, q.bin_index) AS bin_index,
        e.prompt_tokens,
        e.example_id IS NOT NULL AS is_selected,
        q.prompt_sha256,
        q.prompt_truncation,
        q.sent_at,
        q.num_attempts,
        CASE WHEN q.failed_id IS NOT NULL THEN 'failed' WHEN p.request_id IS NOT NULL THEN 'answered' ELSE 'missing' END
            AS state,
        q.failure,
        q.http_status,
        p.finish_reason,
        p.is_truncated,
        p.latency_ms,
        p.time_to_first_token_ms,
        p.prompt_tokens AS engine_prompt_tokens,
        p.completion_tokens,
        p.peak_memory_bytes,
        p.kept_fraction,
        p.cache_entries,
        p.budget_verified,
        p.budget_evidence
    FROM latest q
    LEFT JOIN selected e ON e.exp_group_id = q.exp_group_id AND e.example_id = q.example_id
    LEFT JOIN kv_responses p
        ON p.hardware_id = q.hardware_id AND p.run_id = q.run_id AND p.request_id = q.request_id
)
SELECT
    o.exp_group_id,
    o.budget_id,
    o.budget,
    o.policy,
    o.engine,
    o.hardware_id,
    o.precision,
    o.model,
    o.batch,
    o.run_id,
    o.request_id,
    o.example_id,
    o.repeat,
    o.bin_index,
    o.is_selected,
    o.state,
    o.failure,
    o.http_status,
    s.request_id IS NOT NULL AS is_scored,
    s.metric,
    s.accuracy,
    CASE WHEN o.state = 'failed' THEN 0e0 ELSE s.accuracy END AS accuracy_all,
    s.exact_match,
    s.f1,
    CASE o.state WHEN 'failed' THEN 1e0 WHEN 'answered' THEN 0e0 END AS failed,
    s.scorer_version,
    o.prompt_tokens,
    o.engine_prompt_tokens,
    o.completion_tokens,
    o.finish_reason,
    o.is_truncated,
    o.prompt_truncation,
    o.prompt_sha256,
    o.latency_ms,
    o.time_to_first_token_ms,
    o.peak_memory_bytes,
    o.kept_fraction,
    o.cache_entries,
    o.budget_verified,
    o.budget_evidence,
    o.num_attempts,
    o.sent_at
FROM outcomes o
LEFT JOIN kv_scores s
    ON s.exp_group_id = o.exp_group_id AND s.request_id = o.request_id AND s.answer_run_id = o.run_id
    AND o.state = 'answered'
