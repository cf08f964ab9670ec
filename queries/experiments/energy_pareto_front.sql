-- One row for each configuration of experiments with a known energy and throughput: whether it lies on the Pareto front of
-- energy per output token against output tokens per second, which is where no other configuration of the model takes as
-- little energy and is as fast, and better in one of the two. Once among the configurations on its hardware id, and once
-- among all of the model. Only energies of the same source, method and scope, over the same part of a run, are compared.
-- Configurations in which a run throttled are left out.
-- example: select hardware_id, precision, batch, energy_per_output_token_j, output_tokens_per_s from energy_pareto_front
--   where is_on_front order by output_tokens_per_s
-- column configuration: Key that its repeats share, as in experiment_summary
-- column energy_source: Who says what the energy is, as in energy_estimates
-- column energy_method: How the energy was made: counter, power_integral, sum_of_processes or reported
-- column energy_scope: What the energy is of: gpu, soc, machine, process, cpu or ram
-- column energy_per_output_token_j [J]: Mean over its repeats
-- column output_tokens_per_s [1/s]: Mean over its repeats of output_tokens / wall_time_s
-- column num_runs [1]: Repeats behind the row
-- column input_tokens_per_request [1]: Mean tokens of a prompt that was answered; NULL where not each request is known
-- column output_tokens_per_request [1]: Mean tokens of an answer; NULL where not each request is known
-- column num_better_on_hardware [1]: Configurations on the hardware id that are better in one and not worse in the other
-- column num_better [1]: Configurations of the model on any hardware id of which that is true
-- column is_on_front: Whether there is none of them on the hardware id
-- column is_on_front_of_model: Whether there is none of them at all
WITH known AS (
    SELECT
        hardware_id, precision, model, batch, backend, concurrency, num_processes, config_hash, configuration,
        energy_source, energy_method, energy_scope, measurement_methodology, token_timing, energy_per_output_token_j,
        output_tokens_per_s, num_runs, input_tokens_per_request, output_tokens_per_request
    FROM experiment_repeats
    WHERE energy_per_output_token_j IS NOT NULL AND output_tokens_per_s IS NOT NULL AND throttled_runs = 0
),
compared AS (
    SELECT
        k.hardware_id, k.precision, k.model, k.batch, k.backend, k.concurrency, k.num_processes, k.config_hash,
        k.configuration, k.energy_source, k.energy_method, k.energy_scope, k.measurement_methodology, k.token_timing,
        k.energy_per_output_token_j, k.output_tokens_per_s, k.num_runs, k.input_tokens_per_request,
        k.output_tokens_per_request,
        count(CASE WHEN b.hardware_id = k.hardware_id THEN 1 END) AS num_better_on_hardware,
        count(b.hardware_id) AS num_better
    FROM known k
    LEFT JOIN known b
        ON b.model = k.model
        AND b.energy_source = k.energy_source
        AND b.energy_method = k.energy_method
        AND b.energy_scope = k.energy_scope
        AND b.measurement_methodology = k.measurement_methodology
        AND b.energy_per_output_token_j <= k.energy_per_output_token_j
        AND b.output_tokens_per_s >= k.output_tokens_per_s
        AND (
            b.energy_per_output_token_j < k.energy_per_output_token_j OR b.output_tokens_per_s > k.output_tokens_per_s
        )
    GROUP BY
        k.hardware_id, k.precision, k.model, k.batch, k.backend, k.concurrency, k.num_processes, k.config_hash,
        k.configuration, k.energy_source, k.energy_method, k.energy_scope, k.measurement_methodology, k.token_timing,
        k.energy_per_output_token_j, k.output_tokens_per_s, k.num_runs, k.input_tokens_per_request,
        k.output_tokens_per_request
)
SELECT
    hardware_id,
    precision,
    model,
    batch,
    backend,
    concurrency,
    num_processes,
    config_hash,
    configuration,
    energy_source,
    energy_method,
    energy_scope,
    measurement_methodology,
    token_timing,
    energy_per_output_token_j,
    output_tokens_per_s,
    num_runs,
    input_tokens_per_request,
    output_tokens_per_request,
    num_better_on_hardware,
    num_better,
    num_better_on_hardware = 0 AS is_on_front,
    num_better = 0 AS is_on_front_of_model
FROM compared
