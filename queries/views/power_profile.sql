-- One row for each reading of a power rail that has a power: as the sensor said it, or, where the sensor only counts
-- energy, the mean power since the last reading that has a count. The phase measure goes on behind the measured window:
-- in_window says which readings lie in it.
-- example: select timestamp_s, phase, rail, power_w, method from power_profile order by rail, timestamp_s
-- column power_w [W]: Power at timestamp_s, or mean power of the step that ends there
-- column method: reading, or counter_difference
-- column averaging_s [s]: Time over which the sensor averages a reading of power: 0 for an instant; NULL where not known
-- column in_window: Whether timestamp_s lies in the measured window of the run
WITH steps AS (
    SELECT
        p.hardware_id,
        p.precision,
        p.model,
        p.batch,
        p.run_id,
        p.phase,
        p.source,
        p.rail,
        p.device_index,
        p.timestamp_s,
        p.power_w,
        p.energy_counter_j - lag(p.energy_counter_j) OVER counts AS counted_j,
        p.timestamp_s - lag(p.timestamp_s) OVER counts AS step_s,
        p.averaging_s,
        p.temperature_c,
        p.timestamp_s >= 0 AND p.timestamp_s <= r.measured_window_s AS in_window
    FROM runs r
    JOIN power_timeseries p ON p.hardware_id = r.hardware_id AND p.run_id = r.run_id
    WINDOW counts AS (
        PARTITION BY p.hardware_id, p.run_id, p.source, p.rail, p.device_index, p.energy_counter_j IS NULL
        ORDER BY p.timestamp_s
    )
)
SELECT
    hardware_id,
    precision,
    model,
    batch,
    run_id,
    phase,
    source,
    rail,
    device_index,
    timestamp_s,
    coalesce(power_w, counted_j / NULLIF(step_s, 0)) AS power_w,
    CASE WHEN power_w IS NULL THEN 'counter_difference' ELSE 'reading' END AS method,
    averaging_s,
    temperature_c,
    in_window
FROM steps
WHERE power_w IS NOT NULL OR counted_j IS NOT NULL
