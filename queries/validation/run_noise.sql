-- One row for each configuration and each of its latencies and energies: how much the figure scatters when the same thing is
-- measured again, which is what an estimate or a change must exceed to mean anything. Where runs of the configuration's
-- hardware id and precision were repeated by the same methods, it is twice their pooled relative standard deviation (between
-- runs). Where none was, only the 95 % interval of the mean of a latency within the latest run is known (within run), which
-- is too small: repeated runs scatter several times as much. Of an energy that was not repeated nothing is known. Forced runs
-- of a machine unfit to be measured are left out; a configuration whose latest run was forced has no row.
-- example: select model, batch, noise_percent, noise_method from run_noise where quantity = 'total_latency_ms'
-- column quantity: The latency: total_latency_ms (sum of subgraphs) or end_to_end_latency_ms; or the energy of one pass on a
--   power rail, named by its source and rail as in energy_per_pass: nvml/gpu
-- column measured_ms [ms]: Value in the latest run; NULL for an energy
-- column measured_j [J]: Energy of one pass in the latest run; NULL for a latency
-- column num_runs [1]: Good runs of this configuration by the same methods
-- column between_runs_percent [%]: Relative standard deviation over repeats: runs with the same software, power mode and graph
-- column num_repeats [1]: Repeats behind the pooled deviation, on this hardware id and precision
-- column noise_percent [%]: Largest relative difference that noise explains; NULL where nothing is known
-- column noise_method: between runs, or within run; NULL where nothing is known
WITH good AS (
    SELECT
        hardware_id, precision, model, batch, run_id, timing_method, flops_method, software_fingerprint, thermal_profile,
        device, total_flops, timed_runs, total_latency_ms, total_latency_std_ms, end_to_end_latency_ms,
        end_to_end_latency_std_ms
    FROM good_runs
    WHERE is_representative
),
figures AS (
    SELECT
        hardware_id, precision, model, batch, run_id, timing_method, flops_method, software_fingerprint, thermal_profile,
        device, total_flops, timed_runs, 'total_latency_ms' AS quantity, 'latency' AS method, total_latency_ms AS measured,
        total_latency_std_ms AS std
    FROM good
    WHERE total_latency_ms > 0
    UNION ALL
    SELECT
        hardware_id, precision, model, batch, run_id, timing_method, flops_method, software_fingerprint, thermal_profile,
        device, total_flops, timed_runs, 'end_to_end_latency_ms' AS quantity, 'latency' AS method,
        end_to_end_latency_ms AS measured, end_to_end_latency_std_ms AS std
    FROM good
    WHERE end_to_end_latency_ms > 0
    UNION ALL
    SELECT
        g.hardware_id, g.precision, g.model, g.batch, g.run_id, g.timing_method, g.flops_method, g.software_fingerprint,
        g.thermal_profile, g.device, g.total_flops, g.timed_runs, e.compared_with AS quantity, e.method,
        e.energy_per_pass_j AS measured, CAST(NULL AS DOUBLE) AS std
    FROM good g
    JOIN energy_per_pass e ON e.hardware_id = g.hardware_id AND e.run_id = g.run_id
    WHERE e.energy_per_pass_j > 0
),
repeats AS (
    SELECT
        hardware_id,
        precision,
        model,
        batch,
        quantity,
        timing_method,
        coalesce(flops_method, 'unknown') AS flops_method,
        method,
        count(*) AS num_runs,
        coalesce(stddev_samp(measured), 0e0) / NULLIF(avg(measured), 0) AS relative_std
    FROM figures
    GROUP BY
        hardware_id, precision, model, batch, quantity, timing_method, coalesce(flops_method, 'unknown'), method,
        coalesce(software_fingerprint, 'unknown'), coalesce(thermal_profile, 'unknown'), coalesce(device, 'unknown'),
        coalesce(total_flops, -1)
),
configurations AS (
    SELECT
        hardware_id,
        precision,
        model,
        batch,
        quantity,
        timing_method,
        flops_method,
        method,
        CAST(sum(num_runs) AS BIGINT) AS num_runs,
        CAST(sum(num_runs - 1) AS BIGINT) AS num_repeats,
        sqrt(sum((num_runs - 1) * relative_std * relative_std) / NULLIF(sum(num_runs - 1), 0)) AS relative_std
    FROM repeats
    GROUP BY hardware_id, precision, model, batch, quantity, timing_method, flops_method, method
),
pooled AS (
    SELECT
        hardware_id,
        precision,
        quantity,
        timing_method,
        flops_method,
        method,
        CAST(sum(num_repeats) AS BIGINT) AS num_repeats,
        sqrt(
            sum(num_repeats * coalesce(relative_std * relative_std, 0e0)) / NULLIF(sum(num_repeats), 0)
        ) AS relative_std
    FROM configurations
    GROUP BY hardware_id, precision, quantity, timing_method, flops_method, method
),
samples AS (
    SELECT s.hardware_id, s.run_id, max(s.latency_samples) AS num_samples
    FROM latest_runs l
    JOIN subgraph_timings s ON s.hardware_id = l.hardware_id AND s.run_id = l.run_id
    GROUP BY s.hardware_id, s.run_id
)
SELECT
    f.hardware_id,
    f.precision,
    f.model,
    f.batch,
    f.quantity,
    f.run_id,
    f.timing_method,
    f.flops_method,
    CASE WHEN f.method = 'latency' THEN f.measured END AS measured_ms,
    CASE WHEN f.method <> 'latency' THEN f.measured END AS measured_j,
    c.num_runs,
    c.relative_std * 100 AS between_runs_percent,
    p.num_repeats,
    CASE
        WHEN p.num_repeats > 0 THEN 2 * p.relative_std * 100
        ELSE 1.96 * f.std / NULLIF(sqrt(coalesce(f.timed_runs, s.num_samples)) * f.measured, 0) * 100
    END AS noise_percent,
    CASE
        WHEN p.num_repeats > 0 THEN 'between runs'
        WHEN f.std IS NOT NULL AND coalesce(f.timed_runs, s.num_samples) > 0 THEN 'within run'
    END AS noise_method
FROM latest_runs l
JOIN figures f ON f.hardware_id = l.hardware_id AND f.run_id = l.run_id
JOIN configurations c
    ON c.hardware_id = f.hardware_id
    AND c.precision = f.precision
    AND c.model = f.model
    AND c.batch = f.batch
    AND c.quantity = f.quantity
    AND c.timing_method = f.timing_method
    AND c.flops_method = coalesce(f.flops_method, 'unknown')
    AND c.method = f.method
JOIN pooled p
    ON p.hardware_id = f.hardware_id
    AND p.precision = f.precision
    AND p.quantity = f.quantity
    AND p.timing_method = f.timing_method
    AND p.flops_method = c.flops_method
    AND p.method = f.method
LEFT JOIN samples s ON s.hardware_id = f.hardware_id AND s.run_id = f.run_id
