"""Meters and what they say over time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from edgecv.bench.statistics import student_t
from edgecv.record import Record

Series = Sequence[tuple[float, float]]


class Meter(Record, kw_only=True):
    """Something that tells power or energy.

    Attributes:
        tier: 1 meter, 2 counter.
        source: what it is.
        scope: what it measures.
        quantity: what `read` returns: watts now, or joules since a fixed time.
        accuracy: half width of its error, as a part of the reading; None where nobody says.
        read: returns the reading; None where it cannot be read any more.
    """

    tier: Literal[1, 2]
    source: str
    scope: Literal["board", "package"]
    quantity: Literal["watts", "joules"]
    accuracy: float | None = None
    read: Callable[[], float | None]


def joules(series: Series, start: float, end: float, quantity: str) -> float | None:
    """Return the energy from start to end.

    A counter's value is interpolated at both ends. Watts are integrated by the trapezoid rule, the
    power at both ends interpolated.

    Args:
        series: (time, reading), in the order of time.
        start: seconds, on the clock of the series.
        end: after `start`.
        quantity: ``watts`` or ``joules``.

    Returns:
        None where the series does not reach over the whole time, or has fewer than two readings.
    """
    if len(series) < 2 or end <= start:
        return None
    at = np.array([t for t, _ in series], np.float64)
    value = np.array([v for _, v in series], np.float64)
    # A meter that stopped answering leaves no reading near the end: half a second is let pass.
    if at[0] > start + 0.5 or at[-1] < end - 0.5:
        return None
    low, high = np.interp([start, end], at, value)
    if quantity == "joules":
        return float(high - low)
    inside = (at > start) & (at < end)
    times = np.concatenate([[start], at[inside], [end]])
    watts = np.concatenate([[low], value[inside], [high]])
    return float(np.sum(np.diff(times) * (watts[1:] + watts[:-1]) / 2))


def line(x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """Fit y = a + b x by least squares.

    Returns:
        ``a``, ``b``, the half widths of their 95 % intervals ``a_ci`` and ``b_ci`` (Student's t,
        n - 2 degrees of freedom), and ``residual``, the standard deviation of what is left.
    """
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    n = len(xs)
    centre = xs.mean()
    spread = float(np.sum((xs - centre) ** 2))
    b = float(np.sum((xs - centre) * (ys - ys.mean())) / spread)
    a = float(ys.mean() - b * centre)
    left = ys - a - b * xs
    sigma = math.sqrt(float(np.sum(left**2)) / (n - 2))
    t = student_t(n - 2)
    return {
        "a": a,
        "b": b,
        "a_ci": t * sigma * math.sqrt(1 / n + centre**2 / spread),
        "b_ci": t * sigma / math.sqrt(spread),
        "residual": sigma,
    }
