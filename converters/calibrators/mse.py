"""The range with the smallest expected squared error of rounding and clipping together.

Source: Nagel et al., A White Paper on Neural Network Quantization, 2021 (arXiv:2106.08295), section
3.1, "MSE"; the expected error of rounding to steps of s is s^2 / 12 (Widrow and Kollar,
Quantization Noise, 2008), except where all is rounded to 0, and exact zeros have none; the error of
clipping is read from the histogram.
"""

from __future__ import annotations

import numpy as np

from edgecv.converters.statistics import NARROWEST, Histogram
from edgecv.types import Array

LEVELS = 256
_LINEAR = 96
_OCTAVES = 12


def choose(histogram: Histogram) -> tuple[float, float]:
    """Return (low, high) with the smallest `expected_error`; see `Calibrator`."""
    low, high = histogram.usable(histogram.low, histogram.high)
    # Evenly, for ordinary tails; and by halves, for the few outliers that are far away.
    shares = np.concatenate(
        [np.linspace(1, 0.02, _LINEAR), np.exp2(-np.arange(4, _OCTAVES, 0.5)), [0.0]]
    )
    lows = np.unique(low * shares)
    highs = np.unique(high * shares)
    grid_lows, grid_highs = (a.ravel() for a in np.meshgrid(lows, highs, indexing="ij"))
    wide = grid_highs - grid_lows >= NARROWEST
    grid_lows, grid_highs = grid_lows[wide], grid_highs[wide]
    best = int(np.argmin(expected_error(histogram, grid_lows, grid_highs)))
    return histogram.usable(float(grid_lows[best]), float(grid_highs[best]))


def expected_error(histogram: Histogram, lows: Array, highs: Array) -> Array:
    """Return the expected squared error of a value, for ranges lows..highs of `LEVELS` levels.

    Args:
        histogram: of the tensor.
        lows: (N,) float64, at most 0.
        highs: (N,) float64, at least 0 and above lows.

    Returns:
        (N,) float64, in the square of the tensor's unit.
    """
    counts = histogram.nonzero
    middles = histogram.edges[:-1] + histogram.width / 2
    squares = middles**2 + histogram.width**2 / 12
    sums = [_running(counts * factor) for factor in (1.0, middles, squares)]
    steps = (highs - lows) / (LEVELS - 1)

    def bins(limits: Array) -> Array:
        return np.searchsorted(middles, limits)

    def clipped(limits: Array, first: Array, last: Array) -> Array:
        zeroth, once, twice = (running[last] - running[first] for running in sums)
        return np.asarray(twice - 2 * limits * once + limits**2 * zeroth)

    begin, end = bins(lows), bins(highs)
    none, all_ = np.zeros_like(begin), np.full_like(end, counts.size)
    # What rounds to 0 is wrong by itself.
    first = np.clip(bins(-steps / 2), begin, end)
    last = np.clip(bins(steps / 2), begin, end)
    small = sums[2][last] - sums[2][first]
    others = (sums[0][end] - sums[0][begin]) - (sums[0][last] - sums[0][first])
    error = small + others * steps**2 / 12
    error += clipped(lows, none, begin) + clipped(highs, end, all_)
    return np.asarray(error / max(histogram.counts.sum(), 1))


def _running(values: Array) -> Array:
    return np.concatenate([[0.0], np.cumsum(values)])
