"""Power modes: what the next higher power mode of a device buys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundlake.report.axes import about_arrows
from groundlake.report.figure import Ask, Figure, Wanted, equals, where
from groundlake.report.speedup import ENDS, dots, spread
from groundlake.report.style import PRECISIONS, colour, ordered, shape, tooltip

if TYPE_CHECKING:
    from collections.abc import Iterator

TAKES = ("hardware", "precision", "model", "batch")
NOTE = (
    "Above 1 the higher mode is faster. Both latencies are of one kind: sums of separately timed subgraphs, or end to "
    "end. Whiskers: the noise of both runs. A label is a model and its batch size."
)
HINT = "no power modes: they need a device measured in two, each under an id of its own, `lake ingest --hw board_30w`"


def figures(ask: Ask, wanted: Wanted) -> Iterator[Figure]:
    """Draw one figure for each step from a power mode to the next higher one, and timing method."""
    keys = "device_name, hardware_id, power_mode, lower_hardware_id, lower_mode, timing_method"
    conditions = [*wanted.conditions("hardware_id", "precision", "model", "batch"), "speedup IS NOT NULL"]
    sql = f"SELECT DISTINCT {keys}\nFROM power_mode_scaling{where(conditions)}\nORDER BY {keys}"
    for step in ask(sql).iter_rows(named=True):
        yield _figure(ask, wanted, step)


def _figure(ask: Ask, wanted: Wanted, step: dict[str, str]) -> Figure:
    chosen = {f"s.{name}": value for name, value in step.items()}
    given = where(
        equals(**chosen)
        + [f"s.{each}" for each in wanted.conditions("precision", "model", "batch")]
        + ["s.speedup IS NOT NULL"]
    )
    margin = "sqrt(high.noise_percent * high.noise_percent + low.noise_percent * low.noise_percent) / 100"
    sql = (
        "SELECT s.model || ' · b' || CAST(s.batch AS STRING) AS configuration, s.model, s.batch, s.precision,\n"
        f"    s.speedup, s.speedup * (1 - {margin}) AS lower,\n"
        f"    s.speedup * (1 + {margin}) AS upper,\n"
        "    s.quantity, s.power_ratio, s.lower_latency_ms, s.latency_ms, s.verdict\n"
        "FROM power_mode_scaling s\n"
        "LEFT JOIN run_noise high\n"
        "    ON high.hardware_id = s.hardware_id AND high.run_id = s.run_id AND high.quantity = s.quantity\n"
        "LEFT JOIN run_noise low\n"
        "    ON low.hardware_id = s.lower_hardware_id AND low.run_id = s.lower_run_id\n"
        f"    AND low.quantity = s.quantity{given}\nORDER BY s.model, s.batch, s.precision"
    )
    rows = ask(sql)
    precisions = rows["precision"].unique().to_list()
    return Figure(
        title=f"{step['power_mode']} beside {step['lower_mode']}",
        scope=(
            f"{step['hardware_id']} beside {step['lower_hardware_id']} · {', '.join(ordered(precisions))}{wanted.told}"
            f" · timed by {step['timing_method']}"
        ),
        alt=f"Speed-up of {step['power_mode']} over {step['lower_mode']} for each model on {step['device_name']}",
        sql=sql,
        rows=rows,
        chart=dots(
            rows,
            axis=f"Latency in {step['lower_mode']} / latency in {step['power_mode']} [1]",
            hue=(
                colour("precision", "Precision", precisions, PRECISIONS),
                shape("precision", "Precision", precisions, PRECISIONS),
            ),
            shown=tooltip(
                model=("Model", ""),
                batch=("Batch", "d"),
                precision=("Precision", ""),
                quantity=("Latency compared", ""),
                speedup=("Speed-up", ".4~g"),
                lower=("Noise from", ".4~g"),
                upper=("Noise to", ".4~g"),
                power_ratio=("Power, times the lower mode", ".3~g"),
                lower_latency_ms=(f"Latency in {step['lower_mode']} [ms]", ".4~g"),
                latency_ms=(f"Latency in {step['power_mode']} [ms]", ".4~g"),
                verdict=("Verdict", ""),
            ),
        ),
        notes=tuple(filter(None, (NOTE, about_arrows(rows, ENDS, spread(rows))))),
    )
