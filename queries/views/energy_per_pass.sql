-- One row for each power rail of each good run, where its energy is known: energy of one pass and of one input. The
-- measured window spans the timed passes of the whole model, gaps between them included. Rails of one device overlap (a
-- module's input feeds the others): compare a rail with itself, and never add rails up. A GPU that NVML lists is here only
-- where it ran the model: a run on cuda, and its index, or the only GPU that was read where the run does not know its
-- index. run_energy has all; energy_per_inference has the latest run of each configuration.
-- example: select model, batch, compared_with, energy_per_pass_j, started_at from energy_per_pass order by started_at
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
WITH energies AS (
    SELECT
        hardware_id,
        precision,
        model,
        batch,
        run_id,
        source,
        rail,
        device_index,
        window_s,
        usual_step_s,
        averaging_s,
        energy_j,
        coalesce(energy_j, counter_energy_j) AS known_j,
        energy_above_baseline_j,
        count(*) OVER rail_name = 1 AS is_only_device
    FROM run_energy
    WINDOW rail_name AS (PARTITION BY hardware_id, run_id, source, rail)
)
SELECT
    e.hardware_id,
    e.precision,
    e.model,
    e.batch,
    e.run_id,
    r.started_at,
    e.source,
    e.rail,
    e.device_index,
    e.window_s,
    e.usual_step_s,
    e.averaging_s,
    e.is_only_device,
    r.timed_runs AS passes,
    e.known_j / NULLIF(r.timed_runs, 0) AS energy_per_pass_j,
    e.known_j / NULLIF(r.timed_runs, 0) / NULLIF(e.batch, 0) AS energy_per_input_j,
    e.energy_above_baseline_j / NULLIF(r.timed_runs, 0) / NULLIF(e.batch, 0) AS energy_per_input_above_baseline_j,
    e.batch * r.timed_runs / NULLIF(e.known_j, 0) AS inputs_per_j,
    CASE WHEN e.energy_j IS NULL THEN 'counter' ELSE 'integral' END AS method,
    e.source || '/' || e.rail
    || CASE WHEN e.is_only_device THEN '' ELSE coalesce(' ' || CAST(e.device_index AS STRING), '') END AS compared_with
FROM energies e
JOIN runs r ON r.hardware_id = e.hardware_id AND r.run_id = e.run_id
WHERE
    r.status = 'ok'
    AND r.kind = 'efficiency'
    AND e.batch > 0
    AND r.timed_runs > 0
    AND e.known_j IS NOT NULL
    AND (
        e.source <> 'nvml'
        OR (
            r.device = 'cuda'
            AND (
                e.device_index = r.device_index
                OR (r.device_index IS NULL AND e.device_index IS NOT NULL AND e.is_only_device)
            )
        )
    )
