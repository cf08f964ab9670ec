"""Write docs/scale.md from the results that `make bench-scale` kept of a machine."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
TEMPLATE = Path(__file__).with_name("scale_page.md")
QUESTIONS = {
    "all_summaries": "all summaries",
    "one_configuration": "one configuration",
    "by_operation": "mean latency by hardware and operation",
    "one_column": "one column of all rows",
    "full_scan": "all columns of all rows",
}
OURS = {
    "listing": "listing the files of the timings",
    "all_summaries": QUESTIONS["all_summaries"],
    "one_configuration": "one configuration, open `GroundTruthLoader`",
    "first_look_up": "the same, loader just made",
    "one_configuration_by_view": "one configuration, all its runs, `lake.db`",
    "by_operation": QUESTIONS["by_operation"],
    "one_column": QUESTIONS["one_column"],
    "full_scan": QUESTIONS["full_scan"],
}
STORES = {
    "lake, before": "lake, before compaction",
    "lake": "lake, compacted",
    "parquet": "one Parquet file",
    "parquet_leaves": "one Parquet file for each leaf",
    "ducklake": "DuckLake",
    "delta": "Delta",
    "iceberg": "Iceberg",
    "lance": "Lance",
}
FAR = 10_000_000
LEFT_OUT = 1_000
"""A size that is too near to 661 to say more about the stores."""
NOTHING_S = 0.01
"""A compaction that took less found nothing to do."""


def page(result: dict[str, Any], name: str) -> str:
    """The whole page, from the results of one machine."""
    scale = result["scale"]
    sizes = scale["sizes"]
    return TEMPLATE.read_text(encoding="utf-8").format(
        name=name,
        software=_software(scale),
        note=f" {scale['note'].rstrip('.')}." if scale["note"] else "",
        targets=_targets(scale["targets"]),
        sizes=_sizes(sizes),
        before=_state(sizes, "before"),
        after=_state(sizes, "after"),
        beside="\n\n".join(_beside(size) for size in sizes if size["asked_runs"] != LEFT_OUT),
        appends=_appends(scale["appends"]),
        **{key: scale[key] for key in ("measured_on", "cores", "cpu", "repeats")},
        **_far(sizes),
    )


def _software(scale: dict[str, Any]) -> str:
    own = scale["software"]
    others = {
        f"{package} {version}"
        for size in scale["sizes"]
        for name, found in size["peers"].items()
        if not name.startswith("parquet")
        for package, version in found.get("software", {}).items()
    }
    names = {"python_version": "Python", "duckdb": "DuckDB", "polars": "polars", "pyarrow": "pyarrow"}
    lake = ", ".join(f"{name} {own[key]}" for key, name in names.items())
    return f"{lake}; the other stores with {', '.join(sorted(others))}" if others else lake


def _sizes(sizes: Sequence[dict[str, Any]]) -> str:
    rows = [
        ["rows of timings", *(f"{size['rows']:,}" for size in sizes)],
        ["configurations", *(f"{size['configurations']:,}" for size in sizes)],
        *(
            [f"{key}ed in", *(_time(size[f"{key}_s"] * 1000) for size in sizes)]
            for key in ("fill", "compact", "vacuum")
        ),
    ]
    return _table(_heading(sizes), rows)


def _heading(sizes: Sequence[dict[str, Any]]) -> list[str]:
    return ["", *(f"{size['runs']:,} runs" for size in sizes)]


def _state(sizes: Sequence[dict[str, Any]], when: str) -> str:
    states = [size[when] for size in sizes]
    rows = [
        ["files", *(f"{state['files']:,}" for state in states)],
        ["of them in the ledger", *(f"{state['ledger_files']:,}" for state in states)],
        ["bytes", *(_bytes(state["bytes"]) for state in states)],
        ["of them in the ledger", *(_bytes(state["ledger_bytes"]) for state in states)],
        *([what, *(_time(state["ms"][key]) for state in states)] for key, what in OURS.items()),
    ]
    return _table(_heading(sizes), rows)


def _far(sizes: Sequence[dict[str, Any]]) -> dict[str, str]:
    """What continues the line through the two largest sizes, and what is said about it."""
    near, wide = sizes[-2:]
    flat_near, flat_wide = _flat(near), _flat(wide)
    each = {key: max(0.0, flat_wide[key] - flat_near[key]) / (wide["runs"] - near["runs"]) for key in flat_wide}
    far = {key: value + each[key] * (FAR - wide["runs"]) for key, value in flat_wide.items()}
    rows = [[what, show(flat_wide[key]), show(far[key])] for key, (what, show) in CONTINUED.items()]
    after, ms = wide["after"], wide["after"]["ms"]
    leaves = after["files"] - after["ledger_files"]
    second = wide["runs"] + (1000 - ms["all_summaries"]) / each["all_summaries"] if each["all_summaries"] else FAR
    return {
        "near": f"{near['runs']:,}",
        "wide": f"{wide['runs']:,}",
        "configurations": f"{wide['configurations']:,}",
        "far": _table(["", f"{wide['runs']:,} runs", "ten million, continued"], rows),
        "ledger_bytes_each": f"{each['ledger_bytes']:.0f}",
        "summaries_each": _time(each["all_summaries"] * 1000),
        "summaries_second": f"{float(f'{second:.2g}'):,.0f}",
        "listing": _time(ms["listing"]),
        "leaves": f"{leaves:,}",
        "listing_each": _time(ms["listing"] / leaves * 1000),
        "listing_far": _time(ms["listing"] / leaves * 100_000),
        "leaf_bytes": _bytes((far["bytes"] - far["ledger_bytes"]) / wide["configurations"]),
        "column_ratio": f"{wide['scans']['one_column']['ratio']:.1f}",
        "full_ratio": f"{wide['scans']['full_scan']['ratio']:.1f}",
        "ledger_before": f"{wide['before']['ledger_files']:,}",
        "ledger_after": f"{after['ledger_files']:,}",
        "summaries_before": _time(wide["before"]["ms"]["all_summaries"]),
        "summaries_after": _time(ms["all_summaries"]),
    }


def _flat(size: dict[str, Any]) -> dict[str, float]:
    """Everything about a compacted lake that may grow with its runs."""
    after = size["after"]
    counts = {key: after[key] for key in ("bytes", "ledger_bytes")}
    return {"rows": size["rows"], "compact_ms": size["compact_s"] * 1000, **counts, **after["ms"]}


def _beside(size: dict[str, Any]) -> str:
    stores = {"lake, before": size["before"], "lake": size["after"] | {"compact_s": size["compact_s"]}, **size["peers"]}
    rows = []
    for key, found in stores.items():
        if "missing" in found:
            rows.append([STORES[key], f"not measured: {found['missing']}", *[""] * (len(QUESTIONS) + 2)])
            continue
        seconds = found.get("compact_s", 0)
        compacted = _time(seconds * 1000) if seconds > NOTHING_S else ""
        times = [_time(found["ms"][question]) for question in QUESTIONS]
        rows.append([STORES[key], f"{found['files']:,}", _bytes(found["bytes"]), compacted, *times])
    heading = [f"{size['runs']:,} runs", "files", "bytes", "compacted in", *QUESTIONS.values()]
    return _table(heading, rows)


def _appends(appends: dict[str, Any]) -> str:
    rows = []
    for key, found in appends.items():
        name = STORES[key].partition(",")[0]
        if "missing" in found:
            rows.append([name, f"not measured: {found['missing']}", "", "", "", "", ""])
            continue
        acknowledged = f"{found['acknowledged']} of {found['asked']}"
        times = ["" if found[key] is None else _time(found[key]) for key in ("p50_ms", "p95_ms")]
        cpu = _time(found["cpu_ms"]) if found.get("cpu_ms") else ""
        read, promised = found["rows_read"], found["rows_acknowledged"]
        back = "all" if read == promised else f"{read:,} of {promised:,}"
        reasons = {reason.removeprefix("at the first: ").partition(":")[0] for reason in found["errors"]}
        rows.append([name, acknowledged, *times, cpu, back, ", ".join(sorted(reasons))])
    return _table(["", "acknowledged", "p50", "p95", "processor time of each", "rows read back", "refused with"], rows)


def _targets(targets: Iterable[dict[str, Any]]) -> str:
    rows = []
    for each in targets:
        found, limit = (_measured(each[key], each["unit"]) for key in ("value", "limit"))
        rows.append([each["what"].replace("_", " "), found, f"at most {limit}", "met" if each["met"] else "missed"])
    return _table(["", "found", "target", ""], rows)


def _measured(value: float, unit: str) -> str:
    return {"ms": lambda: _time(value), "x": lambda: f"{value:.2f} times"}.get(unit, lambda: f"{value:.0f}")()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(line)} |" for line in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _time(ms: float) -> str:
    if ms >= 120_000:  # noqa: PLR2004 - two minutes
        return f"{ms / 60_000:.0f} min"
    if ms >= 1000:  # noqa: PLR2004 - a second
        return f"{ms / 1000:.3g} s"
    return f"{ms:.3g} ms"


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"  # noqa: PLR2004 - a gigabyte


def _millions(count: float) -> str:
    return f"{count / 1e6:.1f} million" if count >= 1e6 else f"{count:,.0f}"  # noqa: PLR2004 - a million


CONTINUED: dict[str, tuple[str, Callable[[float], str]]] = {
    "rows": ("rows of timings", "{:,.0f}".format),
    "bytes": ("bytes", _bytes),
    "ledger_bytes": ("of them in the ledger", _bytes),
    "compact_ms": ("compacted in, the whole at once", _time),
    **{key: (what, _time) for key, what in OURS.items() if key != "listing"},
}
"""What is continued to ten million runs, and how it is shown."""


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="File of the machine that the page is to be about.")
    options = parser.parse_args()
    text = page(json.loads(options.results.read_bytes()), options.results.name)
    PAGE.write_text(text, encoding="utf-8")
    print(f"{PAGE} written")


if __name__ == "__main__":
    main()
