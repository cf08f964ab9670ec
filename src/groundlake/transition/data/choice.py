"""What a group's data set is, once the lengths of prompts are known: filters, bins, and the examples that are asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.transition.data.bins import LIMITS, bin_remarks, quantile_bins, with_selected, within_limits
from groundlake.transition.data.focus import focus_for, require_same_bins
from groundlake.transition.data.prepared import Prepared, PreparedExample, manifest_of
from groundlake.transition.data.selection import FOCUS_TRANSITION, UNIFORM, Focus, Sampling, Slice, select

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import DatasetSettings, Settings
    from groundlake.transition.data.bins import Bin, Kept
    from groundlake.transition.data.longbench import ExampleSet
    from groundlake.transition.data.selection import Selection
    from groundlake.transition.data.tokens import Counted, Counter


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """The examples of a data set, and how long their prompts are.

    Attributes:
        data: The examples.
        counter: What counted.
        prompt_hash: Hash of the template of the prompts.
        counted: Length of each example's prompt.
    """

    data: ExampleSet
    counter: Counter
    prompt_hash: str
    counted: tuple[Counted, ...]


def choose(settings: Settings, lake: Lake, dataset_id: str, lengths: Lengths) -> Prepared:
    """Sort examples into bins, and choose those that are asked. Nothing is written.

    Args:
        settings: Limits, bins and how many.
        lake: Where the analysis is from which a focus may be taken.
        dataset_id: Name of the data set and its task.
        lengths: What there is to choose from.

    Returns:
        The data set; its `run_id` is empty.

    Raises:
        UsageError: No example is left, a pinned one is not there, or a focus is to be taken from an analysis that is
            not there.
    """
    kept = within_limits(
        {each.example_id: each.tokens for each in lengths.counted},
        max_token_len=settings.binning.max_token_len,
        max_prompt_tokens=settings.dataset.max_prompt_tokens,
    )
    bins = quantile_bins(kept.lengths.values(), settings.binning.n_bins)
    focus = focus_for(settings, lake)
    if focus is not None and not settings.sampling.focus_bins:
        require_same_bins(lake, str(settings.output.exp_group_id), bins)
    selection = select(kept.lengths, bins, _sampling(settings, focus), dropped=kept.dropped)
    bins = with_selected(bins, [each.bin_index for each in selection.entries])
    remarks = (
        *lengths.data.remarks,
        *_remarks(lengths.counter, kept, settings),
        *bin_remarks(bins),
        *selection.remarks,
    )
    prepared = Prepared(
        run_id="",
        exp_group_id=str(settings.output.exp_group_id),
        dataset_id=dataset_id,
        task=lengths.data.task,
        source_uri=lengths.data.source,
        source_sha256=lengths.data.sha256,
        tokenizer=lengths.counter.name,
        tokenizer_fingerprint=lengths.counter.fingerprint,
        prompt_hash=lengths.prompt_hash,
        settings_hash=settings.settings_hash("prepare"),
        manifest_sha256="",
        population=len(kept.lengths),
        left_out=len(kept.dropped),
        examples=_examples(lengths, selection),
        bins=_bin_rows(bins),
        selection={
            "is_approximate": lengths.counter.is_approximate,
            "filters": dict(_limits(settings)),
            "dropped": kept.dropped_by,
            "sampling": _said(settings, focus),
            "remarks": list(remarks),
            "settings": settings.without_secrets(settings.projection("prepare")),
        },
    )
    return replace(prepared, manifest_sha256=manifest_of(prepared).manifest_sha256)


def _limits(settings: Settings) -> Iterator[tuple[str, int | None]]:
    return zip(LIMITS, (settings.binning.max_token_len, settings.dataset.max_prompt_tokens), strict=True)


def _sampling(settings: Settings, focus: Focus | None) -> Sampling:
    """Bring the settings into the form that `select` takes."""
    data = settings.dataset
    return Sampling(
        seed=data.seed,
        n_per_bin=data.n_per_bin,
        strategy=FOCUS_TRANSITION if focus else UNIFORM,
        focus=focus,
        pinned=data.pinned_example_ids,
        slices=tuple(_slices(data)),
    )


def _slices(data: DatasetSettings) -> Iterator[Slice]:
    for each in data.sanity_slices:
        if each.min_percentile is not None and each.max_percentile is not None:
            yield Slice(name=each.name, n=each.n, percentiles=(each.min_percentile, each.max_percentile))
        else:
            yield Slice(name=each.name, n=each.n, tokens=(each.min_tokens or 0, each.max_tokens))


def _said(settings: Settings, focus: Focus | None) -> dict[str, Any]:
    """Say how examples were chosen: what did not decide is left out."""
    data = settings.dataset
    if data.pinned_example_ids:
        return {"strategy": "pinned"}
    if data.sanity_slices:
        slices = [each.model_dump(exclude_none=True) for each in data.sanity_slices]
        return {"strategy": "sanity_slices", "seed": data.seed, "slices": slices}
    if focus is None:
        return {"strategy": UNIFORM, "seed": data.seed, "n_per_bin": data.n_per_bin}
    return {
        "strategy": FOCUS_TRANSITION,
        "seed": data.seed,
        "focus_bins": list(focus.bins),
        "focus_radius_bins": focus.radius,
        "focus_n_per_bin": focus.focus_n,
        "base_n_per_bin": focus.base_n,
    }


def _remarks(counter: Counter, kept: Kept, settings: Settings) -> Iterator[str]:
    """Say that tokens are not counted, and what filters left out."""
    if counter.is_approximate:
        yield f"tokens are counted by {counter.name}: no tokenizer is behind these lengths"
    for name, most in _limits(settings):
        if kept.dropped_by.get(name):
            of = f"{kept.dropped_by[name]} of {len(kept.lengths) + len(kept.dropped)} examples"
            yield f"left out before the bins were made, longer than {name} {most}: {of}"


def _examples(lengths: Lengths, selection: Selection) -> tuple[PreparedExample, ...]:
    examples = {each.example_id: each for each in lengths.data.examples}
    hashes = {each.example_id: each.prompt_sha256 for each in lengths.counted}
    return tuple(
        PreparedExample(
            example=examples[each.example_id],
            position=position,
            bin_index=each.bin_index,
            prompt_tokens=each.tokens,
            prompt_sha256=hashes[each.example_id],
            slice_name=each.slice_name,
        )
        for position, each in enumerate(selection.entries)
    )


def _bin_rows(bins: Sequence[Bin]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "bin_index": each.index,
                "tokens_from": None if each.is_empty else each.low,
                "tokens_to": each.longest,
                "population": each.population,
                "selected": each.selected,
            }
            for each in bins
        ],
        infer_schema_length=None,
    )
