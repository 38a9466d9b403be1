"""What is known of a tensor's values over many images, in memory that does not grow with them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property

import numpy as np

from edgecv.errors import ConversionError
from edgecv.types import Array

BINS = 2048
SAMPLES = 16_384
"""Values of one array that are sorted into bins; the extremes are those of all values."""

NARROWEST = 1e-30
"""Width of a range that is quantizable: float32 hardly holds the step of a narrower one."""

# Bins never get narrower than this share of the largest magnitude: float32 has no finer values.
_FINEST = 2.0**-22


class Histogram:
    """Extremes and distribution of one tensor's values, seen one array at a time.

    Bins are a power of two wide and begin at multiples of their width. Where the values leave the
    grid, the width is doubled and pairs of bins are joined: nothing is lost and nothing is kept.

    Args:
        name: of the tensor, for errors.

    Attributes:
        low: smallest of all values; infinity before the first.
        high: largest of all values.
        count: number of all values.
        zeros: number of sampled values that are exactly 0.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.low = math.inf
        self.high = -math.inf
        self.count = 0
        self.zeros = 0
        self._updates = 0
        self._sum = 0.0
        self._exponent = 0  # a bin is 2**exponent wide
        self._start = 0  # the first bin begins at start * width
        self._counts = np.zeros(BINS, np.int64)

    def update(self, values: Array) -> None:
        """Take the values of an array in, of any shape and float or integer type.

        Extremes come from all of them, the distribution from at most `SAMPLES` evenly strided ones.

        Raises:
            ConversionError: one is not finite.
        """
        flat = np.asarray(values).reshape(-1)
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ConversionError(
                "a tensor has values that are not finite",
                where=self.name or None,
                expected="finite values on every calibration image",
                got=f"{low} .. {high} in image {self._updates + 1}",
                remedy="look at that image and its preprocessing; a model that overflows in float "
                "cannot be quantized",
            )
        sample = _sample(flat, self._updates).astype(np.float64)
        self._updates += 1
        self.count += flat.size
        self.zeros += int(np.count_nonzero(sample == 0))
        self._sum += float(sample.mean()) * flat.size
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._fit()
        index = np.floor(sample / self.width).astype(np.int64) - self._start
        self._counts += np.bincount(index, minlength=BINS)
        self.__dict__.pop("edges", None)

    @property
    def counts(self) -> Array:
        """(BINS,) int64, sampled values in each bin."""
        return self._counts

    @property
    def width(self) -> float:
        """Width of a bin, in the tensor's unit."""
        return math.ldexp(1.0, self._exponent)

    @property
    def nonzero(self) -> Array:
        """(BINS,) float64, `counts` without the values that are exactly 0."""
        counts = self._counts.astype(np.float64)
        if self.zeros:
            counts[-self._start] -= self.zeros
        return counts

    @cached_property
    def edges(self) -> Array:
        """(BINS + 1,) float64, ascending; bin i holds edges[i] <= value < edges[i + 1]."""
        return (np.arange(BINS + 1) + self._start) * self.width

    @property
    def mean(self) -> float:
        """Mean of the sampled values; each array weighs as much as it has values."""
        return self._sum / self.count if self.count else 0.0

    def usable(self, low: float, high: float) -> tuple[float, float]:
        """Make a range quantizable: inside the extremes, with 0 in it, and not empty.

        A tensor of zeros gets 0..1: any step represents it.
        """
        low = min(max(low, self.low), 0.0)
        high = max(min(high, self.high), 0.0)
        return (0.0, 1.0) if high - low < NARROWEST else (low, high)

    def _fit(self) -> None:
        """Lay the grid over low..high; what was counted moves to the bins that hold it now."""
        span = max(
            (self.high - self.low) / (BINS - 2),
            max(abs(self.low), abs(self.high)) * _FINEST,
            NARROWEST,
        )
        exponent = max(math.ceil(math.log2(span)), self._exponent if self._counts.any() else -2000)
        start = math.floor(math.ldexp(self.low, -exponent))
        if (exponent, start) == (self._exponent, self._start):
            return
        # Indices are whole numbers of the old width, so that halving them loses nothing.
        filled = np.flatnonzero(self._counts)
        counts = np.zeros(BINS, np.int64)
        if filled.size:
            doublings = min(exponent - self._exponent, 62)
            moved = ((filled + self._start) >> doublings) - start
            np.add.at(counts, moved, self._counts[filled])
        self._counts, self._exponent, self._start = counts, exponent, start


def collect(runs: Iterable[Mapping[str, Array]]) -> dict[str, Histogram]:
    """Gather a histogram for each tensor of floats; integers are passed over.

    Args:
        runs: for each image, tensor name -> array; each is let go before the next one is asked for.

    Raises:
        ConversionError: a value is not finite; the error names the tensor.
    """
    found: dict[str, Histogram] = {}
    for run in runs:
        for name, values in run.items():
            if values.dtype.kind == "f":
                found.setdefault(name, Histogram(name)).update(values)
    return found


def _sample(flat: Array, offset: int) -> Array:
    """Take every n-th value, n having no divisor in common with the size.

    Otherwise a stride could meet the same columns or channels in every row.
    """
    stride = -(-flat.size // SAMPLES)
    while math.gcd(stride, flat.size) != 1:
        stride += 1
    return flat[offset % stride :: stride]
