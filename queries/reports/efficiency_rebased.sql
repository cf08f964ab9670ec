-- One row for each operation type and size on a hardware id and precision: which share of a peak of your choice it reaches.
-- The peak is the physical one of the table `hardware`, unless you give another; so devices, precisions and power modes
-- can be compared, which recorded peaks do not allow. Sizes are the bins of efficiency_curves (half a decade of FLOPs). It
-- pools the latest run of each configuration; batch and power_mode narrow it down. Runs of different timing_method or
-- flops_method never share a row. Subgraphs without FLOPs have no efficiency and are left out.
-- example: lake query efficiency_rebased --param batch=1 --param power_mode=MAXN
-- param: batch BIGINT = 0 (0..); a batch size, or 0 for all
-- param: power_mode STRING = 'all'; a thermal_profile, or all
-- param: peak_flops DOUBLE = 0 (0..); peak in FLOP/s to measure against, or 0 for the physical peak of each device
-- column bin_from_flops [FLOP]: Lower end of the bin
-- column flops_geometric_mean [FLOP]: Geometric mean of the FLOPs of the bin's subgraphs
-- column num_subgraphs [1]: Subgraphs in the bin
-- column num_samples [1]: Samples behind them
-- column achieved_flops [FLOP/s]: Mean of the subgraphs' achieved_flops, weighted by samples
-- column achieved_flops_std [FLOP/s]: Pooled standard deviation of a sample, within and between subgraphs
-- column peak_flops [FLOP/s]: The peak that the efficiency is measured against; NULL where it is not known
-- column efficiency [1]: achieved_flops / peak_flops
-- column efficiency_ci_lower [1]: Lower end of the 95 % interval of the mean, at least 0
-- column efficiency_ci_upper [1]: Upper end of that interval
-- column recorded_efficiency [1]: Mean efficiency by the recorded peak, weighted by samples
-- column peak_is: given, physical, or unknown
WITH observations AS (
    SELECT
        s.hardware_id,
        s.precision,
        s.operation_type,
        r.timing_method,
        r.flops_method,
        s.flops,
        s.achieved_flops AS rate,
        s.efficiency_std * s.theoretical_peak_flops AS spread,
        s.efficiency_mean,
        s.efficiency_samples AS samples,
        CASE WHEN p.peak_flops > 0 THEN p.peak_flops ELSE k.physical_peak_flops END AS peak_flops,
        CASE
            WHEN p.peak_flops > 0 THEN 'given'
            WHEN k.physical_peak_flops > 0 THEN 'physical'
            ELSE 'unknown'
        END AS peak_is,
        b.bin_from_flops
    FROM latest_runs r
    JOIN subgraph_timings s ON s.hardware_id = r.hardware_id AND s.run_id = r.run_id
    JOIN flops_bins b ON s.flops >= b.bin_from_flops AND (s.flops < b.bin_to_flops OR b.bin_to_flops IS NULL)
    JOIN physical_peaks k ON k.hardware_id = r.hardware_id AND k.precision = r.precision
    CROSS JOIN params p
    WHERE
        s.flops > 0
        AND s.efficiency_samples > 0
        AND s.achieved_flops IS NOT NULL
        AND (p.batch = 0 OR r.batch = p.batch)
        AND (p.power_mode = 'all' OR r.thermal_profile = p.power_mode)
),
centred AS (
    SELECT
        hardware_id, precision, operation_type, timing_method, flops_method, bin_from_flops, peak_flops, peak_is, flops,
        rate, spread, efficiency_mean, samples,
        sum(samples * rate) OVER bin AS weighted,
        sum(samples) OVER bin AS weight
    FROM observations
    WINDOW bin AS (
        PARTITION BY hardware_id, precision, operation_type, timing_method, flops_method, bin_from_flops
    )
),
bins AS (
    SELECT
        hardware_id,
        precision,
        operation_type,
        timing_method,
        flops_method,
        bin_from_flops,
        peak_flops,
        peak_is,
        weighted / NULLIF(weight, 0) AS achieved_flops,
        exp(avg(ln(flops))) AS flops_geometric_mean,
        count(*) AS num_subgraphs,
        CAST(sum(samples) AS BIGINT) AS num_samples,
        sum(samples * efficiency_mean)
        / NULLIF(sum(CASE WHEN efficiency_mean IS NOT NULL THEN samples END), 0) AS recorded_efficiency,
        CASE
            WHEN count(spread) < count(*) THEN NULL
            WHEN count(*) = 1 THEN max(spread * spread)
            ELSE (
                sum((samples - 1) * spread * spread)
                + sum(
                    samples * (rate - weighted / NULLIF(weight, 0)) * (rate - weighted / NULLIF(weight, 0))
                )
            ) / NULLIF(sum(samples) - 1, 0)
        END AS variance
    FROM centred
    GROUP BY
        hardware_id, precision, operation_type, timing_method, flops_method, bin_from_flops, peak_flops, peak_is,
        weighted, weight
)
SELECT
    hardware_id,
    precision,
    operation_type,
    bin_from_flops,
    flops_geometric_mean,
    num_subgraphs,
    num_samples,
    achieved_flops,
    sqrt(variance) AS achieved_flops_std,
    peak_flops,
    peak_is,
    achieved_flops / NULLIF(peak_flops, 0) AS efficiency,
    CASE
        WHEN variance IS NOT NULL AND peak_flops IS NOT NULL
            THEN greatest(achieved_flops - 1.96 * sqrt(variance / NULLIF(num_samples, 0)), 0e0) / NULLIF(peak_flops, 0)
    END AS efficiency_ci_lower,
    (achieved_flops + 1.96 * sqrt(variance / NULLIF(num_samples, 0))) / NULLIF(peak_flops, 0) AS efficiency_ci_upper,
    recorded_efficiency,
    timing_method,
    flops_method
FROM bins
