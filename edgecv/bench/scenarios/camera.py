"""A camera that does not wait: a fixed frame rate, and only the newest frame is kept.

A frame that a newer one replaces before its turn is dropped, as in the queue of one that live
pipelines keep. The age of a frame counts from the time at which the camera had it.
"""

from __future__ import annotations

import math
from time import process_time

from edgecv.bench.scenario import FEWEST, Run, Setup, by_stage

SCHEDULED = True
FPS = 30.0


def run(setup: Setup) -> Run:
    """Take the newest frame whenever the model is free."""
    rate_hz = setup.rate_hz or FPS
    frames = max(FEWEST, math.ceil(rate_hz * setup.duration_s))
    clock, sleep = setup.clock, setup.sleep
    timings, ages_ms = [], []
    dropped, last = 0, -1
    busy_s = process_time()
    start = clock()
    while last < frames - 1:
        newest = min(frames - 1, math.floor((clock() - start) * rate_hz))
        if newest <= last:
            sleep(max(0.0, start + (last + 1) / rate_hz - clock()))
            # A clock that wakes a moment early must not make it spin.
            newest = max(newest, last + 1)
        dropped += newest - last - 1
        last = newest
        timings.append(setup.model(setup.images[newest % len(setup.images)]).timings_ms)
        ages_ms.append((clock() - start - newest / rate_hz) * 1e3)
    return Run(
        samples_ms=by_stage(timings, ages_ms),
        results=len(timings),
        window=(start, clock()),
        cpu_s=process_time() - busy_s,
        schedule={
            "rate_hz": rate_hz,
            "scheduled": frames,
            "completed": len(timings),
            "dropped": dropped,
            "overloaded": False,
        },
    )
