-- One row for each bin of prompt lengths at each budget of a group, and one over all bins (bin_index -1): how good the
-- answers are, how many failed, and what they took. Figures of quality are means over examples of the mean over an example's
-- repeats, so over all bins every example weighs the same, and a bin with more examples weighs more. Their intervals are in
-- kv_intervals. accuracy is of what was answered, accuracy_all counts failures as 0. Bins without examples have a row too.
-- example: select budget, bin_index, num_examples, accuracy, accuracy_all, failure_rate from kv_bin_stats order by 1 desc, 2
-- column bin_index [1]: Bin, from 0 for the shortest; -1 over all
-- column tokens_from [1]: Least tokens of a prompt in it; NULL of an empty bin
-- column tokens_to [1]: Most tokens of a prompt in it; NULL of an empty bin
-- column population [1]: Examples of that length in the data set
-- column selected [1]: Examples of it that are asked
-- column num_examples [1]: Examples that were asked
-- column num_requests [1]: Requests: examples times repeats
-- column num_answered [1]: Requests with an answer
-- column num_failed [1]: Requests without an answer that can be scored
-- column num_scored [1]: Answers with a score
-- column num_truncated [1]: Answers that the limit of tokens ended; they are scored all the same
-- column accuracy [1]: Mean of the task's metric, of what was answered; NULL where nothing was
-- column accuracy_std [1]: Its sample standard deviation over examples; NULL of fewer than two
-- column accuracy_all [1]: Mean of the task's metric, failures as 0
-- column accuracy_all_std [1]: Its sample standard deviation over examples; NULL of fewer than two
-- column exact_match [1]: Share of the answers that match a right one exactly
-- column f1 [1]: Mean token overlap with the closest right answer
-- column failure_rate [1]: Share of requests that failed
-- column latency_p50_ms [ms]: Median of the answers' latency; NULL where no answer tells it
-- column latency_p95_ms [ms]: 95th percentile of it
-- column ttft_p50_ms [ms]: Median of the time to the first token
-- column ttft_p95_ms [ms]: 95th percentile of it
-- column prompt_tokens_p50 [1]: Median length of the prompts, as the data set's tokenizer counts
-- column prompt_tokens_p95 [1]: 95th percentile of it
-- column completion_tokens_p50 [1]: Median length of the answers, as the engine counts
-- column completion_tokens_p95 [1]: 95th percentile of it
-- column kept_fraction_mean [1]: Mean share of the cache that was really kept; NULL where the engine does not show it
-- column kept_fraction_min [1]: Smallest of them
-- column kept_fraction_max [1]: Largest of them
-- column peak_memory_bytes [byte]: Largest peak of an answer: of the GPU's memory, on a processor of the process; else NULL
WITH requests AS (
    SELECT
        c.exp_group_id,
        c.budget_id,
        CASE l.level WHEN 'all' THEN CAST(-1 AS BIGINT) ELSE c.bin_index END AS bin_index,
        c.example_id,
        c.state,
        c.is_scored,
        c.is_truncated,
        c.accuracy,
        c.accuracy_all,
        c.exact_match,
        c.f1,
        c.failed,
        c.latency_ms,
        c.time_to_first_token_ms,
        c.prompt_tokens,
        c.completion_tokens,
        c.kept_fraction,
        c.peak_memory_bytes
    FROM kv_current_requests c
    CROSS JOIN (VALUES ('bin'), ('all')) AS l (level)
    WHERE c.is_selected
),
by_example AS (
    SELECT
        exp_group_id,
        budget_id,
        bin_index,
        example_id,
        avg(accuracy) AS accuracy,
        avg(accuracy_all) AS accuracy_all,
        avg(exact_match) AS exact_match,
        avg(f1) AS f1,
        avg(failed) AS failure_rate
    FROM requests
    GROUP BY exp_group_id, budget_id, bin_index, example_id
),
quality AS (
    SELECT
        exp_group_id,
        budget_id,
        bin_index,
        count(*) AS num_examples,
        avg(accuracy) AS accuracy,
        stddev_samp(accuracy) AS accuracy_std,
        avg(accuracy_all) AS accuracy_all,
        stddev_samp(accuracy_all) AS accuracy_all_std,
        avg(exact_match) AS exact_match,
        avg(f1) AS f1,
        avg(failure_rate) AS failure_rate
    FROM by_example
    GROUP BY exp_group_id, budget_id, bin_index
),
taken AS (
    SELECT
        exp_group_id,
        budget_id,
        bin_index,
        count(*) AS num_requests,
        count(CASE WHEN state = 'answered' THEN 1 END) AS num_answered,
        count(CASE WHEN state = 'failed' THEN 1 END) AS num_failed,
        count(CASE WHEN is_scored THEN 1 END) AS num_scored,
        count(CASE WHEN state = 'answered' AND is_truncated THEN 1 END) AS num_truncated,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms) AS latency_p50_ms,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms) AS latency_p95_ms,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY time_to_first_token_ms) AS ttft_p50_ms,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY time_to_first_token_ms) AS ttft_p95_ms,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY CAST(prompt_tokens AS DOUBLE)) AS prompt_tokens_p50,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY CAST(prompt_tokens AS DOUBLE)) AS prompt_tokens_p95,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY CAST(completion_tokens AS DOUBLE)) AS completion_tokens_p50,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY CAST(completion_tokens AS DOUBLE)) AS completion_tokens_p95,
        avg(kept_fraction) AS kept_fraction_mean,
        min(kept_fraction) AS kept_fraction_min,
        max(kept_fraction) AS kept_fraction_max,
        max(peak_memory_bytes) AS peak_memory_bytes
    FROM requests
    GROUP BY exp_group_id, budget_id, bin_index
),
bins AS (
    SELECT d.exp_group_id, b.bin_index, b.tokens_from, b.tokens_to, b.population, b.selected
    FROM kv_current_datasets d
    JOIN kv_bins b ON b.hardware_id = d.hardware_id AND b.run_id = d.run_id
    UNION ALL
    SELECT
        d.exp_group_id,
        CAST(-1 AS BIGINT) AS bin_index,
        min(b.tokens_from) AS tokens_from,
        max(b.tokens_to) AS tokens_to,
        CAST(sum(b.population) AS BIGINT) AS population,
        CAST(sum(b.selected) AS BIGINT) AS selected
    FROM kv_current_datasets d
    JOIN kv_bins b ON b.hardware_id = d.hardware_id AND b.run_id = d.run_id
    GROUP BY d.exp_group_id
)
SELECT
    k.exp_group_id,
    k.budget_id,
    k.budget,
    k.policy,
    k.model,
    b.bin_index,
    b.tokens_from,
    b.tokens_to,
    b.population,
    b.selected,
    coalesce(q.num_examples, 0) AS num_examples,
    coalesce(t.num_requests, 0) AS num_requests,
    coalesce(t.num_answered, 0) AS num_answered,
    coalesce(t.num_failed, 0) AS num_failed,
    coalesce(t.num_scored, 0) AS num_scored,
    coalesce(t.num_truncated, 0) AS num_truncated,
    q.accuracy,
    q.accuracy_std,
    q.accuracy_all,
    q.accuracy_all_std,
    q.exact_match,
    q.f1,
    q.failure_rate,
    t.latency_p50_ms,
    t.latency_p95_ms,
    t.ttft_p50_ms,
    t.ttft_p95_ms,
    t.prompt_tokens_p50,
    t.prompt_tokens_p95,
    t.completion_tokens_p50,
    t.completion_tokens_p95,
    t.kept_fraction_mean,
    t.kept_fraction_min,
    t.kept_fraction_max,
    t.peak_memory_bytes
FROM kv_budgets k
JOIN bins b ON b.exp_group_id = k.exp_group_id
LEFT JOIN quality q
    ON q.exp_group_id = k.exp_group_id AND q.budget_id = k.budget_id AND q.bin_index = b.bin_index
LEFT JOIN taken t
    ON t.exp_group_id = k.exp_group_id AND t.budget_id = k.budget_id AND t.bin_index = b.bin_index
