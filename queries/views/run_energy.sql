-- One row for each power rail of a run that has power readings: the energy over exactly the measured window. Power is
-- integrated by the trapezoid rule between readings, interpolated at both ends of the window; a counter is read off at
-- both ends in the same way. A reading without a power (or a count) is none: a step between two readings that is longer
-- than three usual ones is a gap. It is not filled, and energy_j is NULL where gaps leave more than 1 % of the window
-- uncovered. reason and counter_reason say why a figure is NULL.
-- example: select model, rail, energy_j, averaging_s, usual_step_s, reason, counter_energy_j, counter_reason from run_energy
-- column source: Sensor interface that was read: nvml, jetson_ina3221, rapl, replay
-- column window_s [s]: Length of the measured window
-- column averaging_s [s]: Time over which the sensor averages a reading of power: 0 for an instant; NULL where not known
-- column num_readings [1]: Readings of power inside the window; of the counter, where the rail tells no power
-- column usual_step_s [s]: Sampling period: median time between two of these readings, over the whole series
-- column value_period_s [s]: Length of their series over the changes of the value: what the sensor can resolve
-- column coverage [1]: Share of the window that lies between them without a gap
-- column has_gap: Whether a gap lies in the window, or the readings begin late or end early
-- column energy_j [J]: Integral of the power over the window, NULL with a reason. A rail that stays within 1 % has one
--   from ten readings in the window on, where its averaging time is known: the steps of the sensor's value bound it
-- column mean_power_w [W]: energy_j / window_s
-- column counter_energy_j [J]: Difference of the sensor's energy counter over the window; NULL below two of its steps
-- column counter_uncertainty_j [J]: How far that can be off: at each end of the window one mean step of the counter, or
--   what it counted between the two readings about that end, whichever is more
-- column baseline_run_id: Latest idle baseline of the same session before the run
-- column baseline_power_w [W]: Mean power of the same rail in that baseline
-- column energy_above_baseline_j [J]: Energy (integral, else counter) less what the idle device takes in the same time
-- column reason: Why energy_j is NULL; NULL where it is not
-- column counter_reason: Why counter_energy_j is NULL; NULL where it is not
WITH readings AS (
    SELECT
        r.hardware_id,
        r.run_id,
        r.kind,
        r.measured_window_s AS window_s,
        p.source,
        p.rail,
        p.device_index,
        p.averaging_s,
        p.timestamp_s,
        p.power_w,
        p.energy_counter_j,
        lag(p.timestamp_s) OVER powers AS before_power_s,
        lag(p.power_w) OVER powers AS before_w,
        lag(p.timestamp_s) OVER counts AS before_count_s,
        lag(p.energy_counter_j) OVER counts AS before_j
    FROM runs r
    JOIN power_timeseries p ON p.hardware_id = r.hardware_id AND p.run_id = r.run_id
    WINDOW
        powers AS (
            PARTITION BY r.hardware_id, r.run_id, p.source, p.rail, p.device_index, p.power_w IS NULL
            ORDER BY p.timestamp_s
        ),
        counts AS (
            PARTITION BY r.hardware_id, r.run_id, p.source, p.rail, p.device_index, p.energy_counter_j IS NULL
            ORDER BY p.timestamp_s
        )
),
steps AS (
    SELECT
        hardware_id,
        run_id,
        kind,
        source,
        rail,
        device_index,
        window_s,
        averaging_s,
        CASE WHEN power_w IS NOT NULL THEN timestamp_s END AS power_s,
        power_w,
        before_power_s,
        before_w,
        CASE WHEN power_w IS NOT NULL THEN timestamp_s - before_power_s END AS power_step_s,
        CASE
            WHEN power_w IS NOT NULL AND before_power_s < window_s AND timestamp_s > 0 AND timestamp_s > before_power_s
                THEN least(timestamp_s, window_s) - greatest(before_power_s, 0)
        END AS power_share_s,
        CASE WHEN energy_counter_j IS NOT NULL THEN timestamp_s END AS count_s,
        energy_counter_j,
        before_count_s,
        before_j,
        CASE WHEN energy_counter_j IS NOT NULL THEN timestamp_s - before_count_s END AS count_step_s,
        CASE
            WHEN energy_counter_j IS NOT NULL
                AND before_count_s < window_s AND timestamp_s > 0 AND timestamp_s > before_count_s
                THEN least(timestamp_s, window_s) - greatest(before_count_s, 0)
        END AS count_share_s
    FROM readings
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
        max(averaging_s) AS averaging_s,
        count(power_s) AS num_powers,
        count(CASE WHEN power_s >= 0 AND power_s <= window_s THEN 1 END) AS num_powers_inside,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY power_step_s) AS usual_power_step_s,
        max(power_s) - min(power_s) AS powers_length_s,
        count(CASE WHEN power_w <> before_w THEN 1 END) AS num_power_changes,
        max(power_w) - min(power_w) <= 0.01 * max(power_w) AS is_steady,
        count(count_s) AS num_counts,
        count(CASE WHEN count_s >= 0 AND count_s <= window_s THEN 1 END) AS num_counts_inside,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY count_step_s) AS usual_count_step_s,
        max(count_s) - min(count_s) AS counts_length_s,
        count(CASE WHEN energy_counter_j <> before_j THEN 1 END) AS num_count_changes,
        max(energy_counter_j) - min(energy_counter_j) AS counted_in_all_j
    FROM steps
    GROUP BY hardware_id, run_id, kind, source, rail, device_index, window_s
),
sums AS (
    SELECT
        s.hardware_id,
        s.run_id,
        s.source,
        s.rail,
        s.device_index,
        sum(CASE WHEN t.power_step_s <= 3 * s.usual_power_step_s THEN t.power_share_s END) AS power_covered_s,
        sum(
            CASE
                WHEN t.power_step_s <= 3 * s.usual_power_step_s AND t.power_share_s > 0
                    THEN (
                        t.before_w
                        + (t.power_w - t.before_w) / NULLIF(t.power_step_s, 0)
                        * ((greatest(t.before_power_s, 0) + least(t.power_s, t.window_s)) / 2 - t.before_power_s)
                    ) * t.power_share_s
            END
        ) AS integral_j,
        sum(CASE WHEN t.count_step_s <= 3 * s.usual_count_step_s THEN t.count_share_s END) AS count_covered_s,
        sum(t.count_share_s) AS count_spanned_s,
        sum((t.energy_counter_j - t.before_j) / NULLIF(t.count_step_s, 0) * t.count_share_s) AS counted_j,
        max(CASE WHEN t.count_share_s > 0 AND t.before_count_s < 0 THEN t.energy_counter_j - t.before_j END) AS start_j,
        max(CASE WHEN t.count_share_s > 0 AND t.count_s > t.window_s THEN t.energy_counter_j - t.before_j END) AS end_j
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
        s.averaging_s,
        CASE WHEN s.num_powers > 0 THEN s.num_powers_inside ELSE s.num_counts_inside END AS num_readings,
        CASE WHEN s.num_powers > 0 THEN s.usual_power_step_s ELSE s.usual_count_step_s END AS usual_step_s,
        CASE
            WHEN s.num_powers > 0 THEN s.powers_length_s / NULLIF(s.num_power_changes, 0)
            ELSE s.counts_length_s / NULLIF(s.num_count_changes, 0)
        END AS value_period_s,
        coalesce(CASE WHEN s.num_powers > 0 THEN u.power_covered_s ELSE u.count_covered_s END, 0)
        / NULLIF(s.window_s, 0) AS coverage,
        u.integral_j,
        u.counted_j,
        s.counted_in_all_j / NULLIF(s.num_count_changes, 0) AS count_j,
        coalesce(u.start_j, 0) AS start_j,
        coalesce(u.end_j, 0) AS end_j,
        CASE
            WHEN s.window_s IS NULL THEN 'the run does not say how long it measured'
            WHEN s.num_powers = 0 THEN 'the sensor tells no power'
            WHEN s.num_powers_inside < 2 THEN 'fewer than two readings in the window'
            WHEN s.window_s < 5 * s.averaging_s THEN 'the window is shorter than five averaging times of the sensor'
            WHEN coalesce(u.power_covered_s, 0) < 0.99 * s.window_s THEN 'the readings leave a gap in the window'
            WHEN s.is_steady AND s.num_powers_inside >= 10 AND s.averaging_s IS NOT NULL THEN NULL
            WHEN s.num_power_changes = 0 AND s.kind <> 'idle_baseline' THEN 'the sensor never changed its value'
            WHEN s.window_s < 2 * s.powers_length_s / NULLIF(s.num_power_changes, 0)
                THEN 'the window is shorter than two updates of the sensor'
        END AS reason,
        CASE
            WHEN s.window_s IS NULL THEN 'the run does not say how long it measured'
            WHEN s.num_counts = 0 THEN 'the sensor has no counter'
            WHEN coalesce(u.count_spanned_s, 0) < 0.99 * s.window_s
                THEN 'the counter was not read at both ends of the window'
            WHEN s.num_count_changes = 0 OR s.window_s < 2 * s.counts_length_s / NULLIF(s.num_count_changes, 0)
                THEN 'the window is shorter than two steps of the counter'
        END AS counter_reason
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
        j.averaging_s,
        j.num_readings,
        j.usual_step_s,
        j.value_period_s,
        j.coverage,
        j.coverage < 0.99 AS has_gap,
        CASE WHEN j.reason IS NULL THEN j.integral_j END AS energy_j,
        CASE WHEN j.counter_reason IS NULL THEN j.counted_j END AS counter_energy_j,
        CASE
            WHEN j.counter_reason IS NULL THEN greatest(j.start_j, j.count_j) + greatest(j.end_j, j.count_j)
        END AS counter_uncertainty_j,
        CASE
            WHEN j.reason IS NULL THEN j.integral_j
            WHEN j.counter_reason IS NULL THEN j.counted_j
        END AS known_energy_j,
        j.reason,
        j.counter_reason
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
    e.averaging_s,
    e.num_readings,
    e.usual_step_s,
    e.value_period_s,
    e.coverage,
    e.has_gap,
    e.energy_j,
    e.energy_j / NULLIF(e.window_s, 0) AS mean_power_w,
    e.counter_energy_j,
    e.counter_uncertainty_j,
    b.run_id AS baseline_run_id,
    b.known_energy_j / NULLIF(b.window_s, 0) AS baseline_power_w,
    e.known_energy_j - b.known_energy_j / NULLIF(b.window_s, 0) * e.window_s AS energy_above_baseline_j,
    e.reason,
    e.counter_reason
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
