"""Contracts of LLM inference experiments: what was asked and answered, how fast, and for how much energy."""

from __future__ import annotations

from typing import Annotated

import polars as pl

from groundlake.schemas.base import Element, Table, column
from groundlake.schemas.ledger import UtcTime

METHODOLOGIES = ("total", "steady_state", "windowed")
PHASES = ("warmup", "measure")
SETTING_KINDS = ("config", "environment", "package")
REQUEST_STATUSES = ("ok", "failed", "cancelled")
TOKEN_TIMINGS = ("streaming", "per_request_batch", "proportional")
LATENCY_METRICS = ("ttft", "itl", "itl_trimmed", "e2e")
ENERGY_SCOPES = ("gpu", "cpu", "ram", "soc", "machine", "process")
ENERGY_METHODS = ("power_integral", "counter", "reported", "sum_of_processes")
FLOPS_METHODS = ("calflops", "architecture", "parameter_estimate", "palm_formula", "unknown")
CONFIDENCES = ("high", "medium", "low", "unknown")

RuleStruct = pl.Struct({"figure": pl.String(), "rule": pl.String()})


class _OfAnExperiment(Table):
    """Where the rows of an experiment lie: under its device, precision, model and batch."""

    hardware_id: str = column("Device the experiment ran on")
    precision: str = column("Numeric precision of the weights, lower case; none where it is not known")
    model: str = column("Model that answered")
    batch: int = column("Prompts in one batch; 0 where it is not known", unit="1", ge=0)
    run_id: str = column("Run of kind llm_inference the row belongs to")
    part: str = column("Id of the file the row lies in; a row is visible where its run names the same part")


class Experiments(_OfAnExperiment):
    """One LLM inference experiment: its settings, and its totals over all processes."""

    experiment_id: str = column("Identity of the experiment, as its result names it")
    result_schema_version: str = column("Schema version written in the result")
    result_layout: str = column(
        "Layout of the imported file, told by its fields, not by its version; NULL where nothing was imported",
        nullable=True,
    )
    study: str = column("Study the experiment belongs to", nullable=True)
    cycle: int = column("1, 2, 3, ... of the repeats of one configuration in a study", unit="1", nullable=True, ge=1)
    backend: str = column("What ran the model: transformers, openai, pytorch, vllm, ...")
    backend_version: str = column("Version of the backend", nullable=True)
    measurement_methodology: str = column(
        "What the figures are about: total (the whole run), steady_state or windowed", isin=METHODOLOGIES
    )
    window_start_s: float = column(
        "Begin of the steady-state window, from the start of the measurement", unit="s", nullable=True, ge=0
    )
    window_end_s: float = column(
        "End of the steady-state window, from the start of the measurement", unit="s", nullable=True, ge=0
    )
    num_processes: int = column("Processes that took part; NULL where it is not known", unit="1", nullable=True, ge=1)
    num_requests: int = column("Requests that were measured, failed ones too", unit="1", nullable=True, ge=0)
    warmup_requests: int = column("Requests before the measurement, in no figure", unit="1", nullable=True, ge=0)
    concurrency: int = column("Requests in flight at once, as asked for", unit="1", nullable=True, ge=1)
    max_new_tokens: int = column("Limit of the tokens of an answer", unit="1", nullable=True, ge=1)
    input_tokens: int = column("Tokens of all prompts", unit="1", nullable=True, ge=0)
    output_tokens: int = column("Tokens of all answers", unit="1", nullable=True, ge=0)
    total_tokens: int = column("Tokens of prompts and answers, as recorded", unit="1", nullable=True, ge=0)
    inference_time_s: float = column(
        "Time in which processes inferred, summed over them: not the time that passed", unit="s", nullable=True, ge=0
    )
    wall_time_s: float = column("Time from the first start to the last end", unit="s", nullable=True, ge=0)
    recorded_tokens_per_second: float = column(
        "Throughput as an imported result names it; what it divides by differs between tools",
        unit="1/s",
        nullable=True,
        ge=0,
    )
    recorded_energy_per_token_j: float = column(
        "Energy per token as an imported result names it; which tokens differs between tools",
        unit="J",
        nullable=True,
        ge=0,
    )
    peak_memory_bytes: int = column("Peak memory of the device, weights included", unit="byte", nullable=True, ge=0)
    model_memory_bytes: int = column(
        "Memory of the device after the model was loaded", unit="byte", nullable=True, ge=0
    )
    num_parameters: int = column("Parameters of the model", unit="1", nullable=True, ge=0)
    architecture: str = column("Class or type of the model, such as LlamaForCausalLM", nullable=True)
    context_length: int = column("Longest context that the model takes", unit="1", nullable=True, ge=1)
    quantization_method: str = column("How the weights are quantized: bitsandbytes, gptq, awq, none", nullable=True)
    quantization_bits: int = column("Bits of a quantized weight", unit="1", nullable=True, ge=1)
    throttled: bool = column(
        "Whether the device throttled during the measurement; NULL where nobody looked", nullable=True
    )
    throttled_s: float = column("How long it did", unit="s", nullable=True, ge=0)
    max_temperature_c: float = column("Highest temperature of the device", unit="°C", nullable=True)
    overlap_verified: bool = column(
        "Whether the processes ran at the same time; NULL with one process, or where it is not known", nullable=True
    )
    devices_verified: bool = column(
        "Whether each process had devices of its own, so that a sum of energies counts none twice", nullable=True
    )
    aggregation_rules: Annotated[pl.List, RuleStruct] = column(
        "How each figure over several processes was made: figure, rule", nullable=True
    )
    timeseries_file: str = column("Name of the power sidecar beside the result", nullable=True)
    other_json: str = column("What the result says and no column holds, as JSON", nullable=True)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "experiments"

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """A window has an order; a run is one experiment. That tokens add up is plausibility, not a rule."""
        return {
            "window_start <= end": pl.col("window_start_s") <= pl.col("window_end_s"),
            "one_experiment_in_a_run": pl.struct("hardware_id", "run_id").is_unique(),
        }


class ExperimentProcesses(_OfAnExperiment):
    """One process of an experiment, with its own tokens, times and devices."""

    process_index: int = column("Number of the process, from 0", unit="1", ge=0)
    device_index: int = column("Index of its GPU; NULL on a processor", unit="1", nullable=True, ge=0)
    device_uuid: str = column("Identity of its GPU that does not change with the index", nullable=True)
    device_name: str = column("Product name of its GPU", nullable=True)
    mig_profile: str = column("Slice of a GPU that it ran on, such as 1g.10gb", nullable=True)
    started_at: UtcTime = column("Start of its measurement (UTC)")
    ended_at: UtcTime = column("End of its measurement (UTC)")
    inference_time_s: float = column("Time in which it inferred", unit="s", nullable=True, ge=0)
    input_tokens: int = column("Tokens of its prompts", unit="1", nullable=True, ge=0)
    output_tokens: int = column("Tokens of its answers", unit="1", nullable=True, ge=0)
    total_tokens: int = column("Tokens of its prompts and answers, as recorded", unit="1", nullable=True, ge=0)
    recorded_tokens_per_second: float = column("Throughput as it was recorded", unit="1/s", nullable=True, ge=0)
    peak_memory_bytes: int = column("Its peak memory of the device", unit="byte", nullable=True, ge=0)
    model_memory_bytes: int = column("Memory after it had loaded the model", unit="byte", nullable=True, ge=0)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "experiment_processes"

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """A process ends after it starts, and is there once."""
        return {
            "started_at <= ended_at": pl.col("started_at") <= pl.col("ended_at"),
            "process_once_in_run": pl.struct("hardware_id", "run_id", "process_index").is_unique(),
        }


class ExperimentRequests(_OfAnExperiment):
    """One request of an experiment: when it was sent, how long it took, and its tokens."""

    process_index: int = column("Process that sent it", unit="1", ge=0)
    request_index: int = column("Number of the request in its process, from 0", unit="1", ge=0)
    phase: str = column("warmup (in no figure) or measure", isin=PHASES)
    status: str = column("ok, failed or cancelled", isin=REQUEST_STATUSES)
    error: str = column("Why it has no answer", nullable=True)
    sent_at_s: float = column("When it was sent, from the start of the measurement", unit="s", nullable=True)
    time_to_first_token_ms: float = column("From sending to the first token", unit="ms", nullable=True, ge=0)
    end_to_end_latency_ms: float = column("From sending to the last token", unit="ms", nullable=True, ge=0)
    input_tokens: int = column("Tokens of the prompt", unit="1", nullable=True, ge=0)
    output_tokens: int = column("Tokens of the answer", unit="1", nullable=True, ge=0)
    inter_token_latencies_ms: Annotated[pl.List, pl.Float64()] = column(
        "Times between two successive tokens, or chunks of them; NULL where they were not streamed",
        unit="ms",
        nullable=True,
    )
    token_timing: str = column(
        "How tokens were timed: streaming (each when it came), per_request_batch (one batch at a time), proportional "
        "(the time of the request divided by its tokens)",
        nullable=True,
        isin=TOKEN_TIMINGS,
    )

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "experiment_requests"

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """A failure has a reason; the first token comes before the last; a request is there once."""
        return {
            "failed_request_names_its_error": (pl.col("status") != "failed") | pl.col("error").is_not_null(),
            "first_token <= end": pl.col("time_to_first_token_ms") <= pl.col("end_to_end_latency_ms") * (1 + 1e-9),
            "inter_token_latencies_ms >= 0": pl.col("inter_token_latencies_ms").list.min() >= 0,
            "request_once_in_process": pl.struct(
                "hardware_id", "run_id", "process_index", "phase", "request_index"
            ).is_unique(),
        }

    @classmethod
    def elements(cls) -> tuple[Element, ...]:
        """A row for each inter-token latency."""
        return (Element("inter_token_latencies_ms", "inter_token_latencies", "inter_token_latency_ms"),)


class LatencySamples(_OfAnExperiment):
    """Latencies of one process of an imported experiment that does not say which request each belongs to."""

    process_index: int = column("Process that measured them; NULL where it is not known", unit="1", nullable=True, ge=0)
    metric: str = column(
        "ttft (to the first token), itl (between tokens), itl_trimmed (without the first and last of each request) or "
        "e2e (whole request)",
        isin=LATENCY_METRICS,
    )
    token_timing: str = column("How tokens were timed, as in experiment_requests", nullable=True, isin=TOKEN_TIMINGS)
    samples_ms: Annotated[pl.List, pl.Float64()] = column("The samples, in the order of the file", unit="ms")

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "latency_samples"

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """Latencies are not negative."""
        return {"samples_ms >= 0": pl.col("samples_ms").list.min() >= 0}

    @classmethod
    def elements(cls) -> tuple[Element, ...]:
        """A row for each sample."""
        return (Element("samples_ms", "latency_sample_values", "latency_ms"),)


class EnergyEstimates(_OfAnExperiment):
    """One statement about the energy of an experiment: a run has several, of several sources and scopes."""

    process_index: int = column("Process it is about; NULL for all of them", unit="1", nullable=True, ge=0)
    source: str = column("Who says so: nvml, rapl, zeus, codecarbon, ..., unknown where the result does not tell")
    method: str = column(
        "power_integral, counter, reported (a tool's figure, method not told) or sum_of_processes", isin=ENERGY_METHODS
    )
    scope: str = column("What the energy is of: gpu, cpu, ram, soc, machine or process", isin=ENERGY_SCOPES)
    device_index: int = column("Index of the device; NULL for all in the scope", unit="1", nullable=True, ge=0)
    device_uuid: str = column("Identity of the device that does not change with its index", nullable=True)
    phase: str = column("Part of the work it covers: all, prefill, decode, warmup, ...")
    window_start_s: float = column("Begin, from the start of the measurement", unit="s", nullable=True)
    window_s: float = column("Length of time it covers; NULL where it is not known", unit="s", nullable=True, ge=0)
    energy_j: float = column("Energy; never 0 for what was not measured", unit="J", ge=0)
    baseline_power_w: float = column("Idle power that was taken off", unit="W", nullable=True, ge=0)
    baseline_method: str = column("How the baseline came about: fresh, cached, ...", nullable=True)
    baseline_age_s: float = column("Age of the baseline at the start of the measurement", unit="s", nullable=True)
    energy_above_baseline_j: float = column(
        "energy_j less the baseline's, as it is: below 0 the baseline was too high", unit="J", nullable=True
    )
    emissions_kg_co2: float = column("Emissions as a tool reports them", unit="kg", nullable=True, ge=0)
    note: str = column("What is doubtful about it", nullable=True)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "energy_estimates"


class FlopsEstimates(_OfAnExperiment):
    """One estimate of the floating-point operations of an experiment, with its method and confidence."""

    process_index: int = column("Process it is about; NULL for all of them", unit="1", nullable=True, ge=0)
    flops: float = column("Floating-point operations of the whole work", unit="FLOP", ge=0)
    method: str = column(
        "calflops, architecture, parameter_estimate, palm_formula, or unknown where the result does not tell",
        isin=FLOPS_METHODS,
    )
    confidence: str = column("high, medium, low, or unknown where the result does not tell", isin=CONFIDENCES)
    compute_precision: str = column("Precision the operations run in", nullable=True)
    note: str = column("Remark of whoever estimated", nullable=True)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "flops_estimates"


class ExperimentMetrics(_OfAnExperiment):
    """One summary figure of an imported experiment that no samples stand behind, in long form."""

    process_index: int = column("Process it is about; NULL for all of them", unit="1", nullable=True, ge=0)
    phase: str = column("Part of the work it covers: all, prefill, decode, warmup, ...")
    metric: str = column("What it is about: ttft, itl, e2e, kv_cache_hit_rate, gpu_utilization, ...")
    statistic: str = column("mean, median, p95, p99, min, max, std, count, value, ...")
    value: float = column("The figure, in the unit beside it", unit="1")
    value_unit: str = column("Unit of value: ms, s, byte, 1, 1/s, J, ...")
    definition: str = column("How the tool makes it, where tools differ", nullable=True)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "experiment_metrics"


class MeasurementWarnings(_OfAnExperiment):
    """One doubt about an experiment, raised when it was measured: informational, it never fails a run."""

    process_index: int = column("Process it is about; NULL for all of them", unit="1", nullable=True, ge=0)
    code: str = column("Name of the rule: short_duration, thermal_drift, ...", str_matches=r"^[a-z][a-z0-9_]*$")
    message: str = column("What was seen and what to do, in a sentence")
    observed: float = column("What was seen", unit="1", nullable=True)
    threshold: float = column("Where the rule begins", unit="1", nullable=True)
    value_unit: str = column("Unit of observed and threshold: s, °C, 1, ...", nullable=True)
    advice: str = column("What to do", nullable=True)
    rules_version: str = column("Version of the set of rules; NULL for warnings of other tools", nullable=True)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "measurement_warnings"


class ExperimentSettings(_OfAnExperiment):
    """One setting of an experiment, one fact of its environment, or one package that was installed, as text."""

    kind: str = column("config, environment (hardware and software) or package", isin=SETTING_KINDS)
    name: str = column("Path of the setting, joined by dots, or name of the package")
    value: str = column("Its value: text as it is, everything else as JSON; NULL where it was null", nullable=True)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "experiment_settings"

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """A setting has one value."""
        return {"setting_once_in_run": pl.struct("hardware_id", "run_id", "kind", "name").is_unique()}


class StudyPlan(Table):
    """One planned experiment of a study: a configuration and the number of its repeat. Runs tell which are done."""

    hardware_id: str = column("Device the study runs on")
    precision: str = column("Numeric precision of the weights, lower case; none where it is not known")
    model: str = column("Model that answers")
    batch: int = column("Prompts in one batch; 0 where it is not known", unit="1", ge=0)
    run_id: str = column("Run of kind study that planned it")
    part: str = column("Id of the file the row lies in; a row is visible where its run names the same part")
    study: str = column("Name of the study")
    position: int = column("Place in the order of the study, from 0", unit="1", ge=0)
    config_hash: str = column("Hash of the settings that decide what is measured")
    cycle: int = column("1, 2, 3, ... of the repeats of the configuration", unit="1", ge=1)
    settings_json: str = column("Settings of the configuration, as JSON")

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "study_plan"

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """A repeat is planned once."""
        return {"repeat_planned_once": pl.struct("hardware_id", "run_id", "config_hash", "cycle").is_unique()}
