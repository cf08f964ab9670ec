-- One row for each run of the configurations that are asked for, in the order of time: its latency and the change from the
-- good run before it, by the sum of subgraphs where both runs have it, else by the latency end to end. Runs that were timed
-- or counted by different methods, or made on different kinds of device, have the verdict not_comparable and no change.
-- A change that is not larger than the noise of run_noise means nothing; where the noise is not known, as for methods that
-- the latest run does not use, any change has a verdict. `lake compare` weighs two runs against each other.
-- example: lake query run_history --param hardware_id=dev --param model=resnet18
-- param: hardware_id STRING = 'all'; a hardware id, or all
-- param: precision STRING = 'all'; a precision, or all
-- param: model STRING = 'all'; a model, or all
-- param: batch BIGINT = 0 (0..); a batch size, or 0 for all
-- column place [1]: Number of the run among those of its configuration with this status, from 1; without a start comes first
-- column quantity: The latency that is compared: total_latency_ms where this run and the good run before have it, else
--   end_to_end_latency_ms; NULL where neither is in both
-- column previous_latency_ms [ms]: That latency of the good run before
-- column change_percent [%]: That latency against it; above 0 it got slower
-- column end_to_end_change_percent [%]: The same of the end-to-end latency; NULL where one was not timed
-- column noise_percent [%]: Largest change of the quantity that noise explains, from run_noise; NULL where not known
-- column verdict: first, slower, faster, within noise, not_comparable, or failed
-- column reason: Why there is no change: the difference of methods, or the error of a failed run
-- column previous_run_id: The good run before
WITH wanted AS (
    SELECT
        r.hardware_id,
        r.precision,
        r.model,
        r.batch,
        r.run_id,
        r.status,
        r.started_at,
        r.session_id,
        r.tool_version,
        r.device,
        r.timing_method,
        r.flops_method,
        r.total_latency_ms,
        r.end_to_end_latency_ms,
        r.error,
        row_number() OVER in_order AS place,
        lag(r.run_id) OVER in_order AS before_run_id,
        lag(r.device) OVER in_order AS before_device,
        lag(r.timing_method) OVER in_order AS before_timing_method,
        lag(r.flops_method) OVER in_order AS before_flops_method,
        lag(r.total_latency_ms) OVER in_order AS before_latency_ms,
        lag(r.end_to_end_latency_ms) OVER in_order AS before_end_to_end_latency_ms,
        CASE
            WHEN r.status <> 'ok' THEN NULL
            WHEN r.total_latency_ms IS NOT NULL AND lag(r.total_latency_ms) OVER in_order IS NOT NULL
                THEN 'total_latency_ms'
            WHEN r.end_to_end_latency_ms IS NOT NULL AND lag(r.end_to_end_latency_ms) OVER in_order IS NOT NULL
                THEN 'end_to_end_latency_ms'
        END AS quantity
    FROM runs r
    CROSS JOIN params p
    WHERE
        r.kind = 'efficiency'
        AND (p.hardware_id = 'all' OR r.hardware_id = p.hardware_id)
        AND (p.precision = 'all' OR r.precision = p.precision)
        AND (p.model = 'all' OR r.model = p.model)
        AND (p.batch = 0 OR r.batch = p.batch)
    WINDOW in_order AS (
        PARTITION BY r.hardware_id, r.precision, r.model, r.batch, r.status
        ORDER BY r.started_at NULLS FIRST, r.run_id
    )
),
compared AS (
    SELECT
        hardware_id, precision, model, batch, run_id, status, started_at, session_id, tool_version, device, timing_method,
        flops_method, total_latency_ms, end_to_end_latency_ms, error, place, before_run_id, before_device,
        before_timing_method, before_flops_method, before_end_to_end_latency_ms, quantity,
        CASE quantity
            WHEN 'total_latency_ms' THEN total_latency_ms
            WHEN 'end_to_end_latency_ms' THEN end_to_end_latency_ms
        END AS latency_ms,
        CASE quantity
            WHEN 'total_latency_ms' THEN before_latency_ms
            WHEN 'end_to_end_latency_ms' THEN before_end_to_end_latency_ms
        END AS previous_latency_ms
    FROM wanted
),
judged AS (
    SELECT
        w.hardware_id,
        w.precision,
        w.model,
        w.batch,
        w.run_id,
        w.status,
        w.started_at,
        w.session_id,
        w.tool_version,
        w.timing_method,
        w.flops_method,
        w.total_latency_ms,
        w.end_to_end_latency_ms,
        w.place,
        CASE WHEN w.status = 'ok' THEN w.before_run_id END AS previous_run_id,
        w.quantity,
        w.previous_latency_ms,
        w.before_end_to_end_latency_ms,
        n.noise_percent,
        CASE
            WHEN w.status <> 'ok' THEN w.error
            WHEN w.before_run_id IS NULL THEN NULL
            WHEN w.timing_method <> w.before_timing_method THEN 'timed by different methods'
            WHEN w.flops_method IS DISTINCT FROM w.before_flops_method THEN 'counted by different methods'
            WHEN w.device IS DISTINCT FROM w.before_device THEN 'run on different kinds of device'
            WHEN w.quantity IS NULL THEN 'the runs have no latency in common'
        END AS reason,
        (w.latency_ms / NULLIF(w.previous_latency_ms, 0) - 1) * 100 AS raw_change_percent
    FROM compared w
    LEFT JOIN run_noise n
        ON n.hardware_id = w.hardware_id
        AND n.precision = w.precision
        AND n.model = w.model
        AND n.batch = w.batch
        AND n.timing_method = w.timing_method
        AND n.flops_method IS NOT DISTINCT FROM w.flops_method
        AND n.quantity = w.quantity
)
SELECT
    hardware_id,
    precision,
    model,
    batch,
    run_id,
    status,
    started_at,
    session_id,
    tool_version,
    place,
    total_latency_ms,
    end_to_end_latency_ms,
    quantity,
    previous_latency_ms,
    CASE WHEN reason IS NULL THEN raw_change_percent END AS change_percent,
    CASE
        WHEN reason IS NULL
            THEN (end_to_end_latency_ms / NULLIF(before_end_to_end_latency_ms, 0) - 1) * 100
    END AS end_to_end_change_percent,
    noise_percent,
    CASE
        WHEN status <> 'ok' THEN 'failed'
        WHEN previous_run_id IS NULL THEN 'first'
        WHEN reason IS NOT NULL THEN 'not_comparable'
        WHEN abs(raw_change_percent) <= noise_percent THEN 'within noise'
        WHEN raw_change_percent > 0 THEN 'slower'
        WHEN raw_change_percent < 0 THEN 'faster'
        ELSE 'within noise'
    END AS verdict,
    reason,
    timing_method,
    flops_method,
    previous_run_id
FROM judged
