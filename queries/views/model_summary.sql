-- One row for each configuration (hardware_id, precision, model, batch): the whole-model figures of its latest run with
-- status ok and kind efficiency. total_latency_ms is the sum of separately timed subgraphs and includes the cost of
-- timing them; end_to_end_latency_ms is the model as a user runs it, NULL where it was not timed. Ask latest_runs or
-- run_summary for the timing method before comparing two rows.
-- example: select model, batch, total_latency_ms, throughput_fps from model_summary where precision = 'fp32'
SELECT
    hardware_id,
    precision,
    model,
    batch,
    total_latency_ms,
    total_latency_std_ms,
    end_to_end_latency_ms,
    throughput_fps,
    total_flops,
    total_bytes,
    num_subgraphs,
    started_at
FROM latest_runs
ORDER BY hardware_id, precision, model, batch
