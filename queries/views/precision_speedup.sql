-- One row for each lower precision of a model on one hardware id and batch size, beside fp32, from the latest run of
-- each. Runs that were timed or counted by different methods, or on different kinds of device, are shown with the
-- verdict not_comparable and have no speed-up. Where the parts of one run were not timed singly, as in int8 networks whose
-- operations were merged across parts, only the whole models are compared, with the verdict end_to_end_only. A speed-up below
-- 1 means that the lower precision is slower, which is the rule on CPUs. An int8 network says what it was made with: of
-- several, the one that was measured last is here, and quantization_results has all.
-- example: select model, batch, precision, speedup from precision_speedup where verdict = 'comparable'
-- column fp32_latency_ms [ms]: total_latency_ms of the fp32 run
-- column latency_ms [ms]: total_latency_ms of the run in this precision
-- column speedup [1]: fp32_latency_ms / latency_ms; NULL when not comparable
-- column fp32_end_to_end_latency_ms [ms]: end_to_end_latency_ms of the fp32 run
-- column end_to_end_speedup [1]: Ratio of the end-to-end latencies; NULL when one was not timed, or not comparable
-- column verdict: comparable, end_to_end_only or not_comparable
-- column reason: Why the two runs are not comparable, or only end to end; NULL when they are
-- column fp32_timing_method: timing_method of the fp32 run
-- column fp32_flops_method: flops_method of the fp32 run
-- column calibration_set: Set that an int8 network was calibrated with; NULL in another precision
-- column set_fingerprint: Its fingerprint
-- column backend: What quantized and runs the int8 network, with its engine; NULL in another precision
-- column preprocess: Function that prepared its calibration images; NULL where they are as the set has them
-- column fp32_run_id: The fp32 run
-- column fp32_started_at: Start of the fp32 run (UTC)
WITH made AS (
    SELECT
        hardware_id,
        measured_run_id,
        max(calibration_set) AS calibration_set,
        max(set_fingerprint) AS set_fingerprint,
        max(backend) AS backend,
        max(preprocess) AS preprocess
    FROM quantizations
    GROUP BY hardware_id, measured_run_id
)
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
        WHEN coalesce(c.reason, 'parts of one were not timed singly') = 'parts of one were not timed singly'
            THEN base.end_to_end_latency_ms / NULLIF(low.end_to_end_latency_ms, 0)
    END AS end_to_end_speedup,
    CASE
        WHEN c.reason IS NULL THEN 'comparable'
        WHEN c.reason = 'parts of one were not timed singly' THEN 'end_to_end_only'
        ELSE 'not_comparable'
    END AS verdict,
    c.reason,
    low.timing_method,
    base.timing_method AS fp32_timing_method,
    low.flops_method,
    base.flops_method AS fp32_flops_method,
    q.calibration_set,
    q.set_fingerprint,
    q.backend,
    q.preprocess,
    low.run_id,
    base.run_id AS fp32_run_id,
    low.started_at,
    base.started_at AS fp32_started_at
FROM latest_runs low
JOIN latest_runs base
    ON base.hardware_id = low.hardware_id AND base.model = low.model AND base.batch = low.batch
LEFT JOIN made q ON q.hardware_id = low.hardware_id AND q.measured_run_id = low.run_id
CROSS JOIN LATERAL (
    SELECT
        CASE
            WHEN
                low.timing_method <> base.timing_method
                AND NOT (low.timing_method = 'end_to_end' AND low.num_subgraphs IS NULL)
                AND NOT (base.timing_method = 'end_to_end' AND base.num_subgraphs IS NULL)
                THEN 'timed by different methods'
            -- What follows a plus says how bytes of an int8 network are counted, and which it is; the cut and the FLOPs are those of the method before it.
            WHEN split_part(low.flops_method, '+', 1) IS DISTINCT FROM split_part(base.flops_method, '+', 1)
                THEN 'counted by different methods'
            WHEN low.device IS DISTINCT FROM base.device THEN 'run on different kinds of device'
            WHEN low.timing_method <> base.timing_method THEN 'parts of one were not timed singly'
            WHEN low.total_latency_ms IS NULL OR base.total_latency_ms IS NULL THEN 'a latency is missing'
        END AS reason
) AS c
WHERE base.precision = 'fp32' AND low.precision <> 'fp32'
