-- One row for each hardware id and precision that was measured: its physical peak, from the specification in the table
-- `hardware`, beside the peaks that measuring programs recorded. The two are different things: a recorded peak is what a
-- program assumed, often one figure for all precisions and power modes. `lake hw register` writes the specifications
-- that groundlake knows. The physical fp32 peak is that without tensor cores: a GPU that computes fp32 in tf32 exceeds it.
-- example: select hardware_id, precision, recorded_to_physical from physical_peaks order by recorded_to_physical
-- column physical_peak_flops [FLOP/s]: Physical dense peak in this precision (operations in int8); NULL where it is not known
-- column ridge_intensity [FLOP/byte]: physical_peak_flops / memory bandwidth: below it, memory bounds; NULL where not known
-- column num_recorded_peaks [1]: Different recorded peaks, over the latest run of each configuration; 0 where none was recorded
-- column smallest_recorded_peak_flops [FLOP/s]: Smallest of them
-- column largest_recorded_peak_flops [FLOP/s]: Largest of them
-- column recorded_to_physical [1]: Largest recorded peak / physical peak; above 1, recorded efficiencies are too low
-- column reason: Why there is no physical peak; NULL where there is one
WITH recorded AS (
    SELECT
        hardware_id,
        precision,
        count(DISTINCT theoretical_peak_flops) AS num_recorded_peaks,
        min(theoretical_peak_flops) AS smallest_recorded_peak_flops,
        max(theoretical_peak_flops) AS largest_recorded_peak_flops
    FROM latest_runs
    GROUP BY hardware_id, precision
),
specified AS (
    SELECT
        r.hardware_id,
        r.precision,
        h.hardware_id AS specified_id,
        h.power_mode,
        h.memory_bandwidth_bytes_per_s,
        CASE r.precision
            WHEN 'fp32' THEN h.peak_fp32_flops
            WHEN 'tf32' THEN h.peak_tf32_flops
            WHEN 'fp16' THEN h.peak_fp16_flops
            WHEN 'bf16' THEN h.peak_bf16_flops
            WHEN 'int8' THEN h.peak_int8_ops
        END AS physical_peak_flops,
        r.num_recorded_peaks,
        r.smallest_recorded_peak_flops,
        r.largest_recorded_peak_flops
    FROM recorded r
    LEFT JOIN hardware h ON h.hardware_id = r.hardware_id
)
SELECT
    hardware_id,
    precision,
    power_mode,
    physical_peak_flops,
    memory_bandwidth_bytes_per_s,
    physical_peak_flops / NULLIF(memory_bandwidth_bytes_per_s, 0) AS ridge_intensity,
    num_recorded_peaks,
    smallest_recorded_peak_flops,
    largest_recorded_peak_flops,
    largest_recorded_peak_flops / NULLIF(physical_peak_flops, 0) AS recorded_to_physical,
    CASE
        WHEN physical_peak_flops IS NOT NULL THEN NULL
        WHEN specified_id IS NULL THEN 'the table hardware has no specification of this id'
        ELSE 'the specification has no peak in this precision'
    END AS reason
FROM specified
