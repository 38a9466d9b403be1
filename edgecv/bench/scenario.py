"""What every scenario is given, and what it gives back; see the folder ``scenarios``.

A scenario says how images arrive. It runs inside the worker process on an open model, on encoded
images, and measures what a user's own call would take; nothing of it is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from edgecv.bench.report import STAGES
from edgecv.record import Record

if TYPE_CHECKING:
    from edgecv.model import Model
    from edgecv.plan import Plan

FEWEST = 10
"""Images of a run, however long they take."""


class Setup(Record, kw_only=True):
    """What is run.

    Attributes:
        model: open, and warmed up.
        images: encoded; run in turn.
        duration_s: of the run.
        streams: images that are worked on at the same time.
        rate_hz: mean rate of arrivals, where a schedule is kept; None for the scenario's own.
        seed: of random arrivals.
        typical_ms: median latency of the warm-up.
        plan: of many images at once; None lets the scenario find one.
        clock: seconds, monotonic.
        sleep: waits for so many seconds.
    """

    model: Model
    images: Sequence[bytes]
    duration_s: float
    streams: int = 1
    rate_hz: float | None = None
    seed: int = 0
    typical_ms: float = 0.0
    plan: Plan | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Run(Record, kw_only=True):
    """What was measured.

    Attributes:
        samples_ms: stage -> one value for each result, in the order in which they were finished.
        results: that were finished in the window.
        window: start and end, seconds of the clock.
        cpu_s: CPU time of this process in the window, all threads.
        schedule: rate_hz, scheduled, completed, dropped, overloaded; None without a schedule.
        plan: how the engine was used, where the scenario chose it.
    """

    samples_ms: dict[str, list[float]]
    results: int
    window: tuple[float, float]
    cpu_s: float
    schedule: dict[str, Any] | None = None
    plan: str | None = None


def by_stage(timings: Iterable[Any], total_ms: Sequence[float] | None = None) -> dict[str, Any]:
    """Turn results' timings into a list for each stage.

    Args:
        timings: `edgecv.result.Timings` of each result.
        total_ms: replaces their totals, where a schedule counts.
    """
    timings = list(timings)
    found = {stage: [float(getattr(t, stage)) for t in timings] for stage in STAGES}
    if total_ms is not None:
        found["total"] = list(total_ms)
    return found


def warm_up(model: Model, images: Sequence[bytes], streams: int) -> None:
    """Run a few images on each stream of an engine that was just opened."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(streams) as pool:
        list(pool.map(lambda i: model(images[i % len(images)]), range(3 * streams)))
