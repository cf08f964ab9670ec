-- One row for each good experiment with an energy of its whole work: the one estimate that stands for it among all in
-- energy_estimates. Scopes overlap (a machine holds its GPU), so estimates are never added up; one is chosen, among those
-- about all processes, all devices of the scope and the phase all. First the scope that is closest to the work: gpu, soc,
-- machine, process, cpu, ram; for a run on a processor cpu, soc, machine, process, ram, gpu. Then how it was made: counter,
-- power_integral, sum_of_processes, reported. Then one about which nothing is doubtful (no note), the longest window, and the
-- first source in the alphabet.
-- example: select run_id, energy_source, energy_scope, energy_method, energy_j, num_estimates from experiment_energy
-- column energy_source: Who says so, as in energy_estimates
-- column energy_method: How the energy was made: counter, power_integral, sum_of_processes or reported
-- column energy_scope: What the energy is of: gpu, soc, machine, process, cpu or ram
-- column energy_window_s [s]: Length of time it covers; NULL where it is not known
-- column mean_power_w [W]: energy_j / energy_window_s
-- column energy_note: What is doubtful about it
-- column num_estimates [1]: Estimates about all processes, devices and phases that it was chosen from
WITH ranked AS (
    SELECT
        e.hardware_id,
        e.precision,
        e.model,
        e.batch,
        e.run_id,
        e.source,
        e.method,
        e.scope,
        e.window_s,
        e.energy_j,
        e.energy_above_baseline_j,
        e.baseline_power_w,
        e.baseline_method,
        e.baseline_age_s,
        e.note,
        CASE
            WHEN r.device = 'cpu' AND e.scope = 'cpu' THEN 0
            WHEN r.device = 'cpu' AND e.scope = 'gpu' THEN 9
            WHEN e.scope = 'gpu' THEN 1
            WHEN e.scope = 'soc' THEN 2
            WHEN e.scope = 'machine' THEN 3
            WHEN e.scope = 'process' THEN 4
            WHEN e.scope = 'cpu' THEN 5
            ELSE 6
        END AS scope_place,
        CASE e.method
            WHEN 'counter' THEN 1
            WHEN 'power_integral' THEN 2
            WHEN 'sum_of_processes' THEN 3
            ELSE 4
        END AS method_place
    FROM runs r
    JOIN energy_estimates e ON e.hardware_id = r.hardware_id AND e.run_id = r.run_id
    WHERE
        r.status = 'ok'
        AND r.kind = 'llm_inference'
        AND e.process_index IS NULL
        AND e.device_index IS NULL
        AND e.device_uuid IS NULL
        AND e.phase = 'all'
)
SELECT
    hardware_id,
    precision,
    model,
    batch,
    run_id,
    source AS energy_source,
    method AS energy_method,
    scope AS energy_scope,
    window_s AS energy_window_s,
    energy_j,
    energy_j / NULLIF(window_s, 0) AS mean_power_w,
    energy_above_baseline_j,
    baseline_power_w,
    baseline_method,
    baseline_age_s,
    note AS energy_note,
    count(*) OVER (PARTITION BY hardware_id, run_id) AS num_estimates
FROM ranked
QUALIFY row_number() OVER (
    PARTITION BY hardware_id, run_id
    ORDER BY
        scope_place,
        method_place,
        CASE WHEN note IS NULL THEN 0 ELSE 1 END,
        window_s DESC NULLS LAST,
        source,
        energy_j
) = 1
