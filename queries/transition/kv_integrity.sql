-- One row for each thing that must never be: no rows when all is well. Every request ends in one answer or in one failure;
-- whatever belongs to a request has one; a score has an answer; and what was read back from the cache is the budget, up to
-- one entry.
-- example: select violation, count(*) from kv_integrity group by violation
-- column violation: answer_and_failure, no_outcome, request_without_run, request_without_example, answer_without_request,
--   failure_without_request, attempt_without_request, score_without_answer, or kept_fraction_off
-- column exp_group_id: Group it is in; NULL where nothing tells
-- column budget_id: Budget it is at; NULL where nothing tells
-- column run_id: Run that holds the row
-- column expected [1]: Of kept_fraction_off the budget
-- column seen [1]: Of kept_fraction_off the share of the cache that was kept
WITH asked AS (
    SELECT
        q.exp_group_id,
        q.budget_id,
        q.hardware_id,
        q.run_id,
        q.request_id,
        q.example_id,
        k.run_id AS known_run_id,
        p.request_id AS answered_id,
        f.request_id AS failed_id
    FROM kv_requests q
    LEFT JOIN kv_runs k ON k.hardware_id = q.hardware_id AND k.run_id = q.run_id
    LEFT JOIN kv_responses p
        ON p.hardware_id = q.hardware_id AND p.run_id = q.run_id AND p.request_id = q.request_id
    LEFT JOIN kv_failures f
        ON f.hardware_id = q.hardware_id AND f.run_id = q.run_id AND f.request_id = q.request_id
),
answered AS (
    SELECT DISTINCT exp_group_id, run_id, request_id
    FROM asked
    WHERE answered_id IS NOT NULL
),
examples_of AS (
    SELECT DISTINCT exp_group_id, example_id
    FROM kv_examples
),
belonging AS (
    SELECT 'answer_without_request' AS violation, hardware_id, run_id, request_id
    FROM kv_responses
    UNION ALL
    SELECT 'failure_without_request' AS violation, hardware_id, run_id, request_id
    FROM kv_failures
    UNION ALL
    SELECT DISTINCT 'attempt_without_request' AS violation, hardware_id, run_id, request_id
    FROM kv_attempts
)
SELECT
    CASE WHEN answered_id IS NULL THEN 'no_outcome' ELSE 'answer_and_failure' END AS violation,
    exp_group_id,
    budget_id,
    hardware_id,
    run_id,
    request_id,
    CAST(NULL AS DOUBLE) AS expected,
    CAST(NULL AS DOUBLE) AS seen
FROM asked
WHERE (answered_id IS NULL) = (failed_id IS NULL)
UNION ALL
SELECT
    'request_without_run' AS violation, exp_group_id, budget_id, hardware_id, run_id, request_id,
    CAST(NULL AS DOUBLE) AS expected, CAST(NULL AS DOUBLE) AS seen
FROM asked
WHERE known_run_id IS NULL
UNION ALL
SELECT
    'request_without_example' AS violation, q.exp_group_id, q.budget_id, q.hardware_id, q.run_id, q.request_id,
    CAST(NULL AS DOUBLE) AS expected, CAST(NULL AS DOUBLE) AS seen
FROM asked q
LEFT JOIN examples_of e ON e.exp_group_id = q.exp_group_id AND e.example_id = q.example_id
WHERE e.example_id IS NULL
UNION ALL
SELECT
    b.violation, k.exp_group_id, k.budget_id, b.hardware_id, b.run_id, b.request_id,
    CAST(NULL AS DOUBLE) AS expected, CAST(NULL AS DOUBLE) AS seen
FROM belonging b
LEFT JOIN kv_requests q ON q.hardware_id = b.hardware_id AND q.run_id = b.run_id AND q.request_id = b.request_id
LEFT JOIN kv_runs k ON k.hardware_id = b.hardware_id AND k.run_id = b.run_id
WHERE q.request_id IS NULL
UNION ALL
SELECT
    'score_without_answer' AS violation, s.exp_group_id, CAST(NULL AS STRING) AS budget_id, s.hardware_id, s.run_id,
    s.request_id, CAST(NULL AS DOUBLE) AS expected, CAST(NULL AS DOUBLE) AS seen
FROM kv_scores s
LEFT JOIN answered a
    ON a.exp_group_id = s.exp_group_id AND a.run_id = s.answer_run_id AND a.request_id = s.request_id
WHERE a.request_id IS NULL
UNION ALL
SELECT
    'kept_fraction_off' AS violation, k.exp_group_id, k.budget_id, p.hardware_id, p.run_id, p.request_id,
    k.budget AS expected, p.kept_fraction AS seen
FROM kv_runs k
JOIN kv_responses p ON p.hardware_id = k.hardware_id AND p.run_id = k.run_id
WHERE abs(p.kept_fraction - k.budget) * p.cache_entries > 1.000001
