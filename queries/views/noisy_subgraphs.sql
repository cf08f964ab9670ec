-- One row for each subgraph whose latency varies too much to be trusted, in the latest run of each configuration: the
-- coefficient of variation is above 0.1, or the largest sample is more than 10 times the mean. latency_share says
-- whether that matters for the model.
-- example: select model, subgraph_id, max_to_mean, reason from noisy_subgraphs where latency_share > 0.05
-- column coefficient_of_variation [1]: latency_std_ms / latency_mean_ms
-- column max_to_mean [1]: latency_max_ms / latency_mean_ms
-- column latency_share [1]: latency_mean_ms / total_latency_ms of the run
-- column reason: spread (coefficient of variation), outlier (largest sample), or spread and outlier
SELECT
    s.hardware_id,
    s.precision,
    s.model,
    s.batch,
    s.run_id,
    s.subgraph_id,
    s.operation_type,
    s.fusion_pattern,
    s.latency_mean_ms,
    s.latency_std_ms,
    s.latency_max_ms,
    s.latency_samples,
    s.latency_std_ms / NULLIF(s.latency_mean_ms, 0) AS coefficient_of_variation,
    s.latency_max_ms / NULLIF(s.latency_mean_ms, 0) AS max_to_mean,
    s.latency_mean_ms / NULLIF(r.total_latency_ms, 0) AS latency_share,
    CASE
        WHEN coefficient_of_variation > 0.1 AND max_to_mean > 10 THEN 'spread and outlier'
        WHEN max_to_mean > 10 THEN 'outlier'
        ELSE 'spread'
    END AS reason,
    r.timing_method
FROM latest_runs r
JOIN subgraph_timings s ON s.hardware_id = r.hardware_id AND s.run_id = r.run_id
WHERE
    s.latency_std_ms / NULLIF(s.latency_mean_ms, 0) > 0.1
    OR s.latency_max_ms / NULLIF(s.latency_mean_ms, 0) > 10
