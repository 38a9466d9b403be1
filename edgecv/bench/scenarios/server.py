"""Requests come when they come: Poisson arrivals, latency from the time at which each was due.

A request that waits for its turn is late from its scheduled time on; timing it from its turn would
hide what its sender sees ("coordinated omission").
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from time import process_time
from typing import Any

import numpy as np

from edgecv.bench.scenario import FEWEST, Run, Setup, by_stage, warm_up
from edgecv.host import usable_cpus
from edgecv.types import Array

SCHEDULED = True
LOAD = 0.6
"""Part of what the streams can work off that the default rate asks for."""


def run(setup: Setup) -> Run:
    """Serve arrivals in their order with one thread for each stream."""
    model = setup.model
    at_once = 1
    if setup.streams > 1:
        threads = model.session.threads
        model = model.reopened(threads=threads, streams=setup.streams)
        warm_up(model, setup.images, setup.streams)
        # More streams than the CPUs have room for do not work off more.
        at_once = max(1, min(setup.streams, usable_cpus() // threads))
    rate_hz = setup.rate_hz or LOAD * at_once * 1e3 / max(setup.typical_ms, 1e-3)
    due = arrivals(rate_hz, setup.duration_s, setup.seed)
    lock = threading.Lock()
    taken = 0
    started = np.zeros(len(due))
    done: list[tuple[float, Any, float]] = []
    clock, sleep = setup.clock, setup.sleep
    busy_s = process_time()
    start = clock()

    def work(_: int) -> None:
        nonlocal taken
        while True:
            with lock:
                i = taken
                taken += 1
            if i >= len(due):
                return
            wait = start + due[i] - clock()
            if wait > 0:
                sleep(wait)
            started[i] = clock() - start
            timings = model(setup.images[i % len(setup.images)]).timings_ms
            now = clock() - start
            done.append((now, timings, (now - due[i]) * 1e3))

    try:
        with ThreadPoolExecutor(setup.streams) as pool:
            list(pool.map(work, range(setup.streams)))
        window, busy_s = (start, clock()), process_time() - busy_s
    finally:
        if model is not setup.model:
            model.close()
    done.sort(key=lambda item: item[0])
    return Run(
        samples_ms=by_stage([t for _, t, _ in done], [late for _, _, late in done]),
        results=len(done),
        window=window,
        cpu_s=busy_s,
        schedule={
            "rate_hz": rate_hz,
            "scheduled": len(due),
            "completed": len(done),
            "dropped": 0,
            "overloaded": overloaded(started - due, setup.typical_ms / 1e3),
        },
    )


def arrivals(rate_hz: float, duration_s: float, seed: int) -> Array:
    """Draw the times of a Poisson process: gaps are exponential with a mean of 1 / rate.

    Returns:
        (N,) float64 seconds from the start, N at least `FEWEST`.
    """
    random = np.random.default_rng(seed)
    count = max(FEWEST, int(rate_hz * duration_s * 1.5) + 20)
    due = np.cumsum(random.exponential(1 / rate_hz, count))
    within = int(np.searchsorted(due, duration_s))
    return np.asarray(due[: max(within, FEWEST)])


def overloaded(waited_s: Array, service_s: float) -> bool:
    """Tell whether the queue grew for as long as images came.

    Args:
        waited_s: (N,) from due to start, in the order of arrival.
        service_s: that one image takes.

    The wait must grow from each third to the next, and end at more than ten services: a queue of
    that length is rare (below 1 in 1,000) at four fifths of the load that can be worked off.
    """
    third = len(waited_s) // 3
    if not third:
        return False
    first, second, last = (
        float(np.median(part))
        for part in (waited_s[:third], waited_s[third:-third], waited_s[-third:])
    )
    return first < second < last and last > 10 * service_s
