"""What an import did: for the terminal, for `--report`, and for the exit code."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from groundlake.importers.manifests import Difference
    from groundlake.importers.quarantine import Entry

SHOWN = 20
"""Quarantined files and manifest differences shown on the terminal; `to_dict` has all of them."""


@dataclass
class HardwareCounts:
    """What an import did for one device."""

    imported: int = 0
    already_present: int = 0
    twins: int = 0
    failed_attempts: int = 0


@dataclass
class MigrationReport:
    """What an import of JSON trees found and did; a dry run says what it would do.

    Attributes:
        import_id: Name of the import; its quarantine file is `<import_id>.jsonl`.
        files: Files found below the roots.
        measurements: Good measurement files among them.
        imported: Runs written.
        already_present: Runs that the lake had before.
        twins: Further files of the same runs.
        withdrawn: Runs not imported, because they were retracted in the lake.
        retracted: Earlier imports withdrawn in favour of a canonical file.
        failed_attempts: Failed runs written.
        skipped: Number of files recognised as something else, by kind.
        quarantined: What was set aside, also by earlier imports where it is still there.
        newly_quarantined: How many of these are new.
        manifest_differences: Where manifests differ from the files.
        warnings: Number of warnings on the imported runs, by code.
        by_hardware: Counts of each device.
        duration_s: Wall time in seconds.
    """

    dry_run: bool
    import_id: str
    files: int = 0
    measurements: int = 0
    imported: int = 0
    already_present: int = 0
    twins: int = 0
    withdrawn: int = 0
    retracted: int = 0
    failed_attempts: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    quarantined: list[Entry] = field(default_factory=list)
    newly_quarantined: int = 0
    manifest_differences: list[Difference] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)
    by_hardware: dict[str, HardwareCounts] = field(default_factory=dict)
    duration_s: float = 0.0

    @property
    def set_aside(self) -> int:
        """Number of files, or parts of files, that were set aside."""
        return len(self.quarantined)

    def of(self, hardware_id: str) -> HardwareCounts:
        """Counts of one device, made when first asked for."""
        return self.by_hardware.setdefault(hardware_id, HardwareCounts())

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        plain = {name: value for name, value in vars(self).items() if not isinstance(value, (list, dict))}
        return {
            **plain,
            "set_aside": self.set_aside,
            "skipped": dict(sorted(self.skipped.items())),
            "warnings": dict(sorted(self.warnings.items())),
            "by_hardware": {name: vars(counts) for name, counts in sorted(self.by_hardware.items())},
            "manifest_differences": [vars(difference) for difference in self.manifest_differences],
            "quarantined": [{**vars(entry), "what_to_do": entry.what_to_do} for entry in self.quarantined],
        }

    def lines(self) -> list[str]:
        """Return the report for the terminal, one line each."""
        would = "would be " if self.dry_run else ""
        rate = f", {self.files / self.duration_s:.0f} files/s" if self.duration_s > 0 else ""
        lines = [
            f"{self.files} files in {self.duration_s:.1f} s{rate}; {self.measurements} good measurement files",
            f"  runs {would}imported        {self.imported}",
            f"  runs already in the lake {self.already_present}",
            f"  twins of these runs      {self.twins}",
            f"  failed attempts {would}imported {self.failed_attempts}",
        ]
        if self.withdrawn:
            lines.append(f"  runs left out: retracted in the lake {self.withdrawn}")
        if self.retracted:
            lines.append(f"  earlier imports {would}retracted for a canonical file {self.retracted}")
        if self.skipped:
            kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.skipped.items()))
            lines.append(f"  recognised and skipped   {kinds}")
        for name, counts in sorted(self.by_hardware.items()):
            lines.append(
                f"  {name}: {counts.imported} imported, {counts.already_present} present, {counts.twins} twins, "
                f"{counts.failed_attempts} failed attempts"
            )
        if self.warnings:
            codes = ", ".join(f"{code} {count}" for code, count in sorted(self.warnings.items()))
            lines.append(f"warnings on {would}imported runs: {codes}")
        lines += shown_lines("manifest differences", [str(item) for item in self.manifest_differences])
        lines += shown_lines(
            f"set aside ({self.newly_quarantined} new)",
            [f"{entry.uri}: {entry.code}: {entry.reason}; {entry.what_to_do}" for entry in self.quarantined],
        )
        return lines


def shown_lines(title: str, items: list[str]) -> list[str]:
    """A title with the number of items, and the first of them; nothing where there are none."""
    if not items:
        return []
    more = [f"  ... and {len(items) - SHOWN} more (--report has all)"] if len(items) > SHOWN else []
    return [f"{title}: {len(items)}", *[f"  {item}" for item in items[:SHOWN]], *more]
