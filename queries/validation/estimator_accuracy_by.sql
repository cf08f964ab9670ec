-- One row for each group of estimates of one estimator version: how wrong it is by model, precision, operation type, batch,
-- hardware id, hardware id and precision, or over all. Predictions outside the range that an estimator was fitted on have
-- rows of their own, and so have estimates of another quantity, or compared with another figure. Percentages are counted
-- errors: 0 within the noise of the measurement. By operation, an estimate is one subgraph; elsewhere it is one model.
-- example: select member, median_ape, rating from estimator_accuracy_by where dimension = 'model'
-- column quantity: latency, energy or memory
-- column compared_with: The measured figure that the estimates stand beside
-- column dimension: What the estimates are grouped by: all, hardware, precision, hardware_precision, model, batch, operation
-- column member: The group: a model, a batch size, ...; all over all
-- column num_estimates [1]: Estimates in the group that stand beside a measurement
-- column num_configurations [1]: Configurations they are about
-- column median_ape [%]: Median of the absolute percentage errors
-- column mean_ape [%]: Mean of them
-- column p90_ape [%]: 90th percentile of them, interpolated
-- column bias [%]: Mean of the signed percentage errors; above 0 the estimator predicts too much
-- column rmse [1]: Root of the mean squared error, in the unit of the quantity (ms, J, bytes)
-- column within_10_percent [1]: Share of errors below 10 %: EXCELLENT
-- column within_25_percent [1]: Share of errors below 25 %: at least GOOD
-- column within_50_percent [1]: Share of errors below 50 %: at least FAIR
-- column within_noise_share [1]: Share of errors within the noise of the measurement
-- column log_r2 [1]: R2 of ln(predicted) as an estimate of ln(measured); NULL where the measured values are all equal
-- column rank_agreement [1]: Spearman's rank correlation of predicted and measured, figures that are equal to 1e-9 tied;
--   NULL with fewer than three
-- column rating: Rating of the median: EXCELLENT, GOOD, FAIR or POOR
WITH logarithms AS (
    SELECT
        estimator, estimator_version, quantity, compared_with, extrapolated, dimension, member, hardware_id, precision, model,
        batch, predicted, measured, signed_error, signed_error_percent, counted_ape_percent, within_noise,
        CASE WHEN predicted > 0 THEN ln(predicted) END AS log_predicted,
        ln(measured) AS log_measured,
        CASE WHEN predicted > 0 THEN round(ln(predicted), 9) ELSE -1e9 END AS predicted_place,
        round(ln(measured), 9) AS measured_place
    FROM estimator_error_by
),
centred AS (
    SELECT
        estimator, estimator_version, quantity, compared_with, extrapolated, dimension, member,
        CASE WHEN dimension IN ('hardware', 'hardware_precision') THEN hardware_id END AS hardware_id,
        CASE WHEN dimension IN ('precision', 'hardware_precision') THEN precision END AS precision,
        hardware_id || '/' || precision || '/' || model || '/' || CAST(batch AS STRING) AS configuration,
        predicted, measured, signed_error, signed_error_percent, counted_ape_percent, within_noise,
        log_predicted,
        log_measured,
        predicted_place,
        measured_place,
        avg(log_measured) OVER members AS mean_log_measured,
        rank() OVER by_predicted + (count(*) OVER same_predicted - 1) / 2e0 AS predicted_rank,
        rank() OVER by_measured + (count(*) OVER same_measured - 1) / 2e0 AS measured_rank
    FROM logarithms
    WINDOW
        members AS (
            PARTITION BY estimator, estimator_version, quantity, compared_with, extrapolated, dimension, member
        ),
        by_predicted AS (
            PARTITION BY estimator, estimator_version, quantity, compared_with, extrapolated, dimension, member
            ORDER BY predicted_place
        ),
        by_measured AS (
            PARTITION BY estimator, estimator_version, quantity, compared_with, extrapolated, dimension, member
            ORDER BY measured_place
        ),
        same_predicted AS (
            PARTITION BY
                estimator, estimator_version, quantity, compared_with, extrapolated, dimension, member, predicted_place
        ),
        same_measured AS (
            PARTITION BY
                estimator, estimator_version, quantity, compared_with, extrapolated, dimension, member, measured_place
        )
),
accuracies AS (
    SELECT
        estimator,
        estimator_version,
        quantity,
        compared_with,
        extrapolated,
        dimension,
        member,
        hardware_id,
        precision,
        count(*) AS num_estimates,
        count(DISTINCT configuration) AS num_configurations,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY counted_ape_percent) AS median_ape,
        avg(counted_ape_percent) AS mean_ape,
        percentile_cont(0.9) WITHIN GROUP (ORDER BY counted_ape_percent) AS p90_ape,
        avg(signed_error_percent) AS bias,
        sqrt(avg(signed_error * signed_error)) AS rmse,
        avg(CASE WHEN counted_ape_percent < 10 THEN 1e0 ELSE 0e0 END) AS within_10_percent,
        avg(CASE WHEN counted_ape_percent < 25 THEN 1e0 ELSE 0e0 END) AS within_25_percent,
        avg(CASE WHEN counted_ape_percent < 50 THEN 1e0 ELSE 0e0 END) AS within_50_percent,
        avg(CASE WHEN within_noise THEN 1e0 ELSE 0e0 END) AS within_noise_share,
        1 - sum((log_predicted - log_measured) * (log_predicted - log_measured)) / NULLIF(
            sum(
                CASE WHEN log_predicted IS NOT NULL
                    THEN (log_measured - mean_log_measured) * (log_measured - mean_log_measured)
                END
            ),
            0
        ) AS log_r2,
        CASE
            WHEN count(*) > 2 AND min(predicted_place) < max(predicted_place) AND min(measured_place) < max(measured_place)
                THEN corr(predicted_rank, measured_rank)
        END AS rank_agreement
    FROM centred
    GROUP BY
        estimator, estimator_version, quantity, compared_with, extrapolated, dimension, member, hardware_id, precision
)
SELECT
    estimator,
    estimator_version,
    quantity,
    compared_with,
    extrapolated,
    dimension,
    member,
    hardware_id,
    precision,
    num_estimates,
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
    CASE
        WHEN median_ape < 10 THEN 'EXCELLENT'
        WHEN median_ape < 25 THEN 'GOOD'
        WHEN median_ape < 50 THEN 'FAIR'
        ELSE 'POOR'
    END AS rating
FROM accuracies
