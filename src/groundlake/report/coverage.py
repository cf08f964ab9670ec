"""Coverage: which models were measured on which hardware id and precision, at how many batch sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundlake.report.figure import Ask, Figure, Wanted, data, devices, load_altair, where
from groundlake.report.style import ordered, tooltip

if TYPE_CHECKING:
    from collections.abc import Iterator

TAKES = ("hardware", "precision", "model", "batch")
HINT = "nothing was tried yet: `lake ingest`"
ROW_HEIGHT = 20
COLUMN_WIDTH = 17
LEGEND_STEPS = 8


def figures(ask: Ask, wanted: Wanted) -> Iterator[Figure]:
    """Draw one heat map over everything."""
    alt = load_altair()
    sql = (
        "SELECT hardware_id || ' · ' || precision AS device, hardware_id, precision, model,\n"
        "    count(CASE WHEN state = 'measured' THEN 1 END) AS measured,\n"
        "    count(CASE WHEN state = 'failed' THEN 1 END) AS failed,\n"
        "    min(batch) AS smallest_batch, max(batch) AS largest_batch, CAST(sum(ok_runs) AS BIGINT) AS runs\n"
        f"FROM coverage{where(wanted.conditions('hardware_id', 'precision', 'model', 'batch'))}\n"
        "GROUP BY hardware_id, precision, model\nORDER BY hardware_id, precision, model"
    )
    rows = ask(sql)
    if rows.is_empty():
        return
    most = max(int(value) for value in rows["measured"])
    places = rows["device"].unique(maintain_order=True).to_list()
    base = alt.Chart().encode(
        x=alt.X("model:N", title="Model", axis=alt.Axis(labelAngle=-60, domain=False, ticks=False)),
        y=alt.Y("device:N", title=None, sort=places, axis=alt.Axis(domain=False, ticks=False)),
        tooltip=tooltip(
            hardware_id=("Hardware", ""),
            precision=("Precision", ""),
            model=("Model", ""),
            measured=("Batch sizes measured", "d"),
            failed=("Batch sizes failed", "d"),
            smallest_batch=("Smallest batch tried", "d"),
            largest_batch=("Largest batch tried", "d"),
            runs=("Good runs", "d"),
        ),
    )
    cells = base.transform_filter("datum.measured > 0").mark_rect(stroke="#88888855", cornerRadius=2)
    hue = alt.Color(
        "measured:Q",
        title="Batch sizes measured",
        scale=alt.Scale(domain=[1, max(most, 2)]),
        legend=alt.Legend(type="symbol", symbolType="square", symbolSize=170, values=_steps(most), format="d"),
    )
    crosses = base.transform_filter("datum.failed > 0").mark_point(
        shape="M-0.8,-0.8L0.8,0.8M-0.8,0.8L0.8,-0.8", size=64, color="#E06A1B", strokeWidth=2
    )
    failed = sum(int(value) for value in rows["failed"])
    notes = ["An empty place was never tried."]
    if failed:
        places_failed = rows.filter(rows["failed"] > 0).height
        notes.append(
            f"Crosses ({places_failed}): places with batch sizes that failed and were never measured, {failed} in all."
        )
    yield Figure(
        title="What was measured",
        scope=f"{devices(rows, wanted)} · {', '.join(ordered(rows['precision']))}{wanted.told} · any method",
        alt=f"Heat map of {rows['model'].n_unique()} models on {len(places)} pairs of hardware id and precision",
        sql=sql,
        rows=rows,
        chart=alt.layer(cells.encode(color=hue), crosses, data=data(rows)).properties(height=ROW_HEIGHT * len(places)),
        least_width=COLUMN_WIDTH * rows["model"].n_unique() + 190,
        notes=tuple(notes),
    )


def _steps(most: int) -> list[int]:
    """Counts that the legend shows: all of a few, else some up to the largest."""
    step = -(-most // LEGEND_STEPS)
    return sorted({1, *range(step, most + 1, step), most} - {0})
