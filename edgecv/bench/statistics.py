"""Summaries of timings that say when there are too few of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

PERCENTILE_FLOORS = {50: 1, 90: 64, 99: 662}
"""Samples below which a percentile is not reported. Those of 90 and 99 are the early-stopping
floors of MLPerf LoadGen; a median needs no floor, its interval tells."""

DRIFT_LIMIT = 0.10


def summarise(samples_ms: Sequence[float]) -> dict[str, Any]:
    """Summarise one stage.

    Returns:
        ``{n, mean, min, p50, p90, p99, ci95}`` in milliseconds; ``ci95`` is the interval of the
        median. What the samples cannot support is None.
    """
    data = np.sort(np.asarray(samples_ms, np.float64))
    n = len(data)
    if not n:
        return {"n": 0, "mean": None, "min": None, "p50": None, "p90": None, "p99": None,
                "ci95": None}  # fmt: skip
    summary: dict[str, Any] = {"n": n, "mean": _round(data.mean()), "min": _round(data[0])}
    for q, floor in PERCENTILE_FLOORS.items():
        summary[f"p{q}"] = _round(np.percentile(data, q)) if n >= floor else None
    low, high = median_interval(n)
    summary["ci95"] = None if low is None else [_round(data[low]), _round(data[high])]
    return summary


def median_interval(n: int) -> tuple[int, int] | tuple[None, None]:
    """Find the order statistics that bracket the median with at least 95 % confidence.

    Source: the sign test: the number of samples below the median is binomial(n, 1/2), whatever the
    distribution.

    Returns:
        0-based ranks (low, high); (None, None) below 6 samples, which cannot reach 95 %.
    """
    if n < 6:
        return None, None
    below = 0.0
    low = -1
    for k in range(n // 2):
        below += math.exp(
            math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
        )
        if below > 0.025:
            break
        low = k
    return low, n - 1 - low


def drift(samples_ms: Sequence[float]) -> float | None:
    """Return the change of the median from the first third to the last, as a part of the first.

    None for fewer than 30 samples.
    """
    n = len(samples_ms)
    if n < 30:
        return None
    first = float(np.median(samples_ms[: n // 3]))
    last = float(np.median(samples_ms[-(n // 3) :]))
    return last / first - 1


def _round(value: Any) -> float:
    return round(float(value), 4)
