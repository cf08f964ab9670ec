-- One row for each good experiment and method of counting its FLOPs, of high or medium confidence: operations for one joule,
-- and the share of the physical peak that was reached (MFU, model FLOPs utilization). Figures of two methods cannot be
-- compared, so flops_estimate_method is part of what the row is about; of several estimates by one method the most confident
-- stands here. The peak is that of the table `hardware` in the precision in which operations run, times the devices that
-- took part. Weight-only quantization saves bytes, not operations: is_quantized tells such runs apart.
-- example: select model, precision, flops_estimate_method, flops_per_j, mfu, is_quantized from flops_efficiency
-- column flops [FLOP]: Floating-point operations of the whole work
-- column flops_estimate_method: How they were estimated, as in flops_estimates
-- column flops_confidence: high or medium
-- column operand_precision: Precision in which operations run: that of the estimate, else of the weights where these are not
--   quantized; NULL where it is not known
-- column energy_source: Who says what the energy is, as in energy_estimates
-- column energy_method: How the energy was made
-- column energy_scope: What the energy is of
-- column energy_j [J]: Energy of the whole work, by the estimate that stands for it
-- column flops_per_j [FLOP/J]: flops / energy_j
-- column achieved_flops [FLOP/s]: flops / wall_time_s
-- column num_devices [1]: Devices that took part: those that processes name, or one of a single process that names none
-- column physical_peak_flops [FLOP/s]: Physical dense peak of one device in operand_precision (operations in int8)
-- column mfu [1]: achieved_flops / (physical_peak_flops * num_devices)
-- column is_quantized: Whether the weights are quantized; NULL where it is not known
-- column reason: Why there is no mfu; NULL where there is one
WITH operations AS (
    SELECT hardware_id, run_id, flops, method, confidence, compute_precision
    FROM flops_estimates
    WHERE process_index IS NULL AND confidence IN ('high', 'medium')
    QUALIFY row_number() OVER (
        PARTITION BY hardware_id, run_id, method
        ORDER BY confidence, flops, compute_precision NULLS LAST
    ) = 1
),
devices AS (
    SELECT
        hardware_id,
        run_id,
        count(DISTINCT coalesce(device_uuid, CAST(device_index AS STRING))) AS num_named,
        count(*) AS num_rows
    FROM experiment_processes
    GROUP BY hardware_id, run_id
),
worked AS (
    SELECT
        s.hardware_id,
        s.precision,
        s.model,
        s.batch,
        s.run_id,
        o.flops,
        o.method,
        o.confidence,
        coalesce(
            lower(o.compute_precision),
            CASE WHEN coalesce(s.quantization_method, 'none') = 'none' AND s.quantization_bits IS NULL THEN s.precision END
        ) AS operand_precision,
        s.energy_source,
        s.energy_method,
        s.energy_scope,
        s.energy_j,
        s.wall_time_s,
        s.quantization_method,
        s.quantization_bits,
        CASE
            WHEN s.quantization_method <> 'none' OR s.quantization_bits IS NOT NULL THEN true
            WHEN s.quantization_method = 'none' THEN false
        END AS is_quantized,
        CASE
            WHEN d.num_named > 0 THEN d.num_named
            WHEN coalesce(s.num_processes, d.num_rows) = 1 THEN 1
        END AS num_devices
    FROM experiment_summary s
    JOIN operations o ON o.hardware_id = s.hardware_id AND o.run_id = s.run_id
    LEFT JOIN devices d ON d.hardware_id = s.hardware_id AND d.run_id = s.run_id
),
placed AS (
    SELECT
        w.hardware_id, w.precision, w.model, w.batch, w.run_id, w.flops, w.method, w.confidence, w.operand_precision,
        w.energy_source, w.energy_method, w.energy_scope, w.energy_j, w.wall_time_s, w.quantization_method,
        w.quantization_bits, w.is_quantized, w.num_devices,
        h.hardware_id AS specified_id,
        CASE w.operand_precision
            WHEN 'fp32' THEN h.peak_fp32_flops
            WHEN 'float32' THEN h.peak_fp32_flops
            WHEN 'tf32' THEN h.peak_tf32_flops
            WHEN 'fp16' THEN h.peak_fp16_flops
            WHEN 'float16' THEN h.peak_fp16_flops
            WHEN 'bf16' THEN h.peak_bf16_flops
            WHEN 'bfloat16' THEN h.peak_bf16_flops
            WHEN 'int8' THEN h.peak_int8_ops
        END AS physical_peak_flops
    FROM worked w
    LEFT JOIN hardware h ON h.hardware_id = w.hardware_id
)
SELECT
    hardware_id,
    precision,
    model,
    batch,
    run_id,
    flops,
    method AS flops_estimate_method,
    confidence AS flops_confidence,
    operand_precision,
    energy_source,
    energy_method,
    energy_scope,
    energy_j,
    flops / NULLIF(energy_j, 0) AS flops_per_j,
    wall_time_s,
    flops / NULLIF(wall_time_s, 0) AS achieved_flops,
    num_devices,
    physical_peak_flops,
    flops / NULLIF(wall_time_s, 0) / NULLIF(physical_peak_flops * num_devices, 0) AS mfu,
    is_quantized,
    quantization_method,
    quantization_bits,
    CASE
        WHEN operand_precision IS NULL OR operand_precision = 'none' THEN 'the precision of the operations is not known'
        WHEN specified_id IS NULL THEN 'the table hardware has no specification of this id'
        WHEN physical_peak_flops IS NULL THEN 'the specification has no peak in this precision'
        WHEN num_devices IS NULL THEN 'nobody tells how many devices took part'
        WHEN wall_time_s IS NULL OR wall_time_s = 0 THEN 'the wall time is not known'
    END AS reason
FROM placed
