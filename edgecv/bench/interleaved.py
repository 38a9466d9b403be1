"""Compare the speed of models side by side: they take turns, each in a process of its own.

Engines that share a process disturb each other, and a shared machine changes from second to second.
So every model stays loaded in its own process, exactly one of them runs at a time, and the order of
the turns changes from round to round. What happens to the machine then happens to all of them, and
the ratio of two latencies is taken within a round.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgecv.bench import process as processes
from edgecv.bench.statistics import bootstrap_median
from edgecv.errors import UsageError

_WORKER = processes.program("edgecv.bench.turns")


@dataclass(frozen=True, slots=True)
class Competitor:
    """One model that takes turns.

    Attributes:
        name: unique among those compared.
        model: a bundle.
        load: keyword arguments of `edgecv.load`, such as ``threads``.
        affinity: CPUs that its process is pinned to; () is all.
        hints: about a bare model file, as `edgecv.hints.Hints.given` returns them.
    """

    name: str
    model: Path
    load: dict[str, Any]
    affinity: tuple[int, ...] = ()
    hints: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one model took from pixels in memory to a result.

    Attributes:
        name: of the competitor.
        p50_ms: median over the rounds of each round's median.
        ci95: bootstrap interval of `p50_ms` over the rounds.
        rounds_ms: median of each round, in the order of the rounds.
        stages_ms: median of ``preprocess``, ``infer`` and ``postprocess``.
        samples: images that were timed.
        precision: read back from the engine.
        threads: of one inference.
    """

    name: str
    p50_ms: float
    ci95: tuple[float, float]
    rounds_ms: tuple[float, ...]
    stages_ms: dict[str, float]
    samples: int
    precision: str | None
    threads: int


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


def take_turns(
    competitors: Sequence[Competitor],
    images: Sequence[Path],
    *,
    rounds: int = 8,
    turn_s: float = 0.15,
    warmup_s: float = 0.2,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Timing]:
    """Time models in turns.

    Args:
        competitors: at least one.
        images: decoded once by each process, and run in turn; decoding is not part of the latency.
        rounds: each lets every model have one turn.
        turn_s: of each turn; at least three images.
        warmup_s: of each model before the first round.
        progress: called with a word on what is going on.

    Returns:
        Competitor's name -> its timing.

    Raises:
        UsageError: nothing to compare, or names that are not unique.
        InferenceError: a process failed or died; the error names the model.
    """
    names = [competitor.name for competitor in competitors]
    if not names or len(set(names)) != len(names) or not images or rounds < 1:
        raise UsageError(
            "",
            where="take_turns",
            expected="competitors with unique names, images and at least one round",
            got=f"{names}, {len(images)} images, {rounds} rounds",
        )
    samples: dict[str, list[list[float]]] = {name: [] for name in names}
    stages: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with ExitStack() as stack:
        workers, facts = {}, {}
        # They load at the same time, but no turn begins before the last one is ready.
        for competitor in competitors:
            workers[competitor.name] = stack.enter_context(_worker(competitor, images, warmup_s))
        for name, worker in workers.items():
            if progress:
                progress(f"loading {name}")
            facts[name] = worker.answer()
        for turn in range(rounds):
            if progress:
                progress(f"round {turn + 1} of {rounds}")
            for name in order_of(names, turn):
                workers[name].send({"turn_s": turn_s})
                said = workers[name].answer()
                samples[name].append(said["total_ms"])
                stages[name].append(said["stages_ms"])
    return {name: _timing(name, samples[name], stages[name], facts[name]) for name in names}


def order_of(names: Sequence[str], turn: int) -> list[str]:
    """Order a round: another one goes first each time, and every second round goes backwards.

    Who follows whom can matter to caches and clocks.
    """
    shift = turn % len(names)
    order = [*names[shift:], *names[:shift]]
    return order if turn % 2 == 0 else order[::-1]


def ratio(reference: Timing, timing: Timing, seed: int = 0) -> Ratio:
    """Tell how many times as fast `timing` is as `reference`; both from one `take_turns`."""
    pairs = np.array(reference.rounds_ms) / np.array(timing.rounds_ms)
    return Ratio(float(np.median(pairs)), bootstrap_median(pairs, seed))


def _timing(
    name: str, turns: list[list[float]], stages: list[dict[str, float]], facts: dict[str, Any]
) -> Timing:
    medians = np.array([np.median(turn) for turn in turns])
    return Timing(
        name=name,
        p50_ms=float(np.median(medians)),
        ci95=bootstrap_median(medians, 0),
        rounds_ms=tuple(map(float, medians)),
        stages_ms={key: float(np.median([turn[key] for turn in stages])) for key in stages[0]},
        samples=sum(map(len, turns)),
        precision=facts["precision"],
        threads=facts["threads"],
    )


@contextmanager
def _worker(
    competitor: Competitor, images: Sequence[Path], warmup_s: float
) -> Iterator[processes.Dialogue]:
    """Start a process that loads a model, and then waits for its turn."""
    command = [sys.executable, "-P", "-c", _WORKER]
    with processes.dialogue(command, competitor.name) as worker:
        worker.send(
            {
                "model": str(competitor.model),
                "load": competitor.load,
                "affinity": competitor.affinity,
                "hints": competitor.hints,
                "images": [str(image) for image in images],
                "warmup_s": warmup_s,
            }
        )
        yield worker
