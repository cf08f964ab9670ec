"""Names the settings that a stage was done with, where they are others than those of now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundlake.transition.configuration.mistakes import short
from groundlake.transition.configuration.projections import flat
from groundlake.transition.inference.guard import differences, held_otherwise

TOKENIZER = "tokenizer_source"

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import polars as pl

    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import Settings
    from groundlake.transition.data.prepared import Prepared


def prepared_otherwise(settings: Settings, prepared: Prepared) -> list[str]:
    """Name the settings that the data set was prepared with, where they are not those of now."""
    ours, theirs = settings.settings_hash("prepare"), prepared.settings_hash
    if ours == theirs:
        return []
    now = settings.without_secrets(settings.projection("prepare"))
    before = dict(prepared.settings)
    was, counts = before.pop(TOKENIZER, None), now.pop(TOKENIZER)
    found = [*_changed("prepared", before, now)]
    if was != counts:  # which is no setting: one of four says it
        found.insert(0, f"prepared with tokenizer {short(was)}; {settings.tokenizer_setting} says {short(counts)}")
    return found or [f"prepared with other settings: expected {ours}, found {theirs}"]


def asked_otherwise(settings: Settings, prepared: Prepared, lake: Lake) -> list[str]:
    """Name what the group was asked with, where that is not what it would be asked with now."""
    before = held_otherwise(settings, prepared, lake)
    return [] if before is None else [f"asked with {each}" for each in differences(before, settings, prepared)]


def analysed_otherwise(
    settings: Settings, runs: pl.DataFrame, intervals: pl.DataFrame, verdicts: pl.DataFrame
) -> list[str]:
    """Name the settings that an analysis was made with, as far as its rows tell them and they are not those of now.

    Args:
        settings: The settings of now.
        runs: Rows of `kv_runs` of the group: they tell which budget an identity stands for.
        intervals: Rows of `kv_intervals` of the analysis.
        verdicts: Rows of `kv_transitions` of the analysis.
    """
    if intervals.is_empty() or verdicts.is_empty():
        return []
    of_means, of_drops, analysis = intervals.row(0, named=True), verdicts.row(0, named=True), settings.analysis
    budgets = runs.join(intervals, on="budget_id", how="semi")["budget"].unique().sort(descending=True).to_list()
    before = {
        "kv.budgets": budgets,
        "analysis.seed": of_means["seed"],
        "analysis.n_bootstrap": of_means["resamples"],
        "analysis.confidence": of_means["confidence"],
        "analysis.drop_threshold": of_drops["drop_threshold"],
        "analysis.significance": of_drops["significance"],
    }
    now = {f"analysis.{name}": value for name, value in analysis.model_dump().items()}
    return [*_changed("analysed", before, now | {"kv.budgets": sorted(settings.kv.budgets, reverse=True)})]


def _changed(done: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    was, told = flat(before), flat(now)
    for key in was:
        if was[key] != told.get(key):
            yield f"{done} with {key} {short(was[key])}; the settings say {short(told.get(key))}"
