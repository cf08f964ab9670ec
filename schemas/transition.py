"""Contracts of KV-cache-budget evaluations: data, what was asked at which budget, what came back, and its scores."""

from __future__ import annotations

from typing import Annotated

import polars as pl

from groundlake.schemas.base import Table, column
from groundlake.schemas.ledger import UtcTime

ENGINES = ("openai", "transformers")
ATTEMPT_STATUSES = ("ok", "failed")
FAILURES = (
    "RATE_LIMITED",
    "TIMEOUT",
    "CONTEXT_LENGTH_EXCEEDED",
    "CONNECTION",
    "ENGINE_ERROR",
    "EMPTY_OUTPUT",
    "REFUSAL",
    "FORMAT_ERROR",
    "UNKNOWN_FAILURE",
)
"""Why a request has no answer that can be scored; the names never change their meaning."""

GROUP = "Group of evaluations that are compared: one data set, task, tokenizer and prompt, several budgets"


class _OfNoDevice(Table):
    """Where the rows of a data set lie: it belongs to no device and to no model."""

    hardware_id: str = column("none: a data set belongs to no device")
    precision: str = column("none: a data set has no precision")
    model: str = column("none: a data set belongs to no model")
    batch: int = column("0: a data set is not batched", unit="1", ge=0)
    run_id: str = column("Run of kind kv_dataset that prepared it")
    part: str = column("Id of the file the row lies in; a row is visible where its run names the same part")


class _OfAnswers(Table):
    """Where the rows of answers lie: under the device, precision, model and batch that gave them."""

    hardware_id: str = column("Device the model ran on; none where a server does not tell")
    precision: str = column("Numeric precision of the weights; none where it is not known")
    model: str = column("Model that was asked")
    batch: int = column("Prompts in one batch; 0 where a server batches as it likes", unit="1", ge=0)
    run_id: str = column("Run of kind kv_transition the row belongs to")
    part: str = column("Id of the file the row lies in; a row is visible where its run names the same part")


class KvDatasets(_OfNoDevice):
    """One prepared data set of a group: where it comes from, how its tokens were counted, and how it was binned."""

    exp_group_id: str = column(GROUP)
    dataset_id: str = column("Name and task, joined by two underscores")
    task: str = column("Task, which decides the metric and the prompt")
    source_uri: str = column("File it was read from, without its folder; of an archive with the member", nullable=True)
    source_sha256: str = column("Hash of its lines, unpacked", nullable=True)
    tokenizer: str = column("What counted the tokens; an approximation says so in its name")
    tokenizer_fingerprint: str = column("Hash of the tokenizer, or of the rule of an approximation")
    prompt_hash: str = column("Hash of the prompt template; runs of another one are not mixed with these")
    population: int = column("Examples before the selection, after filters", unit="1", ge=0)
    left_out: int = column("Examples that filters of length left out", unit="1", ge=0)
    selected: int = column("Examples that are asked", unit="1", ge=0)
    manifest_sha256: str = column("Hash of manifest.json")
    settings_hash: str = column("Hash of the settings that decide the selection")
    selection_json: str = column(
        "How examples were chosen, by which settings, what filters left out, and what is remarkable, as JSON"
    )

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "kv_datasets"


class KvTokenCounts(_OfNoDevice):
    """Tokens of one prompt, as one tokenizer counts: of every example, selected or not, so that none is done twice."""

    dataset_id: str = column("Data set whose example was counted")
    example_id: str = column("Example whose prompt it is")
    tokenizer_fingerprint: str = column("Hash of what counted, as in kv_datasets")
    prompt_sha256: str = column("Hash of the prompt: of the example and of the template")
    prompt_tokens: int = column("Tokens of the prompt", unit="1", ge=0)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "kv_token_counts"

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """A prompt is counted once."""
        key = ("hardware_id", "run_id", "tokenizer_fingerprint", "prompt_sha256")
        return {"prompt_once_in_run": pl.struct(*key).is_unique()}


class KvExamples(_OfNoDevice):
    """One selected example of a prepared data set, with its bin; the whole of it, so that a lake is enough."""

    exp_group_id: str = column(GROUP)
    dataset_id: str = column("Data set it is of")
    example_id: str = column("Identity of the example in its data set")
    position: int = column("Place in the manifest, from 0", unit="1", ge=0)
    bin_index: int = column("Bin of its length, from 0 for the shortest", unit="1", ge=0)
    prompt_tokens: int = column("Tokens of its whole prompt, as the data set's tokenizer counts", unit="1", ge=0)
    question: str = column("What is asked")
    context: str = column("What it is asked about")
    answers: Annotated[pl.List, pl.String()] = column("Answers that count as right")
    all_classes: Annotated[pl.List, pl.String()] = column("Classes to choose from", nullable=True)
    language: str = column("Language, as the data set says", nullable=True)
    source_length: int = column("Length as the data set tells it, in its own unit", unit="1", nullable=True, ge=0)
    content_sha256: str = column("Hash of question, context and answers")
    line_sha256: str = column("Hash of its line in the file")
    prompt_sha256: str = column("Hash of the prompt whose tokens were counted")
    slice_name: str = column("Range of lengths that it was chosen for, such as short; NULL without one", nullable=True)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "kv_examples"

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """An example is asked once; something is right."""
        return {
            "example_once_in_run": pl.struct("hardware_id", "run_id", "example_id").is_unique(),
            "position_once_in_run": pl.struct("hardware_id", "run_id", "position").is_unique(),
            "answers_are_there": pl.col("answers").list.len() > 0,
        }


class KvBins(_OfNoDevice):
    """One bin of prompt lengths of a prepared data set."""

    exp_group_id: str = column(GROUP)
    dataset_id: str = column("Data set it is of")
    bin_index: int = column("Number of the bin, from 0 for the shortest", unit="1", ge=0)
    tokens_from: int = column("Least tokens of a prompt in it; NULL of an empty bin", unit="1", nullable=True, ge=0)
    tokens_to: int = column("Most tokens of a prompt in it; NULL of an empty bin", unit="1", nullable=True, ge=0)
    population: int = column("Examples of that length", unit="1", ge=0)
    selected: int = column("Examples of it that are asked", unit="1", ge=0)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "kv_bins"

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """A bin has an order, is there once, and gives no more than it has."""
        return {
            "tokens_from <= tokens_to": pl.col("tokens_from") <= pl.col("tokens_to"),
            "selected <= population": pl.col("selected") <= pl.col("population"),
            "bin_once_in_run": pl.struct("hardware_id", "run_id", "bin_index").is_unique(),
        }


class KvRuns(_OfAnswers):
    """One budget of a group, as one batch of work asked it: engine, model, policy. Resumed work is a row more."""

    exp_group_id: str = column(GROUP)
    dataset_id: str = column("Data set that is asked")
    dataset_run_id: str = column("Run that prepared it")
    budget_id: str = column("Identity of the group, policy, its parameters and the budget: the same for resumed work")
    policy: str = column("What drops entries of the cache: none, snapkv, expected_attention, streaming_llm, ...")
    policy_json: str = column("All its parameters and the version of its library, as JSON")
    budget: float = column("Share of the KV cache that is kept, as asked for", unit="1", gt=0, le=1)
    engine: str = column("What answers: openai or transformers", isin=ENGINES)
    engine_version: str = column("Version of the library that answers", nullable=True)
    base_url: str = column("Address of the endpoint, without a key", nullable=True)
    how_applied: str = column("How the budget reaches the engine: in_process, base_url, extra_body, none")
    temperature: float = column("0 takes the likeliest token", unit="1", ge=0)
    max_tokens: int = column("Limit of the tokens of an answer", unit="1", ge=1)
    seed: int = column(
        "Seed of sampling; repeat r is asked with seed + r - 1. NULL leaves it to the engine", unit="1", nullable=True
    )
    repeats: int = column("How often each example is asked", unit="1", ge=1)
    prompt_hash: str = column("Hash of the prompt template")
    tokenizer_fingerprint: str = column("Hash of the tokenizer that counted the data set")
    settings_hash: str = column("Hash of the settings that decide what is asked and how")
    settings_json: str = column("Resolved settings, without secrets, as JSON")
    planned_requests: int = column("Requests that this budget has in all", unit="1", ge=0)
    forced: str = column("What differed and was let through by --force", nullable=True)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "kv_runs"

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """A run is one budget."""
        return {"one_budget_in_a_run": pl.struct("hardware_id", "run_id").is_unique()}


class KvRequests(_OfAnswers):
    """One request: an example asked at a budget. It ends in one response or in one failure."""

    exp_group_id: str = column(GROUP)
    budget_id: str = column("Budget it is of, as in kv_runs")
    request_id: str = column("Hash of budget, example, prompt, decoding and repeat: the same in every machine")
    example_id: str = column("Example that was asked")
    bin_index: int = column("Bin of its length", unit="1", ge=0)
    repeat: int = column("1, 2, 3, ... of the repeats of an example", unit="1", ge=1)
    prompt_sha256: str = column("Hash of the prompt as it was sent")
    prompt_truncation: str = column("none, or middle where the prompt was cut to fit", isin=("none", "middle"))
    sent_at: UtcTime = column("When it was sent first, or found not to fit (UTC)")
    num_attempts: int = column(
        "Attempts, the one that answered included; 0 where it was not sent, because it does not fit", unit="1", ge=0
    )

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "kv_requests"

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """A request is there once."""
        return {"request_once_in_run": pl.struct("hardware_id", "run_id", "request_id").is_unique()}


class KvAttempts(_OfAnswers):
    """One attempt at a request: when, how long, and why it failed where it did."""

    request_id: str = column("Request it is of")
    attempt: int = column("1, 2, 3, ...", unit="1", ge=1)
    status: str = column("ok or failed", isin=ATTEMPT_STATUSES)
    started_s: float = column("When it began, from the start of the run", unit="s")
    duration_s: float = column("How long it took", unit="s", ge=0)
    waited_s: float = column("Time waited before it, for a retry or for pacing", unit="s", nullable=True, ge=0)
    http_status: int = column("Status of the server; NULL without one", unit="1", nullable=True)
    failure: str = column("Why it failed, as kv_failures names it", nullable=True, isin=FAILURES)
    message: str = column("What the engine said", nullable=True)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "kv_attempts"

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """A failure has a name; an attempt is there once."""
        return {
            "failed_attempt_names_its_failure": (pl.col("status") != "failed") | pl.col("failure").is_not_null(),
            "attempt_once_in_request": pl.struct("hardware_id", "run_id", "request_id", "attempt").is_unique(),
        }


class KvResponses(_OfAnswers):
    """One answer, with what it took: times, tokens, memory, and the share of the cache that was really kept."""

    request_id: str = column("Request it answers")
    text: str = column("The answer, without what a model thought before it")
    reasoning: str = column("What it thought before, where it said so", nullable=True)
    finish_reason: str = column("stop, length, ...", nullable=True)
    is_truncated: bool = column("Whether the limit of tokens ended it; it is scored all the same")
    latency_ms: float = column("From sending to the end, of the attempt that answered", unit="ms", nullable=True, ge=0)
    time_to_first_token_ms: float = column("From sending to the first token", unit="ms", nullable=True, ge=0)
    prompt_tokens: int = column("Tokens of the prompt, as the engine counts", unit="1", nullable=True, ge=0)
    completion_tokens: int = column("Tokens of the answer, as the engine counts", unit="1", nullable=True, ge=0)
    peak_memory_bytes: int = column(
        "Peak memory over the request: of the GPU; on a processor of the whole process, resident; NULL of an endpoint",
        unit="byte",
        nullable=True,
        ge=0,
    )
    kept_fraction: float = column(
        "Share of the cache that was kept, read back from it; NULL where an engine does not show it",
        unit="1",
        nullable=True,
        ge=0,
        le=1,
    )
    kept_entries: Annotated[pl.List, pl.Int64()] = column(
        "Entries kept of each layer, read back", unit="1", nullable=True
    )
    cache_entries: int = column("Entries before any was dropped", unit="1", nullable=True, ge=0)
    budget_verified: bool = column(
        "Whether the budget was really applied; NULL where nothing shows it: an answer proves nothing", nullable=True
    )
    budget_evidence: str = column("What shows it", nullable=True)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "kv_responses"

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """A request has one answer."""
        return {"response_once_in_run": pl.struct("hardware_id", "run_id", "request_id").is_unique()}


class KvFailures(_OfAnswers):
    """One request without an answer that can be scored, and why."""

    request_id: str = column("Request that failed")
    failure: str = column("Why: a name of the stable taxonomy", isin=FAILURES)
    message: str = column("What the engine said", nullable=True)
    http_status: int = column("Status of the server; NULL without one", unit="1", nullable=True)
    text: str = column("What came nevertheless, a refusal for example", nullable=True)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "kv_failures"

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """A request fails once."""
        return {"failure_once_in_run": pl.struct("hardware_id", "run_id", "request_id").is_unique()}


class KvScores(_OfAnswers):
    """One scored answer, by one version of the scorer."""

    run_id: str = column("Run of kind kv_score the row belongs to")
    exp_group_id: str = column(GROUP)
    request_id: str = column("Request whose answer was scored")
    answer_run_id: str = column("Run whose answer it was: another run may have another answer to the same request")
    metric: str = column("Metric of the task: qa_f1, rouge_l, classification, retrieval, count, code_similarity, ...")
    accuracy: float = column("The task's own metric, from 0 to 1", unit="1", ge=0, le=1)
    exact_match: float = column("1 where the normalised answer is one of the right ones", unit="1", ge=0, le=1)
    f1: float = column("Token overlap with the closest right answer (SQuAD)", unit="1", ge=0, le=1)
    normalized_answer: str = column("The answer as it was compared")
    normalized_gold: str = column("The right answer it is closest to, as it was compared")
    scorer_version: str = column("Version of the scoring rules")

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "kv_scores"

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """An answer is scored once in a run."""
        return {"score_once_in_run": pl.struct("hardware_id", "run_id", "request_id").is_unique()}

    @classmethod
    def latest_by(cls) -> tuple[str, ...]:
        """Scores of a later run, by a newer scorer for example, stand for those of the same answer before."""
        return ("exp_group_id", "request_id", "answer_run_id")
