"""How much runs of a configuration scatter between each other: what every repeat in the lake says about it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from groundlake.compare.figures import FORCED
from groundlake.stats.pooled import moderated_scatter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from groundlake.compare.figures import Figure


@dataclass(frozen=True)
class RunNoise:
    """Scatter between runs of one configuration.

    Attributes:
        variance: Of the logarithm of a run's figure.
        degrees_of_freedom: Of that variance.
        repeats: Runs less groups of them: of the configuration itself, or of the whole family where it has none.
        borrowed: Whether all repeats are of other configurations of the same device, precision and methods.
        one_session: Whether every group of repeats lies in one session: then drift between sessions is not in it.
    """

    variance: float
    degrees_of_freedom: float
    repeats: int
    borrowed: bool
    one_session: bool


def run_noise(
    figures: Iterable[Figure], sides: dict[tuple[str, str], str], statistic: str
) -> dict[tuple[Any, ...], RunNoise]:
    """Scatter between runs by `Figure.configuration`, for all that the lake has repeats of.

    Runs are repeats of each other where the configuration, methods, graph and software are the same. Runs of the two
    sides are never taken together, so the change that is asked about is not counted as noise.

    Args:
        figures: Of every good run in the lake.
        sides: Of the runs that are compared, by hardware id and run id: which side they are on.
        statistic: What stands for a run.
    """
    families: dict[tuple[Any, ...], dict[tuple[Any, ...], list[list[Figure]]]] = defaultdict(dict)
    for configuration, groups in _groups(figures, sides, statistic).items():
        family = groups[0][0].family
        families[family][configuration] = groups
    found = {}
    for members in families.values():
        found.update(_of_family(members, statistic))
    return found


def _groups(
    figures: Iterable[Figure], sides: dict[tuple[str, str], str], statistic: str
) -> dict[tuple[Any, ...], list[list[Figure]]]:
    """By configuration: runs that differ by nothing but chance."""
    found: dict[tuple[Any, ...], dict[Any, list[Figure]]] = defaultdict(lambda: defaultdict(list))
    for figure in figures:
        if figure.log_value(statistic) is None:
            continue
        run = figure.run
        side = sides.get((run["hardware_id"], run["run_id"]))
        if side is None and FORCED in figure.doubts:
            continue  # the view run_noise leaves them out too
        # One side may have been chosen over several software versions: the user calls them repeats.
        group = side or (run["software_fingerprint"], run["thermal_profile"])
        found[figure.configuration][group].append(figure)
    return {configuration: list(groups.values()) for configuration, groups in found.items()}


def _of_family(members: dict[tuple[Any, ...], list[list[Figure]]], statistic: str) -> dict[tuple[Any, ...], RunNoise]:
    repeats = {name: sum(len(group) - 1 for group in groups) for name, groups in members.items()}
    squares = {name: sum(_squares(group, statistic) for group in groups) for name, groups in members.items()}
    scatters = moderated_scatter(
        [squares[name] / max(repeats[name], 1) for name in members], [float(repeats[name]) for name in members]
    )
    everywhere = sum(repeats.values())
    family_in_one = all(_one_session(groups) for groups in members.values())
    return {
        name: RunNoise(
            variance=scatter.variance,
            degrees_of_freedom=scatter.degrees_of_freedom,
            repeats=repeats[name] or everywhere,
            borrowed=scatter.borrowed,
            one_session=family_in_one if scatter.borrowed else _one_session(members[name]),
        )
        for name, scatter in zip(members, scatters, strict=True)
        if scatter is not None
    }


def _squares(group: list[Figure], statistic: str) -> float:
    values = [value for figure in group if (value := figure.log_value(statistic)) is not None]
    centre = fmean(values)
    return sum((value - centre) ** 2 for value in values)


def _one_session(groups: list[list[Figure]]) -> bool:
    """Whether no group of repeats reaches over several sessions; runs without a session are taken each for itself."""
    for group in groups:
        sessions = {figure.run["session_id"] or figure.run["run_id"] for figure in group}
        if len(group) > 1 and len(sessions) > 1:
            return False
    return True
