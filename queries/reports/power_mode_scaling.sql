-- One row for each configuration in a power mode, beside the next lower mode in which the same device was measured, from
-- the latest run of each: does more power help? The mode is thermal_profile; a device is a hardware id without the mode
-- at its end (jetson_orin_30w and jetson_orin_50w are jetson_orin), so figures of two ids of one machine are not mixed.
-- Runs that were timed or counted by different methods have the verdict not_comparable and no speed-up.
-- example: select model, batch, lower_mode, power_mode, speedup from power_mode_scaling where verdict = 'no faster'
-- column device_name: hardware_id without its power mode
-- column power_mode: thermal_profile of the run: a number of watts, or MAXN, which has no limit
-- column lower_mode: The next lower mode in which this configuration was measured
-- column lower_hardware_id: Hardware id of the run in the lower mode
-- column power_ratio [1]: Watts of the mode / watts of the lower mode; NULL for MAXN
-- column latency_ms [ms]: total_latency_ms in this mode
-- column lower_latency_ms [ms]: total_latency_ms in the lower mode
-- column speedup [1]: lower_latency_ms / latency_ms; NULL when not comparable
-- column verdict: faster, no faster, or not_comparable
-- column reason: Why the two runs are not comparable; NULL when they are
-- column lower_timing_method: timing_method of the run in the lower mode
-- column lower_flops_method: flops_method of the run in the lower mode
-- column lower_run_id: The run in the lower mode
WITH modes AS (
    SELECT
        CASE
            WHEN lower(right(hardware_id, length(thermal_profile) + 1))
                IN ('_' || lower(thermal_profile), '-' || lower(thermal_profile))
                THEN substring(hardware_id, 1, length(hardware_id) - length(thermal_profile) - 1)
            ELSE hardware_id
        END AS device_name,
        hardware_id,
        precision,
        model,
        batch,
        run_id,
        device,
        timing_method,
        flops_method,
        total_latency_ms,
        thermal_profile AS power_mode,
        TRY_CAST(replace(lower(thermal_profile), 'w', '') AS DOUBLE) AS watts,
        CASE
            WHEN lower(thermal_profile) LIKE 'maxn%' THEN 1e9
            ELSE TRY_CAST(replace(lower(thermal_profile), 'w', '') AS DOUBLE)
        END AS place
    FROM latest_runs
),
steps AS (
    SELECT
        device_name,
        hardware_id,
        precision,
        model,
        batch,
        run_id,
        device,
        timing_method,
        flops_method,
        total_latency_ms,
        power_mode,
        watts,
        lag(hardware_id) OVER mode AS lower_hardware_id,
        lag(run_id) OVER mode AS lower_run_id,
        lag(device) OVER mode AS lower_device,
        lag(timing_method) OVER mode AS lower_timing_method,
        lag(flops_method) OVER mode AS lower_flops_method,
        lag(total_latency_ms) OVER mode AS lower_latency_ms,
        lag(power_mode) OVER mode AS lower_mode,
        lag(watts) OVER mode AS lower_watts
    FROM modes
    WHERE place IS NOT NULL
    WINDOW mode AS (PARTITION BY device_name, precision, model, batch ORDER BY place, hardware_id)
),
judged AS (
    SELECT
        device_name, hardware_id, precision, model, batch, run_id, timing_method, flops_method, total_latency_ms,
        power_mode, watts, lower_hardware_id, lower_run_id, lower_timing_method, lower_flops_method, lower_latency_ms,
        lower_mode, lower_watts,
        CASE
            WHEN timing_method <> lower_timing_method THEN 'timed by different methods'
            WHEN flops_method IS DISTINCT FROM s.lower_flops_method THEN 'counted by different methods'
            WHEN device IS DISTINCT FROM s.lower_device THEN 'run on different kinds of device'
            WHEN total_latency_ms IS NULL OR lower_latency_ms IS NULL THEN 'a latency is missing'
        END AS reason
    FROM steps s
    WHERE lower_run_id IS NOT NULL
)
SELECT
    device_name,
    precision,
    model,
    batch,
    hardware_id,
    power_mode,
    lower_hardware_id,
    lower_mode,
    watts / NULLIF(lower_watts, 0) AS power_ratio,
    total_latency_ms AS latency_ms,
    lower_latency_ms,
    CASE WHEN reason IS NULL THEN lower_latency_ms / NULLIF(total_latency_ms, 0) END AS speedup,
    CASE
        WHEN reason IS NOT NULL THEN 'not_comparable'
        WHEN total_latency_ms < lower_latency_ms THEN 'faster'
        ELSE 'no faster'
    END AS verdict,
    reason,
    timing_method,
    lower_timing_method,
    flops_method,
    lower_flops_method,
    run_id,
    lower_run_id
FROM judged
