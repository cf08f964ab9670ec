-- One row for each stored energy of a whole experiment, beside the energy made from its raw power readings (run_energy) of the
-- same scope: the integral of the power, and the difference of the sensor's counter, over the measured window. Rails are
-- assigned to scopes by their name, as when an experiment is measured: gpu, gpu0, gpu-1 and all that nvml reads (gpu);
-- package-0, cpu (cpu); dram, package-0/dram, ram (ram); psys, VDD_IN, machine (machine). A module without VDD_IN is the sum
-- of VDD_GPU_SOC, VDD_CPU_CV and VIN_SYS_5V0. A process has no rail of its own: its energy stands beside that of the GPUs. An
-- energy of all devices is beside the sum over the GPUs that processes name, or over all that were read where processes name
-- none; a sum is NULL where one of its parts is. Where readings come from several sensors, each has a row. The stored figure
-- may be about another window: compare window_s with measured_window_s before anything else.
-- example: select run_id, source, scope, energy_j, readings_source, integral_j, integral_difference_percent
--   from energy_recomputed
-- column source: Who says the stored energy, as in energy_estimates
-- column window_s [s]: Length of time that the stored energy covers; NULL where it is not known
-- column measured_window_s [s]: Window that the readings were integrated over
-- column readings_source: Sensor interface that was read: nvml, rapl, sidecar, ...; NULL without readings
-- column readings_scope: Scope of the readings: that of the stored energy, or gpu beside the energy of processes
-- column num_rails [1]: Rails (devices) that were added up; 0 without readings of this scope
-- column integral_j [J]: Integral of the power readings
-- column counter_j [J]: Difference of the sensor's energy counter
-- column integral_difference_percent [%]: (integral_j - energy_j) / energy_j
-- column counter_difference_percent [%]: (counter_j - energy_j) / energy_j
-- column reason: Why there is no integral; NULL where there is one
WITH named_rails AS (
    SELECT
        hardware_id,
        run_id,
        source,
        rail,
        TRIM(TRAILING '0123456789' FROM (rail)) AS stem,
        device_index,
        window_s,
        energy_j,
        counter_energy_j,
        reason
    FROM run_energy
    WHERE kind = 'llm_inference'
),
modules AS (
    SELECT hardware_id, run_id, source
    FROM named_rails
    WHERE rail IN ('VDD_GPU_SOC', 'VDD_CPU_CV', 'VIN_SYS_5V0', 'VDD_IN')
    GROUP BY hardware_id, run_id, source
    HAVING count(DISTINCT rail) = 3 AND count(CASE WHEN rail = 'VDD_IN' THEN 1 END) = 0
),
rails AS (
    SELECT
        n.hardware_id,
        n.run_id,
        n.source,
        CASE
            WHEN n.source = 'nvml' THEN 'gpu'
            WHEN n.rail IN ('psys', 'VDD_IN', 'machine') THEN 'machine'
            WHEN lower(n.stem) IN ('gpu', 'gpu-', 'gpu_', 'gpu ') THEN 'gpu'
            WHEN n.rail IN ('dram', 'ram') OR n.rail LIKE '%/dram' OR n.rail LIKE '%/ram' THEN 'ram'
            WHEN n.stem IN ('package', 'package-') OR n.rail = 'cpu' THEN 'cpu'
            WHEN m.run_id IS NOT NULL AND n.rail IN ('VDD_GPU_SOC', 'VDD_CPU_CV', 'VIN_SYS_5V0') THEN 'machine'
        END AS scope,
        n.device_index,
        n.window_s,
        n.energy_j,
        n.counter_energy_j,
        n.reason
    FROM named_rails n
    LEFT JOIN modules m ON m.hardware_id = n.hardware_id AND m.run_id = n.run_id AND m.source = n.source
),
named AS (
    SELECT DISTINCT hardware_id, run_id, device_index
    FROM experiment_processes
    WHERE device_index IS NOT NULL
),
some_named AS (
    SELECT DISTINCT hardware_id, run_id
    FROM named
),
parts AS (
    SELECT
        r.hardware_id, r.run_id, r.source, r.scope, r.device_index, r.window_s, r.energy_j, r.counter_energy_j, r.reason,
        r.scope <> 'gpu' OR r.device_index IS NULL OR s.run_id IS NULL OR n.run_id IS NOT NULL AS took_part
    FROM rails r
    LEFT JOIN some_named s ON s.hardware_id = r.hardware_id AND s.run_id = r.run_id
    LEFT JOIN named n ON n.hardware_id = r.hardware_id AND n.run_id = r.run_id AND n.device_index = r.device_index
),
matched AS (
    SELECT
        e.hardware_id,
        e.precision,
        e.model,
        e.batch,
        e.run_id,
        e.source,
        e.method,
        e.scope,
        e.device_index,
        e.device_uuid,
        e.window_s,
        e.energy_j,
        p.source AS readings_source,
        p.scope AS readings_scope,
        max(p.window_s) AS measured_window_s,
        count(p.run_id) AS num_rails,
        CASE WHEN count(p.energy_j) = count(p.run_id) THEN sum(p.energy_j) END AS integral_j,
        CASE WHEN count(p.counter_energy_j) = count(p.run_id) THEN sum(p.counter_energy_j) END AS counter_j,
        min(p.reason) AS reason
    FROM energy_estimates e
    LEFT JOIN parts p
        ON p.hardware_id = e.hardware_id
        AND p.run_id = e.run_id
        AND p.scope = CASE e.scope WHEN 'process' THEN 'gpu' ELSE e.scope END
        AND CASE
            WHEN e.device_index IS NOT NULL THEN p.device_index = e.device_index
            WHEN e.device_uuid IS NULL THEN p.took_part
            ELSE false
        END
    WHERE e.process_index IS NULL AND e.phase = 'all'
    GROUP BY
        e.hardware_id, e.precision, e.model, e.batch, e.run_id, e.source, e.method, e.scope, e.device_index, e.device_uuid,
        e.window_s, e.energy_j, p.source, p.scope
)
SELECT
    hardware_id,
    precision,
    model,
    batch,
    run_id,
    source,
    method,
    scope,
    device_index,
    device_uuid,
    window_s,
    energy_j,
    readings_source,
    readings_scope,
    measured_window_s,
    num_rails,
    integral_j,
    (integral_j - energy_j) / NULLIF(energy_j, 0) * 100 AS integral_difference_percent,
    counter_j,
    (counter_j - energy_j) / NULLIF(energy_j, 0) * 100 AS counter_difference_percent,
    CASE
        WHEN num_rails = 0 THEN 'no power readings belong to it'
        WHEN integral_j IS NULL THEN reason
    END AS reason
FROM matched
