-- One row for each repeat of a configuration within a session: how its latency has moved since its first good run of that
-- session, in the order of time. Where later runs are slower all together, the device got warm, or something else ran.
-- Runs without a session are taken together by hardware id and day (UTC). A run stands beside the first one that was timed
-- and counted by the same methods on the same kind of device. Clock and temperature are those under load, NULL where they
-- were not recorded.
-- example: select session, minutes, model, change_percent, temperature_c from session_drift order by session, minutes
-- column session: session_id, or the day of the run where it has none
-- column place [1]: Number of the run of this configuration within the session, from 2
-- column minutes [min]: Time from the first good run of the session on this hardware id
-- column first_latency_ms [ms]: total_latency_ms of the first run of the configuration in the session
-- column latency_ms [ms]: total_latency_ms of this run
-- column change_percent [%]: latency_ms / first_latency_ms - 1; above 0 it got slower
-- column end_to_end_change_percent [%]: The same of the end-to-end latency; NULL where it was not timed
-- column gpu_clock_mhz [MHz]: GPU clock under load
-- column cpu_freq_mhz [MHz]: CPU frequency under load
-- column temperature_c [°C]: Temperature under load
-- column first_run_id: The first run of the configuration in the session
WITH good AS (
    SELECT
        hardware_id,
        precision,
        model,
        batch,
        run_id,
        run_index,
        started_at,
        device,
        timing_method,
        flops_method,
        total_latency_ms,
        end_to_end_latency_ms,
        gpu_clock_mhz,
        cpu_freq_mhz,
        temperature_c,
        coalesce(session_id, CAST(CAST(started_at AS DATE) AS STRING)) AS session
    FROM good_runs
    WHERE started_at IS NOT NULL
),
placed AS (
    SELECT
        hardware_id,
        precision,
        model,
        batch,
        run_id,
        run_index,
        started_at,
        device,
        timing_method,
        flops_method,
        total_latency_ms,
        end_to_end_latency_ms,
        gpu_clock_mhz,
        cpu_freq_mhz,
        temperature_c,
        session,
        row_number() OVER in_order AS place,
        first_value(run_id) OVER in_order AS first_run_id,
        first_value(total_latency_ms) OVER in_order AS first_latency_ms,
        first_value(end_to_end_latency_ms) OVER in_order AS first_end_to_end_latency_ms,
        started_at - min(started_at) OVER (PARTITION BY hardware_id, session) AS since
    FROM good
    WINDOW in_order AS (
        PARTITION BY hardware_id, session, precision, model, batch, device, timing_method, flops_method
        ORDER BY started_at, run_id
    )
)
SELECT
    hardware_id,
    session,
    precision,
    model,
    batch,
    place,
    started_at,
    extract(DAY FROM (since)) * 1440e0 + extract(HOUR FROM (since)) * 60e0 + extract(MINUTE FROM (since)) AS minutes,
    first_latency_ms,
    total_latency_ms AS latency_ms,
    (total_latency_ms / NULLIF(first_latency_ms, 0) - 1) * 100 AS change_percent,
    (end_to_end_latency_ms / NULLIF(first_end_to_end_latency_ms, 0) - 1) * 100 AS end_to_end_change_percent,
    gpu_clock_mhz,
    cpu_freq_mhz,
    temperature_c,
    run_index,
    timing_method,
    flops_method,
    first_run_id,
    run_id
FROM placed
WHERE place > 1
