"""What a sweep will measure: configurations, settings, and what the lake holds already. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from groundlake.errors import UsageError
from groundlake.ledger import good_runs
from groundlake.machine import is_device
from groundlake.measure.enough import LEAST_PASSES
from groundlake.measure.inputs import name_with_shape, split_name
from groundlake.measure.int8.settings import INT8, check_wanted, runs_made_alike
from groundlake.power import DEFAULT_HZ
from groundlake.power.watch import AUTO, check_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from groundlake.measure.cooldown import Cooldown
    from groundlake.measure.doubts import Doubt
    from groundlake.measure.int8.settings import Int8Settings
    from groundlake.store import Lake

MEASURABLE = ("fp32", "tf32", "fp16", "bf16", INT8)
"""Precisions that can be run on some device; int8 needs a calibration set."""

NOT_RUN_YET = ("fp64", "fp8", "int4")
"""Precisions that runs may be imported under. A sweep accepts them beside others; they become failed rows."""

FULL_BATCHES: dict[str, tuple[int, ...]] = {
    "resnet18": (1, 4, 16, 64),
    "resnet34": (1, 4, 16),
    "resnet50": (1, 4, 16),
    "resnet101": (1, 4),
    "mobilenet_v2": (1, 4, 16, 64),
    "mobilenet_v3_small": (1, 4, 16, 64),
    "mobilenet_v3_large": (1, 4, 16),
    "efficientnet_b0": (1, 4, 16),
    "efficientnet_b1": (1, 4),
    "vgg11": (1,),
    "vgg16": (1, 4),
    "vit_b_16": (1,),
    "vit_b_32": (1,),
    "vit_l_16": (1,),
    "maxvit_t": (1,),
}
"""Models and batch sizes of the imported measurements, so that a full sweep can be compared with all of them."""


BASELINE_S = 5.0
"""Sensors that average over a second need several; every sweep waits for it once."""


@dataclass(frozen=True)
class SweepSet:
    """Models, precisions and batch sizes under one name."""

    batches: Mapping[str, tuple[int, ...]]
    precisions: tuple[str, ...]
    other_batches: tuple[int, ...]

    def batches_of(self, model: str) -> tuple[int, ...]:
        """Batch sizes of a model, also of one that is not in the set."""
        return self.batches.get(model, self.other_batches)


SWEEPS: dict[str, SweepSet] = {
    "quick": SweepSet(
        batches=dict.fromkeys(("resnet18", "mobilenet_v2", "efficientnet_b0", "vit_b_32"), (1, 4)),
        precisions=("fp32",),
        other_batches=(1, 4),
    ),
    "full": SweepSet(batches=FULL_BATCHES, precisions=("fp32", "fp16", "bf16"), other_batches=(1,)),
}
"""The sweeps that have a name; quick takes a few minutes on two CPU cores."""


@dataclass(frozen=True, order=True)
class Configuration:
    """One thing to measure on a device.

    Attributes:
        model: Name in the lake, with the shape of the input where that is not the model's own: resnet18@3x160x160.
    """

    model: str
    precision: str
    batch: int

    @property
    def plain_model(self) -> str:
        """Name of the model without a shape, as it is built."""
        return split_name(self.model)[0]

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Shape of one input without the batch; None takes what the model takes by itself."""
        return split_name(self.model)[1]

    def __str__(self) -> str:
        return f"{self.model} {self.precision} batch {self.batch}"


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """How a sweep measures, and on what.

    Attributes:
        hardware_id: Id that the runs carry.
        device: cpu, cuda, or one of several such as cuda:1.
        thermal_profile: Power mode of the device, for example MAXN.
        peaks: Theoretical peak by precision (FLOP/s); missing or None where unknown.
        peak_source: Where the peaks come from: registry, overlay, or the method of an estimate.
        warmup: Passes before timing, of each kind.
        runs: Timed passes, of each kind; with `until_ci` the most of them.
        until_ci: Stop as soon as half the 95 % interval of the mean latency is at most this share of it.
        repeat: None measures once what the lake lacks; a number measures everything that often, whatever it holds.
        timeout_s: Limit for one configuration, from building the model to its result.
        memory_limit_bytes: Limit for the memory of a measuring process; None takes most of what is free.
        cooldown: What to wait for between two runs.
        wait: Wait for another sweep on the same device, instead of raising.
        session: Name of the sweep; an id of its own when None.
        note: Free text kept with each run.
        power: `auto` reads the power sensors of the machine, `none` reads none; else a recorded trace to replay.
        power_hz: Reads of each power sensor per second.
        baseline_s: Length of the idle baseline before the first run, where there is a sensor; 0 takes none.
        doubts: What is doubtful about every run of the sweep, for example that a failed preflight was overruled.
        show_output: Let through what models and torch print while they are measured; it is thrown away otherwise.
        int8: How int8 is made; None measures no int8.
    """

    hardware_id: str
    device: str = "cpu"
    thermal_profile: str | None = None
    peaks: Mapping[str, float | None] = field(default_factory=dict)
    peak_source: str | None = None
    warmup: int = 10
    runs: int = 50
    until_ci: float | None = None
    repeat: int | None = None
    timeout_s: float = 600.0
    memory_limit_bytes: int | None = None
    cooldown: Cooldown | None = None
    wait: bool = False
    session: str | None = None
    note: str | None = None
    power: str = AUTO
    power_hz: float = DEFAULT_HZ
    baseline_s: float = BASELINE_S
    doubts: tuple[Doubt, ...] = ()
    show_output: bool = False
    int8: Int8Settings | None = None

    def __post_init__(self) -> None:
        passes = ("--runs", self.runs, 1) if self.until_ci is None else ("--max-runs", self.runs, LEAST_PASSES)
        for option, value, least in (("--warmup", self.warmup, 0), passes, ("--repeat", self.repeat, 1)):
            if value is not None and value < least:
                raise UsageError(f"{option} must be at least {least}, got {value}")
        check_source(self.power, self.power_hz)
        if not 0 <= self.baseline_s < float("inf"):
            raise UsageError(f"--baseline must be at least 0 seconds, got {self.baseline_s:g}")
        if not 0 < self.timeout_s < float("inf"):
            raise UsageError(f"--timeout must be more than 0 seconds, got {self.timeout_s}")
        if self.memory_limit_bytes is not None and self.memory_limit_bytes <= 0:
            raise UsageError(f"--memory-limit must be more than 0 bytes, got {self.memory_limit_bytes}")
        if self.until_ci is not None and not 0 < self.until_ci < 1:
            raise UsageError(f"--until-ci is a share of the mean between 0 and 1 (0.01 is 1 %), got {self.until_ci:g}")
        if not is_device(self.device):
            raise UsageError(f"device must be cpu or cuda, got {self.device!r}; one of several GPUs is cuda:1")

    @property
    def device_kind(self) -> str:
        """Kind of the device, without its number: cpu or cuda."""
        return self.device.split(":", 1)[0]


@dataclass(frozen=True)
class PlannedRun:
    """One run to come; `run_index` counts the repetitions from 1 and is None where nothing is repeated."""

    configuration: Configuration
    run_index: int | None = None

    def __str__(self) -> str:
        return str(self.configuration) + (f" run {self.run_index}" if self.run_index else "")


@dataclass(frozen=True)
class Plan:
    """What a sweep will do: runs in their order, and those that the lake holds already."""

    todo: tuple[PlannedRun, ...] = ()
    skipped: tuple[PlannedRun, ...] = ()


def configurations(
    sweep: str = "quick",
    *,
    models: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    batches: Sequence[int] | None = None,
    input_shape: tuple[int, ...] | None = None,
) -> list[Configuration]:
    """List the configurations of a named sweep; what is given replaces that part of it.

    Args:
        sweep: quick or full.
        models: Names, each with a shape of its own (`resnet18@3x160x160`) or without.
        precisions: For example fp32.
        batches: Batch sizes.
        input_shape: Shape of one input of every model, without the batch.

    Raises:
        UsageError: An unknown sweep or precision, a batch or a size below 1, or two shapes for one model.
    """
    if sweep not in SWEEPS:
        raise UsageError(f"no sweep {sweep!r}; there are {', '.join(SWEEPS)}")
    chosen = SWEEPS[sweep]
    wanted = [precision.strip().lower() for precision in precisions or chosen.precisions]
    for precision in wanted:
        if precision not in (*MEASURABLE, *NOT_RUN_YET):
            raise UsageError(
                f"--precisions: no precision {precision!r}; there are {', '.join(MEASURABLE)}\n"
                f"  {', '.join(NOT_RUN_YET)} are known, and not run yet"
            )
    for batch in batches or ():
        if batch < 1:
            raise UsageError(f"a batch has at least one input, got {batch}")
    every = [
        Configuration(_named(model, input_shape), precision, batch)
        for precision in wanted
        for model in models or chosen.batches
        for batch in batches or chosen.batches_of(split_name(model)[0])
    ]
    return list(dict.fromkeys(every))


def _named(model: str, input_shape: tuple[int, ...] | None) -> str:
    """Name under which a model is measured with inputs of a shape."""
    plain, shape = split_name(model)
    if shape is not None and input_shape is not None:
        raise UsageError(
            f"model {model!r} names the shape of its input; leave --input-shape out, or the part from @ on"
        )
    return name_with_shape(plain, shape or input_shape)


def plan(lake: Lake, settings: SweepSettings, wanted: Iterable[Configuration]) -> Plan:
    """Decide what to measure: everything `repeat` times, or, without it, what has no good run yet.

    Repetitions go round by round, each round in an order of its own, so that a drift of the machine is not taken for
    a property of the model that happens to come last. The orders follow from the name of the session; a session that
    was interrupted goes on where it stopped.

    Raises:
        UsageError: int8 is wanted, and there is no calibration set, or it cannot be had with it.
    """
    every = list(dict.fromkeys(wanted))
    check_wanted(every, settings.int8, settings.device_kind)
    if settings.repeat is None:
        held = measured_already(lake, settings.hardware_id, settings.int8)
        runs = [(PlannedRun(each), each in held) for each in every]
    else:
        rounds = range(1, settings.repeat + 1)
        done = _done_in_session(lake, settings)
        chance = random.Random(settings.session)  # noqa: S311 - an order, not a secret
        planned = [PlannedRun(each, index) for index in rounds for each in chance.sample(every, len(every))]
        runs = [(each, each in done) for each in planned]
    return Plan(
        todo=tuple(run for run, is_held in runs if not is_held),
        skipped=tuple(run for run, is_held in runs if is_held),
    )


def _done_in_session(lake: Lake, settings: SweepSettings) -> set[PlannedRun]:
    """Runs that this very session has measured; a session without a name is a new one."""
    if settings.session is None or not lake.exists:
        return set()
    runs = good_runs(lake.runs(settings.hardware_id)).filter(session_id=settings.session)
    runs = _made_alike(lake, settings.hardware_id, settings.int8, runs)
    rows = runs.select("model", "precision", "batch", "run_index").iter_rows()
    return {PlannedRun(Configuration(*row[:3]), row[3]) for row in rows}


def measured_already(lake: Lake, hardware_id: str, int8: Int8Settings | None = None) -> set[Configuration]:
    """Configurations of a device with a good efficiency run, imported ones included.

    Args:
        lake: Where to look.
        hardware_id: Id of the device.
        int8: A run in int8 counts if its network was made with the same images, prepared alike, by the same engine.
    """
    if not lake.exists:
        return set()
    good = _made_alike(lake, hardware_id, int8, good_runs(lake.runs(hardware_id)))
    return {Configuration(*row) for row in good.select("model", "precision", "batch").iter_rows()}


def _made_alike(lake: Lake, hardware_id: str, int8: Int8Settings | None, runs: pl.DataFrame) -> pl.DataFrame:
    """Leave out runs in int8 whose network was made otherwise, or nobody knows how."""
    is_int8 = pl.col("precision") == INT8
    if int8 is None or runs.filter(is_int8).is_empty():
        return runs
    return runs.filter(~is_int8 | pl.col("run_id").is_in(runs_made_alike(lake, hardware_id, int8)))


def config_hash(configuration: Configuration, settings: SweepSettings) -> str:
    """Hash what is measured and how: two runs with one hash differ by machine, software, moment and chance only."""
    decisive = {
        "model": configuration.plain_model,
        "precision": configuration.precision,
        "batch": configuration.batch,
        "input_shape": configuration.input_shape,
        "device": settings.device_kind,
        "warmup": settings.warmup,
        "runs": settings.runs,
        "until_ci": settings.until_ci,
    }
    if configuration.precision == INT8 and settings.int8 is not None:
        decisive["int8"] = settings.int8.decisive
    text = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
