"""Decide which rungs of a ladder are shipped, from what was measured about them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgecv.bench.interleaved import Ratio, ratio
from edgecv.converters.gate import passes
from edgecv.converters.recipe import Recipe
from edgecv.converters.trial import Trial
from edgecv.types import Precision

MARGIN = 1.02
"""How many times as fast a file must be: less is not worth shipping another one."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be shipped.

    Attributes:
        precisions: that may be tried.
        max_drop: of the main metric, in points (hundredths).
        ship: ids of variants that the user asks for by name, whatever is found out about them.
        fused: also try the graph that prepares its own pixels.
    """

    precisions: tuple[Precision, ...] = ("fp32", "bf16", "fp16", "int8-weights", "int8")
    max_drop: float = 0.5
    ship: tuple[str, ...] = ()
    fused: bool = True


Race = Callable[[Trial, Trial], Ratio | None]
"""Times two trials once more, longer: how many times as fast the second is as the first."""


def decide(
    trials: Sequence[Trial], as_it_is: Recipe, rules: Rules, race: Race | None = None
) -> None:
    """Say of every trial of one format whether it is shipped, and why.

    Of each precision the fastest file that is right stands for it. From the source's own precision
    down, each is shipped if it is faster than the one that stands so far, by more than `MARGIN` and
    beyond the noise of their common turns, and then takes its place. The source's own precision is
    shipped if the user named it, or if nothing else is.

    Args:
        trials: of one format; `shipped` and `reason` are set.
        as_it_is: the recipe of files that are not lowered.
        rules: what may be shipped.
        race: asked where the turns so far leave open which of two files is faster.
    """
    qualified = [trial for trial in trials if _qualifies(trial, as_it_is, rules)]
    standing: Trial | None = None
    for kinds in ((), ("fp16", "bf16"), ("int8-weights",), ("int8",)):
        group = [
            trial
            for trial in qualified
            if (trial.recipe.precision in kinds if kinds else trial.recipe == as_it_is)
            and not (kinds and trial.recipe == as_it_is)
        ]
        if not group:
            continue
        best = min(group, key=_latency)
        for trial in group:
            if trial is not best:
                trial.reason = f"right, but {best.id} is, too, and faster"
        if standing is None:
            best.shipped = best.recipe.precision in rules.precisions
            best.reason = "the source's own precision"
            standing = best
            continue
        speed = _speed(standing, best)
        if race is not None and speed is not None and _open(speed):
            speed = race(standing, best) or speed
        told = "not timed" if speed is None else f"{speed.value:.2f} times"
        if speed is None or speed.value < MARGIN or speed.ci95[0] <= 1:
            best.reason = f"within the drop, but no faster than {standing.id} ({told})"
            continue
        if standing.recipe != as_it_is:
            standing.shipped = False
            standing.reason = f"right, but {best.id} is, too, and {told} as fast"
        best.shipped = True
        best.reason = f"within the drop, and {told} as fast as {standing.id}"
        standing = best
    if standing is not None and not any(trial.shipped for trial in qualified):
        standing.shipped = True
    for trial in trials:
        if trial.id in rules.ship and not trial.shipped and trial.candidate is not None:
            trial.shipped, trial.reason = True, f"asked for by name, though {trial.reason}"


def _qualifies(trial: Trial, as_it_is: Recipe, rules: Rules) -> bool:
    """Tell whether a trial may be shipped if it is fast; give the reason where it may not."""
    if trial.candidate is None:
        trial.reason = trial.reason or "not made"
    elif trial.refused:
        trial.reason = trial.refused
    elif trial.recipe == as_it_is:
        return True
    elif trial.evaluation is None:
        trial.reason = trial.reason or "its accuracy was not measured"
    elif trial.drop is None:
        trial.reason = "the metric could not be measured, so neither could its drop"
    elif not passes(trial.drop, rules.max_drop):
        trial.reason = (
            f"drops {trial.drop.value_points:.2f} points, "
            f"more than the {rules.max_drop:g} that are allowed"
        )
    else:
        return True
    return False


def _open(speed: Ratio) -> bool:
    """Tell whether the interval holds both an answer that matters and its contrary."""
    return speed.ci95[0] <= 1 and speed.ci95[1] >= MARGIN


def _latency(trial: Trial) -> float:
    return math.inf if trial.timing is None else trial.timing.p50_ms


def _speed(reference: Trial, trial: Trial) -> Ratio | None:
    if reference.timing is None or trial.timing is None:
        return None
    return ratio(reference.timing, trial.timing)
