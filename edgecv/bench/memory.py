"""Memory of a cell: by phase, in a pass of its own, and its slope over the measured run.

Reading ``smaps_rollup`` takes the kernel milliseconds, so phases are not taken where latency is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgecv.bench import process
from edgecv.bench.report import Memory, Phase
from edgecv.bench.statistics import mean_interval
from edgecv.errors import InferenceError

LEAST_S = 15.0
"""A run below tells nothing about a leak: a megabyte a minute is nine pages in three seconds."""
_SEGMENTS = 6
_WORKER = process.program("edgecv.bench.memory_worker")
Series = Sequence[tuple[float, int]]


def measure(request: Mapping[str, Any], weights: int | None = None) -> Memory:
    """Run the configuration of a worker's request once more, and look at its memory by phase.

    Memory that could not be looked at is null with the reason; it does not fail the cell.

    Args:
        request: as a worker gets it.
        weights: bytes of the network's constants, where the format tells.
    """
    try:
        said, _ = process.ask(_WORKER, request, "phases")
    except InferenceError as error:
        return Memory(missing={"phases": error.message})
    phases = {name: Phase(**found) for name, found in said["phases"].items()}
    missing = {} if weights is not None else {"weights": "the format does not tell"}
    arena = None
    before, after = phases["import"].uss, phases["first"].uss
    if weights is None or before is None or after is None:
        missing["arena"] = "weights or the process's own pages are not known"
    else:
        arena = max(0, after - before - weights)
    return Memory(
        phases=phases,
        model_file=said["model_file"],
        weights=weights,
        arena=arena,
        missing=missing,
    )


def with_run(found: Memory, peaks: Sequence[int | None], rss: Sequence[Series]) -> Memory:
    """Add what was seen of the measured runs: the highest peak, and the slope."""
    known = [peak for peak in peaks if peak is not None]
    missing = dict(found.missing)
    if not known:
        missing["peak_rss"] = "the kernel does not tell VmHWM"
    slope = leak(rss)
    if slope is None:
        missing["leak_per_minute"] = f"no run was watched for {LEAST_S:.0f} s"
    return found.replace(
        peak_rss=max(known, default=None),
        leak_per_minute=None if slope is None else slope[0],
        leak_ci95=None if slope is None else slope[1],
        missing=missing,
    )


def leak(windows: Sequence[Series]) -> tuple[float, tuple[float, float]] | None:
    """Return the slope of the resident set, bytes a minute, and its 95 % interval.

    The first third of each run is left out, for allocators fill their pools. The rest is cut into
    six segments; each step from one segment's mean to the next is one slope. A leak makes all of
    them positive; a buffer that grew once makes one of them large, and the interval wide.

    Args:
        windows: for each run, (seconds since its start, bytes).

    Returns:
        None where no run lasted `LEAST_S`.
    """
    slopes: list[float] = []
    for series in windows:
        if len(series) < 3 * _SEGMENTS or series[-1][0] - series[0][0] < LEAST_S:
            continue
        at = np.array([t for t, _ in series])
        size = np.array([b for _, b in series], np.float64)
        kept = at >= at[0] + (at[-1] - at[0]) / 3
        times = [float(part.mean()) for part in np.array_split(at[kept], _SEGMENTS)]
        means = [float(part.mean()) for part in np.array_split(size[kept], _SEGMENTS)]
        slopes += [
            (b - a) / (t - s) * 60
            for a, b, s, t in zip(means, means[1:], times, times[1:], strict=False)
        ]
    interval = mean_interval(slopes)
    return None if interval is None else (round(float(np.mean(slopes)), 1), interval)
