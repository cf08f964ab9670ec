-- One row for each lower precision of a model on one hardware id and batch size, beside fp32, from the latest run of
-- each. Runs that were timed or counted by different methods, or on different kinds of device, are shown with the
-- verdict not_comparable and have no speed-up. A speed-up below 1 means that the lower precision is slower, which is the
-- rule on CPUs.
-- example: select model, batch, precision, speedup from precision_speedup where verdict = 'comparable'
-- column fp32_latency_ms [ms]: total_latency_ms of the fp32 run
-- column latency_ms [ms]: total_latency_ms of the run in this precision
-- column speedup [1]: fp32_latency_ms / latency_ms; NULL when not comparable
-- column fp32_end_to_end_latency_ms [ms]: end_to_end_latency_ms of the fp32 run
-- column end_to_end_speedup [1]: Ratio of the end-to-end latencies; NULL when one was not timed, or not comparable
-- column verdict: comparable or not_comparable
-- column reason: Why the two runs are not comparable; NULL when they are
-- column fp32_timing_method: timing_method of the fp32 run
-- column fp32_flops_method: flops_method of the fp32 run
-- column fp32_run_id: The fp32 run
-- column fp32_started_at: Start of the fp32 run (UTC)
SELECT
    low.hardware_id,
    low.model,
    low.batch,
    low.precision,
    base.total_latency_ms AS fp32_latency_ms,
    low.total_latency_ms AS latency_ms,
    CASE
        WHEN c.reason IS NULL THEN base.total_latency_ms / NULLIF(low.total_latency_ms, 0)
    END AS speedup,
    base.end_to_end_latency_ms AS fp32_end_to_end_latency_ms,
    low.end_to_end_latency_ms,
    CASE
        WHEN c.reason IS NULL THEN base.end_to_end_latency_ms / NULLIF(low.end_to_end_latency_ms, 0)
    END AS end_to_end_speedup,
    CASE WHEN c.reason IS NULL THEN 'comparable' ELSE 'not_comparable' END AS verdict,
    c.reason,
    low.timing_method,
    base.timing_method AS fp32_timing_method,
    low.flops_method,
    base.flops_method AS fp32_flops_method,
    low.run_id,
    base.run_id AS fp32_run_id,
    low.started_at,
    base.started_at AS fp32_started_at
FROM latest_runs low
JOIN latest_runs base
    ON base.hardware_id = low.hardware_id AND base.model = low.model AND base.batch = low.batch
CROSS JOIN LATERAL (
    SELECT
        CASE
            WHEN low.timing_method <> base.timing_method THEN 'timed by different methods'
            WHEN low.flops_method IS DISTINCT FROM base.flops_method THEN 'counted by different methods'
            WHEN low.device IS DISTINCT FROM base.device THEN 'run on different kinds of device'
            WHEN low.total_latency_ms IS NULL OR base.total_latency_ms IS NULL THEN 'a latency is missing'
        END AS reason
) AS c
WHERE base.precision = 'fp32' AND low.precision <> 'fp32'
