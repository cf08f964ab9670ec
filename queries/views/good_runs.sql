-- One row for each good run: one of kind efficiency with status ok, repeated ones included. What such a run is stands here
-- once; latest_runs, run_noise and the views of drift choose among these rows. A run that was forced on a machine unfit to
-- be measured counts as good: is_representative tells them apart.
-- example: select started_at, run_id, total_latency_ms from good_runs where model = 'resnet18' and is_representative
-- column is_representative: Whether the machine was fit to be measured; false for a run that --force made
-- column gpu_clock_mhz [MHz]: GPU clock under load
-- column cpu_freq_mhz [MHz]: CPU frequency under load
-- column temperature_c [°C]: Temperature under load
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
    software_fingerprint,
    total_flops,
    total_bytes,
    total_latency_ms,
    total_latency_std_ms,
    end_to_end_latency_ms,
    end_to_end_latency_std_ms,
    throughput_fps,
    num_subgraphs,
    timed_runs,
    session_id,
    run_index,
    system_under_load.gpu_clock_mhz AS gpu_clock_mhz,
    system_under_load.cpu_freq_mhz AS cpu_freq_mhz,
    system_under_load.temperature_c AS temperature_c,
    coalesce(CAST(to_json(warnings) AS STRING) NOT LIKE '%"not_representative:%', true) AS is_representative
FROM runs
WHERE status = 'ok' AND kind = 'efficiency'
