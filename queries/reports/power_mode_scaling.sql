-- One row for each configuration in a power mode, beside the next lower mode in which the same device was measured, from
-- the latest run of each: does more power help? The mode is thermal_profile; a device is a hardware id without the mode
-- at its end (jetson_orin_30w and jetson_orin_50w are jetson_orin), so figures of two ids of one machine are not mixed.
-- Where two ids of a device were measured in the lower mode, the first by name counts. Runs that were timed or counted by
-- different methods have the verdict not_comparable and no speed-up.
-- example: select model, batch, lower_mode, power_mode, speedup from power_mode_scaling where verdict = 'no faster'
-- column device_name: hardware_id without its power mode
-- column power_mode: thermal_profile of the run: a number of watts, or MAXN, which has no limit
-- column lower_mode: The next lower mode in which this configuration was measured
-- column lower_hardware_id: Hardware id of the run in the lower mode
-- column power_ratio [1]: Watts of the mode / watts of the lower mode; NULL for MAXN
-- column quantity: The latency: total_latency_ms where both runs have it, else end_to_end_latency_ms; NULL where neither is in both
-- column latency_ms [ms]: The latency in this mode
-- column lower_latency_ms [ms]: The same latency in the lower mode
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
        end_to_end_latency_ms,
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
        end_to_end_latency_ms,
        power_mode,
        watts,
        dense_rank() OVER (PARTITION BY device_name, precision, model, batch ORDER BY place) AS step,
        row_number() OVER (PARTITION BY device_name, precision, model, batch, place ORDER BY hardware_id) AS id_number
    FROM modes
    WHERE place IS NOT NULL
),
paired AS (
    SELECT
        m.device_name,
        m.precision,
        m.model,
        m.batch,
        m.hardware_id,
        m.power_mode,
        l.hardware_id AS lower_hardware_id,
        l.power_mode AS lower_mode,
        m.watts / NULLIF(l.watts, 0) AS power_ratio,
        CASE
            WHEN m.total_latency_ms IS NOT NULL AND l.total_latency_ms IS NOT NULL THEN 'total_latency_ms'
            WHEN m.end_to_end_latency_ms IS NOT NULL AND l.end_to_end_latency_ms IS NOT NULL THEN 'end_to_end_latency_ms'
        END AS quantity,
        m.total_latency_ms,
        l.total_latency_ms AS lower_total_latency_ms,
        m.end_to_end_latency_ms,
        l.end_to_end_latency_ms AS lower_end_to_end_latency_ms,
        CASE
            WHEN m.timing_method <> l.timing_method THEN 'timed by different methods'
            WHEN m.flops_method IS DISTINCT FROM l.flops_method THEN 'counted by different methods'
            WHEN m.device IS DISTINCT FROM l.device THEN 'run on different kinds of device'
        END AS difference,
        m.timing_method,
        l.timing_method AS lower_timing_method,
        m.flops_method,
        l.flops_method AS lower_flops_method,
        m.run_id,
        l.run_id AS lower_run_id
    FROM steps m
    JOIN steps l
        ON l.device_name = m.device_name
        AND l.precision = m.precision
        AND l.model = m.model
        AND l.batch = m.batch
        AND l.step = m.step - 1
        AND l.id_number = 1
),
judged AS (
    SELECT
        device_name, precision, model, batch, hardware_id, power_mode, lower_hardware_id, lower_mode, power_ratio, quantity,
        CASE quantity
            WHEN 'total_latency_ms' THEN total_latency_ms
            WHEN 'end_to_end_latency_ms' THEN end_to_end_latency_ms
        END AS latency_ms,
        CASE quantity
            WHEN 'total_latency_ms' THEN lower_total_latency_ms
            WHEN 'end_to_end_latency_ms' THEN lower_end_to_end_latency_ms
        END AS lower_latency_ms,
        coalesce(difference, CASE WHEN quantity IS NULL THEN 'the runs have no latency in common' END) AS reason,
        timing_method, lower_timing_method, flops_method, lower_flops_method, run_id, lower_run_id
    FROM paired
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
    power_ratio,
    quantity,
    latency_ms,
    lower_latency_ms,
    CASE WHEN reason IS NULL THEN lower_latency_ms / NULLIF(latency_ms, 0) END AS speedup,
    CASE
        WHEN reason IS NOT NULL THEN 'not_comparable'
        WHEN latency_ms < lower_latency_ms THEN 'faster'
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
