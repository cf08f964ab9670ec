"""What an experiment will measure: its settings, what is refused before anything is loaded, and their hash."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundlake.errors import UsageError
from groundlake.experiment.model_files import fingerprint
from groundlake.layout import encode_key
from groundlake.llm.address import base_address
from groundlake.machine import is_device
from groundlake.power import DEFAULT_HZ
from groundlake.power.watch import AUTO, check_source

if TYPE_CHECKING:
    from groundlake.experiment.prompts import Prompts

TRANSFORMERS, OPENAI = "transformers", "openai"
BACKENDS = (TRANSFORMERS, OPENAI)
DTYPES = ("auto", "fp32", "fp16", "bf16")
UNKNOWN = "none"
"""Precision of a run where nobody says which it is."""

GRACE_S = 20.0
"""A request that hangs fails at its limit; its process is given up so much later, to be connected and to tell it."""

BASELINE_S = 5.0
"""Sensors that average over a second need several."""

HASH_VERSION = 2
"""Grows when the settings that `config_hash` is made of change, so that hashes of two versions never meet."""


@dataclass(frozen=True, kw_only=True)
class ExperimentPlan:
    """Everything that is decided before a model is loaded. It holds no key of an endpoint.

    Attributes:
        backend: transformers (a model in processes of this machine) or openai (an endpoint that streams).
        model: Folder or name of a local model; name under which an endpoint serves one.
        prompts: What is asked.
        hardware_id: Id that the runs carry.
        max_new_tokens: Limit of the tokens of an answer.
        batch: Prompts that a local model answers together.
        concurrency: Requests in flight at an endpoint at once, of all processes together.
        processes: Processes that share the prompts; each loads the model, or opens the endpoint, on its own.
        device: cpu, cuda or cuda:1: where a local model runs, or an endpoint of this machine; None where nobody says.
        dtype: Type of a local model's weights: auto takes what is stored.
        precision: Precision that an endpoint serves; none where it is not told.
        base_url: Address of the endpoint, without a key.
        is_remote: Whether the endpoint runs on another machine, so that no sensor of this one is about it.
        warmup: Batches, or requests, of each process before the measurement.
        baseline_s: Length of the idle baseline before the model is loaded, where there is a sensor; 0 takes none.
        power: auto reads the power sensors of this machine, none reads none; else a recorded trace to replay.
        power_hz: Reads of each power sensor per second.
        seed: Seed of sampling, which matters where the temperature is not 0.
        temperature: 0 takes the likeliest token.
        ignore_eos: Whether answers go on to `max_new_tokens`, so that runs are of one length.
        timeout_s: Limit for a request to an endpoint; for a local model, between two signs of life of a process.
        chat: Whether an endpoint is asked as a chat.
        name: Name of the configuration.
        session: Study or sitting that the runs belong to; None takes `name`.
        cycle: Number of the repeat, from 1.
        thermal_profile: Power mode of the device, for example MAXN.
        note: Free text kept with each run.
        show_output: Let through what the processes print; only the last line is kept for a failure otherwise.
    """

    backend: str
    model: str
    prompts: Prompts
    hardware_id: str
    max_new_tokens: int = 64
    batch: int = 1
    concurrency: int = 1
    processes: int = 1
    device: str | None = None
    dtype: str = "auto"
    precision: str = UNKNOWN
    base_url: str | None = None
    is_remote: bool = False
    warmup: int = 3
    baseline_s: float = BASELINE_S
    power: str = AUTO
    power_hz: float = DEFAULT_HZ
    seed: int | None = None
    temperature: float = 0.0
    ignore_eos: bool = False
    timeout_s: float = 600.0
    chat: bool = True
    name: str | None = None
    session: str | None = None
    cycle: int | None = None
    thermal_profile: str | None = None
    note: str | None = None
    show_output: bool = False

    def __post_init__(self) -> None:
        if self.backend == TRANSFORMERS and self.model.startswith("~"):
            object.__setattr__(self, "model", str(Path(self.model).expanduser()))  # the class is frozen
        _refuse_numbers(self)
        check_source(self.power, self.power_hz)
        if self.backend not in BACKENDS:
            raise UsageError(f"--backend must be one of {', '.join(BACKENDS)}, got {self.backend!r}")
        if not self.model.strip():
            raise UsageError("--model is empty; give the folder or the name of a model")
        for key in (self.hardware_id, self.precision, self.model_name):
            encode_key(key)  # what the lake cannot keep is refused now, not behind the measurement
        if self.device is not None and not is_device(self.device):
            raise UsageError(f"--device must be cpu or cuda, got {self.device!r}; one of several GPUs is cuda:1")
        if self.precision != self.precision.lower():
            raise UsageError(f"--precision is written in lower case, got {self.precision!r}")
        if self.dtype not in DTYPES:
            raise UsageError(f"--dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.processes > len(self.prompts.items):
            raise UsageError(
                f"--processes {self.processes} are more than the {len(self.prompts.items)} prompts;"
                " every process needs one: take fewer processes, or more prompts (--n)"
            )
        (_refuse_local if self.backend == TRANSFORMERS else _refuse_endpoint)(self)

    @property
    def model_name(self) -> str:
        """Name of the model in the lake: that of its folder, or the name on a hub or of an endpoint."""
        return model_name(self.backend, self.model)

    @property
    def sensors(self) -> str:
        """What is read for the energy: no sensor of this machine knows what another one takes."""
        return "none" if self.is_remote and self.power == AUTO else self.power

    @property
    def silence_s(self) -> float:
        """Longest time between two signs of life of a process, in s: longer than a request may take."""
        return self.timeout_s if self.backend == TRANSFORMERS else self.timeout_s + GRACE_S

    @property
    def config_name(self) -> str:
        """Name of the configuration, made of backend, model and batch or concurrency where none was given."""
        load = f"batch{self.batch}" if self.backend == TRANSFORMERS else f"concurrency{self.concurrency}"
        return self.name or f"{self.backend}-{self.model_name}-{load}"

    @property
    def keyed_batch(self) -> int:
        """Batch under which the lake keeps the run: 0 for an endpoint, which batches as it likes."""
        return self.batch if self.backend == TRANSFORMERS else 0

    def concurrency_of(self, process: int) -> int:
        """Requests that one process has in flight."""
        return self.concurrency // self.processes + (process < self.concurrency % self.processes)

    def prompts_of(self, process: int) -> list[Any]:
        """Prompts of one process: every `processes`-th, so that short and long ones are shared evenly."""
        return list(self.prompts.items[process :: self.processes])

    def device_of(self, process: int, visible_gpus: int) -> str | None:
        """Device of one process: several take turns on the GPUs, unless one of these was named."""
        if self.device == "cuda" and self.processes > 1 and visible_gpus > 1:
            return f"cuda:{process % visible_gpus}"
        return self.device

    def settings(self) -> dict[str, object]:
        """Everything that was asked for, for a result to keep; it holds no key."""
        is_local = self.backend == TRANSFORMERS
        return {
            "backend": self.backend,
            "model": self.model_name,
            "hardware_id": self.hardware_id,
            "name": self.config_name,
            "study": self.session,
            "cycle": self.cycle,
            "prompts": {"file": self.prompts.name, "n": len(self.prompts.items), "sha256": self.prompts.sha256},
            "max_new_tokens": self.max_new_tokens,
            "batch_size": self.batch if is_local else None,
            "concurrency": None if is_local else self.concurrency,
            "processes": self.processes,
            "device": self.device,
            "thermal_profile": self.thermal_profile,
            "dtype": self.dtype if is_local else None,
            "precision": self.precision,
            "base_url": self.base_url,
            "chat": None if is_local else self.chat,
            "warmup": self.warmup,
            "baseline_s": self.baseline_s,
            "power": Path(self.power).name,
            "power_hz": self.power_hz,
            "seed": self.seed,
            "temperature": self.temperature,
            "ignore_eos": self.ignore_eos,
            "timeout_s": self.timeout_s,
            "config_hash_version": HASH_VERSION,
        }


def model_name(backend: str, model: str) -> str:
    """Name of a model in the lake: that of a folder, else as it is."""
    folder = Path(model).expanduser()
    return folder.resolve().name if backend == TRANSFORMERS and folder.is_dir() else model


def config_hash(plan: ExperimentPlan) -> str:
    """Hash what is measured and how: two runs with one hash differ by machine, software, moment and chance only.

    It is made of named settings only, so that new ones do not change it, and of numbers in one spelling: 1 is 1.0.
    A local model is told by the content of its files (`model_files.fingerprint`), and not by where they lie. Names,
    notes, folders, sensors and the address of an endpoint do not decide what is measured, and are not in it.

    Returns:
        16 hexadecimal digits.
    """
    is_local = plan.backend == TRANSFORMERS
    decisive = {
        "version": HASH_VERSION,
        "backend": plan.backend,
        "model": plan.model_name,
        "model_files": fingerprint(Path(plan.model)) if is_local else None,
        "prompts": plan.prompts.sha256,
        "max_new_tokens": int(plan.max_new_tokens),
        "batch": int(plan.batch),
        "concurrency": int(plan.concurrency),
        "processes": int(plan.processes),
        "device": None if plan.device is None else plan.device.split(":", 1)[0],
        "dtype": plan.dtype if is_local else None,
        "precision": None if is_local else plan.precision,
        "chat": None if is_local else plan.chat,
        "warmup": int(plan.warmup),
        "seed": None if plan.seed is None else int(plan.seed),
        "temperature": float(plan.temperature),
        "ignore_eos": bool(plan.ignore_eos),
    }
    text = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def address_of(url: str | None) -> str:
    """Address of an endpoint, as it is asked and kept.

    Raises:
        UsageError: There is none, or it cannot be one, or it holds what would be secret.
    """
    if not url:
        raise UsageError(
            "--backend openai needs the address of an endpoint: --base-url http://HOST:8000/v1, or OPENAI_BASE_URL"
        )
    return base_address(url)


def _refuse_numbers(plan: ExperimentPlan) -> None:
    least_one = {
        "--max-new-tokens": plan.max_new_tokens,
        "--batch": plan.batch,
        "--concurrency": plan.concurrency,
        "--processes": plan.processes,
        "--cycle": plan.cycle,
    }
    for option, value in least_one.items():
        if value is not None and value < 1:
            raise UsageError(f"{option} must be at least 1, got {value}")
    least_none = {"--warmup": plan.warmup, "--baseline": plan.baseline_s, "--temperature": plan.temperature}
    for option, number in least_none.items():
        if not 0 <= number < math.inf:
            raise UsageError(f"{option} must be at least 0, got {number:g}")
    if not 0 < plan.timeout_s < math.inf:
        raise UsageError(f"--timeout must be more than 0 seconds, got {plan.timeout_s:g}")


def _refuse_local(plan: ExperimentPlan) -> None:
    """Refuse what a model in processes of this machine cannot do."""
    if plan.concurrency > 1:
        raise UsageError(
            f"--concurrency {plan.concurrency}: a local model answers one batch at a time; take --batch for prompts"
            " that are answered together, --processes for models side by side"
        )
    if plan.base_url is not None:
        raise UsageError("--base-url is the address of an endpoint; give it with --backend openai")
    if plan.precision != UNKNOWN:
        raise UsageError("--precision says what an endpoint serves; for a local model take --dtype")
    if plan.batch > len(plan.prompts_of(plan.processes - 1)):
        raise UsageError(
            f"--batch {plan.batch} is more than the {len(plan.prompts_of(plan.processes - 1))} prompts of a process;"
            " take a smaller one, fewer processes, or more prompts (--n)"
        )
    folder = Path(plan.model)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise UsageError(f"--model {plan.model}: the folder has no config.json, so it is no model of transformers")
    if folder.is_file():
        raise UsageError(f"--model {plan.model} is a file; give the folder with config.json, weights and tokenizer")
    looks_like_path = plan.model.startswith((".", "/", "~")) or plan.model.count("/") > 1
    if looks_like_path and not folder.exists():
        raise UsageError(f"--model {plan.model}: there is no such folder")


def _refuse_endpoint(plan: ExperimentPlan) -> None:
    """Refuse what an endpoint cannot do."""
    if plan.batch > 1:
        raise UsageError(
            f"--batch {plan.batch}: a server makes its batches itself, of the requests that are in flight;"
            f" take --concurrency {plan.batch}"
        )
    if plan.concurrency < plan.processes:
        raise UsageError(
            f"--processes {plan.processes} have {plan.concurrency} requests in flight together, and each needs one;"
            f" take --concurrency {plan.processes} or more"
        )
    if plan.dtype != "auto":
        raise UsageError("--dtype is of a local model; say what an endpoint serves with --precision")
    if plan.base_url is None:
        raise UsageError("--backend openai needs --base-url")
    if plan.prompts.is_chat and not plan.chat:
        raise UsageError(f"{plan.prompts.name} has messages of a chat; leave --completions out")
