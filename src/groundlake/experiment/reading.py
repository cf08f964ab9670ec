"""Read results of this and of the existing tool: what a file is, is told by its fields, not by its version."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from groundlake.errors import UsageError
from groundlake.experiment.result import ExperimentResult

if TYPE_CHECKING:
    from pathlib import Path

SHOWN = 4
"""Problems that a message names."""

OURS = "timeseries_sha256"
"""A field that only results of this project have."""

OF_OTHERS = frozenset(
    {
        "energy_tracking_failed",
        "cli_overrides",
        "config_warnings",
        "parameter_provenance",
        "preset_chain",
        "environment",
        "timeseries_path",
    }
)
"""Fields of older results of the existing tool that have no place of their own here."""

NOT_MEASURED_AS_ZERO = {
    "energy_metrics": (
        "total_energy_j",
        "energy_per_token_j",
        "gpu_energy_j",
        "cpu_energy_j",
        "ram_energy_j",
        "gpu_power_w",
        "cpu_power_w",
        "emissions_kg_co2",
    ),
    "compute_metrics": ("flops_total", "flops_per_token", "flops_per_second", "peak_memory_mb", "model_memory_mb"),
    "memory": ("total_vram_mb", "model_memory_mb", "peak_memory_mb", "inference_memory_mb"),
    "model_info": ("num_layers", "hidden_size", "num_attention_heads", "vocab_size"),
}
"""Figures that the existing tool writes as 0 where nobody measured them."""

TOP_LEVEL_ZEROS = ("total_energy_j", "avg_energy_per_token_j", "total_flops")

PACKAGE_TEXTS = ("pip_freeze", "conda_list")
"""Texts of packages that older environments have instead of a list."""

KEPT = "fields_of_other_tools"
"""Name under which `effective_config` keeps what has no place of its own."""


def read_result(file: Path) -> ExperimentResult:
    """Read one `result.json`.

    Raises:
        UsageError: There is no such file, it is no JSON, or it is no result; the message names the fields.
    """
    return result_of(_json(file), file)


def result_of(data: object, file: Path) -> ExperimentResult:
    """Make a result of what a JSON file holds.

    Args:
        data: Content of the file.
        file: Its name, for messages.

    Raises:
        UsageError: It is no result; the message names the fields.
    """
    if not isinstance(data, dict):
        raise UsageError(f"{file}: a result is a JSON object, got {type(data).__name__}")
    layout = layout_of(data)
    try:
        return ExperimentResult.model_validate(data if layout == "groundlake" else _as_ours(data))
    except ValidationError as error:
        raise UsageError(
            f"{file}: this is no result of an experiment (read as {layout})\n{problems_of(error)}"
        ) from error


def layout_of(data: dict[str, Any]) -> str:
    """Name the layout of a result by the fields it has.

    Returns:
        groundlake; or of the existing tool: v3.0.0 (with the source of each parameter), v2.0-pip-freeze (the
        environment has one text of packages), v2.0 (a list of them, or no environment).
    """
    if OURS in data:
        return "groundlake"
    if OF_OTHERS & data.keys():
        return "v3.0.0"
    snapshot = data.get("environment_snapshot")
    if isinstance(snapshot, dict) and "pip_freeze" in snapshot:
        return "v2.0-pip-freeze"
    return "v2.0"


def _as_ours(data: dict[str, Any]) -> dict[str, Any]:
    """A result of the existing tool with our names; 0 becomes None where it means that nobody measured."""
    made = {name: value for name, value in data.items() if name not in OF_OTHERS}
    for name in TOP_LEVEL_ZEROS:
        if made.get(name) == 0:
            made[name] = None
    others = _of_others(data)
    if others.get("timeseries_path") and not made.get("timeseries"):
        made["timeseries"] = str(others["timeseries_path"]).rsplit("/", 1)[-1]
    made = _without_empty_energies(_with_others(made, others))
    if isinstance(made.get("environment_snapshot"), dict):
        made["environment_snapshot"] = _snapshot(made["environment_snapshot"])
    if isinstance(made.get("process_results"), list):
        made["process_results"] = [_process(each) for each in made["process_results"]]
    return {name: _without_zeros(value, name) for name, value in made.items()}


def _of_others(data: dict[str, Any]) -> dict[str, Any]:
    """What has no place of its own: fields of older layouts, and a breakdown of an energy that was not measured."""
    others = {name: data[name] for name in sorted(OF_OTHERS & data.keys())}
    breakdown = data.get("energy_breakdown")
    if isinstance(breakdown, dict) and breakdown.get("raw_j") == 0:
        others["energy_breakdown"] = breakdown
    return others


def _with_others(made: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """Keep it with the settings, where they are any; a result whose settings are none is refused as it is."""
    config = made.get("effective_config") or {}
    if not others or not isinstance(config, dict):
        return made
    return made | {"effective_config": {**config, KEPT: others}}


def _without_empty_energies(made: dict[str, Any]) -> dict[str, Any]:
    """The same without energies of 0 J: a device that was measured takes some."""
    breakdown, of_each, gpus = (made.get(name) for name in ("energy_breakdown", "energy_per_device_j", "multi_gpu"))
    gone: dict[str, Any] = {}
    if isinstance(breakdown, dict) and breakdown.get("raw_j") == 0:
        gone["energy_breakdown"] = None
    if isinstance(of_each, list) and all(energy == 0 for energy in of_each):
        gone["energy_per_device_j"] = None
    if isinstance(gpus, dict) and gpus.get("energy_total_j") == 0:
        gone["multi_gpu"] = None
    return made | gone


def _process(data: Any) -> Any:  # noqa: ANN401 - whatever stands there
    if not isinstance(data, dict):
        return data
    others = _of_others(data)
    made = {name: value for name, value in data.items() if name not in OF_OTHERS}
    made = _without_empty_energies(_with_others(made, others))
    energy = made.get("energy_metrics")
    if isinstance(energy, dict) and others.get("energy_tracking_failed"):
        made["energy_metrics"] = energy | {"total_energy_j": None}
    return made


def _snapshot(data: dict[str, Any]) -> dict[str, Any]:
    """The environment with a list of packages, whichever way the tool wrote them."""
    texts = [data.get(name) for name in PACKAGE_TEXTS]
    made = {name: value for name, value in data.items() if name not in PACKAGE_TEXTS}
    if "installed_packages" in made:
        return made
    if not all(text is None or isinstance(text, str) for text in texts):
        return data  # for the model to refuse
    lines = [line.strip() for text in texts for line in (text or "").splitlines()]
    made["installed_packages"] = sorted({line for line in lines if line and not line.startswith("#")})
    return made


def _without_zeros(value: Any, name: str = "") -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, list):
        return [_without_zeros(each) for each in value]
    if not isinstance(value, dict) or name == "effective_config":
        return value
    zeros = NOT_MEASURED_AS_ZERO.get(name, ())
    return {key: None if key in zeros and each == 0 else _without_zeros(each, key) for key, each in value.items()}


def _json(file: Path) -> Any:  # noqa: ANN401 - any JSON
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON")

    try:
        return json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)
    except FileNotFoundError:
        raise UsageError(f"{file}: there is no such file; a result is a folder with result.json") from None
    except IsADirectoryError:
        raise UsageError(f"{file}: this is a folder; a result is a folder with result.json") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file}: cannot be read as JSON: {error}") from error


def problems_of(error: ValidationError) -> str:
    """The first problems, each with the path of the field and what stood there."""
    lines = []
    for problem in error.errors(include_url=False)[:SHOWN]:
        where = ".".join(map(str, problem["loc"])) or "the result"
        got = "" if problem["type"] == "missing" else f", got {_short(problem['input'])}"
        lines.append(f"  {where}: {problem['msg']}{got}")
    more = error.error_count() - SHOWN
    return "\n".join(lines + ([f"  and {more} more"] if more > 0 else []))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - characters of a line
