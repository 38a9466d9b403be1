"""Compare the speed of models side by side: they take turns, each in a process of its own.

Engines that share a process disturb each other, and a shared machine changes from second to second.
So every model stays loaded in its own process, exactly one of them runs at a time, and the order of
the turns changes from round to round. What happens to the machine then happens to all of them, and
the ratio of two latencies is taken within a round.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgecv.bench import process as processes
from edgecv.bench.statistics import bootstrap_median
from edgecv.errors import InferenceError, UsageError

_START_TIMEOUT_S = 300.0
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
        workers = {}
        # They load at the same time, but no turn begins before the last one is ready.
        for competitor in competitors:
            workers[competitor.name] = stack.enter_context(_worker(competitor, images, warmup_s))
        for name, worker in workers.items():
            if progress:
                progress(f"loading {name}")
            worker.facts = worker.answer()
        for turn in range(rounds):
            if progress:
                progress(f"round {turn + 1} of {rounds}")
            # Another one goes first each time: who follows whom can matter to caches and clocks.
            shift = turn % len(names)
            order = names[shift:] + names[:shift]
            for name in order if turn % 2 == 0 else order[::-1]:
                workers[name].send({"turn_s": turn_s})
                said = workers[name].answer()
                samples[name].append(said["total_ms"])
                stages[name].append(said["stages_ms"])
        facts = {name: worker.facts for name, worker in workers.items()}
    return {name: _timing(name, samples[name], stages[name], facts[name]) for name in names}


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


class _Worker:
    """A process with a loaded model, waiting for its turn."""

    def __init__(self, process: subprocess.Popen[str], where: str) -> None:
        self._process = process
        self._where = where
        self.facts: dict[str, Any] = {}

    def send(self, request: dict[str, Any]) -> None:
        """Send a line of JSON; a process that died is noticed by `answer`."""
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError):
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to the last line.

        Raises:
            InferenceError: the process reports an error, died, or does not answer in time.
        """
        stdout = self._process.stdout
        assert stdout is not None
        watchdog = threading.Timer(_START_TIMEOUT_S, self._process.kill)
        watchdog.start()
        try:
            for line in stdout:
                # An engine may print lines of its own.
                try:
                    said = json.loads(line)
                except ValueError:
                    continue
                if isinstance(said, dict) and "error" in said:
                    raise InferenceError(said["error"], where=self._where)
                if isinstance(said, dict) and "done" in said:
                    return said
        finally:
            watchdog.cancel()
        status = self._process.wait()
        raise InferenceError(
            f"the process that times it died with status {status}", where=self._where
        )


@contextmanager
def _worker(competitor: Competitor, images: Sequence[Path], warmup_s: float) -> Iterator[_Worker]:
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise InferenceError(f"no process to time it: {error}", where=competitor.name) from None
    worker = _Worker(process, competitor.name)
    try:
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
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
