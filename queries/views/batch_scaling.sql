-- One row for each batch size of a model that was measured at two or more on one hardware id and precision: what a
-- bigger batch buys against the smallest one, from the latest run of each. One latency of a model is compared over all its
-- batch sizes: total_latency_ms, or end_to_end_latency_ms where more of them can be compared by it. Runs that were timed or
-- counted by different methods, or on different kinds of device, have the verdict not_comparable and no speed-up.
-- example: select batch, latency_per_input_ms, throughput_speedup from batch_scaling where model = 'resnet18'
-- column smallest_batch [1]: Batch size that the row is compared with
-- column quantity: The latency: total_latency_ms or end_to_end_latency_ms, the same for all batch sizes of the model
-- column latency_ms [ms]: That latency; NULL where the run has none
-- column latency_per_input_ms [ms]: latency_ms / batch
-- column achieved_flops [FLOP/s]: total_flops / latency_ms
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
        end_to_end_latency_ms,
        min(batch) OVER sizes AS smallest_batch,
        max(batch) OVER sizes AS largest_batch,
        count(total_latency_ms) OVER sizes AS num_totals,
        count(end_to_end_latency_ms) OVER sizes AS num_wholes
    FROM latest_runs
    WHERE batch > 0
    WINDOW sizes AS (PARTITION BY hardware_id, precision, model)
),
paired AS (
    SELECT
        b.hardware_id,
        b.precision,
        b.model,
        b.batch,
        b.run_id,
        b.started_at,
        b.device,
        b.timing_method,
        b.flops_method,
        b.total_flops,
        b.total_latency_ms,
        b.smallest_batch,
        base.device AS base_device,
        base.timing_method AS base_timing_method,
        base.flops_method AS base_flops_method,
        b.end_to_end_latency_ms,
        base.total_latency_ms AS base_total_latency_ms,
        base.end_to_end_latency_ms AS base_end_to_end_latency_ms,
        CASE
            WHEN b.num_wholes > 0 AND base.total_latency_ms IS NULL THEN 'end_to_end_latency_ms'
            WHEN b.num_wholes > b.num_totals AND base.end_to_end_latency_ms IS NOT NULL THEN 'end_to_end_latency_ms'
            ELSE 'total_latency_ms'
        END AS quantity
    FROM sized b
    JOIN sized base
        ON base.hardware_id = b.hardware_id
        AND base.precision = b.precision
        AND base.model = b.model
        AND base.batch = b.smallest_batch
    WHERE b.largest_batch > b.smallest_batch
),
chosen AS (
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
        smallest_batch,
        base_device,
        base_timing_method,
        base_flops_method,
        quantity,
        CASE quantity
            WHEN 'total_latency_ms' THEN total_latency_ms
            WHEN 'end_to_end_latency_ms' THEN end_to_end_latency_ms
        END AS latency_ms,
        CASE quantity
            WHEN 'total_latency_ms' THEN base_total_latency_ms
            WHEN 'end_to_end_latency_ms' THEN base_end_to_end_latency_ms
        END AS base_latency_ms
    FROM paired
)
SELECT
    b.hardware_id,
    b.precision,
    b.model,
    b.batch,
    b.smallest_batch,
    b.total_latency_ms,
    b.quantity,
    b.latency_ms,
    b.latency_ms / b.batch AS latency_per_input_ms,
    b.total_flops / NULLIF(b.latency_ms / 1000, 0) AS achieved_flops,
    CASE
        WHEN c.reason IS NULL THEN b.base_latency_ms / b.smallest_batch / NULLIF(latency_per_input_ms, 0)
    END AS throughput_speedup,
    throughput_speedup / (b.batch / b.smallest_batch) AS scaling_efficiency,
    CASE WHEN c.reason IS NULL THEN 'comparable' ELSE 'not_comparable' END AS verdict,
    c.reason,
    b.timing_method,
    b.flops_method,
    b.run_id,
    b.started_at
FROM chosen b
CROSS JOIN LATERAL (
    SELECT
        CASE
            WHEN b.timing_method <> b.base_timing_method THEN 'timed by different methods'
            WHEN b.flops_method IS DISTINCT FROM b.base_flops_method THEN 'counted by different methods'
            WHEN b.device IS DISTINCT FROM b.base_device THEN 'run on different kinds of device'
            WHEN b.latency_ms IS NULL OR b.base_latency_ms IS NULL THEN 'a latency is missing'
        END AS reason
) AS c
