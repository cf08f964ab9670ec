-- One row for each run that timed a model or was to (kind efficiency), repeated and failed ones included; retracted ones are
-- not shown. A failed run has NULL figures and its reason in error. Runs of other kinds have views of their own, such as
-- quantization_results, experiment_summary and kv_run_summary, and all are in runs.
-- example: select started_at, status, total_latency_ms, error from run_summary where model = 'resnet18'
-- column efficiency [1]: Share of the recorded peak: total_flops / total_latency_ms / theoretical_peak_flops
SELECT
    hardware_id,
    precision,
    model,
    batch,
    run_id,
    status,
    started_at,
    total_latency_ms,
    total_latency_std_ms,
    end_to_end_latency_ms,
    throughput_fps,
    total_flops / NULLIF(total_latency_ms / 1000 * theoretical_peak_flops, 0) AS efficiency,
    timing_method,
    flops_method,
    theoretical_peak_flops,
    theoretical_peak_source,
    session_id,
    run_index,
    warnings,
    error,
    recorded_at
FROM runs
WHERE kind = 'efficiency'
ORDER BY hardware_id, precision, model, batch, started_at NULLS LAST, run_id
