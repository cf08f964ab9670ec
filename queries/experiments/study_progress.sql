-- One row for each study on a hardware id: how many of its planned experiments are done, failed or missing. study_cells has
-- them one by one.
-- example: select study, num_planned, num_done, num_failed, num_missing, is_complete from study_progress
-- column num_planned [1]: Planned experiments: configurations times cycles
-- column num_configurations [1]: Configurations among them
-- column num_cycles [1]: Largest number of a repeat
-- column num_done [1]: Experiments with a good run
-- column num_failed [1]: Experiments that were tried without a good run
-- column num_missing [1]: Experiments that were not tried
-- column is_complete: Whether all are done
-- column next_position [1]: First position in the plan that is not done; NULL where all are
SELECT
    hardware_id,
    study,
    count(*) AS num_planned,
    count(DISTINCT config_hash) AS num_configurations,
    max(cycle) AS num_cycles,
    count(CASE WHEN state = 'done' THEN 1 END) AS num_done,
    count(CASE WHEN state = 'failed' THEN 1 END) AS num_failed,
    count(CASE WHEN state = 'missing' THEN 1 END) AS num_missing,
    count(CASE WHEN state = 'done' THEN 1 END) = count(*) AS is_complete,
    min(CASE WHEN state <> 'done' THEN position END) AS next_position
FROM study_cells
GROUP BY hardware_id, study
