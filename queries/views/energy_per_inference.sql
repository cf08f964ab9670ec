-- One row for each power rail of the latest good run of a configuration, where its energy is known: energy of one pass and
-- of one input. The measured window spans the timed passes of the whole model, gaps between them included. Rails of one
-- device overlap (a module's input feeds the others): compare a rail with itself, and never add rails up. Of several GPUs
-- only the one that ran the model is here; run_energy has all.
-- example: select model, batch, rail, energy_per_input_j, method from energy_per_inference order by energy_per_input_j
-- column source: Sensor interface that was read: nvml, jetson_ina3221, rapl, replay
-- column passes [1]: Timed passes in the window
-- column energy_per_pass_j [J]: Energy of the window, over its passes
-- column energy_per_input_j [J]: Energy of one pass, over the batch size
-- column energy_per_input_above_baseline_j [J]: The same, less what the idle device takes; NULL without a baseline
-- column inputs_per_j [1/J]: Inputs for one joule
-- column method: What the energy is: the integral of the power, or the difference of the sensor's counter
SELECT
    e.hardware_id,
    e.precision,
    e.model,
    e.batch,
    e.run_id,
    e.source,
    e.rail,
    e.device_index,
    r.timed_runs AS passes,
    coalesce(e.energy_j, e.counter_energy_j) / NULLIF(r.timed_runs, 0) AS energy_per_pass_j,
    energy_per_pass_j / NULLIF(e.batch, 0) AS energy_per_input_j,
    e.energy_above_baseline_j / NULLIF(r.timed_runs, 0) / NULLIF(e.batch, 0) AS energy_per_input_above_baseline_j,
    e.batch / NULLIF(energy_per_pass_j, 0) AS inputs_per_j,
    CASE WHEN e.energy_j IS NULL THEN 'counter' ELSE 'integral' END AS method
FROM run_energy e
JOIN latest_runs l ON l.hardware_id = e.hardware_id AND l.run_id = e.run_id
JOIN runs r ON r.hardware_id = e.hardware_id AND r.run_id = e.run_id
WHERE
    e.batch > 0
    AND r.timed_runs > 0
    AND coalesce(e.energy_j, e.counter_energy_j) IS NOT NULL
    AND (e.source <> 'nvml' OR r.device_index IS NULL OR e.device_index = r.device_index)
