"""The settings of an evaluation: what is asked of which model, at which budgets, and how it is judged.

`load_settings` of `config_file` reads them from a file. A budget is the fraction of the KV cache that is kept, above 0
and at most 1.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from groundlake.errors import UsageError
from groundlake.transition.configuration.projections import PROJECTIONS, plain
from groundlake.transition.configuration.variables import HIDDEN, masked, without_named

OPENAI: Final = "openai"
TRANSFORMERS: Final = "transformers"
FOLDER: Final = "output.folder"
UNIFORM: Final = "uniform"
FOCUS_TRANSITION: Final = "focus_transition"
WORDS: Final = "words"
"""The tokenizer that counts words: an approximation, which nobody gets without asking for it."""

RULES: Final = "settings_rules"
"""Type of the error that holds every mistake of keys that do not fit together."""

Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Budget = Annotated[float, Field(gt=0, le=1)]
Seconds = Annotated[float, Field(gt=0)]
PerMinute = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of the settings: frozen, and nothing unknown, guessed or infinite in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


class SanitySlice(Section):
    """So many of the examples in a range of lengths.

    Attributes:
        name: What the slice is called in the report.
        n: How many of its examples are taken.
        min_percentile: Shortest, as a percentile of all lengths; given with `max_percentile`.
        max_percentile: Longest.
        min_tokens: Shortest, in tokens; given with `max_tokens`, in place of percentiles.
        max_tokens: Longest.
    """

    name: Name
    n: Positive
    min_percentile: float | None = Field(default=None, ge=0, le=100)
    max_percentile: float | None = Field(default=None, ge=0, le=100)
    min_tokens: int | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=0)


class DatasetSettings(Section):
    """Which examples.

    Attributes:
        name: First part of the id of the data set, `{name}__{task}`.
        task: The task, spelled as in the data.
        path: A JSONL file in the format of LongBench, or the folder with one per task.
        download: Fetch the data from the hub in place of a path.
        n_per_bin: Examples of each bin.
        seed: Decides which; null takes the shortest of each bin.
        max_prompt_tokens: Longest prompt that the model can be asked. Longer examples are left out before bins are made
            of the others, so that the longest bin is not empty.
        pinned_example_ids: Exactly these examples, in place of a selection.
        sanity_slices: Examples by ranges of lengths, in place of a selection.
    """

    name: Name = "longbench"
    task: Name | None = None
    path: Text | None = None
    download: bool = False
    n_per_bin: Positive = 5
    seed: Seed | None = 1337
    max_prompt_tokens: Positive | None = None
    pinned_example_ids: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    sanity_slices: Annotated[tuple[SanitySlice, ...], Field(strict=False)] = ()


class BinningSettings(Section):
    """Bins of lengths of prompts.

    Attributes:
        n_bins: How many.
        max_token_len: Longest prompt that is of interest, in tokens; longer examples are left out before bins are made.
    """

    n_bins: int = Field(default=5, ge=1, le=1000)
    max_token_len: Positive | None = None


class TokenizerSettings(Section):
    """What counts tokens: a name or a folder; both null take the tokenizer of a local model.

    The name `words` counts words, which is an approximation and is called one wherever its counts are shown.
    """

    name: Text | None = None
    path: Text | None = None


class ModelSettings(Section):
    """The model.

    Attributes:
        name: As the server or the hub knows it; beside a path, what the model is called.
        path: Folder of a local model.
        precision: Precision that an endpoint serves, such as `bf16`; of a local model `engine.dtype` decides.
        max_model_len: Tokens of prompt and answer that the model takes.
    """

    name: Text | None = None
    path: Text | None = None
    precision: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")] | None = None
    max_model_len: Positive | None = None


class EngineSettings(Section):
    """What answers.

    Attributes:
        type: `openai` asks an endpoint, `transformers` runs the model in this process.
        base_url: Address of the endpoint.
        api_key_env: Name of the variable that holds its key; the key itself is never a setting.
        headers: Further headers of each request to it.
        device: Of a local model, such as `cpu` or `cuda:0`; null decides by itself.
        dtype: Type of the weights of a local model; null takes that of the checkpoint.
        concurrency: Requests at the same time.
        timeout_s: Longest time of one attempt, in s.
    """

    type: Literal["openai", "transformers"] = OPENAI
    base_url: Text | None = Field(default=None, repr=False)
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = Field(default=None, repr=False)
    headers: dict[Text, Text] = Field(default_factory=dict, repr=False)
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] | None = None
    dtype: Literal["auto", "fp32", "fp16", "bf16"] | None = None
    concurrency: int = Field(default=1, ge=1, le=1024)
    timeout_s: Seconds = 120.0


def _none_as_null(value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    return None if value == "none" else value


class KvSettings(Section):
    """How the KV cache is compressed.

    Attributes:
        policy: What decides which entries are kept.
        parameters: Of the policy; those of kvpress' class.
        budgets: Fractions that are kept; 1.0 is the baseline and stands first.
        apply: How an endpoint gets to know the budget: `base_url` (one server per budget), `extra_body` (further
            fields of the request) or `none`, where nothing is compressed. A local engine applies it itself.
        base_urls: Address by budget.
        extra_body: The fields; `${budget}` stands for the fraction kept, `${removed}` for the rest, `${policy}`.
        evidence: Where in the answer of an endpoint the fraction really kept stands, such as `usage.kv_kept`; null
            where nothing tells, and the budget stays unverified.
        query_aware: Whether the policy of a local engine sees the question, and chooses what that needs.
    """

    policy: Literal["none", "snapkv", "expected_attention", "streaming_llm"] = "none"
    parameters: dict[str, object] = Field(default_factory=dict)
    budgets: Annotated[tuple[Budget, ...], Field(strict=False, min_length=1)] = (1.0,)
    apply: Literal["none", "base_url", "extra_body"] = "none"
    base_urls: dict[Budget, Text] = Field(default_factory=dict, repr=False)
    extra_body: dict[str, Any] = Field(default_factory=dict, repr=False)
    evidence: Annotated[
        Annotated[str, Field(pattern=r"^[\w-]+(\.[\w-]+|\[\d+\])*$")] | None, BeforeValidator(_none_as_null)
    ] = None
    query_aware: bool = False

    def extra_body_for(self, budget: float) -> dict[str, Any]:
        """Return the fields that tell an endpoint the budget.

        A text that is nothing but `${budget}` becomes the number; within a longer text it is written out.
        """
        values = {"${budget}": budget, "${removed}": round(1.0 - budget, 12), "${policy}": self.policy}
        filled: dict[str, Any] = _filled(self.extra_body, values)
        return filled


class DecodingSettings(Section):
    """How an answer is made: at most `max_tokens` (null: what the task takes), and how often each example is asked.

    Repeat r is asked with `seed` + r - 1: with one seed, all repeats would be one answer.
    """

    temperature: float = Field(default=0.0, ge=0)
    max_tokens: Positive | None = None
    seed: Seed | None = None
    repeats: int = Field(default=1, ge=1, le=1000)


class SamplingSettings(Section):
    """How many examples of which bin.

    Attributes:
        strategy: `uniform`, or `focus_transition`: more where quality falls.
        focus_bins: Bins to look at closely; null takes those where the analysis found the transition.
        focus_radius_bins: So many neighbours on each side as well.
        focus_n_per_bin: Examples of each of them.
        base_n_per_bin: Examples of each other bin; null takes `dataset.n_per_bin`.
    """

    strategy: Literal["uniform", "focus_transition"] = UNIFORM
    focus_bins: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False, min_length=1)] | None = None
    focus_radius_bins: int | None = Field(default=None, ge=0)
    focus_n_per_bin: Positive | None = None
    base_n_per_bin: Positive | None = None


class PacingSettings(Section):
    """Limits of an endpoint; null does not hold anything back."""

    requests_per_minute: PerMinute | None = None
    tokens_per_minute: PerMinute | None = None


class RetrySettings(Section):
    """How often a request is sent, with the first, and the longest waits in s; see `groundlake.llm.retry.Backoff`."""

    max_attempts: int = Field(default=4, ge=1, le=100)
    base_s: float = Field(default=0.5, ge=0)
    cap_s: float = Field(default=30.0, ge=0)
    longest_s: float = Field(default=300.0, ge=0)


class RunSettings(Section):
    """How requests are sent; a prompt that is too long is an `error`, or loses its `middle`, which is recorded."""

    truncation: Literal["error", "middle"] = "error"
    pacing: PacingSettings = PacingSettings()
    retries: RetrySettings = RetrySettings()


class AnalysisSettings(Section):
    """When a drop counts.

    Attributes:
        seed: Of the bootstrap.
        n_bootstrap: Its resamples.
        confidence: Of its intervals.
        drop_threshold: Loss of accuracy (0 to 1) from which on there is a transition.
        significance: `interval`: the paired interval of the drop has to be below zero as well; `none`: it need not.
    """

    seed: Seed = 1337
    n_bootstrap: int = Field(default=1000, ge=100, le=1_000_000)
    confidence: float = Field(default=0.95, ge=0.5, lt=1)
    drop_threshold: float = Field(default=0.15, gt=0, le=1)
    significance: Literal["interval", "none"] = "interval"


class OutputSettings(Section):
    """The group of runs that belong together, and the folder below which its files are written."""

    exp_group_id: Name | None = None
    folder: Text = "results/kv"


class PowerSettings(Section):
    """Whether the power sensors of this machine are read where the model runs in this process, and how often."""

    source: Literal["auto", "none"] = "auto"
    hz: float = Field(default=20.0, ge=0.2, le=1000)


class Settings(Section):
    """Everything that an evaluation is told."""

    dataset: DatasetSettings = DatasetSettings()
    binning: BinningSettings = BinningSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    model: ModelSettings = ModelSettings()
    engine: EngineSettings = EngineSettings()
    kv: KvSettings = KvSettings()
    decoding: DecodingSettings = DecodingSettings()
    sampling: SamplingSettings = SamplingSettings()
    run: RunSettings = RunSettings()
    analysis: AnalysisSettings = AnalysisSettings()
    output: OutputSettings = OutputSettings()
    power: PowerSettings = PowerSettings()

    _secrets: tuple[str, ...] = PrivateAttr(default=())
    _api_key: str | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        from groundlake.transition.configuration.rules import broken_rules  # which needs these classes

        broken = list(broken_rules(self))
        if broken:
            told = "; ".join(f"{rule.path}: {rule.text}" for rule in broken)
            raise PydanticCustomError(RULES, "{told}", {"told": told, "rules": broken})
        return self

    @property
    def dataset_id(self) -> str:
        """Id of the data set."""
        return f"{self.dataset.name}__{self.dataset.task}"

    @property
    def tokenizer_source(self) -> str:
        """Name or folder of the tokenizer that counts: the one that is told, or that of the local model."""
        return self._told_tokenizer[1]

    @property
    def tokenizer_setting(self) -> str:
        """Path of the setting that says which tokenizer counts."""
        return self._told_tokenizer[0]

    @property
    def _told_tokenizer(self) -> tuple[str, str]:
        counting, model = self.tokenizer, self.model
        told = {"tokenizer.path": counting.path, "tokenizer.name": counting.name}
        told |= {"model.path": model.path, "model.name": model.name}
        return next((path, each) for path, each in told.items() if each is not None)

    @property
    def api_key(self) -> str | None:
        """The key of the endpoint, from the environment or `.env`; None where there is none."""
        return self._api_key

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that nothing shows."""
        return self._secrets

    def keep_secrets(self, *, api_key: str | None, secrets: tuple[str, ...]) -> None:
        """Remember the key of the endpoint, and the texts that `resolved` never shows."""
        self._api_key = api_key
        self._secrets = secrets

    def resolved(self) -> dict[str, Any]:
        """Return all settings with their defaults, to be stored and shown: secrets are `***`."""
        data: dict[str, Any] = plain(self.model_dump())
        data["engine"]["headers"] = dict.fromkeys(data["engine"]["headers"], HIDDEN)
        data["kv"]["extra_body"] = without_named(data["kv"]["extra_body"])
        shown: dict[str, Any] = masked(data, self._secrets)
        return shown

    def reveals(self, value: Any) -> bool:  # noqa: ANN401 - any JSON
        """Whether something that is stored or shown holds a secret of these settings, or an address with a password."""
        return bool(masked(value, self._secrets) != value)

    def without_secrets(self, value: Any) -> Any:  # noqa: ANN401 - any JSON
        """Return something that is stored or shown with `***` in place of the secrets of these settings."""
        return masked(value, self._secrets)

    def to_yaml(self) -> str:
        """Return `resolved` as YAML, always in the same order."""
        return yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True, width=120)

    def projection(self, stage: str) -> dict[str, Any]:
        """Return the settings that decide what a stage makes, by their paths.

        Raises:
            UsageError: There is no such stage.
        """
        if stage not in PROJECTIONS:
            raise UsageError(f"there is no stage {stage!r}; there are {', '.join(PROJECTIONS)}")
        chosen: dict[str, Any] = {}
        for key in PROJECTIONS[stage][1]:
            value: Any = self
            for name in key.split("."):
                value = getattr(value, name)
            chosen[key] = value
        portable: dict[str, Any] = plain(chosen, portable=True)
        return portable

    def settings_hash(self, stage: str) -> str:
        """Return the hash of what decides what a stage makes: equal hashes, equal results.

        It covers a list of keys that is written down, never "all but": a name that sounds like a secret, such as
        `max_tokens`, is not left out by accident.

        Args:
            stage: prepare, run, score or analyze.
        """
        settings = self.projection(stage)
        told = {"stage": stage, "version": PROJECTIONS[stage][0], "settings": settings}
        text = json.dumps(told, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:24]


def _filled(value: Any, values: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return {key: _filled(each, values) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, values) for each in value]
    if not isinstance(value, str) or value in values:
        return values.get(value, value) if isinstance(value, str) else value
    for name, each in values.items():
        value = value.replace(name, str(each))
    return value
