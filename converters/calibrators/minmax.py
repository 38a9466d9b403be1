"""The whole range that was seen: nothing is clipped, and an outlier costs everybody resolution."""

from __future__ import annotations

from edgecv.converters.statistics import Histogram


def choose(histogram: Histogram) -> tuple[float, float]:
    """Return (low, high), the exact extremes with 0 in between; see `Calibrator`."""
    return histogram.usable(histogram.low, histogram.high)
