"""Time questions, imports and commits, beside reading the same JSON files through Python, in one run.

Every figure is taken through the door a user takes: `lake.db` on an open connection, `GroundTruthLoader` in a script,
a cold `lake` process. Then comes what the power recorder costs and keeps (power.py). Prints both as tables, the first
with ratios, and writes `benchmarks/results/<machine>.json`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from groundlake import Lake
from groundlake.ground_truth import GroundTruthLoader
from groundlake.system import machine_fingerprint, software_facts

sys.path.insert(0, str(Path(__file__).parent))
import commits
import corpus
import figures
import power
import results

if TYPE_CHECKING:
    from collections.abc import Callable

REPEATS = 11


@dataclass
class Row:
    """One line of the result: our time, the time of plain Python over JSON, and the target if there is one."""

    what: str
    door: str
    ours_ms: float
    json_ms: float | None = None
    target_ms: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times quicker than JSON."""
        return self.json_ms / self.ours_ms if self.json_ms else None


def median_ms(function: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median time of a call, after one that is not counted."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def read_all_json(tree: Path) -> list[dict[str, Any]]:
    """Read the whole tree, as a script without a lake has to."""
    return [json.loads(path.read_bytes()) for path in sorted(tree.rglob("*_b*.json"))]


def json_summaries(tree: Path) -> list[tuple[str, float]]:
    """All whole-model summaries from JSON."""
    return [
        (record["hardware_id"], sum(subgraph["measured_latency"]["mean"] for subgraph in record["subgraphs"]))
        for record in read_all_json(tree)
    ]


def json_by_operation(tree: Path) -> dict[tuple[str, str], float]:
    """Latency by hardware and operation from JSON."""
    totals: dict[tuple[str, str], float] = defaultdict(float)
    for record in read_all_json(tree):
        for subgraph in record["subgraphs"]:
            totals[record["hardware_id"], subgraph["operation_type"]] += subgraph["measured_latency"]["mean"]
    return totals


def json_point(tree: Path) -> dict[str, Any]:
    """One configuration from JSON, whose path is known."""
    hardware_id, precision, model, batch = corpus.POINT
    path = tree / hardware_id / "measurements" / precision / f"{model}_b{batch}.json"
    return dict(json.loads(path.read_bytes()))


def queries(root: Path, tree: Path) -> list[Row]:
    """Questions to an open lake, beside the same answers from JSON."""
    rows = []
    with duckdb.connect(str(root.with_suffix(".db")), read_only=True) as connection:
        connection.execute("SET enable_progress_bar = false")

        def ask(query: str) -> float:
            return median_ms(lambda: connection.execute(query).fetchall())

        door = "open lake.db"
        rows.append(
            Row(
                "all summaries",
                door,
                ask("select * from model_summary"),
                median_ms(lambda: json_summaries(tree), 3),
                15,
            )
        )
        by_operation = (
            "select hardware_id, operation_type, sum(latency_mean_ms) from subgraph_timings "
            "group by hardware_id, operation_type"
        )
        rows.append(
            Row(
                "latency by hardware and operation",
                door,
                ask(by_operation),
                median_ms(lambda: json_by_operation(tree), 3),
            )
        )
        scan = "select count(*), sum(latency_mean_ms), sum(flops), sum(efficiency_mean) from subgraph_timings"
        rows.append(Row("full scan", door, ask(scan), median_ms(lambda: json_by_operation(tree), 3)))
        hardware_id, precision, model, batch = corpus.POINT
        point = (
            f"select * from subgraph_timings where hardware_id = '{hardware_id}' and model = '{model}' "  # noqa: S608 - our names
            f"and precision = '{precision}' and batch = {batch}"
        )
        rows.append(Row("one configuration", door, ask(point), median_ms(lambda: json_point(tree))))
    return rows


def loader(root: Path, tree: Path) -> list[Row]:
    """The loader of the source document, open."""
    ours = GroundTruthLoader(root)
    hardware_id, precision, model, batch = corpus.POINT
    point = median_ms(lambda: json_point(tree))
    return [
        Row(
            "one summary",
            "GroundTruthLoader.load_model_summary",
            median_ms(lambda: ours.load_model_summary(hardware_id, model, precision, batch)),
            point,
            3,
        ),
        Row(
            "one configuration",
            "GroundTruthLoader.load",
            median_ms(lambda: ours.load(hardware_id, model, precision, batch)),
            point,
        ),
    ]


def cold_processes(root: Path, tree: Path) -> list[Row]:
    """A cold `lake` process beside a cold Python process that reads the JSON tree."""
    environment = os.environ | {"LAKE_ROOT": str(root)}

    def lake(*arguments: str) -> float:
        return median_ms(
            lambda: subprocess.run(
                [sys.executable, "-m", "groundlake", *arguments], check=True, capture_output=True, env=environment
            ),
            5,
        )

    script = (
        f"import json, pathlib\n[json.loads(p.read_bytes()) for p in pathlib.Path({str(tree)!r}).rglob('*_b*.json')]"
    )
    plain = median_ms(lambda: subprocess.run([sys.executable, "-c", script], check=True), 3)
    return [
        Row("lake --help", "cold process", lake("--help"), None, 500),
        Row('lake sql "select 1"', "cold process", lake("sql", "select 1"), None, 1000),
        Row(
            'lake sql "select * from model_summary"', "cold process", lake("sql", "select * from model_summary"), plain
        ),
    ]


def migration(root: Path, tree: Path) -> Row:
    """`lake migrate-v1` into an empty lake; the time of one file, and what is left on disk."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "groundlake", "--root", str(root), "--quiet", "migrate-v1", str(tree)],
        check=True,
        capture_output=True,
    )
    seconds = time.perf_counter() - start
    files = sum(1 for _ in tree.rglob("*_b*.json"))
    parsed = median_ms(lambda: read_all_json(tree), 3) / files
    note = f"{files / seconds:.0f} files/s; JSON: parsing alone"
    return Row("migrate one file", "cold lake migrate-v1", seconds / files * 1000, parsed, 5, note)


def commit_rows(folder: Path) -> list[Row]:
    """Commit one run of 71 subgraphs: alone, with its shares, and with eight writers at once."""
    alone = commits.write(folder / "alone", 60)
    shares = ", ".join(f"{name} {share:.0%}" for name, share in commits.shares(folder / "shares", 40).items())
    # Spawned, not forked: the threads of polars are running here by now, and a fork would not take them along.
    with ProcessPoolExecutor(8, mp_context=multiprocessing.get_context("spawn")) as pool:
        together = [time for times in pool.map(commits.write, [folder / "together"] * 8, [20] * 8) for time in times]
    return [
        Row("commit, 1 writer (p50)", "Lake.write", statistics.median(alone), None, 25, shares),
        Row(
            "commit, 8 writers (p50)", "Lake.write", statistics.median(together), None, None, f"{len(together)} commits"
        ),
    ]


def estimation(root: Path) -> list[Row]:
    """Bring in the predictions of two estimators for every subgraph, validate them, and write a report of the lake."""
    lake = Lake(root)
    work = lake.sql(
        "select s.hardware_id, s.precision, s.model, s.batch, s.subgraph_id, s.latency_mean_ms from latest_runs r "
        "join subgraph_timings s on s.hardware_id = r.hardware_id and s.run_id = r.run_id"
    ).pl()
    rows = []
    for name, factor in (("low", 0.8), ("high", 1.3)):
        estimates = work.with_columns(predicted_latency_ms=factor * work["latency_mean_ms"]).drop("latency_mean_ms")
        start = time.perf_counter()
        lake.write_estimates(estimates, estimator=name, version="1")
        seconds = time.perf_counter() - start
        rows.append(Row(f"write {estimates.height} estimates ({name})", "Lake.write_estimates", seconds * 1000))
    lake_of = [sys.executable, "-m", "groundlake", "--root", str(root)]
    report = [*lake_of, "report", "-o", str(root.with_name("report.html"))]
    return [
        *rows,
        Row("lake validate, two estimators", "cold process", cold_ms([*lake_of, "validate"], 5), None, 4000),
        Row("lake report, two estimators", "cold process", cold_ms(report, 3), None, 20_000),
    ]


def cold_ms(command: list[str], repeats: int) -> float:
    """Median time of a command in a process of its own."""
    return median_ms(lambda: subprocess.run(command, check=True, capture_output=True), repeats)


def sizes(root: Path, tree: Path) -> dict[str, int]:
    """Bytes on disk of the lake and of the JSON it was made from."""
    return {
        "lake": sum(path.stat().st_size for path in root.rglob("*") if path.is_file()),
        "json": sum(path.stat().st_size for path in tree.rglob("*") if path.is_file()),
    }


def show(rows: list[Row], size: dict[str, int]) -> str:
    """Format the result as a table."""
    lines = [f"{'what':42} {'door':38} {'ours':>10} {'JSON':>10} {'ratio':>7} {'target':>8}  note"]
    for row in rows:
        beside = f"{row.json_ms:8.1f}ms" if row.json_ms else ""
        ratio = f"{row.ratio:.1f}x" if row.ratio else ""
        target = f"{row.target_ms:g}ms" if row.target_ms else ""
        lines.append(
            f"{row.what:42} {row.door:38} {row.ours_ms:8.2f}ms {beside:>10} {ratio:>7} {target:>8}  {row.note}"
        )
    lines.append(
        f"bytes on disk: {size['lake'] / 1e6:.1f} MB as Parquet, {size['json'] / 1e6:.1f} MB as JSON "
        f"({size['json'] / size['lake']:.1f}x)"
    )
    return "\n".join(lines)


def main() -> None:
    """Run everything in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--limit", type=int, metavar="N", help="Make only N of the 661 configurations.")
    power.add_options(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree, root = Path(folder) / "json", Path(folder) / "lake"
        count = corpus.write(tree, options.limit)
        print(f"{count} configurations", file=sys.stderr)
        rows = [migration(root, tree)]
        Lake(root).bind_views()
        rows += queries(root, tree) + loader(root, tree) + cold_processes(root, tree) + commit_rows(Path(folder))
        size = sizes(root, tree)
        rows += estimation(root)
    print(show(rows, size), flush=True)
    of_power = power.measure(power.Settings(options.rows, options.rounds, options.seconds))
    print(f"\n{figures.show(of_power)}")
    result = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "duckdb": duckdb.__version__,
        "software": software_facts(),
        "configurations": count,
        "bytes": size,
        "rows": [asdict(row) | {"ratio": row.ratio} for row in rows],
        "power": [asdict(figure) for figure in of_power],
    }
    results.keep(options.output / f"{machine_fingerprint()}.json", result)


if __name__ == "__main__":
    main()
