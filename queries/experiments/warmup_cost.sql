-- One row for each good experiment whose warm-up is known request by request: what it cost. These requests are in no other
-- figure. Its time is from sending the first one to the end of the last, not the sum of their latencies.
-- example: select run_id, warmup_requests, warmup_s, warmup_share, warmup_output_tokens from warmup_cost
-- column warmup_requests [1]: Requests of the warm-up
-- column failed_warmup_requests [1]: Those of them that failed or were cancelled
-- column warmup_s [s]: Time from sending the first to the end of the last; NULL where that of an answered one is not
--   known
-- column warmup_share [1]: warmup_s / (warmup_s + wall_time_s): share of the time that went into warming up
-- column warmup_input_tokens [1]: Tokens of their prompts; NULL where one is not known
-- column warmup_output_tokens [1]: Tokens of their answers; NULL where that of an answered one is not known
-- column warmup_energy_j [J]: Energy of the warm-up, by the source, method and scope of the energy that stands for the run;
--   NULL where nobody measured it
WITH warmed AS (
    SELECT
        hardware_id,
        run_id,
        count(*) AS num_requests,
        count(CASE WHEN status <> 'ok' THEN 1 END) AS num_failed,
        CASE
            WHEN count(CASE WHEN status = 'ok' THEN sent_at_s + end_to_end_latency_ms END)
                = count(CASE WHEN status = 'ok' THEN 1 END)
                THEN max(sent_at_s + end_to_end_latency_ms / 1000) - min(sent_at_s)
        END AS warmup_s,
        CASE WHEN count(input_tokens) = count(*) THEN CAST(sum(input_tokens) AS BIGINT) END AS input_tokens,
        CASE
            WHEN count(CASE WHEN status = 'ok' AND output_tokens IS NULL THEN 1 END) = 0
                THEN CAST(sum(output_tokens) AS BIGINT)
        END AS output_tokens
    FROM experiment_requests
    WHERE phase = 'warmup'
    GROUP BY hardware_id, run_id
),
energies AS (
    SELECT w.hardware_id, w.run_id, w.source, w.method, w.scope, max(w.energy_j) AS energy_j
    FROM energy_estimates w
    WHERE w.phase = 'warmup' AND w.process_index IS NULL AND w.device_index IS NULL
    GROUP BY w.hardware_id, w.run_id, w.source, w.method, w.scope
)
SELECT
    s.hardware_id,
    s.precision,
    s.model,
    s.batch,
    s.run_id,
    s.backend,
    w.num_requests AS warmup_requests,
    w.num_failed AS failed_warmup_requests,
    w.warmup_s,
    s.wall_time_s,
    w.warmup_s / NULLIF(w.warmup_s + s.wall_time_s, 0) AS warmup_share,
    w.input_tokens AS warmup_input_tokens,
    w.output_tokens AS warmup_output_tokens,
    e.energy_j AS warmup_energy_j
FROM experiment_summary s
JOIN warmed w ON w.hardware_id = s.hardware_id AND w.run_id = s.run_id
LEFT JOIN energies e
    ON e.hardware_id = s.hardware_id
    AND e.run_id = s.run_id
    AND e.source = s.energy_source
    AND e.method = s.energy_method
    AND e.scope = s.energy_scope
