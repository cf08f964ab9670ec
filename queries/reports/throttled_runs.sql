-- One row for each good run with a sign that the device was held back: the driver named a reason (power, heat) under load
-- or after it, the run carries a warning of throttling, the GPU's clock under load was low, or it was hot. A run without
-- such a record is not listed, which does not mean that it was not throttled: imported v1 files record no system state.
-- example: lake query throttled_runs --param least_clock_share=0.8
-- param: least_clock_share DOUBLE = 0.9 (0..); lowest GPU clock under load, as a share of the clock in the table hardware
-- param: hottest_c DOUBLE = 90 (0..); temperature under load from which a run counts as hot, in degrees Celsius
-- column signs: What was found: driver, warning, clock, heat
-- column held_back: Reasons that the driver named under load, as recorded; NULL where it named none
-- column gpu_clock_mhz [MHz]: GPU clock under load
-- column clock_share [1]: gpu_clock_mhz / clock of the specification; NULL where one is not known
-- column temperature_c [°C]: Temperature under load
-- column power_mode: Power mode under load
WITH states AS (
    SELECT
        r.hardware_id,
        r.precision,
        r.model,
        r.batch,
        r.run_id,
        r.started_at,
        r.session_id,
        r.total_latency_ms,
        r.end_to_end_latency_ms,
        r.system_under_load.gpu_clock_mhz AS gpu_clock_mhz,
        r.system_under_load.temperature_c AS temperature_c,
        r.system_under_load.power_mode AS power_mode,
        CAST(to_json(r.system_under_load.throttle_reasons) AS STRING) AS held_back,
        CAST(to_json(r.system_after.throttle_reasons) AS STRING) AS held_back_after,
        CAST(to_json(r.warnings) AS STRING) AS warned,
        CASE WHEN r.device = 'cuda' THEN h.clock_mhz END AS clock_mhz
    FROM runs r
    LEFT JOIN hardware h ON h.hardware_id = r.hardware_id
    WHERE r.status = 'ok' AND r.kind = 'efficiency'
),
judged AS (
    SELECT
        s.hardware_id,
        s.precision,
        s.model,
        s.batch,
        s.run_id,
        s.started_at,
        s.session_id,
        s.total_latency_ms,
        s.end_to_end_latency_ms,
        s.gpu_clock_mhz,
        s.temperature_c,
        s.power_mode,
        NULLIF(s.held_back, '[]') AS held_back,
        s.gpu_clock_mhz / NULLIF(s.clock_mhz, 0) AS clock_share,
        CASE
            WHEN s.held_back LIKE '%sw_power_cap%' OR s.held_back LIKE '%slowdown%' THEN ', driver'
            WHEN s.held_back_after LIKE '%sw_power_cap%' OR s.held_back_after LIKE '%slowdown%' THEN ', driver'
            ELSE ''
        END
        || CASE WHEN s.warned LIKE '%"throttling: %' THEN ', warning' ELSE '' END
        || CASE WHEN s.gpu_clock_mhz < p.least_clock_share * s.clock_mhz THEN ', clock' ELSE '' END
        || CASE WHEN s.temperature_c >= p.hottest_c THEN ', heat' ELSE '' END AS signs
    FROM states s
    CROSS JOIN params p
)
SELECT
    hardware_id,
    precision,
    model,
    batch,
    run_id,
    started_at,
    substring(signs, 3, length(signs)) AS signs,
    held_back,
    gpu_clock_mhz,
    clock_share,
    temperature_c,
    power_mode,
    total_latency_ms,
    end_to_end_latency_ms,
    session_id
FROM judged
WHERE signs <> ''
