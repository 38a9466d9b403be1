"""Layers with weights, and how one is found again after a graph changed its format.

Converters rename, merge and transpose, but they keep the values of a layer's weights: a fingerprint
of the values that no transposition changes tells which layer is which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgecv.types import Array

_RELATIVE = 1e-3


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is known of a weight tensor whatever its axes' order.

    Attributes:
        size: number of values.
        total: sum of the magnitudes.
        squares: sum of the squares.
        highest: largest value.
        lowest: smallest value.
    """

    size: int
    total: float
    squares: float
    highest: float
    lowest: float

    @classmethod
    def of(cls, weights: Array) -> Fingerprint:
        """Take the fingerprint of an array of floats."""
        values = np.asarray(weights, np.float64).ravel()
        if not values.size:
            return cls(0, 0.0, 0.0, 0.0, 0.0)
        return cls(
            values.size,
            float(np.abs(values).sum()),
            float(np.square(values).sum()),
            float(values.max()),
            float(values.min()),
        )

    def distance(self, other: Fingerprint) -> float:
        """Return the largest relative difference; infinity where the sizes differ."""
        if self.size != other.size:
            return float("inf")
        scale = max(self.squares, other.squares, 1e-30)
        spread = max(self.highest - self.lowest, 1e-30)
        return max(
            abs(self.total - other.total) / max(self.total, other.total, 1e-30),
            abs(self.squares - other.squares) / scale,
            abs(self.highest - other.highest) / spread,
            abs(self.lowest - other.lowest) / spread,
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer with weights.

    Attributes:
        name: of the node in its own graph; unique there.
        op: kind of the node, in its own format's word.
        weights: fingerprint of the weight tensor.
    """

    name: str
    op: str
    weights: Fingerprint


def find(layers: Sequence[Layer], wanted: Sequence[Layer]) -> dict[str, str]:
    """Find layers of one graph in another by their weights.

    Args:
        layers: of the graph to search, in the order of execution.
        wanted: layers of the other graph, in the order of execution.

    Returns:
        Name in the other graph -> name in this one; what has no counterpart is left out. A layer is
        given once, so that equal weights are paired in order.
    """
    free = list(layers)
    found: dict[str, str] = {}
    for layer in wanted:
        distances = [layer.weights.distance(other.weights) for other in free]
        best = int(np.argmin(distances)) if distances else -1
        if best >= 0 and distances[best] <= _RELATIVE:
            found[layer.name] = free.pop(best).name
    return found
