-- One row for each reading of a GPU's power (source nvml), in the columns of the time-series sidecar that experiment tools
-- write. Rows of one run are those of its run_id.
-- example: select timestamp_s, gpu_power_w, gpu_temperature_c, gpu_index from power_timeseries_gpu order by timestamp_s
-- column gpu_power_w [W]: Power of the board; what a reading means is in power_series of the run
-- column gpu_temperature_c [°C]: Temperature of the GPU at the same moment
-- column gpu_index [1]: Index of the GPU, as the driver counts
SELECT
    hardware_id,
    run_id,
    timestamp_s,
    power_w AS gpu_power_w,
    temperature_c AS gpu_temperature_c,
    device_index AS gpu_index
FROM power_timeseries
WHERE source = 'nvml'
