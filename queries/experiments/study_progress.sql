-- One row for each study on a hardware id: how many experiments of its last plan are done, failed or missing. study_cells
-- has them one by one.
-- example: select study, num_planned, num_done, num_failed, num_missing, is_complete from study_progress
-- column num_planned [1]: Planned experiments: configurations times cycles
-- column num_configurations [1]: Configurations among them
-- column num_cycles [1]: Largest number of a repeat
-- column num_done [1]: Experiments with a good run
-- column num_failed [1]: Experiments that were tried without a good run
-- column num_missing [1]: Experiments that were not tried
-- column num_dropped [1]: Experiments of older plans that the last one does not have; in no other figure
-- column is_complete: Whether all are done
-- column next_position [1]: First position in the plan that is not done; NULL where all are
SELECT
    hardware_id,
    study,
    count(CASE WHEN is_current THEN 1 END) AS num_planned,
    count(DISTINCT CASE WHEN is_current THEN config_hash END) AS num_configurations,
    max(CASE WHEN is_current THEN cycle END) AS num_cycles,
    count(CASE WHEN is_current AND state = 'done' THEN 1 END) AS num_done,
    count(CASE WHEN is_current AND state = 'failed' THEN 1 END) AS num_failed,
    count(CASE WHEN is_current AND state = 'missing' THEN 1 END) AS num_missing,
    count(CASE WHEN NOT is_current THEN 1 END) AS num_dropped,
    count(CASE WHEN is_current AND state <> 'done' THEN 1 END) = 0 AS is_complete,
    min(CASE WHEN is_current AND state <> 'done' THEN position END) AS next_position
FROM study_cells
GROUP BY hardware_id, study
