"""The range whose quantized distribution loses least information: smallest KL divergence.

Source: Migacz, 8-bit Inference with TensorRT, GTC 2017, slides 29 to 38: the histogram is cut at a
magnitude T, what lies beyond is added to the last bin (P); the bins before it are joined into
levels, and each level is spread over its filled bins again (Q); the T with the smallest KL(P||Q)
wins. Differences: the range ends where the values end, so that one-sided tensors use all 256
levels; and exact zeros are left out, for every range represents them.
"""

from __future__ import annotations

import numpy as np

from edgecv.converters.statistics import Histogram
from edgecv.types import Array

LEVELS = 256
CANDIDATES = 128
_SMOOTH = 1e-4
"""Count that a level without values has, lest the divergence be infinite."""


def choose(histogram: Histogram) -> tuple[float, float]:
    """Return (low, high), cut where the divergence is smallest; see `Calibrator`."""
    low, high = histogram.usable(histogram.low, histogram.high)
    counts = histogram.nonzero
    largest = max(high, -low)
    # A cut that leaves fewer bins than levels cannot be judged: quantizing it changes nothing.
    smallest = min(LEVELS * histogram.width, largest)
    cuts = np.linspace(smallest, largest, CANDIDATES)
    lows, highs = np.maximum(-cuts, low), np.minimum(cuts, high)
    first = np.searchsorted(histogram.edges, lows, side="right") - 1
    last = np.searchsorted(histogram.edges, highs, side="left")
    judged = last - first >= LEVELS
    judged[-1] = True
    # Of values far from 0 the grid begins beyond it: the windows that miss it are not judged.
    first = np.clip(first, 0, counts.size - 1)
    last = np.clip(last, first + 1, counts.size)
    divergence = _divergence(counts, first, last)
    best = int(np.argmin(np.where(judged, divergence, np.inf)))
    return histogram.usable(float(lows[best]), float(highs[best]))


def _divergence(counts: Array, first: Array, last: Array) -> Array:
    """Return KL(P||Q) in nats for windows first..last (exclusive) of bins, (N,) each.

    Within a level Q is constant, so that sums over bins are differences of running sums.
    """
    total = counts.sum()
    if not total:
        return np.zeros(first.size)
    running = _running(counts)
    filled = _running(counts > 0)
    entropy = _running(_xlogx(counts))
    steps = np.arange(LEVELS + 1) / LEVELS
    edges = np.floor(first[:, None] + steps * (last - first)[:, None] + 0.5).astype(np.int64)
    level = np.diff(running[edges], axis=1)
    bins = np.diff(filled[edges], axis=1)

    # What lies beyond a window counts in P's outermost bins, but not in Q.
    reference = level.copy()
    rows = np.arange(first.size)
    log_p = entropy[last] - entropy[first]
    beyond = (running[first], total - running[last])
    for side, bin_, column in ((0, first, 0), (1, last - 1, LEVELS - 1)):
        extra = beyond[side]
        log_p += _xlogx(counts[bin_] + extra) - _xlogx(counts[bin_])
        reference[rows, column] += extra
        bins[rows, column] += (counts[bin_] == 0) & (extra > 0)
    inside = running[last] - running[first]
    spread = np.maximum(level / np.maximum(bins, 1), _SMOOTH)
    cross = (reference * np.log(spread)).sum(axis=1)
    # P sums to total and Q to inside: both become distributions.
    return np.asarray((log_p - cross) / total - np.log(total / np.maximum(inside, _SMOOTH)))


def _running(values: Array) -> Array:
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


def _xlogx(values: Array) -> Array:
    return np.asarray(values * np.log(np.where(values > 0, values, 1)))
