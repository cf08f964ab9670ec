-- One row for each batch size of a model that was measured at two or more on one hardware id and precision: what a
-- bigger batch buys against the smallest one, from the latest run of each. Runs that were timed or counted by different
-- methods, or on different kinds of device, have the verdict not_comparable and no speed-up.
-- example: select batch, latency_per_input_ms, throughput_speedup from batch_scaling where model = 'resnet18'
-- column smallest_batch [1]: Batch size that the row is compared with
-- column latency_per_input_ms [ms]: total_latency_ms / batch
-- column achieved_flops [FLOP/s]: total_flops / total_latency_ms
-- column throughput_speedup [1]: latency_per_input_ms of the smallest batch / that of this one; NULL when not comparable
-- column scaling_efficiency [1]: throughput_speedup / (batch / smallest_batch); 1 when the latency does not grow
-- column verdict: comparable or not_comparable
-- column reason: Why the row cannot be compared with the smallest batch; NULL when it can
WITH sized AS (
    SELECT
        hardware_id,
        precision,
        model,
        batch,
        run_id,
        started_at,
        device,
        timing_method,
        flops_method,
        total_flops,
        total_latency_ms,
        min(batch) OVER (PARTITION BY hardware_id, precision, model) AS smallest_batch,
        max(batch) OVER (PARTITION BY hardware_id, precision, model) AS largest_batch
    FROM latest_runs
    WHERE batch > 0
)
SELECT
    b.hardware_id,
    b.precision,
    b.model,
    b.batch,
    b.smallest_batch,
    b.total_latency_ms,
    b.total_latency_ms / b.batch AS latency_per_input_ms,
    b.total_flops / NULLIF(b.total_latency_ms / 1000, 0) AS achieved_flops,
    CASE
        WHEN c.reason IS NULL THEN base.total_latency_ms / base.batch / NULLIF(latency_per_input_ms, 0)
    END AS throughput_speedup,
    throughput_speedup / (b.batch / b.smallest_batch) AS scaling_efficiency,
    CASE WHEN c.reason IS NULL THEN 'comparable' ELSE 'not_comparable' END AS verdict,
    c.reason,
    b.timing_method,
    b.flops_method,
    b.run_id,
    b.started_at
FROM sized b
JOIN sized base
    ON base.hardware_id = b.hardware_id
    AND base.precision = b.precision
    AND base.model = b.model
    AND base.batch = b.smallest_batch
CROSS JOIN LATERAL (
    SELECT
        CASE
            WHEN b.timing_method <> base.timing_method THEN 'timed by different methods'
            WHEN b.flops_method IS DISTINCT FROM base.flops_method THEN 'counted by different methods'
            WHEN b.device IS DISTINCT FROM base.device THEN 'run on different kinds of device'
            WHEN b.total_latency_ms IS NULL OR base.total_latency_ms IS NULL THEN 'a latency is missing'
        END AS reason
) AS c
WHERE b.largest_batch > b.smallest_batch
