-- One row for each estimator version on each hardware id and precision: how wrong it is. What its columns mean and what is
-- never mixed stands in estimator_accuracy_by, of which this is the part by hardware id and precision.
-- example: select estimator, hardware_id, precision, num_configurations, median_ape, bias, rating from estimator_accuracy
-- column num_configurations [1]: Configurations with an estimate beside a measurement
-- column median_ape [%]: Median of the absolute percentage errors, which are 0 within the noise
-- column mean_ape [%]: Mean of them
-- column p90_ape [%]: 90th percentile of them, interpolated
-- column bias [%]: Mean of the signed percentage errors; above 0 the estimator predicts too much
-- column rmse [1]: Root of the mean squared error, in the unit of the quantity (ms, J, bytes)
-- column within_10_percent [1]: Share of errors below 10 %: EXCELLENT
-- column within_25_percent [1]: Share of errors below 25 %: at least GOOD
-- column within_50_percent [1]: Share of errors below 50 %: at least FAIR
-- column within_noise_share [1]: Share of errors within the noise of the measurement
-- column log_r2 [1]: R2 of ln(predicted) as an estimate of ln(measured); NULL where the measured values are all equal
-- column rank_agreement [1]: Spearman's rank correlation of predicted and measured; NULL with fewer than three
-- column quantity: latency, energy or memory
-- column compared_with: The measured figure that the estimates stand beside
-- column rating: Rating of the median: EXCELLENT, GOOD, FAIR or POOR
SELECT
    estimator,
    estimator_version,
    hardware_id,
    precision,
    quantity,
    compared_with,
    extrapolated,
    num_configurations,
    median_ape,
    mean_ape,
    p90_ape,
    bias,
    rmse,
    within_10_percent,
    within_25_percent,
    within_50_percent,
    within_noise_share,
    log_r2,
    rank_agreement,
    rating
FROM estimator_accuracy_by
WHERE dimension = 'hardware_precision'
