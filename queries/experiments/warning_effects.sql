-- One row for each code of measurement_warnings on a hardware id: in how many experiments the doubt was raised, and whether
-- repeats scatter more with it. The scatter is the coefficient of variation over repeats, pooled over configurations by
-- their degrees of freedom; repeats of one configuration with the doubt and without it are never mixed. It is NULL where no
-- configuration was repeated so. A larger scatter does not say that the doubt is its cause.
-- example: select code, share_of_runs, energy_cv_with, energy_cv_without from warning_effects order by share_of_runs desc
-- column num_runs [1]: Good experiments on the hardware id
-- column num_runs_with [1]: Those with the doubt
-- column share_of_runs [1]: num_runs_with / num_runs
-- column energy_cv_with [1]: Scatter of energy_per_output_token_j over repeats with the doubt
-- column energy_repeats_with [1]: Degrees of freedom behind it: runs less one, summed over configurations
-- column energy_cv_without [1]: Scatter of energy_per_output_token_j over repeats without the doubt
-- column energy_repeats_without [1]: Degrees of freedom behind it
-- column throughput_cv_with [1]: Scatter of output_tokens_per_s over repeats with the doubt
-- column throughput_repeats_with [1]: Degrees of freedom behind it
-- column throughput_cv_without [1]: Scatter of output_tokens_per_s over repeats without the doubt
-- column throughput_repeats_without [1]: Degrees of freedom behind it
WITH raised AS (
    SELECT DISTINCT hardware_id, run_id, code
    FROM measurement_warnings
),
codes AS (
    SELECT DISTINCT hardware_id, code
    FROM raised
),
marked AS (
    SELECT
        s.hardware_id,
        c.code,
        s.configuration,
        s.energy_source,
        s.energy_method,
        s.energy_scope,
        s.energy_per_output_token_j,
        s.output_tokens_per_s,
        w.code IS NOT NULL AS has_code
    FROM experiment_summary s
    JOIN codes c ON c.hardware_id = s.hardware_id
    LEFT JOIN raised w ON w.hardware_id = s.hardware_id AND w.run_id = s.run_id AND w.code = c.code
),
repeats AS (
    SELECT
        hardware_id,
        code,
        has_code,
        count(*) AS num_runs,
        count(energy_per_output_token_j) - 1 AS energy_freedom,
        stddev_samp(energy_per_output_token_j) / NULLIF(avg(energy_per_output_token_j), 0) AS energy_cv,
        count(output_tokens_per_s) - 1 AS throughput_freedom,
        stddev_samp(output_tokens_per_s) / NULLIF(avg(output_tokens_per_s), 0) AS throughput_cv
    FROM marked
    GROUP BY hardware_id, code, has_code, configuration, energy_source, energy_method, energy_scope
),
pooled AS (
    SELECT
        hardware_id,
        code,
        has_code,
        CAST(sum(num_runs) AS BIGINT) AS num_runs,
        coalesce(CAST(sum(CASE WHEN energy_cv IS NOT NULL THEN energy_freedom END) AS BIGINT), 0) AS energy_freedom,
        sqrt(
            sum(energy_freedom * energy_cv * energy_cv)
            / NULLIF(sum(CASE WHEN energy_cv IS NOT NULL THEN energy_freedom END), 0)
        ) AS energy_cv,
        coalesce(CAST(sum(CASE WHEN throughput_cv IS NOT NULL THEN throughput_freedom END) AS BIGINT), 0)
        AS throughput_freedom,
        sqrt(
            sum(throughput_freedom * throughput_cv * throughput_cv)
            / NULLIF(sum(CASE WHEN throughput_cv IS NOT NULL THEN throughput_freedom END), 0)
        ) AS throughput_cv
    FROM repeats
    GROUP BY hardware_id, code, has_code
)
SELECT
    hardware_id,
    code,
    CAST(sum(num_runs) AS BIGINT) AS num_runs,
    coalesce(max(CASE WHEN has_code THEN num_runs END), 0) AS num_runs_with,
    coalesce(max(CASE WHEN has_code THEN num_runs END), 0) / NULLIF(CAST(sum(num_runs) AS BIGINT), 0) AS share_of_runs,
    max(CASE WHEN has_code THEN energy_cv END) AS energy_cv_with,
    coalesce(max(CASE WHEN has_code THEN energy_freedom END), 0) AS energy_repeats_with,
    max(CASE WHEN NOT has_code THEN energy_cv END) AS energy_cv_without,
    coalesce(max(CASE WHEN NOT has_code THEN energy_freedom END), 0) AS energy_repeats_without,
    max(CASE WHEN has_code THEN throughput_cv END) AS throughput_cv_with,
    coalesce(max(CASE WHEN has_code THEN throughput_freedom END), 0) AS throughput_repeats_with,
    max(CASE WHEN NOT has_code THEN throughput_cv END) AS throughput_cv_without,
    coalesce(max(CASE WHEN NOT has_code THEN throughput_freedom END), 0) AS throughput_repeats_without
FROM pooled
GROUP BY hardware_id, code
