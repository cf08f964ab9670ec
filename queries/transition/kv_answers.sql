-- One row for each selected request of a group, to be read by eye: what was asked, what counts as right, what came back, and
-- what the score is. The context is in kv_examples.
-- example: select budget, example_id, answers, text, accuracy from kv_answers order by accuracy
-- column state: answered, failed, or missing
-- column answers: Answers that count as right
-- column all_classes: Classes to choose from, where the task has them
-- column text: The answer, without what a model thought before it; of a failure what came nevertheless, if anything
-- column failure: Why there is no answer that can be scored
-- column message: What the engine said of a failure
-- column accuracy [1]: The task's own metric, from 0 to 1; NULL of a failure, and of an answer without a score
-- column normalized_answer: The answer as it was compared
-- column normalized_gold: The right answer it is closest to, as it was compared
SELECT
    c.exp_group_id,
    c.budget_id,
    c.budget,
    c.policy,
    c.hardware_id,
    c.precision,
    c.model,
    c.batch,
    c.run_id,
    c.request_id,
    c.example_id,
    c.repeat,
    c.bin_index,
    c.prompt_tokens,
    d.task,
    c.state,
    e.question,
    e.answers,
    e.all_classes,
    coalesce(p.text, f.text) AS text,
    p.reasoning,
    c.finish_reason,
    c.is_truncated,
    c.failure,
    f.message,
    c.metric,
    c.accuracy,
    c.exact_match,
    c.f1,
    s.normalized_answer,
    s.normalized_gold,
    c.scorer_version
FROM kv_current_requests c
JOIN kv_current_datasets d ON d.exp_group_id = c.exp_group_id
JOIN kv_examples e ON e.hardware_id = d.hardware_id AND e.run_id = d.run_id AND e.example_id = c.example_id
LEFT JOIN kv_responses p ON p.hardware_id = c.hardware_id AND p.run_id = c.run_id AND p.request_id = c.request_id
LEFT JOIN kv_failures f ON f.hardware_id = c.hardware_id AND f.run_id = c.run_id AND f.request_id = c.request_id
LEFT JOIN kv_scores s
    ON s.exp_group_id = c.exp_group_id AND s.request_id = c.request_id AND s.answer_run_id = c.run_id
    AND c.state = 'answered'
WHERE c.is_selected
