-- One row for each configuration and power rail with a known energy, ranked among the hardware ids, precisions and batch
-- sizes on which the same model was measured by the same sensor, rail and method: what one input costs. Figures of other
-- sensors or rails are never ranked together: a GPU's own sensor sees less than the input of a module.
-- example: select model, place, hardware_id, precision, batch, energy_per_input_j from energy_efficiency where rail = 'gpu'
-- column source: Sensor interface that was read
-- column method: integral of the power, or difference of the sensor's counter
-- column energy_per_input_j [J]: Energy of one pass, over the batch size
-- column energy_per_input_above_baseline_j [J]: The same, less what the idle device takes; NULL without a baseline
-- column inputs_per_j [1/J]: Inputs for one joule
-- column place [1]: Rank of energy_per_input_j for this model, sensor, rail and method; 1 is the least
-- column num_ranked [1]: Rows that are ranked together
-- column times_best [1]: energy_per_input_j / the least of them
-- column window_s [s]: Length of the measured window
-- column usual_step_s [s]: Sampling period of the sensor
WITH ranked AS (
    SELECT
        hardware_id, precision, model, batch, source, rail, device_index, method, energy_per_input_j,
        energy_per_input_above_baseline_j, inputs_per_j, window_s, usual_step_s, averaging_s, run_id,
        rank() OVER (PARTITION BY model, source, rail, method ORDER BY energy_per_input_j) AS place,
        count(*) OVER (PARTITION BY model, source, rail, method) AS num_ranked,
        min(energy_per_input_j) OVER (PARTITION BY model, source, rail, method) AS least_j
    FROM energy_per_inference
)
SELECT
    hardware_id,
    precision,
    model,
    batch,
    source,
    rail,
    device_index,
    method,
    energy_per_input_j,
    energy_per_input_above_baseline_j,
    inputs_per_j,
    place,
    num_ranked,
    energy_per_input_j / NULLIF(least_j, 0) AS times_best,
    window_s,
    usual_step_s,
    averaging_s,
    run_id
FROM ranked
