-- One row for each power rail of a run that has power readings: the energy over exactly the measured window. Power is
-- integrated by the trapezoid rule between readings, interpolated at both ends of the window; a counter is read off at
-- both ends in the same way. A step between two readings that is longer than three usual ones is a gap: it is not
-- filled, and energy_j is NULL where gaps leave more than 1 % of the window uncovered. reason says why a figure is NULL.
-- example: select model, rail, energy_j, counter_energy_j, energy_above_baseline_j, reason from run_energy
-- column source: Sensor interface that was read: nvml, jetson_ina3221, rapl, replay
-- column window_s [s]: Length of the measured window
-- column num_readings [1]: Readings inside the window
-- column usual_step_s [s]: Median time between two readings
-- column value_period_s [s]: Time between two changes of the value, over the whole series: what the sensor can resolve
-- column coverage [1]: Share of the window that lies between readings without a gap
-- column has_gap: Whether a gap lies in the window, or the readings begin late or end early
-- column energy_j [J]: Integral of the power over the window; NULL with a reason
-- column mean_power_w [W]: energy_j / window_s
-- column counter_energy_j [J]: Difference of the sensor's energy counter over the window; NULL below two of its steps
-- column baseline_run_id: Latest idle baseline of the same session before the run
-- column baseline_power_w [W]: Mean power of the same rail in that baseline
-- column energy_above_baseline_j [J]: Energy (integral, else counter) less what the idle device takes in the same time
-- column reason: Why energy_j is NULL; NULL where it is not
WITH readings AS (
    SELECT
        r.hardware_id,
        r.run_id,
        r.kind,
        r.measured_window_s AS window_s,
        p.source,
        p.rail,
        p.device_index,
        p.timestamp_s,
        p.power_w,
        p.energy_counter_j,
        lag(p.timestamp_s) OVER series AS before_s,
        lag(p.power_w) OVER series AS before_w,
        lag(p.energy_counter_j) OVER series AS before_j
    FROM runs r
    JOIN power_timeseries p ON p.hardware_id = r.hardware_id AND p.run_id = r.run_id
    WINDOW series AS (PARTITION BY r.hardware_id, r.run_id, p.source, p.rail, p.device_index ORDER BY p.timestamp_s)
),
series AS (
    SELECT
        hardware_id,
        run_id,
        kind,
        source,
        rail,
        device_index,
        window_s,
        count(CASE WHEN timestamp_s >= 0 AND timestamp_s <= window_s THEN 1 END) AS num_readings,
        count(power_w) AS num_powers,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY timestamp_s - before_s) AS usual_step_s,
        max(timestamp_s) - min(timestamp_s) AS length_s,
        count(CASE WHEN power_w <> before_w OR (power_w IS NULL AND energy_counter_j <> before_j) THEN 1 END) AS num_changes,
        count(CASE WHEN energy_counter_j <> before_j THEN 1 END) AS num_counts
    FROM readings
    GROUP BY hardware_id, run_id, kind, source, rail, device_index, window_s
),
steps AS (
    SELECT
        hardware_id,
        run_id,
        source,
        rail,
        device_index,
        timestamp_s - before_s AS step_s,
        greatest(before_s, 0) AS from_s,
        least(timestamp_s, window_s) AS to_s,
        before_s,
        before_w,
        (power_w - before_w) / NULLIF(timestamp_s - before_s, 0) AS slope_w_per_s,
        (energy_counter_j - before_j) / NULLIF(timestamp_s - before_s, 0) AS counted_w
    FROM readings
    WHERE before_s < window_s AND timestamp_s > 0 AND timestamp_s > before_s
),
sums AS (
    SELECT
        s.hardware_id,
        s.run_id,
        s.source,
        s.rail,
        s.device_index,
        sum(CASE WHEN t.step_s <= 3 * s.usual_step_s THEN t.to_s - t.from_s END) AS covered_s,
        sum(t.to_s - t.from_s) AS spanned_s,
        sum(
            CASE
                WHEN t.step_s <= 3 * s.usual_step_s
                    THEN (t.before_w + t.slope_w_per_s * ((t.from_s + t.to_s) / 2 - t.before_s)) * (t.to_s - t.from_s)
            END
        ) AS integral_j,
        sum(t.counted_w * (t.to_s - t.from_s)) AS counted_j
    FROM series s
    JOIN steps t
        ON t.hardware_id = s.hardware_id
        AND t.run_id = s.run_id
        AND t.source = s.source
        AND t.rail = s.rail
        AND t.device_index IS NOT DISTINCT FROM s.device_index
    GROUP BY s.hardware_id, s.run_id, s.source, s.rail, s.device_index
),
judged AS (
    SELECT
        s.hardware_id,
        s.run_id,
        s.source,
        s.rail,
        s.device_index,
        s.window_s,
        s.num_readings,
        s.usual_step_s,
        s.length_s / NULLIF(s.num_changes, 0) AS value_period_s,
        coalesce(u.covered_s, 0) / NULLIF(s.window_s, 0) AS coverage,
        u.integral_j,
        CASE
            WHEN u.spanned_s >= 0.99 * s.window_s AND s.window_s >= 2 * s.length_s / NULLIF(s.num_counts, 0)
                THEN u.counted_j
        END AS counter_energy_j,
        CASE
            WHEN s.window_s IS NULL THEN 'the run does not say how long it measured'
            WHEN s.num_powers = 0 THEN 'the sensor tells no power'
            WHEN s.num_readings < 2 THEN 'fewer than two readings in the window'
            WHEN s.num_changes = 0 AND s.kind <> 'idle_baseline' THEN 'the sensor never changed its value'
            WHEN s.window_s < 2 * s.length_s / NULLIF(s.num_changes, 0)
                THEN 'the window is shorter than two updates of the sensor'
            WHEN coalesce(u.covered_s, 0) < 0.99 * s.window_s THEN 'the readings leave a gap in the window'
        END AS reason
    FROM series s
    LEFT JOIN sums u
        ON u.hardware_id = s.hardware_id
        AND u.run_id = s.run_id
        AND u.source = s.source
        AND u.rail = s.rail
        AND u.device_index IS NOT DISTINCT FROM s.device_index
),
energies AS (
    SELECT
        r.hardware_id,
        r.precision,
        r.model,
        r.batch,
        r.run_id,
        r.kind,
        r.status,
        r.session_id,
        r.started_at,
        j.source,
        j.rail,
        j.device_index,
        j.window_s,
        j.num_readings,
        j.usual_step_s,
        j.value_period_s,
        j.coverage,
        j.coverage < 0.99 AS has_gap,
        CASE WHEN j.reason IS NULL THEN j.integral_j END AS energy_j,
        j.counter_energy_j,
        coalesce(CASE WHEN j.reason IS NULL THEN j.integral_j END, j.counter_energy_j) AS known_energy_j,
        j.reason
    FROM judged j
    JOIN runs r ON r.hardware_id = j.hardware_id AND r.run_id = j.run_id
)
SELECT
    e.hardware_id,
    e.precision,
    e.model,
    e.batch,
    e.run_id,
    e.kind,
    e.source,
    e.rail,
    e.device_index,
    e.window_s,
    e.num_readings,
    e.usual_step_s,
    e.value_period_s,
    e.coverage,
    e.has_gap,
    e.energy_j,
    e.energy_j / NULLIF(e.window_s, 0) AS mean_power_w,
    e.counter_energy_j,
    b.run_id AS baseline_run_id,
    b.known_energy_j / NULLIF(b.window_s, 0) AS baseline_power_w,
    e.known_energy_j - b.known_energy_j / NULLIF(b.window_s, 0) * e.window_s AS energy_above_baseline_j,
    e.reason
FROM energies e
LEFT JOIN energies b
    ON b.kind = 'idle_baseline'
    AND e.kind <> 'idle_baseline'
    AND b.status = 'ok'
    AND b.known_energy_j IS NOT NULL
    AND b.hardware_id = e.hardware_id
    AND b.session_id = e.session_id
    AND b.started_at <= e.started_at
    AND b.source = e.source
    AND b.rail = e.rail
    AND b.device_index IS NOT DISTINCT FROM e.device_index
QUALIFY row_number() OVER (
    PARTITION BY e.hardware_id, e.run_id, e.source, e.rail, e.device_index
    ORDER BY b.started_at DESC NULLS LAST, b.run_id DESC NULLS LAST
) = 1
