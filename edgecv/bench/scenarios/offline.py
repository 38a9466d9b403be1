"""All images are there at once: how many a second, with workers and streams as measured best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from time import process_time
from typing import TYPE_CHECKING

from edgecv.bench.scenario import FEWEST, Run, Setup, by_stage
from edgecv.throughput import predict_all

if TYPE_CHECKING:
    from edgecv.result import Timings

SCHEDULED = False
_CHOOSING_S = 4.0


def run(setup: Setup) -> Run:
    """Time `predict_all` with the plan that is asked for, or that it chooses on some images."""
    images, clock = setup.images, setup.clock

    def until(end: float) -> Iterator[bytes]:
        count = 0
        while clock() < end or count < FEWEST:
            yield images[count % len(images)]
            count += 1

    # With a plan that is asked for this warms its workers up.
    some_s = _CHOOSING_S if setup.plan is None else 0.0
    some = until(clock() + min(some_s, setup.duration_s))
    with predict_all(setup.model, some, plan=setup.plan) as first:
        for _ in first:
            pass
    plan = first.stats.plan
    timings = []
    busy_s = process_time()
    start = clock()
    with predict_all(setup.model, until(start + setup.duration_s), plan=plan) as results:
        for result in results:
            timings.append(result.timings_ms)
    window, busy_s = (start, clock()), process_time() - busy_s
    return Run(
        samples_ms=by_stage(timings, waits(timings) if plan.batch > 1 else None),
        results=len(timings),
        window=window,
        cpu_s=busy_s,
        plan=str(plan),
    )


def waits(timings: Sequence[Timings]) -> list[float]:
    """Tell how long each image took that ran in a batch, from the batch's start to its results.

    All images of a batch come out together, and each has an equal share of one run of the engine;
    that next ones have the very same share tells that they were run with it.

    Args:
        timings: of results in their order, from `predict_all` with a batch.

    Returns:
        Milliseconds, one for each.
    """
    found: list[float] = []
    for _, batch in groupby(timings, key=lambda one: one.infer):
        totals = [one.total for one in batch]
        found += [sum(totals)] * len(totals)
    return found
