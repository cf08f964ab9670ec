-- One row for each model on a hardware id and precision that was measured at two or more batch sizes: the knee of its
-- batch scaling, which is the smallest batch size whose throughput reaches a share of the best. Larger ones cost memory
-- and latency and give little more. Where the knee is the largest size that was measured, a larger one may give more.
-- Batch sizes that batch_scaling does not call comparable are left out and counted; it compares one latency of a model.
-- example: lake query batch_knee --param share=0.95
-- param: share DOUBLE = 0.9 (>0..1); share of the best throughput that the knee must reach
-- column knee_batch [1]: Smallest batch size that reaches the share; NULL where nothing is comparable
-- column knee_throughput_fps [1/s]: Inputs per second at the knee
-- column quantity: The latency: total_latency_ms or end_to_end_latency_ms
-- column knee_latency_ms [ms]: That latency at the knee
-- column best_batch [1]: Batch size with the best throughput; the smallest of several
-- column best_throughput_fps [1/s]: Inputs per second there
-- column smallest_batch [1]: Smallest batch size that was compared
-- column largest_batch [1]: Largest batch size that was compared
-- column may_grow: Whether the knee is the largest batch size that was compared
-- column num_batches [1]: Batch sizes that were compared
-- column num_not_comparable [1]: Batch sizes that were left out
WITH sizes AS (
    SELECT
        hardware_id,
        precision,
        model,
        batch,
        quantity,
        latency_ms,
        CASE WHEN verdict = 'comparable' THEN 1000 / NULLIF(latency_per_input_ms, 0) END AS throughput_fps
    FROM batch_scaling
),
ranked AS (
    SELECT
        hardware_id,
        precision,
        model,
        batch,
        quantity,
        throughput_fps,
        max(throughput_fps) OVER (PARTITION BY hardware_id, precision, model) AS best_throughput_fps
    FROM sizes
),
reached AS (
    SELECT
        r.hardware_id,
        r.precision,
        r.model,
        r.quantity,
        r.best_throughput_fps,
        min(CASE WHEN r.throughput_fps >= p.share * r.best_throughput_fps THEN r.batch END) AS knee_batch,
        min(CASE WHEN r.throughput_fps = r.best_throughput_fps THEN r.batch END) AS best_batch,
        min(CASE WHEN r.throughput_fps IS NOT NULL THEN r.batch END) AS smallest_batch,
        max(CASE WHEN r.throughput_fps IS NOT NULL THEN r.batch END) AS largest_batch,
        count(r.throughput_fps) AS num_batches,
        count(*) - count(r.throughput_fps) AS num_not_comparable
    FROM ranked r
    CROSS JOIN params p
    GROUP BY r.hardware_id, r.precision, r.model, r.quantity, r.best_throughput_fps
)
SELECT
    k.hardware_id,
    k.precision,
    k.model,
    k.quantity,
    k.knee_batch,
    s.throughput_fps AS knee_throughput_fps,
    s.latency_ms AS knee_latency_ms,
    k.best_batch,
    k.best_throughput_fps,
    k.smallest_batch,
    k.largest_batch,
    k.knee_batch = k.largest_batch AS may_grow,
    k.num_batches,
    k.num_not_comparable
FROM reached k
LEFT JOIN sizes s
    ON s.hardware_id = k.hardware_id
    AND s.precision = k.precision
    AND s.model = k.model
    AND s.batch = k.knee_batch
