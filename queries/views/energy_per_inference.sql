-- One row for each power rail of the latest good run of a configuration, where its energy is known: energy of one pass and
-- of one input. The measured window spans the timed passes of the whole model, gaps between them included. Rails of one
-- device overlap (a module's input feeds the others): compare a rail with itself, and never add rails up. A GPU that NVML
-- lists is here only where it ran the model: a run on cuda, and its index, or the only GPU that was read where the run does
-- not know its index. energy_per_pass has the earlier runs too, and run_energy every rail.
-- example: select model, batch, rail, energy_per_input_j, method from energy_per_inference order by energy_per_input_j
-- column source: Sensor interface that was read: nvml, jetson_ina3221, rapl, replay
-- column window_s [s]: Length of the measured window
-- column usual_step_s [s]: Sampling period: median time between two readings of the sensor
-- column averaging_s [s]: Time over which the sensor averages a reading of power: 0 for an instant; NULL where not known
-- column passes [1]: Timed passes in the window
-- column energy_per_pass_j [J]: Energy of the window, over its passes
-- column energy_per_input_j [J]: Energy of one pass, over the batch size
-- column energy_per_input_above_baseline_j [J]: The same, less what the idle device takes; NULL without a baseline
-- column inputs_per_j [1/J]: Inputs for one joule
-- column is_only_device: Whether no other device was read under this source and rail; false where a machine has several GPUs
-- column method: What the energy is: the integral of the power, or the difference of the sensor's counter
-- column compared_with: What run_noise and estimator_error call the rail: source and rail, as nvml/gpu, with the index of the
--   device, as nvml/gpu 1, where several were read
SELECT
    e.hardware_id,
    e.precision,
    e.model,
    e.batch,
    e.run_id,
    e.source,
    e.rail,
    e.device_index,
    e.window_s,
    e.usual_step_s,
    e.averaging_s,
    e.is_only_device,
    e.passes,
    e.energy_per_pass_j,
    e.energy_per_input_j,
    e.energy_per_input_above_baseline_j,
    e.inputs_per_j,
    e.method,
    e.compared_with
FROM energy_per_pass e
JOIN latest_runs l ON l.hardware_id = e.hardware_id AND l.run_id = e.run_id
