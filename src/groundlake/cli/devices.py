"""Commands about devices: what is known of them, and which one this is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundlake.cli.app import MEASURE, app
from groundlake.cli.output import Format, FormatOption, OutOption, print_rows
from groundlake.cli.settings import Settings, command
from groundlake.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from groundlake.hardware import HardwareSpec

hw = typer.Typer(
    help="Devices: list and show what is known, detect this one, add your own.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(hw, name="hw", rich_help_panel=MEASURE)


@command(hw, MEASURE, "list")
def list_devices(settings: Settings, form: FormatOption = Format.TABLE, output: OutOption = None) -> None:
    """List the devices of the registry, and those that the lake adds or corrects."""
    import polars as pl

    from groundlake.hardware import overlay, registry

    added = overlay(settings.lake)
    known = registry() | added
    rows = [
        {
            "hardware_id": spec.hardware_id,
            "name": spec.name,
            "device": spec.device,
            "power_mode": spec.power_mode,
            "peak_fp32_flops": spec.peaks.get("fp32"),
            "memory_bandwidth_bytes_per_s": spec.memory_bandwidth_bytes_per_s,
            "aliases": " ".join(spec.aliases),
            "from": "this lake" if spec.hardware_id in added else "registry",
        }
        for spec in sorted(known.values(), key=lambda spec: spec.hardware_id.lower())
    ]
    print_rows(pl.DataFrame(rows), form, output)


@command(hw, MEASURE, "show")
def show_device(
    settings: Settings,
    hardware_id: Annotated[str, typer.Argument(metavar="ID", help="Hardware id or alias.")],
    form: FormatOption = Format.TABLE,
    output: OutOption = None,
) -> None:
    """Show every figure of one device with its source."""
    import difflib

    from groundlake.hardware import find, registry

    spec = find(hardware_id, settings.lake)
    if spec is None:
        near = difflib.get_close_matches(hardware_id, registry(), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else "; `lake hw list` shows those that are"
        raise UsageError(f"{hardware_id!r} is neither in the registry nor in this lake{hint}")
    _print_spec(spec, form, output)


@command(hw, MEASURE)
def detect(settings: Settings, form: FormatOption = Format.TABLE, output: OutOption = None) -> None:
    """Say which device this machine is, and how that was found out."""
    from groundlake.hardware import detect as detect_device

    found = detect_device()
    if form is Format.TABLE and output is None:
        aliases = f" (also {', '.join(found.aliases)})" if found.aliases else ""
        print(f"{found.hardware_id}{aliases}\nfound by {found.method}")
        print("".join(f"  {line}\n" for line in found.evidence))
    _print_spec(found.spec, form, output)


@command(hw, MEASURE)
def add(
    settings: Settings,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON with one device; see docs/hardware.md.")],
) -> None:
    """Add a device to this lake, or correct one: a row of the table `hardware`, which overlays the registry."""
    from groundlake.hardware import load_spec

    spec = load_spec(file)
    run_id = settings.lake.write_record(spec)
    print(f"{spec.hardware_id}: written to {settings.root} as run {run_id}")


@command(hw, MEASURE)
def register(settings: Settings) -> None:
    """Copy what the registry knows of the devices in this lake into its table `hardware`, where queries see it."""
    from groundlake.hardware import register_known

    added = register_known(settings.lake)
    print(f"{', '.join(added) or 'nothing'} copied from the registry to {settings.root}")


def _print_spec(spec: HardwareSpec, form: Format, output: Path | None) -> None:
    print_rows(_figures(spec), form, output)


def _figures(spec: HardwareSpec) -> pl.DataFrame:
    """One row for each figure of a device: name, value, source."""
    import polars as pl

    texts = {"hardware_id": spec.hardware_id, "name": spec.name, "vendor": spec.vendor, "device": spec.device}
    rows = [{"figure": name, "value": value, "source": None} for name, value in texts.items()]
    rows.append({"figure": "power_mode", "value": spec.power_mode, "source": None})
    rows += [
        {"figure": name, "value": None if value is None else f"{value:.6g}", "source": spec.sources.get(name)}
        for name, value in spec.figures().items()
    ]
    return pl.DataFrame(rows, schema={"figure": pl.String, "value": pl.String, "source": pl.String})
