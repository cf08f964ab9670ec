-- One row for each estimator version: signs that it saw what it is judged on. An estimate that was recorded before the
-- measurement began cannot have seen it; one that equals the measured value was copied from it, or fitted to it without a
-- hold-out. An alias is a quieter way: where the same configuration was measured under another id of the machine, a fit that
-- holds out hardware ids sees it all the same. The built-in fits hold out the machine, with all of its ids.
-- example: select estimator, estimator_version, num_compared, num_identical, num_blind from holdout_leakage
-- column num_compared [1]: Estimates of latencies, of models or subgraphs, that stand beside a measurement
-- column num_blind [1]: Those recorded before the measurement began: they cannot have seen it
-- column num_identical [1]: Those that equal the measured value to a millionth: they have seen it
-- column identical_share [1]: num_identical / num_compared; far above 0, the errors mean nothing
-- column num_alias_measured [1]: Those whose configuration was measured under another id of the same machine as well
-- column median_ape_percent [%]: Median absolute percentage error of them all
WITH aliases AS (
    SELECT DISTINCT m.hardware_id, l.precision, l.model, l.batch
    FROM latest_runs l
    JOIN machine_aliases own ON own.hardware_id = l.hardware_id
    JOIN machine_aliases m ON m.machine = own.machine AND m.hardware_id <> l.hardware_id
),
written AS (
    SELECT
        e.estimator,
        e.estimator_version,
        e.hardware_id,
        e.precision,
        e.model,
        e.batch,
        e.subgraph_id,
        min(r.recorded_at) AS recorded_at
    FROM estimates e
    JOIN runs r ON r.hardware_id = e.hardware_id AND r.run_id = e.run_id
    WHERE e.predicted_latency_ms IS NOT NULL
    GROUP BY e.estimator, e.estimator_version, e.hardware_id, e.precision, e.model, e.batch, e.subgraph_id
)
SELECT
    w.estimator,
    w.estimator_version,
    count(*) AS num_compared,
    count(CASE WHEN w.recorded_at < e.started_at THEN 1 END) AS num_blind,
    count(CASE WHEN e.ape_percent < 1e-4 THEN 1 END) AS num_identical,
    count(CASE WHEN e.ape_percent < 1e-4 THEN 1 END) / NULLIF(CAST(count(*) AS DOUBLE), 0) AS identical_share,
    count(a.hardware_id) AS num_alias_measured,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY e.ape_percent) AS median_ape_percent
FROM written w
JOIN estimator_error e
    ON e.estimator = w.estimator
    AND e.estimator_version = w.estimator_version
    AND e.hardware_id = w.hardware_id
    AND e.precision = w.precision
    AND e.model = w.model
    AND e.batch = w.batch
    AND e.subgraph_id IS NOT DISTINCT FROM w.subgraph_id
LEFT JOIN aliases a
    ON a.hardware_id = w.hardware_id AND a.precision = w.precision AND a.model = w.model AND a.batch = w.batch
WHERE e.quantity = 'latency' AND e.reason IS NULL
GROUP BY w.estimator, w.estimator_version
