"""Time a lake of several sizes beside other stores over the same rows, in one run.

The other stores lie in an environment of their own (`make bench-scale` makes `.venv-peers`); one that is not there is
named and left out. Plain Parquet files are the floor. Prints tables with the targets, and keeps everything under
`scale` in `benchmarks/results/<machine>.json`; `benchmarks/scale_page.py` makes docs/scale.md from that.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

from groundlake import __version__
from groundlake.system import machine_fingerprint, software_facts

sys.path.insert(0, str(Path(__file__).parent))
import results
import scale_lake
from peers.questions import QUESTIONS, differences

HERE = Path(__file__).resolve().parent
SIZES = (661, 1_000, 10_000, 100_000)
FLOORS = ("parquet", "parquet_leaves")
"""Plain files, read by the DuckDB that reads the lake."""
PEERS = ("ducklake", "delta", "iceberg", "lance")
PEER_PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"
LIMITS_MS = {
    ("all_summaries", 661): 12.0,
    ("all_summaries", 100_000): 200.0,
    ("one_configuration", 661): 3.0,
    ("one_configuration", 100_000): 10.0,
}
"""Targets after compaction, by question and number of runs."""
LIMIT_RATIO = 1.5
"""Target of a full scan beside one plain file for each leaf folder."""


def peer(name: str, python: Path, *arguments: str) -> dict[str, Any]:
    """Measure another store in its environment; `missing` says why there are no figures."""
    if not python.exists():
        return {"missing": "no .venv-peers; `make bench-scale` makes it"}
    command = [str(python), "-m", "peers", name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE)
    if done.returncode:
        return {"missing": (done.stderr.strip().splitlines() or ["no reason given"])[-1][:200]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def python_of(name: str, peers: Path) -> Path:
    """The interpreter that has a store."""
    return Path(sys.executable) if name in FLOORS else peers


def measure(runs: int, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one size."""
    root, data = folder / "lake", folder / "data"
    say(f"{runs:,} runs: filling")
    found: dict[str, Any] = {"asked_runs": runs, "fill_s": scale_lake.fill(root, runs)}
    found["before"] = scale_lake.state(root, options.repeats)
    say(f"{runs:,} runs: filled in {found['fill_s']:.0f} s, now compacting")
    found |= scale_lake.compact(root)
    found["after"] = scale_lake.state(root, options.repeats)
    found |= scale_lake.export(root, data)
    refuse_differences("the lake before compaction", found["after"], found["before"])
    found["peers"] = {}
    for name in (*FLOORS, *options.peers):
        work = folder / name
        say(f"{runs:,} runs: {name}")
        arguments = ("--data", str(data), "--work", str(work), "--repeats", str(options.repeats))
        found["peers"][name] = peer(name, python_of(name, options.peer_python), *arguments)
        refuse_differences(name, found["after"], found["peers"][name])
        if name not in FLOORS:
            shutil.rmtree(work, ignore_errors=True)
    found["scans"] = scale_lake.beside_leaves(root, folder / "parquet_leaves" / "timings", options.repeats)
    return found


def refuse_differences(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """End where another store answers otherwise: times of different answers do not compare."""
    if "missing" in theirs:
        say(f"{name}: left out: {theirs['missing']}")
    elif different := differences(ours["answers"], theirs["answers"]):
        raise SystemExit(f"{name} answers otherwise than the lake: {'; '.join(different)}")


def appends(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Appends by eight processes, to the lake and to every other store that takes them."""
    data = folder / "data"
    say("appends by 8 processes: lake")
    found = {"lake": scale_lake.appends(folder / "lake", data)}
    for name in ("parquet_leaves", *options.peers):
        say(f"appends by 8 processes: {name}")
        arguments = ("--data", str(data), "--work", str(folder / name), "--appends")
        found[name] = peer(name, python_of(name, options.peer_python), *arguments)
    return found


def targets(sizes: list[dict[str, Any]], appended: dict[str, Any]) -> list[dict[str, Any]]:
    """Each target with what was found."""
    found = []
    for size in sizes:
        runs = size["asked_runs"]
        for question in ("all_summaries", "one_configuration"):
            if limit := LIMITS_MS.get((question, runs)):
                value = size["after"]["ms"][question]
                found.append(_target(f"{question}, {runs:,} runs", value, limit, "ms"))
        found.append(_target(f"full_scan, {runs:,} runs", size["scans"]["full_scan"]["ratio"], LIMIT_RATIO, "x"))
    ours, delta = appended["lake"], appended.get("delta", {})
    refused = ours["asked"] - ours["acknowledged"]
    found.append(_target(f"appends refused, of {ours['asked']}", refused, 0, ""))
    if delta.get("p50_ms"):
        found.append(_target("append (p50) beside Delta's", ours["p50_ms"], delta["p50_ms"], "ms"))
    return found


def _target(what: str, value: float, limit: float, unit: str) -> dict[str, Any]:
    return {"what": what, "value": value, "limit": limit, "unit": unit, "met": value <= limit}


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def show(result: dict[str, Any]) -> str:
    """Format everything as tables."""
    lines = []
    for size in result["sizes"]:
        lines.append(f"{size['runs']:,} runs, {size['rows']:,} rows; compacted in {size['compact_s']:.1f} s")
        lines.append(f"{'':22} {'files':>7} {'MB':>8} {''.join(f'{name:>18}' for name in QUESTIONS)}")
        stores = {"lake, before": size["before"], "lake": size["after"], **size["peers"]}
        for name, found in stores.items():
            if "missing" not in found:
                times = "".join(f"{found['ms'][question]:15.2f} ms" for question in QUESTIONS)
                lines.append(f"{name:22} {found['files']:7} {found['bytes'] / 1e6:8.2f} {times}")
        lines.append("")
    lines.append(f"{'appends by 8 processes':22} {'kept':>9} {'p50':>10} {'p95':>10}  errors")
    for name, found in result["appends"].items():
        if "missing" not in found:
            p50, p95 = (f"{found[key]:.1f} ms" if found[key] else "" for key in ("p50_ms", "p95_ms"))
            kept = f"{found['acknowledged']}/{found['asked']}"
            errors = "; ".join(f"{count} {error}" for error, count in found["errors"].items())
            lines.append(f"{name:22} {kept:>9} {p50:>10} {p95:>10}  {errors}")
    lines += ["", f"{'target':36} {'found':>12} {'limit':>12}"]
    lines += [
        f"{each['what']:36} {each['value']:9.2f} {each['unit']:2} {each['limit']:9.2f} {each['unit']:2} "
        f"{'met' if each['met'] else 'missed'}"
        for each in result["targets"]
    ]
    return "\n".join(lines)


def cpu() -> str:
    """Name of the processor."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    """Measure the sizes that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), metavar="RUNS")
    parser.add_argument("--repeats", type=int, default=7, help="Each figure is the median of this many.")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS, help="None without a name.")
    parser.add_argument("--peer-python", type=Path, default=PEER_PYTHON, metavar="PATH")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="Where the stores are made (default: a temporary folder)."
    )
    parser.add_argument("--note", default="", help="What else there is to know, such as other work on the machine.")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    sizes = []
    for runs in sorted(options.sizes):
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            sizes.append(measure(runs, Path(folder), options))
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        appended = appends(Path(folder), options)
    result = {
        "measured_on": dt.datetime.now(dt.timezone.utc).date().isoformat(),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "repeats": options.repeats,
        "note": options.note,
        "software": software_facts()
        | {
            "groundlake": __version__,
            "duckdb": duckdb.__version__,
            "polars": pl.__version__,
            "pyarrow": pa.__version__,
        },
        "sizes": sizes,
        "appends": appended,
        "targets": targets(sizes, appended),
    }
    print(show(result))
    results.keep(options.output / f"{machine_fingerprint()}.json", {"scale": result})


if __name__ == "__main__":
    main()
