"""What a runner saw that the rules of `quality` are about, and what only it can see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from groundlake.experiment.quality import Doubt, Seen

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from groundlake.experiment.energy import Energies
    from groundlake.experiment.plan import ExperimentPlan
    from groundlake.experiment.watching import Watched
    from groundlake.llm.generation import Generation
    from groundlake.power.watch import PowerRecord


def seen_of(plan: ExperimentPlan, power: PowerRecord, known: Energies, watched: Watched, *, has_baseline: bool) -> Seen:
    """Gather what the rules judge.

    Args:
        plan: What was asked for.
        power: Readings of the sensors.
        known: What is known of the energy.
        watched: State of the machine around the window.
        has_baseline: Whether the idle power was read.
    """
    inside = pl.col("timestamp_s").is_between(0, power.window_s)
    read = power.rows.filter(pl.col("temperature_c").is_not_null() & inside).sort("timestamp_s")["temperature_c"]
    throttle = watched.throttle(power.window_s, None)
    reasons = watched.throttle_reasons(throttle)
    return Seen(
        duration_s=power.window_s,
        num_prompts=len(plan.prompts.items),
        first_temperature_c=read[0] if len(read) else (watched.before or {}).get("temperature_c"),
        last_temperature_c=read[-1] if len(read) else (watched.after or {}).get("temperature_c"),
        persistence_mode=watched.settings.get("persistence_mode"),
        ecc_enabled=watched.settings.get("ecc_enabled"),
        baseline_taken=has_baseline if known.whole is None else known.has_baseline,
        throttled_s=throttle.throttle_duration_sec if throttle is not None and reasons else None,
        throttle_reasons=reasons,
        sensor_period_s=known.sensor_period_s,
        energy_measured=bool(power.series),
    )


def about_answers(answers: Sequence[Generation], failures: Counter[str]) -> list[Doubt]:
    """Say what makes figures of answers doubtful.

    Args:
        answers: All that was measured, failed ones too.
        failures: How many failed, by kind.
    """
    made = []
    chunked = sum(each.ok and each.tokens_counted_by == "chunks" for each in answers)
    if chunked:
        made.append(
            Doubt(
                code="tokens_not_counted",
                seen=f"the server did not count the tokens of {chunked} answers; the chunks that came were counted",
                advice="Take a server that streams its usage: a chunk may hold several tokens.",
                observed=float(chunked),
                threshold=0.0,
                unit="1",
            )
        )
    if failures:
        made.append(
            Doubt(
                code="failed_requests",
                seen=f"{failures.total()} of {len(answers)} requests failed ({kinds(failures)})",
                advice="They are in no latency and no token count; time and energy include them. Look at their errors.",
                observed=float(failures.total()),
                threshold=0.0,
                unit="1",
            )
        )
    return made


def kinds(failures: Counter[str]) -> str:
    """Kinds of failures with their numbers, the most frequent first: `http_500 3, timeout 1`."""
    return ", ".join(f"{code} {number}" for code, number in failures.most_common())
