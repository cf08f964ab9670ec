"""What a result says about its settings, under any of the names that tools give them, and all of it as rows."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from groundlake.experiment.reading import KEPT
from groundlake.hardware.cpu_peak import slugify
from groundlake.hardware.registry import registry
from groundlake.machine import is_device
from groundlake.schemas import NO_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from groundlake.experiment.extended import EnvironmentSnapshot
    from groundlake.experiment.result import ExperimentResult

MODEL_NAMES = ("model_name", "model", "model_id", "model_name_or_path")
PRECISION_NAMES = ("precision", "fp_precision", "dtype", "torch_dtype", "weights_dtype")
BATCH_NAMES = ("batch", "batch_size", "max_batch_size", "per_device_batch_size")
TOKEN_LIMIT_NAMES = ("max_new_tokens", "max_output_tokens", "max_tokens")
CONCURRENCY_NAMES = ("concurrency", "max_concurrency")
STUDY_NAMES = ("study", "study_name")
CYCLE_NAMES = ("cycle",)
HARDWARE_NAMES = ("hardware_id",)

PRECISIONS = {
    "float32": "fp32",
    "float": "fp32",
    "float16": "fp16",
    "half": "fp16",
    "bfloat16": "bf16",
    "float64": "fp64",
    "float8": "fp8",
}
"""Names of types to names of precisions; what is not here keeps its own."""

UNDECIDED = frozenset({"", "auto", "none", "null", "unknown"})

_OWN_ID = re.compile(r"(?P<model>.+)_\d{8}_\d{6}")
"""An identity that the existing tool makes: the model, and when it was measured."""

_PATH = re.compile(r"^(?:[/~.]|[A-Za-z]:\\)|\\")


def setting(config: Mapping[str, Any], names: Sequence[str]) -> Any:  # noqa: ANN401 - any JSON
    """Find the first of these names that is set, in the outermost mapping that has one; None where none is."""
    layer: list[Mapping[str, Any]] = [config]
    while layer:
        for name in names:
            for mapping in layer:
                if mapping.get(name) is not None and not isinstance(mapping[name], (dict, list)):
                    return mapping[name]
        layer = [
            value for each in layer for key, value in each.items() if isinstance(value, dict) and key != KEPT and value
        ]
    return None


def count_setting(config: Mapping[str, Any], names: Sequence[str]) -> int | None:
    """Find a whole number of at least 1 under one of these names."""
    value = setting(config, names)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else None


def text_setting(config: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Find a text that says something under one of these names."""
    value = setting(config, names)
    return value if isinstance(value, str) and value.strip().lower() not in UNDECIDED else None


def model_of(result: ExperimentResult) -> str:
    """Name of the model: of a hub, or of the folder where it is a path; `none` where nothing tells."""
    told = [None if result.model_info is None else result.model_info.name]
    told += [process.model_name for process in result.process_results]
    told.append(text_setting(result.effective_config, MODEL_NAMES))
    made = _OWN_ID.fullmatch(result.experiment_id)
    told.append(made["model"] if made else None)
    name = next((text for text in told if text), NO_KEY)
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1] or NO_KEY if _PATH.search(name) else name


def precision_of(result: ExperimentResult) -> str:
    """Precision of the weights, as quantized; `none` where nothing tells."""
    info = result.model_info
    if info is not None and info.quantization.enabled:
        return f"int{info.quantization.bits}" if info.quantization.bits else info.quantization.method.lower()
    config = result.effective_config
    for bits, names in ((4, ("load_in_4bit",)), (8, ("load_in_8bit",))):
        if setting(config, names) is True:
            return f"int{bits}"
    told = [text_setting(config, PRECISION_NAMES), None if info is None else info.torch_dtype]
    told += [process.compute_metrics.compute_precision for process in result.process_results]
    return next((precision_name(text) for text in told if text), NO_KEY)


def precision_name(text: str) -> str:
    """Our name of a precision: `torch.float16` is `fp16`."""
    short = text.strip().lower().removeprefix("torch.")
    return PRECISIONS.get(short, short)


def batch_of(result: ExperimentResult) -> int:
    """Prompts in one batch; 0 where nothing tells."""
    return count_setting(result.effective_config, BATCH_NAMES) or 0


def gpu_name_of(result: ExperimentResult) -> str | None:
    """Product name of the first GPU, as a process or the environment has it."""
    told = [process.gpu_name for process in result.process_results]
    snapshot = result.environment_snapshot
    told.append("" if snapshot is None or snapshot.hardware is None else snapshot.hardware.gpu.name)
    return next((name for name in told if name.strip()), None)


def device_of(result: ExperimentResult) -> str | None:
    """Kind of device the model ran on: as the settings say it, else cuda where a GPU is named."""
    told = text_setting(result.effective_config, ("device",))
    if told is not None and is_device(told):
        return told.split(":", 1)[0]
    return "cuda" if gpu_name_of(result) else None


def hardware_of(result: ExperimentResult) -> str | None:
    """Id of the device: as the settings say it, else that of the GPU's name in the registry, else a name made of it."""
    told = text_setting(result.effective_config, HARDWARE_NAMES)
    if told is not None:
        return told
    name = gpu_name_of(result)
    return None if name is None else hardware_named(name)


def hardware_named(name: str) -> str:
    """Id of the device with this product name: that of the registry, else one made of the name."""
    wanted = slugify(name)
    for hardware_id, spec in registry().items():
        if wanted in {slugify(each) for each in (*spec.product_names, spec.name)}:
            return hardware_id
    return wanted


def setting_rows(result: ExperimentResult) -> list[dict[str, object]]:
    """Every setting, fact of the environment and installed package, as rows of `experiment_settings`."""
    pairs = [("config", name, value) for name, value in flattened(result.effective_config)]
    snapshot = result.environment_snapshot
    if snapshot is not None:
        facts = snapshot.model_dump(mode="json", exclude={"installed_packages"})
        pairs += [("environment", name, value) for name, value in flattened(facts)]
        pairs += [("package", *package(line)) for line in snapshot.installed_packages]
    rows: dict[tuple[str, str], dict[str, object]] = {}
    for kind, name, value in pairs:
        free, number = name, 1
        while (kind, free) in rows:  # {"a": {"b": 1}, "a.b": 2} has one path twice
            number += 1
            free = f"{name}#{number}"
        rows[kind, free] = {"kind": kind, "name": free, "value": value}
    return list(rows.values())


def flattened(data: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str | None]]:
    """Path and text of each setting; lists stay one value, as JSON."""
    for key, value in data.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict) and value:
            yield from flattened(value, name)
        else:
            yield name, value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def package(line: str) -> tuple[str, str | None]:
    """Name and version of `name==version`, of `name @ place`, or of a line of conda."""
    parts = re.split(r"\s*(?:==|\s@\s)\s*|\s+", line.strip(), maxsplit=1)
    return parts[0], parts[1] if len(parts) > 1 and parts[1] else None


def versions(snapshot: EnvironmentSnapshot | None) -> dict[str, object]:
    """Columns of the ledger that say what software ran."""
    if snapshot is None:
        return {}
    packages = dict(map(package, snapshot.installed_packages))
    return {
        "python_version": snapshot.python_version,
        "tool_version": snapshot.tool_version,
        "os": snapshot.os,
        "torch_version": snapshot.torch_version or packages.get("torch"),
        "cuda_version": snapshot.cuda_version or (snapshot.hardware.cuda.version if snapshot.hardware else None),
        "driver_version": snapshot.driver_version
        or (snapshot.hardware.cuda.driver_version if snapshot.hardware else None),
        "machine_fingerprint": snapshot.machine_fingerprint,
        "software_fingerprint": snapshot.software_fingerprint,
    }
