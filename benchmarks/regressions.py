"""How often a change is found, and how often one is seen where there is none: `lake compare` beside other tests.

Samples are drawn with a fixed seed, shifted by a known factor, and given to three deciders: what `lake compare` decides
with, a plain Mann-Whitney test at 99 % on all samples (as in asv), and a z score of 5 over a history of 100 runs (as in
conbench). Prints the tables; `--write` puts them into docs/comparing.md.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from groundlake.stats.change import REGRESSED, Change, adjusted, decide
from groundlake.stats.pooled import moderated_scatter
from groundlake.stats.ranks import mann_whitney
from groundlake.stats.robust import typical

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Samples = NDArray[np.float64]

SEED = 20261121
SAMPLES, HISTORY = 50, 100
SHIFTS, SPREADS = (0.0, 2.0, 5.0, 10.0), (1.0, 3.0, 5.0)
OUTLIERS = 0.02
JUMPS = 0.3
WHOLE_SHIFTS = (5.0, 10.0)
LEVEL, Z_SCORE = 0.01, 5.0
ALARMS = ("regressed", "improved")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "comparing.md"
BEGIN, END = "<!-- regressions: begin -->", "<!-- regressions: end -->"
DECIDERS = ("lake", "lake, no history", "Mann-Whitney 99 %", "the same, set to 1 %", "z = 5 over 100")


@dataclass(frozen=True)
class Setting:
    """Where samples come from.

    Attributes:
        shape: normal, or skewed: lognormal, and 2 % of the passes disturbed by half of their time on average.
        spread: Standard deviation within a run, in percent.
        between: Standard deviation between runs, in percent.
        runs: Runs on each side.
    """

    shape: str
    spread: float
    between: float
    runs: int


def draw(random: np.random.Generator, setting: Setting, *shape: int) -> Samples:
    """Draw samples of runs around 1, shape (..., runs, 50)."""
    size = (*shape, SAMPLES)
    share = setting.spread / 100
    noise = random.normal(0.0, share, size)
    if setting.shape == "skewed":
        late = random.random(size) < OUTLIERS
        inside = np.exp(noise) * (1 + late * random.exponential(0.5, size))
    else:
        inside = 1 + noise
    return inside * np.exp(random.normal(0.0, setting.between / 100, shape))[..., None]


def scatter(runs: Samples) -> tuple[Samples, int]:
    """Variance of the runs' logarithms over the last axis, and its degrees of freedom."""
    return runs.var(axis=-1, ddof=1), runs.shape[-1] - 1


def rates(setting: Setting, trials: int) -> dict[str, dict[float, float]]:
    """Share of trials in which each decider says "regressed", by shift; at shift 0, in which it says any change."""
    random = np.random.default_rng([SEED, round(setting.spread), round(setting.between), len(setting.shape)])
    a, b = (draw(random, setting, trials, setting.runs) for _ in "ab")
    history = draw(random, setting, trials, HISTORY)
    log_a, log_b = typical(a).log_value, typical(b).log_value
    past, freedom = scatter(typical(history).log_value)
    changes = {
        "lake": [_change(*logs, (seen, freedom)) for *logs, seen in zip(log_a, log_b, past, strict=True)],
        "lake, no history": [_change(*logs, None) for logs in zip(log_a, log_b, strict=True)],
    }
    quiet, _ = _ranks(a, b)
    levels = {"Mann-Whitney 99 %": LEVEL, "the same, set to 1 %": float(np.quantile(quiet, LEVEL))}
    found: dict[str, dict[float, float]] = {name: {} for name in DECIDERS}
    for shift in SHIFTS:
        moved = b * (1 + shift / 100)
        for name, seen in changes.items():
            found[name][shift] = float(np.mean([_alarm(change, shift) for change in seen]))
        p_values, larger = _ranks(a, moved)
        for name, level in levels.items():
            found[name][shift] = float(((p_values <= level) & (larger | (shift == 0))).mean())
        found["z = 5 over 100"][shift] = float((_scores(moved, history, two_sided=shift == 0) > Z_SCORE).mean())
    return found


def _ranks(a: Samples, b: Samples) -> tuple[Samples, NDArray[np.bool_]]:
    """P value of Mann and Whitney in each trial, all samples of a side taken together, and whether b is larger."""
    tests = [mann_whitney(first.ravel(), second.ravel()) for first, second in zip(a, b, strict=True)]
    even = 0.5
    return np.array([test.p_value for test in tests]), np.array([test.larger_share > even for test in tests])


def _scores(runs: Samples, history: Samples, *, two_sided: bool) -> Samples:
    """How many standard deviations of the history's means the mean of the new runs lies off, in each trial."""
    means = history.mean(axis=-1)
    score = (runs.mean(axis=(-1, -2)) - means.mean(axis=-1)) / means.std(axis=-1, ddof=1)
    return np.abs(score) if two_sided else score


def _change(log_a: Samples, log_b: Samples, past: tuple[float, int] | None) -> Change | None:
    """The change as `lake compare` sees it: noise between runs from the repeats on both sides and in the history."""
    groups = [(float(side.var(ddof=1)), side.size - 1) for side in (log_a, log_b) if side.size > 1]
    groups += [past] if past else []
    freedom = sum(count for _, count in groups)
    if not freedom:
        return None
    pooled = sum(variance * count for variance, count in groups) / freedom
    (noise,) = moderated_scatter([pooled], [freedom])
    if noise is None:
        return None
    variance = noise.variance * (1 / log_a.size + 1 / log_b.size)
    return Change(float(log_b.mean() - log_a.mean()), variance, noise.degrees_of_freedom)


def _alarm(change: Change | None, shift: float) -> bool:
    """Whether `lake compare` calls this change, after a shift in percent: any way at 0, a regression else."""
    if change is None:
        return False
    moved = replace(change, log_change=change.log_change + math.log1p(shift / 100))
    verdict = decide(moved, moved.p_value())
    return verdict == REGRESSED if shift else verdict in ALARMS


def whole(trials: int, configurations: int = 100, shifted: int = 10) -> dict[str, dict[str, float]]:
    """Comparisons of many configurations at once, five repeats each, 3 % within and 2 % between runs, no history.

    Returns:
        By decider: the share of comparisons with any false alarm where nothing changed, and, where some were shifted by
        5 or 10 %, the share of those that is found and the share of alarms that is false.
    """
    random = np.random.default_rng([SEED, configurations])
    setting = Setting("normal", 3.0, 2.0, 5)
    moved = np.arange(configurations) < shifted
    counts: dict[str, list[list[float]]] = {}
    for _ in range(trials):
        a, b = (draw(random, setting, configurations, setting.runs) for _ in "ab")
        for name, alarms in _both(a, b).items():
            counts.setdefault(name, []).append([alarms.any()])
        for shift in WHOLE_SHIFTS:
            for name, alarms in _both(a, np.where(moved[:, None, None], b * (1 + shift / 100), b)).items():
                counts[name][-1] += [alarms[moved].mean(), alarms[~moved].sum(), alarms.sum()]
    found = {}
    for name, rows in counts.items():
        quiet, *loud = np.array(rows, dtype=float).sum(axis=0)
        found[name] = {"nothing changed: comparisons with a false alarm": quiet / trials}
        for at, shift in enumerate(WHOLE_SHIFTS):
            hits, false, alarms = loud[3 * at : 3 * at + 3]
            found[name][f"{shifted} of {configurations} shifted by {shift:g} %: of those found"] = hits / trials
            found[name][f"{shifted} of {configurations} shifted by {shift:g} %: alarms that are false"] = false / alarms
    return found


def awkward(trials: int, kind: str, repeats: int, configurations: int = 15) -> float:
    """Share of comparisons of 15 unchanged configurations with any false alarm, by the kind of noise between runs."""
    random = np.random.default_rng([SEED, repeats, len(kind)])
    alarms = 0
    for _ in range(trials):
        log_a, log_b = NOISES[kind](random, (2, configurations, repeats))
        variances = (log_a.var(axis=-1, ddof=1) + log_b.var(axis=-1, ddof=1)) / 2
        alarms += _called(log_a, log_b, variances, 2 * (repeats - 1)).any()
    return alarms / trials


def _jumpy(random: np.random.Generator, shape: tuple[int, int, int]) -> Samples:
    """Draw runs of which those of every third configuration are sometimes 25 % slower, as on a real Jetson."""
    jumps = (random.random((1, shape[1], 1)) < 1 / 3) & (random.random(shape) < JUMPS)
    return random.normal(0.0, 0.005, shape) + jumps * math.log(1.25)


NOISES: dict[str, Callable[[np.random.Generator, tuple[int, int, int]], Samples]] = {
    "normal, 2 %": lambda random, shape: random.normal(0.0, 0.02, shape),
    "normal, another size for each configuration": lambda random, shape: (
        random.normal(0.0, 0.01, shape) * np.exp(random.normal(0.0, 1.0, (1, shape[1], 1)))
    ),
    "heavy tails (Student's t, 3 degrees of freedom)": lambda random, shape: random.standard_t(3, shape) * 0.01,
    "a third of the configurations jump by 25 % in 3 of 10 runs": _jumpy,
}


def _both(a: Samples, b: Samples) -> dict[str, NDArray[np.bool_]]:
    """Alarms of the two deciders over configurations, shape (n,) each."""
    log_a, log_b = typical(a).log_value, typical(b).log_value
    (of_a, freedom_a), (of_b, freedom_b) = scatter(log_a), scatter(log_b)
    freedom = freedom_a + freedom_b
    said = _called(log_a, log_b, (of_a * freedom_a + of_b * freedom_b) / freedom, freedom)
    plain = [mann_whitney(x.ravel(), y.ravel()).p_value <= LEVEL for x, y in zip(a, b, strict=True)]
    return {"lake": said, "Mann-Whitney 99 %": np.array(plain)}


def _called(log_a: Samples, log_b: Samples, variances: Samples, freedom: int) -> NDArray[np.bool_]:
    """Whether `lake compare` calls a change, for each configuration of a comparison without history."""
    noises = moderated_scatter(variances.tolist(), [float(freedom)] * variances.size)
    share = 1 / log_a.shape[-1] + 1 / log_b.shape[-1]
    changes = [
        Change(float(change), noise.variance * share, noise.degrees_of_freedom)
        for change, noise in zip(log_b.mean(axis=-1) - log_a.mean(axis=-1), noises, strict=True)
        if noise is not None
    ]
    p_values = adjusted([change.p_value() or 0.0 for change in changes])
    return np.array([decide(change, p) in ALARMS for change, p in zip(changes, p_values, strict=True)])


SITUATIONS = {
    "One run of 50 samples on each side, no noise between runs": (0.0, 1),
    "Five runs of 50 samples on each side, noise between runs 2 %": (2.0, 5),
}


def report(trials: int) -> str:
    """All tables, as Markdown."""
    parts = []
    for title, (between, runs) in SITUATIONS.items():
        names = [name for name in DECIDERS if runs > 1 or name != "lake, no history"]
        lines = [f"**{title}** (percent of {trials} trials)\n"]
        lines += [f"| samples | CV | shift | {' | '.join(names)} |", f"|---|---:|---:|{'---:|' * len(names)}"]
        for shape in ("normal", "skewed"):
            for spread in SPREADS:
                found = rates(Setting(shape, spread, between, runs), trials)
                lines += [
                    f"| {shape} | {spread:g} % | {_shift(shift)} | {_cells(found, names, shift)} |" for shift in SHIFTS
                ]
        parts.append("\n".join(lines))
    many = max(20, trials // 10)
    lines = [f"**A comparison of 100 configurations at once** (percent, {many} comparisons)\n"]
    found_all = whole(many)
    lines += ["| | lake | Mann-Whitney 99 % |", "|---|---:|---:|"]
    for label in next(iter(found_all.values())):
        cells = " | ".join(f"{100 * each[label]:.1f}" for each in found_all.values())
        lines.append(f"| {label} | {cells} |")
    parts.append("\n".join(lines))
    lines = [
        f"**False alarms in a comparison of 15 configurations without any change** (percent, {trials} comparisons)\n"
    ]
    lines += ["| noise between runs | 2 + 2 runs | 3 + 3 runs | 5 + 5 runs |", "|---|---:|---:|---:|"]
    for kind in NOISES:
        cells = " | ".join(f"{100 * awkward(trials, kind, repeats):.1f}" for repeats in (2, 3, 5))
        lines.append(f"| {kind} | {cells} |")
    return "\n\n".join([*parts, "\n".join(lines)])


def _shift(shift: float) -> str:
    return f"{shift:g} %" if shift else "none: false alarms"


def _cells(found: dict[str, dict[float, float]], names: Sequence[str], shift: float) -> str:
    return " | ".join(f"{100 * found[name][shift]:.1f}" for name in names)


def write(text: str, page: Path) -> None:
    """Put the tables between the markers of the page."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page}: needs the markers {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Print the tables, and write them where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000, help="Trials for each cell.")
    parser.add_argument("--write", action="store_true", help="Put the tables into the page.")
    parser.add_argument("--page", type=Path, default=PAGE, help="The page.")
    options = parser.parse_args()
    started = time.perf_counter()
    text = report(options.trials)
    print(text)
    print(f"\n{time.perf_counter() - started:.0f} s")
    if options.write:
        write(text, options.page)


if __name__ == "__main__":
    main()
