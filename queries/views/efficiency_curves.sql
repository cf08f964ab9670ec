-- One row for each bin of an efficiency curve: the share of the recorded peak that an operation type reaches at one size,
-- on one hardware id and precision, pooled over the latest run of each configuration and all batch sizes. Runs of
-- different timing_method or flops_method never share a curve. flops_bins lists the bins. The mean weighs each subgraph by
-- its samples; the variance is the pooled one within and between subgraphs.
-- example: select flops_geometric_mean, efficiency_mean from efficiency_curves where operation_type = 'matmul'
-- column bin_from_flops [FLOP]: Lower end of the bin
-- column flops_bin_centre [FLOP]: Centre by the rule of the v1 curves: lower end times the root of 10; 1e5 / 3 in the first bin
-- column flops_geometric_mean [FLOP]: Geometric mean of the FLOPs of the bin's subgraphs, where the mean really lies
-- column efficiency_mean [1]: Mean efficiency of the bin, weighted by samples
-- column efficiency_std [1]: Pooled sample standard deviation of the efficiency
-- column efficiency_min [1]: Smallest mean efficiency of a subgraph in the bin
-- column efficiency_max [1]: Largest mean efficiency of a subgraph in the bin
-- column efficiency_ci_lower [1]: Lower end of the 95 % interval of the mean: mean - 1.96 std / sqrt(samples), at least 0
-- column efficiency_ci_upper [1]: Upper end of that interval
-- column num_observations [1]: Subgraphs in the bin
-- column num_samples [1]: Samples behind them
-- column num_models [1]: Models behind them
-- column min_flops [FLOP]: Smallest FLOPs of a subgraph in the bin
-- column max_flops [FLOP]: Largest FLOPs of a subgraph in the bin
-- column residual_sum_of_squares [1]: Sum of squared distances of the subgraphs' efficiencies from the bin's mean
-- column largest_residual [1]: Largest distance of a subgraph's efficiency from the bin's mean
-- column total_sum_of_squares [1]: The same from the plain mean of the whole curve: 1 - residual / total is the R2 of a curve
WITH observations AS (
    SELECT
        s.hardware_id,
        s.precision,
        s.operation_type,
        r.timing_method,
        r.flops_method,
        s.model,
        s.flops,
        s.efficiency_mean AS efficiency,
        s.efficiency_std AS spread,
        s.efficiency_samples AS samples,
        b.bin_from_flops,
        b.flops_bin_centre
    FROM latest_runs r
    JOIN subgraph_timings s ON s.hardware_id = r.hardware_id AND s.run_id = r.run_id
    JOIN flops_bins b ON s.flops >= b.bin_from_flops AND (s.flops < b.bin_to_flops OR b.bin_to_flops IS NULL)
    WHERE s.flops > 0 AND s.efficiency_samples > 0
),
sums AS (
    SELECT
        hardware_id,
        precision,
        operation_type,
        timing_method,
        flops_method,
        bin_from_flops,
        flops_bin_centre,
        model,
        flops,
        efficiency,
        spread,
        samples,
        sum(samples * efficiency) OVER bin AS weighted,
        sum(samples) OVER bin AS weight,
        avg(efficiency) OVER curve AS curve_mean
    FROM observations
    WINDOW
        bin AS (PARTITION BY hardware_id, precision, operation_type, timing_method, flops_method, bin_from_flops),
        curve AS (PARTITION BY hardware_id, precision, operation_type, timing_method, flops_method)
),
centred AS (
    SELECT
        hardware_id,
        precision,
        operation_type,
        timing_method,
        flops_method,
        bin_from_flops,
        flops_bin_centre,
        model,
        flops,
        efficiency,
        spread,
        samples,
        curve_mean,
        weighted / NULLIF(weight, 0) AS bin_mean
    FROM sums
),
bins AS (
    SELECT
        hardware_id,
        precision,
        operation_type,
        timing_method,
        flops_method,
        bin_from_flops,
        flops_bin_centre,
        bin_mean,
        exp(avg(ln(flops))) AS flops_geometric_mean,
        CASE
            WHEN count(*) = 1 THEN max(spread * spread)
            ELSE (
                sum((samples - 1) * spread * spread)
                + sum(samples * (efficiency - bin_mean) * (efficiency - bin_mean))
            ) / NULLIF(sum(samples) - 1, 0)
        END AS variance,
        min(efficiency) AS efficiency_min,
        max(efficiency) AS efficiency_max,
        count(*) AS num_observations,
        CAST(sum(samples) AS BIGINT) AS num_samples,
        count(DISTINCT model) AS num_models,
        min(flops) AS min_flops,
        max(flops) AS max_flops,
        sum((efficiency - bin_mean) * (efficiency - bin_mean)) AS residual_sum_of_squares,
        max(abs(efficiency - bin_mean)) AS largest_residual,
        sum((efficiency - curve_mean) * (efficiency - curve_mean)) AS total_sum_of_squares
    FROM centred
    GROUP BY
        hardware_id, precision, operation_type, timing_method, flops_method, bin_from_flops, flops_bin_centre, bin_mean
)
SELECT
    hardware_id,
    precision,
    operation_type,
    timing_method,
    flops_method,
    bin_from_flops,
    flops_bin_centre,
    flops_geometric_mean,
    bin_mean AS efficiency_mean,
    sqrt(variance) AS efficiency_std,
    efficiency_min,
    efficiency_max,
    greatest(bin_mean - 1.96 * sqrt(variance / NULLIF(num_samples, 0)), 0e0) AS efficiency_ci_lower,
    bin_mean + 1.96 * sqrt(variance / NULLIF(num_samples, 0)) AS efficiency_ci_upper,
    num_observations,
    num_samples,
    num_models,
    min_flops,
    max_flops,
    residual_sum_of_squares,
    largest_residual,
    total_sum_of_squares
FROM bins
