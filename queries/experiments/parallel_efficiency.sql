-- One row for each good experiment of several processes, or with energies of several devices: what running at once was worth,
-- and how evenly the work lay. The throughputs of processes add up only if they ran at the same time: wall_share says how
-- much of their sum the wall clock saw. Energies of single devices are those of one source, method and scope; where there
-- are none, energies of single processes.
-- example: select run_id, num_processes, wall_share, energy_imbalance, overlap_verified from parallel_efficiency
-- column output_tokens_per_s [1/s]: output_tokens / wall_time_s
-- column process_output_tokens_per_s_sum [1/s]: Sum over processes of output_tokens / inference_time_s; NULL where one is
--   not known
-- column process_output_tokens_per_s_mean [1/s]: Their mean
-- column wall_share [1]: output_tokens_per_s / process_output_tokens_per_s_sum: 1 where all run from first start to last end
-- column process_tokens_per_s_sum [1/s]: Sum of the processes' recorded throughputs; NULL where one is not known
-- column process_tokens_per_s_mean [1/s]: Their mean
-- column time_imbalance [1]: Largest inference_time_s of a process / mean
-- column energy_of: devices or processes: what the energies below are of
-- column energy_source: Who says so, as in energy_estimates
-- column energy_method: How the energies were made
-- column num_energies [1]: Devices (processes) with an energy; 0 where there are none
-- column largest_energy_j [J]: Largest of them
-- column mean_energy_j [J]: Their mean
-- column energy_imbalance [1]: largest_energy_j / mean_energy_j: 1 where all took the same
WITH processes AS (
    SELECT
        hardware_id,
        run_id,
        count(*) AS num_rows,
        count(output_tokens / NULLIF(inference_time_s, 0)) AS num_known,
        sum(output_tokens / NULLIF(inference_time_s, 0)) AS tokens_per_s,
        count(inference_time_s) AS num_times,
        max(inference_time_s) / NULLIF(avg(inference_time_s), 0) AS time_imbalance
    FROM experiment_processes
    GROUP BY hardware_id, run_id
),
told AS (
    SELECT
        hardware_id,
        run_id,
        CASE WHEN process_index IS NULL THEN 'devices' ELSE 'processes' END AS energy_of,
        source,
        method,
        scope,
        energy_j
    FROM energy_estimates
    WHERE phase = 'all' AND (process_index IS NOT NULL OR device_index IS NOT NULL OR device_uuid IS NOT NULL)
    QUALIFY row_number() OVER (
        PARTITION BY hardware_id, run_id, source, method, scope, process_index, device_index, device_uuid
        ORDER BY CASE WHEN note IS NULL THEN 0 ELSE 1 END, window_s DESC NULLS LAST, energy_j
    ) = 1
),
parts AS (
    SELECT
        hardware_id,
        run_id,
        energy_of,
        source,
        method,
        scope,
        count(*) AS num_energies,
        max(energy_j) AS largest_energy_j,
        avg(energy_j) AS mean_energy_j
    FROM told
    GROUP BY hardware_id, run_id, energy_of, source, method, scope
),
energies AS (
    SELECT hardware_id, run_id, energy_of, source, method, num_energies, largest_energy_j, mean_energy_j
    FROM parts
    QUALIFY row_number() OVER (
        PARTITION BY hardware_id, run_id
        ORDER BY
            energy_of,
            CASE WHEN scope = 'gpu' THEN 1 ELSE 2 END,
            CASE method WHEN 'counter' THEN 1 WHEN 'power_integral' THEN 2 ELSE 3 END,
            num_energies DESC,
            source,
            scope,
            method
    ) = 1
)
SELECT
    s.hardware_id,
    s.precision,
    s.model,
    s.batch,
    s.run_id,
    s.num_processes,
    s.output_tokens_per_s,
    CASE WHEN p.num_known = coalesce(s.num_processes, p.num_rows) THEN p.tokens_per_s END
    AS process_output_tokens_per_s_sum,
    CASE WHEN p.num_known = coalesce(s.num_processes, p.num_rows) THEN p.tokens_per_s / NULLIF(p.num_known, 0) END
    AS process_output_tokens_per_s_mean,
    CASE
        WHEN p.num_known = coalesce(s.num_processes, p.num_rows) THEN s.output_tokens_per_s / NULLIF(p.tokens_per_s, 0)
    END AS wall_share,
    s.process_tokens_per_s_sum,
    s.process_tokens_per_s_mean,
    CASE WHEN p.num_times = coalesce(s.num_processes, p.num_rows) THEN p.time_imbalance END AS time_imbalance,
    e.energy_of,
    e.source AS energy_source,
    e.method AS energy_method,
    coalesce(e.num_energies, 0) AS num_energies,
    e.largest_energy_j,
    e.mean_energy_j,
    e.largest_energy_j / NULLIF(e.mean_energy_j, 0) AS energy_imbalance,
    s.overlap_verified,
    s.devices_verified
FROM experiment_summary s
LEFT JOIN processes p ON p.hardware_id = s.hardware_id AND p.run_id = s.run_id
LEFT JOIN energies e ON e.hardware_id = s.hardware_id AND e.run_id = s.run_id
WHERE s.num_processes > 1 OR p.num_rows > 1 OR e.num_energies > 1
