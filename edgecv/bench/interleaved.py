"""Compare the speed of models side by side: they take turns, each in a process of its own.

Engines that share a process disturb each other, and a shared machine changes from second to second.
So every model stays loaded in its own process, exactly one of them runs at a time, and the order of
the turns changes from round to round. What happens to the machine then happens to all of them, and
the ratio of two latencies is taken within a round. Where memory does not hold two of them, each
turn has a fresh process, and only one is there at a time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgecv.bench import process
from edgecv.bench.dialogue import TIMEOUT_S, Dialogue
from edgecv.bench.statistics import bootstrap_median
from edgecv.errors import InferenceError, UsageError
from edgecv.plan import Plan

_WORKER = process.program("edgecv.bench.turns")


@dataclass(frozen=True, slots=True)
class Competitor:
    """One model that takes turns.

    Attributes:
        name: unique among those compared.
        model: a bundle.
        load: keyword arguments of `edgecv.load`, such as ``threads``.
        affinity: CPUs that its process is pinned to; () is all.
        hints: about a bare model file, as `edgecv.hints.Hints.given` returns them.
        plan: many images at once, through `edgecv.predict_all`; None is one after the other.
    """

    name: str
    model: Path
    load: dict[str, Any]
    affinity: tuple[int, ...] = ()
    hints: dict[str, Any] | None = None
    plan: Plan | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one model took from pixels in memory to a result.

    With a plan it is the wall time of a run, from encoded images to results, by its images.

    Attributes:
        name: of the competitor.
        p50_ms: median over the rounds of each round's median.
        ci95: bootstrap interval of `p50_ms` over the rounds.
        rounds_ms: median of each round, in the order of the rounds.
        stages_ms: median of ``preprocess``, ``infer`` and ``postprocess``.
        samples: images that were timed.
        precision: read back from the engine.
        threads: of one inference.
        peak_rss_bytes: highest resident set of its process; None where the kernel does not tell.
    """

    name: str
    p50_ms: float
    ci95: tuple[float, float]
    rounds_ms: tuple[float, ...]
    stages_ms: dict[str, float]
    samples: int
    precision: str | None
    threads: int
    peak_rss_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast one model is as another.

    Attributes:
        value: median over the rounds of (reference latency / latency).
        ci95: bootstrap interval over the rounds.
    """

    value: float
    ci95: tuple[float, float]

    @property
    def verdict(self) -> Literal["faster", "slower", "no difference"]:
        """What can be said: nothing where the interval holds 1."""
        low, high = self.ci95
        return "faster" if low > 1 else "slower" if high < 1 else "no difference"


class _TimeUpError(Exception):
    """A race ends before its last round."""


def take_turns(
    competitors: Sequence[Competitor],
    images: Sequence[Path],
    *,
    rounds: int = 8,
    turn_s: float = 0.15,
    warmup_s: float = 0.2,
    progress: Callable[[str], None] | None = None,
    together: bool = True,
    timeout_s: float = TIMEOUT_S,
    within_s: float = float("inf"),
    failed: Callable[[str, InferenceError], None] | None = None,
) -> dict[str, Timing]:
    """Time models in turns.

    Args:
        competitors: at least one.
        images: the first of them, at most 32 and until they take 64 MiB of pixels, are decoded once
            by each process, and run in turn; decoding is not part of the latency. With a plan it
            is, and encoded images are what is kept.
        rounds: each lets every model have one turn.
        turn_s: of each turn; at least three images.
        warmup_s: of each model before the first round.
        progress: called with a word on what is going on.
        together: all models stay loaded; else each turn has a process of its own that is closed
            before the next one starts, for machines whose memory does not hold two.
        timeout_s: in which each answer must come.
        within_s: in which all of it must end. The rounds that were finished then count, and without
            any there is no timing; nobody is said to have failed.
        failed: called with the name of a model that failed, and why, and the others go on; None
            raises instead.

    Returns:
        Competitor's name -> its timing; without those that failed.

    Raises:
        UsageError: nothing to compare, or names that are not unique.
        InferenceError: a process failed, died or hung; the error names the model.
    """
    names = [competitor.name for competitor in competitors]
    if not names or len(set(names)) != len(names) or not images or rounds < 1:
        raise UsageError(
            "",
            where="take_turns",
            expected="competitors with unique names, images and at least one round",
            got=f"{names}, {len(images)} images, {rounds} rounds",
        )
    samples: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    facts: dict[str, dict[str, Any]] = {}
    tell = progress or (lambda _: None)
    end = time.monotonic() + within_s
    with suppress(_TimeUpError), ExitStack() as stack:
        workers: dict[str, Dialogue] = {}

        def start(competitor: Competitor) -> Dialogue:
            request = {
                "model": str(competitor.model),
                "load": competitor.load,
                "affinity": competitor.affinity,
                "hints": competitor.hints,
                "plan": competitor.plan.to_dict() if competitor.plan else None,
                "images": [str(image) for image in images],
                "warmup_s": warmup_s,
            }
            command = [sys.executable, "-P", "-c", _WORKER]
            worker = Dialogue(command, competitor.name, timeout_s=timeout_s)
            stack.callback(worker.close)
            worker.send(request)
            return worker

        @contextmanager
        def go_on(name: str) -> Iterator[None]:
            """Let a model that fails leave the race, if somebody wants to hear of it."""
            try:
                yield
            except InferenceError as error:
                if failed is None:
                    raise
                del samples[name]
                if name in workers:
                    workers.pop(name).close()
                failed(name, error)

        def answer(name: str) -> dict[str, Any]:
            left_s = end - time.monotonic()
            if left_s <= 0:
                raise _TimeUpError
            try:
                return workers[name].answer(left_s)
            except InferenceError:
                if time.monotonic() >= end:
                    raise _TimeUpError from None
                raise

        # They load at the same time, but no turn begins before the last one is ready.
        for competitor in competitors if together else ():
            with go_on(competitor.name):
                workers[competitor.name] = start(competitor)
        for name in list(workers):
            with go_on(name):
                tell(f"loading {name}")
                facts[name] = answer(name)
        entered = {competitor.name: competitor for competitor in competitors}
        for turn in range(rounds):
            tell(f"round {turn + 1} of {rounds}")
            for name in order_of(names, turn):
                if name not in samples:
                    continue
                with go_on(name):
                    if not together:
                        workers[name] = start(entered[name])
                        facts[name] = answer(name)
                    workers[name].send({"turn_s": turn_s})
                    samples[name].append(answer(name))
                    if not together:
                        workers.pop(name).close()
    # Ratios are taken within a round.
    done = min(map(len, samples.values()), default=0)
    if not done:
        return {}
    return {name: _timing(name, turns[:done], facts[name]) for name, turns in samples.items()}


def order_of(names: Sequence[str], turn: int) -> list[str]:
    """Order a round: every second one is the one before backwards, and then another goes first.

    Of two, a and b, the rounds are ab, ba, ba, ab: who follows whom can matter to caches and
    clocks, and so can who goes first.
    """
    shift = turn // 2 % len(names)
    order = [*names[shift:], *names[:shift]]
    return order if turn % 2 == 0 else order[::-1]


def ratio(reference: Timing, timing: Timing, seed: int = 0) -> Ratio:
    """Tell how many times as fast `timing` is as `reference`; both from one `take_turns`."""
    pairs = np.array(reference.rounds_ms) / np.array(timing.rounds_ms)
    return Ratio(float(np.median(pairs)), bootstrap_median(pairs, seed))


def _timing(name: str, turns: list[dict[str, Any]], facts: dict[str, Any]) -> Timing:
    medians = np.array([np.median(turn["total_ms"]) for turn in turns])
    stages = [turn["stages_ms"] for turn in turns]
    peaks = [turn["peak_rss_bytes"] for turn in turns if turn["peak_rss_bytes"] is not None]
    return Timing(
        name=name,
        p50_ms=float(np.median(medians)),
        ci95=bootstrap_median(medians, 0),
        rounds_ms=tuple(map(float, medians)),
        stages_ms={key: float(np.median([turn[key] for turn in stages])) for key in stages[0]},
        samples=sum(turn["images"] for turn in turns),
        precision=facts["precision"],
        threads=facts["threads"],
        peak_rss_bytes=max(peaks, default=None),
    )
