-- One row for each experiment with an energy: what is left of it when another baseline is taken off. The baseline is the run's
-- own, or the median of those of its study; either counts only if it was not older than a limit when the run began. The
-- median is over runs on the same devices of the same hardware id, with as many processes, whose energy is of the same
-- source and scope: four idle GPUs take more than one. The devices are those that processes and energies name. The result is
-- not cut off at 0: below 0 the baseline was too high. The baseline is taken off over the window of the energy, or over the
-- wall time where the estimate does not tell its window.
-- example: lake query energy_rebaselined --param baseline=own --param max_age_s=60
-- param: baseline STRING = 'study_median' (study_median|own); whose idle power is taken off
-- param: max_age_s DOUBLE = 600 (0..); oldest baseline that counts, in s before the start of the run
-- column energy_source: Who says so, as in energy_estimates
-- column energy_scope: What the energy is of: gpu, soc, machine, process, cpu or ram
-- column energy_j [J]: Energy of the whole work, by the estimate that stands for it
-- column own_baseline_power_w [W]: Baseline that the run itself took off
-- column new_baseline_power_w [W]: The other baseline; NULL with a reason
-- column num_baselines [1]: Runs of the study on the same devices whose baselines the median is made from; 0 without one
-- column baseline_window_s [s]: Length of time over which it is taken off
-- column window_is: energy (the window of the estimate) or wall (the wall time)
-- column rebaselined_energy_j [J]: energy_j less new_baseline_power_w times baseline_window_s
-- column change_j [J]: rebaselined_energy_j less energy_above_baseline_j
-- column rebaselined_energy_per_output_token_j [J]: rebaselined_energy_j / output_tokens
-- column reason: Why there is no other baseline; NULL where there is one
WITH named AS (
    SELECT hardware_id, run_id, device_index
    FROM experiment_processes
    WHERE device_index IS NOT NULL
    UNION
    SELECT hardware_id, run_id, device_index
    FROM energy_estimates
    WHERE device_index IS NOT NULL AND scope = 'gpu' AND phase = 'all'
),
-- A set of devices as one number: bit 2 stands for device 2.
sets AS (
    SELECT hardware_id, run_id, sum(power(2, device_index)) AS devices
    FROM named
    GROUP BY hardware_id, run_id
),
known AS (
    SELECT
        s.hardware_id,
        s.precision,
        s.model,
        s.batch,
        s.run_id,
        s.study,
        s.cycle,
        s.energy_source,
        s.energy_scope,
        s.num_processes,
        d.devices,
        s.energy_j,
        s.energy_above_baseline_j,
        s.output_tokens,
        coalesce(s.energy_window_s, s.wall_time_s) AS baseline_window_s,
        CASE WHEN s.energy_window_s IS NOT NULL THEN 'energy' WHEN s.wall_time_s IS NOT NULL THEN 'wall' END AS window_is,
        s.baseline_power_w,
        s.baseline_age_s,
        CASE WHEN s.baseline_age_s <= p.max_age_s THEN s.baseline_power_w END AS young_power_w,
        p.baseline
    FROM experiment_summary s
    CROSS JOIN params p
    LEFT JOIN sets d ON d.hardware_id = s.hardware_id AND d.run_id = s.run_id
    WHERE s.energy_j IS NOT NULL
),
medians AS (
    SELECT
        hardware_id,
        study,
        energy_source,
        energy_scope,
        num_processes,
        devices,
        count(young_power_w) AS num_baselines,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY young_power_w) AS median_power_w
    FROM known
    WHERE study IS NOT NULL
    GROUP BY hardware_id, study, energy_source, energy_scope, num_processes, devices
),
chosen AS (
    SELECT
        k.hardware_id, k.precision, k.model, k.batch, k.run_id, k.study, k.cycle, k.energy_source, k.energy_scope,
        k.energy_j, k.energy_above_baseline_j, k.output_tokens, k.baseline_window_s, k.window_is, k.baseline_power_w,
        k.baseline_age_s, k.baseline,
        coalesce(m.num_baselines, 0) AS num_baselines,
        CASE k.baseline WHEN 'own' THEN k.young_power_w WHEN 'study_median' THEN m.median_power_w END AS new_power_w
    FROM known k
    LEFT JOIN medians m
        ON m.hardware_id = k.hardware_id
        AND m.study = k.study
        AND m.energy_source = k.energy_source
        AND m.energy_scope = k.energy_scope
        AND m.num_processes IS NOT DISTINCT FROM k.num_processes
        AND m.devices IS NOT DISTINCT FROM k.devices
)
SELECT
    hardware_id,
    precision,
    model,
    batch,
    run_id,
    study,
    cycle,
    energy_source,
    energy_scope,
    energy_j,
    energy_above_baseline_j,
    baseline_power_w AS own_baseline_power_w,
    baseline_age_s,
    new_power_w AS new_baseline_power_w,
    num_baselines,
    baseline_window_s,
    window_is,
    energy_j - new_power_w * baseline_window_s AS rebaselined_energy_j,
    energy_j - new_power_w * baseline_window_s - energy_above_baseline_j AS change_j,
    (energy_j - new_power_w * baseline_window_s) / NULLIF(output_tokens, 0) AS rebaselined_energy_per_output_token_j,
    CASE
        WHEN new_power_w IS NOT NULL AND baseline_window_s IS NULL THEN 'nobody tells what time the energy covers'
        WHEN new_power_w IS NOT NULL THEN NULL
        WHEN baseline = 'study_median' AND study IS NULL THEN 'the run belongs to no study'
        WHEN baseline = 'study_median' THEN 'no run of the study on these devices has a baseline that is young enough'
        WHEN baseline_power_w IS NULL THEN 'the run has no baseline'
        WHEN baseline_age_s IS NULL THEN 'the age of the baseline is not known'
        ELSE 'the baseline is too old'
    END AS reason
FROM chosen
