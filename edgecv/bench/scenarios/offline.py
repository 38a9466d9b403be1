"""All images are there at once: how many a second, with workers and streams as measured best."""

from __future__ import annotations

from collections.abc import Iterator
from time import process_time

from edgecv.bench.scenario import FEWEST, Run, Setup, by_stage
from edgecv.throughput import predict_all

SCHEDULED = False
_CHOOSING_S = 4.0


def run(setup: Setup) -> Run:
    """Let `predict_all` choose its plan on some images, then time it with this plan."""
    images, clock = setup.images, setup.clock

    def until(end: float) -> Iterator[bytes]:
        count = 0
        while clock() < end or count < FEWEST:
            yield images[count % len(images)]
            count += 1

    with predict_all(setup.model, until(clock() + min(_CHOOSING_S, setup.duration_s))) as first:
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
        samples_ms=by_stage(timings),
        results=len(timings),
        window=window,
        cpu_s=busy_s,
        plan=str(plan),
    )
