-- One row for each kind of failure in a bin of prompt lengths at a budget of a group, and over all bins (bin_index -1): how
-- many requests ended in it, and which share of those that were asked there. What did not fail has no row.
-- example: select budget, bin_index, failure, num_failed, share from kv_failure_summary order by budget desc, bin_index
-- column bin_index [1]: Bin, from 0 for the shortest; -1 over all
-- column num_failed [1]: Requests that ended in this failure
-- column num_requests [1]: Requests of the bin at this budget
-- column share [1]: num_failed / num_requests
WITH requests AS (
    SELECT
        c.exp_group_id,
        c.budget_id,
        c.budget,
        CASE l.level WHEN 'all' THEN CAST(-1 AS BIGINT) ELSE c.bin_index END AS bin_index,
        c.failure
    FROM kv_current_requests c
    CROSS JOIN (VALUES ('bin'), ('all')) AS l (level)
    WHERE c.is_selected
),
counted AS (
    SELECT exp_group_id, budget_id, bin_index, count(*) AS num_requests
    FROM requests
    GROUP BY exp_group_id, budget_id, bin_index
),
failures AS (
    SELECT exp_group_id, budget_id, budget, bin_index, failure, count(*) AS num_failed
    FROM requests
    WHERE failure IS NOT NULL
    GROUP BY exp_group_id, budget_id, budget, bin_index, failure
)
SELECT
    f.exp_group_id,
    f.budget_id,
    f.budget,
    f.bin_index,
    f.failure,
    f.num_failed,
    n.num_requests,
    f.num_failed / NULLIF(n.num_requests, 0) AS share
FROM failures f
JOIN counted n
    ON n.exp_group_id = f.exp_group_id AND n.budget_id = f.budget_id AND n.bin_index = f.bin_index
