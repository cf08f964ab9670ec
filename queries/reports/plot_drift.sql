-- One row for each good run of a configuration that was measured more than once by the same methods: its latency beside
-- that of the first such run. Runs timed or counted by different methods, or on different kinds of device, have rows of
-- their own, with a first run of their own; a run without a start time has no place in time and no row. The interval is
-- that within the run: repeated runs scatter more, as run_noise says.
-- example: select model, run_number, started_at, change_percent from plot_drift order by abs(change_percent) desc
-- column quantity: The latency: end_to_end_latency_ms where each of these runs has it, else total_latency_ms
-- column latency_ms [ms]: The latency of the run
-- column run_number [1]: 1, 2, 3, ... in the order of started_at, then run_id
-- column num_runs [1]: Runs that are compared with each other
-- column first_latency_ms [ms]: latency_ms of run 1
-- column change_percent [%]: latency_ms / first_latency_ms - 1
-- column interval_percent [%]: Half of the 95 % interval of the mean within the run, relative to first_latency_ms; NULL if unknown
WITH good AS (
    SELECT
        hardware_id,
        precision,
        model,
        batch,
        run_id,
        started_at,
        device,
        timing_method,
        flops_method,
        session_id,
        timed_runs,
        total_latency_ms,
        total_latency_std_ms,
        end_to_end_latency_ms,
        end_to_end_latency_std_ms,
        min(end_to_end_latency_ms) OVER alike AS any_end_to_end,
        count(*) OVER alike - count(end_to_end_latency_ms) OVER alike AS num_without
    FROM good_runs
    WHERE started_at IS NOT NULL
    WINDOW alike AS (PARTITION BY hardware_id, precision, model, batch, device, timing_method, flops_method)
),
chosen AS (
    SELECT
        hardware_id,
        precision,
        model,
        batch,
        run_id,
        started_at,
        device,
        timing_method,
        flops_method,
        session_id,
        timed_runs,
        CASE WHEN num_without = 0 AND any_end_to_end > 0 THEN 'end_to_end_latency_ms' ELSE 'total_latency_ms' END AS quantity,
        CASE WHEN num_without = 0 AND any_end_to_end > 0 THEN end_to_end_latency_ms ELSE total_latency_ms END AS latency_ms,
        CASE WHEN num_without = 0 AND any_end_to_end > 0 THEN end_to_end_latency_std_ms ELSE total_latency_std_ms END AS std_ms
    FROM good
),
numbered AS (
    SELECT
        hardware_id,
        precision,
        model,
        batch,
        run_id,
        started_at,
        timing_method,
        flops_method,
        session_id,
        timed_runs,
        quantity,
        latency_ms,
        std_ms,
        row_number() OVER in_time AS run_number,
        first_value(latency_ms) OVER in_time AS first_latency_ms,
        count(*) OVER (PARTITION BY hardware_id, precision, model, batch, device, timing_method, flops_method) AS num_runs
    FROM chosen
    WHERE latency_ms > 0
    WINDOW in_time AS (
        PARTITION BY hardware_id, precision, model, batch, device, timing_method, flops_method ORDER BY started_at, run_id
    )
)
SELECT
    hardware_id,
    precision,
    model,
    batch,
    quantity,
    run_id,
    started_at,
    session_id,
    run_number,
    num_runs,
    latency_ms,
    first_latency_ms,
    (latency_ms / NULLIF(first_latency_ms, 0) - 1) * 100 AS change_percent,
    1.96 * std_ms / NULLIF(sqrt(timed_runs), 0) / NULLIF(first_latency_ms, 0) * 100 AS interval_percent,
    timing_method,
    flops_method
FROM numbered
WHERE num_runs > 1
