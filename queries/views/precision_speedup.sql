-- One row for each lower precision of a model on one hardware id and batch size, beside fp32, from the latest run of
-- each. Runs that were timed or counted by different methods, or on different kinds of device, are shown with the
-- verdict not_comparable and have no speed-up. Where the parts of one run were not timed singly, as in int8 networks whose
-- operations were merged across parts, only the whole models are compared, with the verdict end_to_end_only. A speed-up below
-- 1 means that the lower precision is slower, which is the rule on CPUs. An int8 network says what it was made with: of
-- several, the one that was measured last is here, before those whose preparation nobody checked, and quantization_results
-- has all.
-- example: select model, batch, precision, speedup from precision_speedup where verdict = 'comparable'
-- column fp32_latency_ms [ms]: total_latency_ms of the fp32 run
-- column latency_ms [ms]: total_latency_ms of the run in this precision
-- column speedup [1]: fp32_latency_ms / latency_ms; NULL when not comparable
-- column fp32_end_to_end_latency_ms [ms]: end_to_end_latency_ms of the fp32 run
-- column end_to_end_speedup [1]: Ratio of the end-to-end latencies; NULL when one was not timed, or not comparable
-- column verdict: comparable, end_to_end_only or not_comparable
-- column reason: Why the two runs are not comparable, or only end to end, and what makes the speed-up doubtful: that it lies
--   on the other side of 1 than end_to_end_speedup, or is more than 1.5 times as large or as small, that --force measured one of
--   the runs (not_representative), that nobody checked how an int8 network's images are prepared, that int8 destroys its
--   outputs; NULL where there is nothing of it
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
),
doubtful AS (
    SELECT
        hardware_id,
        run_id,
        CAST(to_json(warnings) AS STRING) LIKE '%"preparation_not_checked:%' AS is_unchecked,
        CAST(to_json(warnings) AS STRING) LIKE '%"outputs_destroyed:%' AS is_destroyed
    FROM runs
    WHERE kind = 'efficiency' AND precision = 'int8' AND warnings IS NOT NULL
),
lower_precision AS (
    SELECT
        g.hardware_id,
        g.precision,
        g.model,
        g.batch,
        g.run_id,
        g.started_at,
        g.device,
        g.timing_method,
        g.flops_method,
        g.total_latency_ms,
        g.end_to_end_latency_ms,
        g.num_subgraphs,
        g.is_representative,
        coalesce(d.is_unchecked, false) AS is_unchecked,
        coalesce(d.is_destroyed, false) AS is_destroyed
    FROM good_runs g
    LEFT JOIN doubtful d ON d.hardware_id = g.hardware_id AND d.run_id = g.run_id
    WHERE g.precision <> 'fp32'
    QUALIFY row_number() OVER (
        PARTITION BY g.hardware_id, g.precision, g.model, g.batch
        ORDER BY coalesce(d.is_unchecked, false), g.started_at DESC NULLS LAST, g.run_id DESC
    ) = 1
),
pairs AS (
    SELECT
        low.hardware_id,
        low.model,
        low.batch,
        low.precision,
        base.total_latency_ms AS fp32_latency_ms,
        low.total_latency_ms AS latency_ms,
        base.end_to_end_latency_ms AS fp32_end_to_end_latency_ms,
        low.end_to_end_latency_ms,
        low.timing_method,
        base.timing_method AS fp32_timing_method,
        low.flops_method,
        base.flops_method AS fp32_flops_method,
        low.run_id,
        base.run_id AS fp32_run_id,
        low.started_at,
        base.started_at AS fp32_started_at,
        low.is_unchecked,
        low.is_destroyed,
        low.is_representative,
        base.is_representative AS fp32_is_representative,
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
        END AS obstacle
    FROM lower_precision low
    JOIN latest_runs base
        ON base.hardware_id = low.hardware_id AND base.model = low.model AND base.batch = low.batch
    WHERE base.precision = 'fp32'
),
ratios AS (
    SELECT
        hardware_id,
        run_id,
        CASE WHEN obstacle IS NULL THEN fp32_latency_ms / NULLIF(latency_ms, 0) END AS speedup,
        CASE
            WHEN coalesce(obstacle, 'parts of one were not timed singly') = 'parts of one were not timed singly'
                THEN fp32_end_to_end_latency_ms / NULLIF(end_to_end_latency_ms, 0)
        END AS end_to_end_speedup
    FROM pairs
)
SELECT
    p.hardware_id,
    p.model,
    p.batch,
    p.precision,
    p.fp32_latency_ms,
    p.latency_ms,
    r.speedup,
    p.fp32_end_to_end_latency_ms,
    p.end_to_end_latency_ms,
    r.end_to_end_speedup,
    CASE
        WHEN p.obstacle IS NULL THEN 'comparable'
        WHEN p.obstacle = 'parts of one were not timed singly' THEN 'end_to_end_only'
        ELSE 'not_comparable'
    END AS verdict,
    NULLIF(
        substr(
            coalesce('; ' || p.obstacle, '')
            || CASE
                WHEN (r.speedup - 1) * (r.end_to_end_speedup - 1) < 0
                    THEN '; the sum of the parts says faster and the whole model slower, or the other way round: '
                        || 'timing parts singly costs time, a user has end_to_end_speedup'
                -- Four latencies that are each off by a tenth, the spread of which a run warns (high_variance), differ by as
                -- much at the most: 1.1 / 0.9 twice. What is beyond that is no noise.
                WHEN r.speedup > 1.5e0 * r.end_to_end_speedup OR r.end_to_end_speedup > 1.5e0 * r.speedup
                    THEN '; speedup and end_to_end_speedup differ by a factor of more than 1.5: '
                        || 'timing parts singly costs time, a user has end_to_end_speedup'
                ELSE ''
            END
            || CASE
                WHEN p.is_representative AND p.fp32_is_representative THEN ''
                ELSE '; not_representative: the machine was not fit to measure '
                    || CASE
                        WHEN p.fp32_is_representative THEN p.precision
                        WHEN p.is_representative THEN 'fp32'
                        ELSE 'fp32 and ' || p.precision
                    END
            END
            || CASE
                WHEN p.is_unchecked THEN '; preparation_not_checked: nobody knows whether the int8 network is a right one'
                ELSE ''
            END
            || CASE WHEN p.is_destroyed THEN '; outputs_destroyed: the int8 network is of no use' ELSE '' END,
            3
        ),
        ''
    ) AS reason,
    p.timing_method,
    p.fp32_timing_method,
    p.flops_method,
    p.fp32_flops_method,
    q.calibration_set,
    q.set_fingerprint,
    q.backend,
    q.preprocess,
    p.run_id,
    p.fp32_run_id,
    p.started_at,
    p.fp32_started_at
FROM pairs p
JOIN ratios r ON r.hardware_id = p.hardware_id AND r.run_id = p.run_id
LEFT JOIN made q ON q.hardware_id = p.hardware_id AND q.measured_run_id = p.run_id
