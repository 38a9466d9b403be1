"""A map of numbers in 3 KB: statistics and a coarse grid, for JSON and golden samples.

The grid holds the mean of each of at most 32 x 32 cells, as 16-bit steps between its own lowest and
highest value, little-endian, row by row, in base64. What is read back is written the same again,
to the bit.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgecv.record import Record, field
from edgecv.types import Array, Float32

GRID = 32
"""Cells along the longer side; no map has more along the other."""

_STEPS = 65535
_CELL_TOLERANCE = 0.05


class MapSummary(Record):
    """What is told of a map.

    Attributes:
        size_hw: (height, width) of the map in pixels.
        low: its lowest value, six significant digits, as the two below.
        high: its highest value.
        mean: of all pixels.
        grid_low: lowest value of `grid`.
        grid_high: highest value of `grid`.
        grid: (rows, columns) uint16: the mean over each cell, 0 for `grid_low`, 65535 for
            `grid_high`.
    """

    size_hw: tuple[int, int] = (0, 0)
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    grid_low: float = 0.0
    grid_high: float = 0.0
    grid: Array = field(default_factory=lambda: np.zeros((0, 0), np.uint16))

    @classmethod
    def of(cls, values: Float32) -> MapSummary:
        """Sum up a map (H, W) float32 of finite numbers; H and W may be 0."""
        if not values.size:
            return cls()
        height, width = values.shape
        cells = _cell_means(values)
        low, high = _round(float(cells.min())), _round(float(cells.max()))
        scale = _STEPS / (high - low) if high > low else 0.0
        steps = np.rint(np.clip((cells - low) * scale, 0, _STEPS)).astype(np.uint16)
        return cls(
            (height, width),
            _round(float(values.min())),
            _round(float(values.max())),
            _round(float(values.mean(dtype=np.float64))),
            low,
            high,
            steps,
        )

    def cells(self) -> Float32:
        """Return the means of the cells, (rows, columns) float32."""
        span = self.grid_high - self.grid_low
        return np.asarray(self.grid_low + self.grid * (span / _STEPS), np.float32)

    def to_json(self) -> dict[str, Any]:
        """Make ``{size_hw, low, high, mean, grid: {size_hw, low, high, data}}``."""
        return {
            "size_hw": list(self.size_hw),
            "low": self.low,
            "high": self.high,
            "mean": self.mean,
            "grid": {
                "size_hw": list(self.grid.shape),
                "low": self.grid_low,
                "high": self.grid_high,
                "data": base64.b64encode(self.grid.astype("<u2").tobytes()).decode("ascii"),
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MapSummary:
        """Read what `to_json` wrote.

        Raises:
            ValueError: the grid is not base64, or not of its size.
        """
        grid = data["grid"]
        raw = base64.b64decode(grid["data"], validate=True)
        rows, columns = (int(n) for n in grid["size_hw"])
        steps = np.frombuffer(raw, "<u2").astype(np.uint16).reshape(rows, columns)
        height, width = (int(n) for n in data["size_hw"])
        return cls(
            (height, width),
            float(data["low"]),
            float(data["high"]),
            float(data["mean"]),
            float(grid["low"]),
            float(grid["high"]),
            steps,
        )

    def apart(self, expected: MapSummary) -> tuple[float, float]:
        """Compare with a recorded map.

        Returns:
            The mean absolute difference of the cells, in parts of the expected map's range (of its
            largest value where it is flat), and the share of cells that are more than 5 % of that
            range apart. Maps of different sizes are wholly apart: (1, 1).
        """
        if self.size_hw != expected.size_hw or self.grid.shape != expected.grid.shape:
            return 1.0, 1.0
        if not self.grid.size:
            return 0.0, 0.0
        span = expected.high - expected.low
        scale = span if span > 0 else max(abs(expected.high), 1e-12)
        off = np.abs(self.cells() - expected.cells()) / scale
        return float(off.mean()), float((off > _CELL_TOLERANCE).mean())


def _cell_means(values: Float32) -> Array:
    """Average (H, W) over cells of equal size, give or take a pixel: (rows, columns) float64."""
    height, width = values.shape
    side = max(height, width)
    rows = min(height, max(1, round(GRID * height / side)))
    columns = min(width, max(1, round(GRID * width / side)))
    y, x = _edges(height, rows), _edges(width, columns)
    sums = np.add.reduceat(values, y[:-1], axis=0, dtype=np.float64)
    sums = np.add.reduceat(sums, x[:-1], axis=1)
    means: Array = sums / (np.diff(y)[:, None] * np.diff(x))
    return means


def _edges(size: int, cells: int) -> Array:
    return np.arange(cells + 1) * size // cells


def _round(value: float) -> float:
    """Keep six significant digits, about what a float32 holds."""
    return float(f"{value:.6g}")
