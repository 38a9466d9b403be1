"""The range of 99.99 % of the values; the rest is clipped, half of it at each end.

Source: Wu et al., Integer Quantization for Deep Learning Inference: Principles and Empirical
Evaluation, 2020 (arXiv:2004.09602), section 4.2, which finds 99.99 % good for most networks. They
measure magnitudes; both ends are measured here, because unsigned activations need no symmetry.
"""

from __future__ import annotations

import numpy as np

from edgecv.converters.statistics import Histogram
from edgecv.types import Array

SHARE = 0.9999


def choose(histogram: Histogram) -> tuple[float, float]:
    """Return (low, high), between which `SHARE` of the values lie; see `Calibrator`."""
    below = np.concatenate([[0], np.cumsum(histogram.counts)])
    clipped = (1 - SHARE) / 2 * below[-1]
    low = _first_above(histogram, below, clipped)
    high = _last_below(histogram, below, below[-1] - clipped)
    return histogram.usable(low, high)


def _first_above(histogram: Histogram, below: Array, rank: float) -> float:
    """Find the value that `rank` values lie below, evenly spread within its bin."""
    bin_ = int(np.searchsorted(below, rank, side="right")) - 1
    share = (rank - below[bin_]) / max(histogram.counts[bin_], 1)
    return float(histogram.edges[bin_] + share * histogram.width)


def _last_below(histogram: Histogram, below: Array, rank: float) -> float:
    bin_ = int(np.searchsorted(below, rank, side="left")) - 1
    share = (rank - below[bin_]) / max(histogram.counts[bin_], 1)
    return float(histogram.edges[bin_] + share * histogram.width)
