"""Meters, and the line that power follows over load."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgecv.bench.statistics import student_t
from edgecv.record import Record

Quantity = Literal["watts", "joules"]


class Origin(Record, kw_only=True):
    """Where measured energies come from.

    Attributes:
        tier: 1 meter, 2 counter.
        source: what it is.
        scope: what it measures.
        accuracy: half width of its error, as a part of the reading; None where nobody says.
    """

    tier: Literal[1, 2]
    source: str
    scope: Literal["board", "package"]
    accuracy: float | None = None


class Meter(Origin, kw_only=True):
    """Something that tells power or energy.

    Attributes:
        quantity: what `read` returns: watts now, or joules since a fixed time.
        parts: names of what it measures side by side, such as the packages of a machine; their
            sum is the meter's.
        interval_s: between two readings; longer where a reading costs more.
        read: returns a reading of each part; None where any of them cannot be read any more.
    """

    quantity: Quantity
    parts: tuple[str, ...] = ("",)
    interval_s: float = 0.1
    read: Callable[[], Sequence[float] | None]


def unreadable(path: Path, error: Exception) -> str:
    """Say that a meter's file cannot be read, why, and what helps."""
    why = error.strerror if isinstance(error, OSError) else "it holds no number"
    said = f"{path} cannot be read ({why})"
    if isinstance(error, PermissionError):
        said += f"; run as root, or let everybody read it: sudo chmod a+r {path}"
    return said


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
