"""How far one output of two models is apart, summed up image by image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgecv.types import Array

TINY = 1e-12
"""Largest magnitude of an output that says nothing; badly initialised models put out 1e-21."""


@dataclass(frozen=True, slots=True)
class OutputParity:
    """How far one output of two models is apart, over all images.

    Attributes:
        name: of the reference's output; with the head known, the scores of an output that holds
            boxes as well are a row of their own.
        max_abs: largest absolute difference.
        cosine: of the two as vectors, 1 for the same direction; 1 where both are zero.
        snr_db: power of the reference over the power of the difference, decibels; None where they
            do not differ, or the reference is zero.
        scale: largest magnitude in the reference.
    """

    name: str
    max_abs: float
    cosine: float
    snr_db: float | None
    scale: float


class Tally:
    """Sums up the differences of one output; takes memory for one image."""

    def __init__(self) -> None:
        self._images = 0
        self._first: Array | None = None
        self._same = True
        self._max_abs = self._scale = 0.0
        self._low, self._high = math.inf, -math.inf
        self._power = self._other_power = self._product = self._noise = 0.0

    def add(self, reference: Array, candidate: Array) -> None:
        """Add one image; values that are not finite on either side are left out.

        Args:
            reference: real values of any shape.
            candidate: of the same shape.
        """
        a, b = reference.astype(np.float64).ravel(), candidate.astype(np.float64).ravel()
        self._images += 1
        if self._first is None:
            self._first = a
        else:
            self._same = self._same and np.array_equal(self._first, a, equal_nan=True)
        known = np.isfinite(a) & np.isfinite(b)
        a, b = a[known], b[known]
        if not a.size:
            return
        off = np.abs(a - b)
        self._max_abs = max(self._max_abs, float(off.max()))
        self._scale = max(self._scale, float(np.abs(a).max()))
        self._low, self._high = min(self._low, float(a.min())), max(self._high, float(a.max()))
        self._power += float(a @ a)
        self._other_power += float(b @ b)
        self._product += float(a @ b)
        self._noise += float(off @ off)

    def nothing(self) -> str | None:
        """Say that the reference is zero, or next to it; None where it is not."""
        if not self._scale:
            return "is 0 everywhere"
        return f"is at most {self._scale:.1g}" if self._scale < TINY else None

    def constant(self) -> str | None:
        """Say that the reference, though not zero, is one value, or the same for every image."""
        if self._scale < TINY:
            return None
        if self._high == self._low:
            return f"is {self._low:.3g} everywhere"
        if self._images > 1 and self._same:
            return f"is the same for {self._images} different images"
        return None

    def result(self, name: str) -> OutputParity:
        """Compute the measures of all images so far."""
        norm = math.sqrt(self._power) * math.sqrt(self._other_power)
        if norm:
            # Rounding may put it beyond 1 by a few units in the last place.
            cosine = min(1.0, self._product / norm)
        else:
            cosine = 0.0 if self._power or self._other_power else 1.0
        snr = None
        if self._noise and self._power:
            snr = 10 * math.log10(self._power / self._noise)
        return OutputParity(name, self._max_abs, cosine, snr, self._scale)
