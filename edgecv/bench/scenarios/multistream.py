"""Several callers at once, each back to back: what each sees while the others are served, too."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import process_time
from typing import Any

from edgecv.bench.scenario import FEWEST, Run, Setup, by_stage, warm_up

SCHEDULED = False


def run(setup: Setup) -> Run:
    """Run one thread for each stream; the engine is opened anew for as many inferences at once."""
    opened = setup.model.session
    model = setup.model
    if setup.streams > 1:
        model = model.reopened(threads=opened.threads, streams=setup.streams)
    images, clock = setup.images, setup.clock
    try:
        warm_up(model, images, setup.streams)
        busy_s = process_time()
        start = clock()
        end = start + setup.duration_s

        def work(stream: int) -> tuple[list[Any], float]:
            timings: list[Any] = []
            now = start
            # Each begins at another image, so that not all of them do the same at the same time.
            count = stream * len(images) // setup.streams
            while now < end or len(timings) < FEWEST:
                timings.append(model(images[count % len(images)]).timings_ms)
                count += 1
                now = clock()
            return timings, now

        with ThreadPoolExecutor(setup.streams) as pool:
            done = list(pool.map(work, range(setup.streams)))
        busy_s = process_time() - busy_s
    finally:
        if model is not setup.model:
            model.close()
    timings = [t for stream, _ in done for t in stream]
    window = start, max(now for _, now in done)
    plan = f"{setup.streams} streams x {opened.threads} threads"
    return Run(
        samples_ms=by_stage(timings), results=len(timings), window=window, cpu_s=busy_s, plan=plan
    )
