"""One image after the other, as fast as it goes: what one caller sees."""

from __future__ import annotations

from time import process_time

from edgecv.bench.scenario import FEWEST, Run, Setup, by_stage

SCHEDULED = False


def run(setup: Setup) -> Run:
    """Run back to back in one thread."""
    model, images, clock = setup.model, setup.images, setup.clock
    timings = []
    busy_s = process_time()
    start = now = clock()
    end = start + setup.duration_s
    count = 0
    while now < end or count < FEWEST:
        timings.append(model(images[count % len(images)]).timings_ms)
        count += 1
        now = clock()
    busy_s = process_time() - busy_s
    return Run(samples_ms=by_stage(timings), results=count, window=(start, now), cpu_s=busy_s)
