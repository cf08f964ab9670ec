"""The stage that prepares a group's data set: it reads, counts, sorts into bins and chooses what is asked.

What it finds is a run of kind kv_dataset in the lake, and the same again as `manifest.json` in the group's folder.
Where data, tokenizer, prompt and settings are those of the last time, nothing is counted or written. Where only the
choice changes (more examples, other bins, a focus), prompts that were counted before are not counted again, and what is
asked is what the new run says: nothing of the old one is left over.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from groundlake import __version__
from groundlake.errors import UsageError
from groundlake.intake import utc_now
from groundlake.query_files import quoted
from groundlake.schemas import NO_KEY
from groundlake.transition.configuration.presence import require_present
from groundlake.transition.data.choice import Lengths, choose
from groundlake.transition.data.examples import dataset_id, sha256_of
from groundlake.transition.data.focus import focus_for
from groundlake.transition.data.longbench import hub_archive, read_longbench
from groundlake.transition.data.manifest import FILE_NAME, write_manifest
from groundlake.transition.data.prepared import Prepared, frames_of, manifest_of, read_prepared, read_run
from groundlake.transition.data.tokens import count_all, counter_named
from groundlake.transition.scoring.answer import scorer_version
from groundlake.transition.scoring.tasks import find_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import Settings
    from groundlake.transition.data.longbench import ExampleSet
    from groundlake.transition.data.tokens import Counted, Counter
    from groundlake.transition.scoring.tasks import Task

KIND: Final = "kv_dataset"
AT_ONCE: Final = 64
"""Prompts that are counted between two reports of progress."""
SHOWN: Final = 12
"""Characters of a hash that a message shows."""


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What preparing a data set came to.

    Attributes:
        prepared: The data set, as the lake has it.
        manifest_path: The file that says the same.
        was_current: Whether it was there already: nothing was counted or written to the lake.
        counted: Prompts whose tokens were counted.
        known: Prompts whose tokens the lake knew.
        remarks: What was merged, left out, or fell short.
        forced: What differs from the data set before, and was let through; None where nothing does.
    """

    prepared: Prepared
    manifest_path: Path
    was_current: bool
    counted: int
    known: int
    remarks: tuple[str, ...]
    forced: str | None


def group_folder(settings: Settings) -> Path:
    """Return the folder of a group's files, which no other group writes into."""
    return Path(settings.output.folder) / str(settings.output.exp_group_id)


def prompt_hash(task: Task) -> str:
    """Return the hash of how a task is asked: its template, and whether a model's own one is put around it."""
    return sha256_of({"template": task.template, "chat_template": task.chat_template})


def prepare(
    settings: Settings,
    lake: Lake,
    *,
    force: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Preparation:
    """Prepare the data set of a group, unless it is there already.

    Args:
        settings: Which data, tokenizer and examples.
        lake: Where it goes; it is made when it is missing.
        force: Begin the group anew where data, tokenizer or prompt are others than those it was asked with. Where bins
            of a focus come from the last analysis, take those of now.
        on_progress: Called with the prompts whose lengths are known, and their number.

    Raises:
        UsageError: The data are wrong, or are others than those the group was asked with; or data, tokenizer or local
            model are not there.
        MissingDependencyError: The tokenizer, or the metric, needs a library that is not installed.
        LakeEnvironmentError: The hub cannot be reached, or a file cannot be written.
    """
    require_present(settings)
    work = _Work(settings, lake, _counter(settings), _read(settings))
    scorer_version(work.task)  # a library that scoring needs is missed here, not behind hours of asking
    before = read_prepared(lake, work.group)
    differing = () if before is None else tuple(work.differing(before))
    forced = "; ".join(differing) if differing and work.was_asked else None
    if forced and not force:
        raise _refusal(work.group, differing)
    if before is not None and not differing and work.is_current(before):
        others = work.other_focus(before)
        if not (others and force):
            return work.made(before, None, others)
    counted = work.count(on_progress)
    return work.made(work.commit(counted, before, forced), counted, forced=forced)


@dataclass(frozen=True)
class _Work:
    """One preparation: what it is made of, and where it goes."""

    settings: Settings
    lake: Lake
    counter: Counter
    data: ExampleSet

    @property
    def group(self) -> str:
        return str(self.settings.output.exp_group_id)

    @property
    def task(self) -> Task:
        return find_task(self.data.task)

    @property
    def dataset_id(self) -> str:
        return dataset_id(self.settings.dataset.name, self.data.task)

    @property
    def was_asked(self) -> bool:
        """Whether the group has runs."""
        where = f"exp_group_id = {quoted(self.group)}"
        return self.lake.exists and bool(self.lake.sql(f"SELECT 1 FROM kv_runs WHERE {where} LIMIT 1").rows())  # noqa: S608 - a literal

    def differing(self, before: Prepared) -> Iterator[str]:
        """Name what makes other questions of the data set than those before, with both values."""
        if before.dataset_id != self.dataset_id:
            yield f"data set: {before.dataset_id} before, {self.dataset_id} now"
        if before.source_sha256 != self.data.sha256:
            yield _change("source", (before.source_uri, before.source_sha256), (self.data.source, self.data.sha256))
        if before.tokenizer_fingerprint != self.counter.fingerprint:
            told = (before.tokenizer, before.tokenizer_fingerprint)
            yield _change("tokenizer", told, (self.counter.name, self.counter.fingerprint))
        if before.prompt_hash != prompt_hash(self.task):
            yield _change("prompt", (before.task, before.prompt_hash), (self.data.task, prompt_hash(self.task)))

    def is_current(self, before: Prepared) -> bool:
        """Whether a data set of the same data, tokenizer and prompt was chosen as it would be now.

        Its manifest is made again: another release may write another form of it.
        """
        same = before.settings_hash == self.settings.settings_hash("prepare")
        return same and manifest_of(before).manifest_sha256 == before.manifest_sha256

    def other_focus(self, before: Prepared) -> tuple[str, ...]:
        """Say that an analysis since then found other bins: what is asked stays, until the new ones are asked for."""
        if self.settings.sampling.focus_bins:
            return ()
        was = before.selection["sampling"].get("focus_bins")
        with suppress(UsageError):  # nothing falls any more: there are no bins to take in place of those
            focus = focus_for(self.settings, self.lake)
            if focus is not None and list(focus.bins) != was:
                return (f"the focus is on bins {was}, the last analysis found {list(focus.bins)}; --force takes these",)
        return ()

    def count(self, on_progress: Callable[[int, int], None] | None) -> tuple[Counted, ...]:
        """Count the tokens of every prompt that the lake does not know."""
        known = self._known()
        examples, task = self.data.examples, self.task
        counted: list[Counted] = []
        for start in range(0, len(examples), AT_ONCE):
            some = examples[start : start + AT_ONCE]
            made = count_all(some, self.counter, known, prompt=lambda each: task.prompt(each.context, each.question))
            known |= {(each.prompt_sha256, self.counter.fingerprint): each.tokens for each in made}
            counted += made
            if on_progress:
                on_progress(len(counted), len(examples))
        return tuple(counted)

    def _known(self) -> dict[tuple[str, str], int]:
        """Read the counts of this tokenizer, of whatever group and data set."""
        if not self.lake.exists:
            return {}
        told = self.counter.fingerprint
        rows = self.lake.scan("kv_token_counts", hardware_id=NO_KEY).filter(pl.col("tokenizer_fingerprint") == told)
        found = rows.select("prompt_sha256", "prompt_tokens").collect()
        return {(sha256, told): tokens for sha256, tokens in found.iter_rows()}

    def commit(self, counted: tuple[Counted, ...], before: Prepared | None, forced: str | None) -> Prepared:
        """Choose, and commit one run with all of it; returns what the lake has of it."""
        started_at = utc_now()
        lengths = Lengths(data=self.data, counter=self.counter, prompt_hash=prompt_hash(self.task), counted=counted)
        prepared = choose(self.settings, self.lake, self.dataset_id, lengths)
        warnings = [f"forced: {forced}"] if forced else []
        warnings += [f"approximate_tokens: {self.counter.name}"] if self.counter.is_approximate else []
        ledger: dict[str, Any] = {
            "hardware_id": NO_KEY,
            "kind": KIND,
            "session_id": self.group,
            "parent_run_id": before.run_id if before else None,
            "config_hash": prepared.settings_hash,
            "tool_version": f"groundlake {__version__}",
            "started_at": started_at,
            "started_at_zone_source": "clock",
            "timing_method": "none",
            "warnings": warnings or None,
        }
        run_id = self.lake.write(ledger, **frames_of(prepared), kv_token_counts=self._count_rows(counted))
        return read_run(self.lake, run_id)

    def _count_rows(self, counted: Iterable[Counted]) -> pl.DataFrame:
        """Rows of `kv_token_counts` of what the lake does not know, each prompt once."""
        fresh = {each.prompt_sha256: each for each in counted if not each.was_known}
        rows = [
            {
                "dataset_id": self.dataset_id,
                "example_id": each.example_id,
                "tokenizer_fingerprint": self.counter.fingerprint,
                "prompt_sha256": sha256,
                "prompt_tokens": each.tokens,
            }
            for sha256, each in fresh.items()
        ]
        return pl.DataFrame(rows)

    def made(
        self,
        prepared: Prepared,
        counted: tuple[Counted, ...] | None,
        others: tuple[str, ...] = (),
        *,
        forced: str | None = None,
    ) -> Preparation:
        """Write the manifest unless it is there; `counted` is None where nothing had to be looked at."""
        path = group_folder(self.settings) / FILE_NAME
        _keep_manifest(prepared, path)
        every = prepared.population + prepared.left_out
        fresh = sum(not each.was_known for each in counted or ())
        return Preparation(
            prepared=prepared,
            manifest_path=path,
            was_current=counted is None,
            counted=fresh,
            known=every - fresh,
            remarks=(*prepared.remarks, *others),
            forced=forced,
        )


def _counter(settings: Settings) -> Counter:
    """Return what counts; the tokenizer of the model is called like the model, which says more than its folder."""
    counter = counter_named(settings.tokenizer_source)
    if settings.model.name is not None and settings.tokenizer_source == settings.model.path:
        counter.name = settings.model.name
    return counter


def _read(settings: Settings) -> ExampleSet:
    """Read the examples, from the hub only where that is asked for."""
    data = settings.dataset
    path = hub_archive(download=True) if data.path is None else Path(data.path)
    return read_longbench(path, str(data.task))


def _keep_manifest(prepared: Prepared, path: Path) -> None:
    """Write the manifest as the tables have it, unless the file says the same."""
    manifest = manifest_of(prepared)
    with suppress(OSError):
        if path.read_bytes() == manifest.to_bytes():
            return
    write_manifest(manifest, path)


def _change(what: str, before: tuple[str | None, str | None], now: tuple[str, str]) -> str:
    """Say what differs: name and start of the hash, then and now."""
    then, today = (f"{name} ({str(sha256)[:SHOWN]})" for name, sha256 in (before, now))
    return f"{what}: {then} before, {today} now"


def _refusal(group: str, differing: tuple[str, ...]) -> UsageError:
    return UsageError(
        "\n  ".join(
            [
                f"group {group} was asked with other data",
                *differing,
                "take another output.exp_group_id; --force begins the group anew: what was answered no longer counts",
            ]
        )
    )
