-- One row for each configuration that was ever measured with success: its latest run. A configuration is
-- (hardware_id, precision, model, batch); its latest run has status ok, kind efficiency and the greatest started_at,
-- then the greatest run_id; a run without a start time counts as the oldest. A run that was forced on a machine unfit to be
-- measured counts like any other: is_representative tells them apart. Of int8 networks that were made with several engines, sets
-- or preparations, the one that was measured last is here, and flops_method says which. good_runs has the earlier ones too. The
-- other views build on this one.
-- example: select hardware_id, precision, model, batch, run_id, timing_method from latest_runs where model = 'resnet18'
-- column is_representative: Whether the machine was fit to be measured; false for a run that --force made
SELECT
    hardware_id,
    precision,
    model,
    batch,
    run_id,
    started_at,
    device,
    thermal_profile,
    theoretical_peak_flops,
    theoretical_peak_source,
    timing_method,
    flops_method,
    total_flops,
    total_bytes,
    total_latency_ms,
    total_latency_std_ms,
    end_to_end_latency_ms,
    throughput_fps,
    num_subgraphs,
    session_id,
    is_representative
FROM good_runs
QUALIFY row_number() OVER (
    PARTITION BY hardware_id, precision, model, batch ORDER BY started_at DESC NULLS LAST, run_id DESC
) = 1
