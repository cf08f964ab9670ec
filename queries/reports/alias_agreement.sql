-- One row for each configuration that was measured under two ids of one machine in one power mode: how well the two
-- agree, from the latest run of each. The machine is the same, so a ratio far from 1 is what the measurement itself
-- scatters, or another version of software. Which ids are one machine stands in machine_aliases. Runs that were timed or
-- counted by different methods, or in different power modes, have the verdict not_comparable and no ratio.
-- example: select hardware_id, other_hardware_id, model, latency_ratio from alias_agreement order by latency_ratio
-- column other_hardware_id: The other id of the machine, later in alphabetical order
-- column quantity: The latency: total_latency_ms where both runs have it, else end_to_end_latency_ms; NULL where neither is in both
-- column latency_ms [ms]: The latency under hardware_id
-- column other_latency_ms [ms]: The same latency under other_hardware_id
-- column latency_ratio [1]: latency_ms / other_latency_ms; NULL when not comparable
-- column same_work: Whether both counted the same FLOPs; NULL where one is not known
-- column verdict: comparable or not_comparable
-- column reason: Why the two runs are not comparable; NULL when they are
-- column other_timing_method: timing_method of the other run
-- column other_flops_method: flops_method of the other run
-- column other_started_at: Start of the other run (UTC)
-- column other_run_id: The run under the other id
WITH named AS (
    SELECT
        m.machine,
        r.hardware_id,
        r.precision,
        r.model,
        r.batch,
        r.device,
        r.timing_method,
        r.flops_method,
        r.total_flops,
        r.thermal_profile,
        r.total_latency_ms,
        r.end_to_end_latency_ms,
        r.started_at,
        r.run_id
    FROM latest_runs r
    JOIN machine_aliases m ON m.hardware_id = r.hardware_id
),
paired AS (
    SELECT
        a.hardware_id,
        b.hardware_id AS other_hardware_id,
        a.precision,
        a.model,
        a.batch,
        CASE
            WHEN a.total_latency_ms IS NOT NULL AND b.total_latency_ms IS NOT NULL THEN 'total_latency_ms'
            WHEN a.end_to_end_latency_ms IS NOT NULL AND b.end_to_end_latency_ms IS NOT NULL THEN 'end_to_end_latency_ms'
        END AS quantity,
        a.total_latency_ms,
        b.total_latency_ms AS other_total_latency_ms,
        a.end_to_end_latency_ms,
        b.end_to_end_latency_ms AS other_end_to_end_latency_ms,
        a.total_flops = b.total_flops AS same_work,
        CASE
            WHEN a.timing_method <> b.timing_method THEN 'timed by different methods'
            WHEN a.flops_method IS DISTINCT FROM b.flops_method THEN 'counted by different methods'
            WHEN a.device IS DISTINCT FROM b.device THEN 'run on different kinds of device'
            WHEN a.thermal_profile <> b.thermal_profile THEN 'run in different power modes'
        END AS difference,
        a.timing_method,
        b.timing_method AS other_timing_method,
        a.flops_method,
        b.flops_method AS other_flops_method,
        a.started_at,
        b.started_at AS other_started_at,
        a.run_id,
        b.run_id AS other_run_id
    FROM named a
    JOIN named b
        ON b.machine = a.machine
        AND b.precision = a.precision
        AND b.model = a.model
        AND b.batch = a.batch
        AND b.hardware_id > a.hardware_id
),
judged AS (
    SELECT
        hardware_id,
        other_hardware_id,
        precision,
        model,
        batch,
        quantity,
        CASE quantity
            WHEN 'total_latency_ms' THEN total_latency_ms
            WHEN 'end_to_end_latency_ms' THEN end_to_end_latency_ms
        END AS latency_ms,
        CASE quantity
            WHEN 'total_latency_ms' THEN other_total_latency_ms
            WHEN 'end_to_end_latency_ms' THEN other_end_to_end_latency_ms
        END AS other_latency_ms,
        same_work,
        coalesce(difference, CASE WHEN quantity IS NULL THEN 'the runs have no latency in common' END) AS reason,
        timing_method,
        other_timing_method,
        flops_method,
        other_flops_method,
        started_at,
        other_started_at,
        run_id,
        other_run_id
    FROM paired
)
SELECT
    hardware_id,
    other_hardware_id,
    precision,
    model,
    batch,
    quantity,
    latency_ms,
    other_latency_ms,
    CASE WHEN reason IS NULL THEN latency_ms / NULLIF(other_latency_ms, 0) END AS latency_ratio,
    same_work,
    CASE WHEN reason IS NULL THEN 'comparable' ELSE 'not_comparable' END AS verdict,
    reason,
    timing_method,
    other_timing_method,
    flops_method,
    other_flops_method,
    started_at,
    other_started_at,
    run_id,
    other_run_id
FROM judged
