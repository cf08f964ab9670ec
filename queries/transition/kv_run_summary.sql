-- One row for each budget of a group: how much of it is done, whether the budget was really applied, and how fast and at
-- which cost in tokens it was answered. Throughput is over the wall clock of its runs, from the first attempt to the end of
-- the last one, waits and failed attempts included. Requests that were sent again in a later run count there each time.
-- example: select budget, planned_requests, num_answered, num_failed, is_complete, budget_state, output_tokens_per_s
--   from kv_run_summary order by budget desc
-- column hardware_id: Device of the latest run
-- column num_runs [1]: Runs of the budget: more than 1 where work was resumed
-- column num_asked [1]: Requests that were sent; one that does not fit is not, and fails
-- column num_answered [1]: Requests with an answer
-- column num_failed [1]: Requests without an answer that can be scored
-- column num_scored [1]: Answers with a score
-- column num_truncated [1]: Answers that the limit of tokens ended; they are scored all the same
-- column num_missing [1]: Planned requests that have neither an answer nor a failure
-- column is_complete: Whether every planned request has an answer or a failure
-- column is_scored: Whether every answer has a score
-- column num_verified [1]: Answers of which the engine shows that the budget was applied
-- column num_refuted [1]: Answers of which it shows that it was not
-- column num_unverified [1]: Answers of which nothing shows it
-- column verified_share [1]: num_verified / num_answered
-- column budget_state: true where it was applied to every answer, false where it was not to one, else unknown
-- column kept_fraction_mean [1]: Mean share of the cache that was really kept; NULL where the engine does not show it
-- column mean_prompt_tokens [1]: Mean tokens of a prompt, as the engine counts; NULL where it does not tell
-- column mean_completion_tokens [1]: Mean tokens of an answer, as the engine counts; NULL where it does not tell
-- column total_prompt_tokens [1]: Tokens of all prompts that were answered; NULL where the engine leaves one out
-- column total_completion_tokens [1]: Tokens of all answers; NULL where the engine leaves one out
-- column latency_p50_ms [ms]: Median of the answers' latency; NULL where no answer tells it
-- column latency_p95_ms [ms]: 95th percentile of it
-- column num_without_latency [1]: Answers without a latency
-- column num_without_ttft [1]: Answers without a time to the first token
-- column num_without_tokens [1]: Answers without a number of tokens, of the prompt or of the answer
-- column peak_memory_bytes [byte]: Largest peak of an answer: of the GPU's memory, on a processor of the process; else NULL
-- column num_attempts [1]: Attempts of all its runs
-- column num_failed_attempts [1]: Attempts that failed, followed by another one or not
-- column num_rate_limited [1]: Attempts that the server's limit refused
-- column waited_s [s]: Time waited before attempts, for retries and pacing, over all of them
-- column wall_s [s]: Wall time of its runs: from the first attempt to the end of the last, added up over runs
-- column requests_per_min [1/min]: Requests of all its runs that were sent / wall time
-- column output_tokens_per_s [1/s]: Tokens of all answers / wall time; NULL where the engine leaves one out
-- column tokens_per_s [1/s]: Tokens of all prompts and answers / wall time; NULL where the engine leaves one out
WITH current_ones AS (
    SELECT
        exp_group_id,
        budget_id,
        count(CASE WHEN num_attempts > 0 THEN 1 END) AS num_asked,
        count(CASE WHEN state = 'answered' THEN 1 END) AS num_answered,
        count(CASE WHEN state = 'failed' THEN 1 END) AS num_failed,
        count(CASE WHEN is_scored THEN 1 END) AS num_scored,
        count(CASE WHEN state = 'answered' AND is_truncated THEN 1 END) AS num_truncated,
        count(CASE WHEN state = 'answered' AND budget_verified THEN 1 END) AS num_verified,
        count(CASE WHEN state = 'answered' AND NOT budget_verified THEN 1 END) AS num_refuted,
        count(CASE WHEN state = 'answered' AND budget_verified IS NULL THEN 1 END) AS num_unverified,
        avg(kept_fraction) AS kept_fraction_mean,
        avg(CASE WHEN state = 'answered' THEN engine_prompt_tokens END) AS mean_prompt_tokens,
        avg(CASE WHEN state = 'answered' THEN completion_tokens END) AS mean_completion_tokens,
        CASE
            WHEN count(CASE WHEN state = 'answered' AND engine_prompt_tokens IS NULL THEN 1 END) = 0
            THEN CAST(sum(engine_prompt_tokens) AS BIGINT)
        END AS total_prompt_tokens,
        CASE
            WHEN count(CASE WHEN state = 'answered' AND completion_tokens IS NULL THEN 1 END) = 0
            THEN CAST(sum(completion_tokens) AS BIGINT)
        END AS total_completion_tokens,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms) AS latency_p50_ms,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms) AS latency_p95_ms,
        count(CASE WHEN state = 'answered' AND latency_ms IS NULL THEN 1 END) AS num_without_latency,
        count(CASE WHEN state = 'answered' AND time_to_first_token_ms IS NULL THEN 1 END) AS num_without_ttft,
        count(
            CASE
                WHEN state = 'answered' AND (engine_prompt_tokens IS NULL OR completion_tokens IS NULL) THEN 1
            END
        ) AS num_without_tokens,
        max(peak_memory_bytes) AS peak_memory_bytes
    FROM kv_current_requests
    WHERE is_selected
    GROUP BY exp_group_id, budget_id
),
attempts AS (
    SELECT
        k.exp_group_id,
        k.budget_id,
        k.hardware_id,
        k.run_id,
        count(*) AS num_attempts,
        count(CASE WHEN a.status = 'failed' THEN 1 END) AS num_failed_attempts,
        count(CASE WHEN a.failure = 'RATE_LIMITED' THEN 1 END) AS num_rate_limited,
        sum(a.waited_s) AS waited_s,
        max(a.started_s + a.duration_s) - min(a.started_s) AS wall_s
    FROM kv_current_runs k
    JOIN kv_attempts a ON a.hardware_id = k.hardware_id AND a.run_id = k.run_id
    GROUP BY k.exp_group_id, k.budget_id, k.hardware_id, k.run_id
),
all_attempts AS (
    SELECT
        exp_group_id,
        budget_id,
        CAST(sum(num_attempts) AS BIGINT) AS num_attempts,
        CAST(sum(num_failed_attempts) AS BIGINT) AS num_failed_attempts,
        CAST(sum(num_rate_limited) AS BIGINT) AS num_rate_limited,
        sum(waited_s) AS waited_s,
        sum(wall_s) AS wall_s
    FROM attempts
    GROUP BY exp_group_id, budget_id
),
all_requests AS (
    SELECT
        q.exp_group_id,
        q.budget_id,
        count(CASE WHEN q.num_attempts > 0 THEN 1 END) AS num_requests,
        CASE WHEN count(p.completion_tokens) = count(p.request_id) THEN sum(p.completion_tokens) END AS output_tokens,
        CASE WHEN count(p.prompt_tokens) = count(p.request_id) THEN sum(p.prompt_tokens) END AS input_tokens
    FROM kv_current_runs k
    JOIN kv_requests q ON q.hardware_id = k.hardware_id AND q.run_id = k.run_id
    LEFT JOIN kv_responses p
        ON p.hardware_id = q.hardware_id AND p.run_id = q.run_id AND p.request_id = q.request_id
    GROUP BY q.exp_group_id, q.budget_id
)
SELECT
    k.exp_group_id,
    k.budget_id,
    k.budget,
    k.policy,
    k.engine,
    k.how_applied,
    k.hardware_id,
    k.model,
    k.started_at,
    k.num_runs,
    k.planned_requests,
    coalesce(c.num_asked, 0) AS num_asked,
    coalesce(c.num_answered, 0) AS num_answered,
    coalesce(c.num_failed, 0) AS num_failed,
    coalesce(c.num_scored, 0) AS num_scored,
    coalesce(c.num_truncated, 0) AS num_truncated,
    greatest(k.planned_requests - coalesce(c.num_answered + c.num_failed, 0), 0) AS num_missing,
    coalesce(c.num_answered + c.num_failed, 0) >= k.planned_requests AS is_complete,
    coalesce(c.num_scored, 0) = coalesce(c.num_answered, 0) AS is_scored,
    coalesce(c.num_verified, 0) AS num_verified,
    coalesce(c.num_refuted, 0) AS num_refuted,
    coalesce(c.num_unverified, 0) AS num_unverified,
    c.num_verified / NULLIF(c.num_answered, 0) AS verified_share,
    CASE
        WHEN c.num_refuted > 0 THEN 'false'
        WHEN c.num_answered > 0 AND c.num_verified = c.num_answered THEN 'true'
        ELSE 'unknown'
    END AS budget_state,
    c.kept_fraction_mean,
    c.mean_prompt_tokens,
    c.mean_completion_tokens,
    c.total_prompt_tokens,
    c.total_completion_tokens,
    c.latency_p50_ms,
    c.latency_p95_ms,
    coalesce(c.num_without_latency, 0) AS num_without_latency,
    coalesce(c.num_without_ttft, 0) AS num_without_ttft,
    coalesce(c.num_without_tokens, 0) AS num_without_tokens,
    c.peak_memory_bytes,
    coalesce(a.num_attempts, 0) AS num_attempts,
    coalesce(a.num_failed_attempts, 0) AS num_failed_attempts,
    coalesce(a.num_rate_limited, 0) AS num_rate_limited,
    a.waited_s,
    a.wall_s,
    w.num_requests / NULLIF(a.wall_s, 0) * 60 AS requests_per_min,
    w.output_tokens / NULLIF(a.wall_s, 0) AS output_tokens_per_s,
    (w.input_tokens + w.output_tokens) / NULLIF(a.wall_s, 0) AS tokens_per_s
FROM kv_budgets k
LEFT JOIN current_ones c ON c.exp_group_id = k.exp_group_id AND c.budget_id = k.budget_id
LEFT JOIN all_attempts a ON a.exp_group_id = k.exp_group_id AND a.budget_id = k.budget_id
LEFT JOIN all_requests w ON w.exp_group_id = k.exp_group_id AND w.budget_id = k.budget_id
