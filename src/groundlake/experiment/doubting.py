"""What a runner saw that the rules of `quality` are about, and what only it can see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundlake.experiment.plan import OPENAI
from groundlake.experiment.quality import Doubt, Seen
from groundlake.experiment.sensed import heat_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from groundlake.experiment.energy import Energies
    from groundlake.experiment.plan import ExperimentPlan
    from groundlake.experiment.watching import Watched
    from groundlake.llm.generation import Generation
    from groundlake.power.watch import PowerRecord


def seen_of(
    plan: ExperimentPlan,
    power: PowerRecord,
    known: Energies,
    watched: Watched,
    *,
    gpus: Sequence[int] | None = None,
) -> Seen:
    """Gather what the rules judge.

    Args:
        plan: What was asked for.
        power: Readings of the sensors.
        known: What is known of the energy.
        watched: State of the machine around the window.
        gpus: GPUs that worked; None for all that there are.
    """
    device = None if watched.device is None else watched.device.split(":", 1)[0]
    heat = heat_of(power, device=device, gpus=gpus)
    is_read = heat.first_c is not None
    throttle = watched.throttle(power.window_s, None)
    reasons = watched.throttle_reasons(throttle)
    return Seen(
        duration_s=power.window_s,
        num_prompts=len(plan.prompts.items),
        first_temperature_c=heat.first_c if is_read else (watched.before or {}).get("temperature_c"),
        last_temperature_c=heat.last_c if is_read else (watched.after or {}).get("temperature_c"),
        persistence_mode=watched.settings.get("persistence_mode"),
        ecc_enabled=watched.settings.get("ecc_enabled"),
        baseline_taken=None if known.whole is None else known.has_baseline,
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
    made = _uncounted([each for each in answers if each.ok])
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


def about_power(power: PowerRecord) -> list[Doubt]:
    """Say of which rails readings are missing: a process that takes all cores keeps the recorder waiting."""
    return [
        Doubt(
            code="power_gap",
            seen=f"readings of {gap.rail} are missing: {gap}",
            advice="The view run_energy says whether its energy still holds; leave a core free, or lower --power-hz.",
            observed=float(gap.failed_reads + gap.gaps),
            threshold=0.0,
            unit="1",
        )
        for gap in power.gaps()
    ]


def about_prompts(plan: ExperimentPlan) -> list[Doubt]:
    """Say where a server is asked the same again, which it may have an answer's beginning of."""
    repeated = plan.prompts.num_repeated
    if plan.backend != OPENAI or not repeated:
        return []
    return [
        Doubt(
            code="repeated_prompts",
            seen=f"{repeated} of {len(plan.prompts.items)} prompts were asked before, word for word",
            advice="A server may take them from its prefix cache: give a file of --n different prompts.",
            observed=float(repeated),
            threshold=0.0,
            unit="1",
        )
    ]


def _uncounted(answers: Sequence[Generation]) -> list[Doubt]:
    """Say of how many answers the tokens were not counted."""
    chunked = sum(each.tokens_counted_by == "chunks" for each in answers)
    unknown = sum(each.tokens_counted_by is None and not each.arrivals_s for each in answers)
    said = [f"the server did not count the tokens of {chunked + unknown} answers"]
    said += [f"the chunks that came were counted for {chunked}"] if chunked else []
    said += [f"{unknown} came whole, so that the number of all tokens is unknown"] if unknown else []
    if len(said) == 1:
        return []
    return [
        Doubt(
            code="tokens_not_counted",
            seen="; ".join(said),
            advice="Take a server that streams its usage: a chunk may hold several tokens.",
            observed=float(chunked + unknown),
            threshold=0.0,
            unit="1",
        )
    ]


def kinds(failures: Counter[str]) -> str:
    """Kinds of failures with their numbers, the most frequent first: `http_500 3, timeout 1`."""
    return ", ".join(f"{code} {number}" for code, number in failures.most_common())
