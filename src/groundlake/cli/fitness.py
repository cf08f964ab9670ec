"""`lake preflight`: is this machine fit to be measured now? Every sweep asks the same before its first run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from groundlake.cli.app import MEASURE, app
from groundlake.cli.output import Format, FormatOption, OutOption, print_rows
from groundlake.cli.settings import Settings, command, say
from groundlake.errors import LakeEnvironmentError, LakeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from groundlake.measure.doubts import Doubt
    from groundlake.preflight import Check


@command(app, MEASURE)
def preflight(
    settings: Settings,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="cpu|cuda", help="What would be measured.", show_default="the best there is"),
    ] = None,
    form: FormatOption = Format.TABLE,
    output: OutOption = None,
) -> None:
    """Check whether this machine is fit to be measured now, and say what mends it. Exit code 1 when a check failed."""
    import polars as pl

    from groundlake.hardware import detect
    from groundlake.preflight import preflight as check_machine

    checks = check_machine(device or detect().device)
    if form is Format.TABLE and output is None:
        print("\n".join(_lines(checks)))
    else:
        rows = [
            {"name": each.name, "verdict": each.verdict.value, "observed": each.observed, "wanted": each.wanted,
             "fix": each.fix or None}
            for each in checks
        ]  # fmt: skip
        print_rows(pl.DataFrame(rows), form, output)
    failed = _failed(checks)
    if failed:
        raise LakeError(f"not fit to be measured: {_named(failed)}")


def preflight_of_sweep(settings: Settings, device: str, *, force: bool) -> Callable[[], Sequence[Doubt]]:
    """Return what a sweep calls once it holds the device: it raises for a failed check, and returns what is doubtful.

    Args:
        settings: Shared options.
        device: What will be measured.
        force: Measure in spite of a failed check; every run is marked as not representative then.
    """

    def check() -> Sequence[Doubt]:
        from groundlake.preflight import MOST_WINDOWS, Verdict
        from groundlake.preflight import preflight as check_machine

        checks = check_machine(device, windows=1 if force else MOST_WINDOWS)
        failed = _failed(checks)
        if failed and not force:
            found = "\n".join(
                f"  {each.name}: {each.observed}, wanted {each.wanted}; {each.fix}" for each in failed[:3]
            )
            raise LakeEnvironmentError(
                f"preflight: this machine is not fit to be measured now; nothing was measured\n{found}\n"
                "mend it (lake preflight shows all checks), or measure anyway with --force (make ingest FORCE=1), which"
                " marks the runs as not representative"
            )
        if not settings.quiet:
            for each in checks:
                if each.verdict in (Verdict.WARNING, Verdict.FAILED):
                    say(f"preflight: {each.verdict.value} {_sentence(each)}")
        return [
            _doubt(each, forced=each in failed) for each in checks if each.verdict in (Verdict.WARNING, Verdict.FAILED)
        ]

    return check


def _doubt(check: Check, *, forced: bool) -> Doubt:
    from groundlake.measure.doubts import Doubt

    return Doubt(
        code="not_representative" if forced else f"preflight_{check.name}",
        meaning=f"measured with --force although the preflight check {check.name} failed"
        if forced
        else f"the preflight check {check.name} warned",
        observed=check.observed,
        threshold=check.wanted,
        advice=check.fix,
    )


def _failed(checks: Sequence[Check]) -> list[Check]:
    from groundlake.preflight import Verdict

    return [each for each in checks if each.verdict is Verdict.FAILED]


def _named(checks: Sequence[Check]) -> str:
    return ", ".join(f"{each.name} ({each.observed})" for each in checks)


def _sentence(check: Check) -> str:
    fix = f"; {check.fix}" if check.fix else ""
    return f"{check.name}: {check.observed}, wanted {check.wanted}{fix}"


def _lines(checks: Sequence[Check]) -> list[str]:
    """One line for each check, and one below it where something can be done."""
    wide = max(len(each.name) for each in checks)
    lines = []
    for each in checks:
        wanted = f" (wanted: {each.wanted})" if each.wanted else ""
        lines.append(f"{each.verdict.value:<8} {each.name:<{wide}}  {each.observed}{wanted}")
        if each.fix:
            lines.append(f"{'':<8} {'':<{wide}}  -> {each.fix}")
    return lines
