"""Outlines as masks, by the rule of COCO's tools, pixel for pixel.

Source of the rule: the rasterisation of the COCO API's masks (``frPoly``): corners are rounded on a
grid five times as fine as the pixels; each edge is walked along its longer axis; where the walk
passes the middle of a pixel column, a run of that column begins or ends at the next whole row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecv.types import Array

_FINE = 5


def rasterise(polygons: Sequence[Array], size_hw: tuple[int, int]) -> Array:
    """Fill the union of polygons as (H, W) bool.

    Args:
        polygons: arrays (P, 2) x, y in pixels, P >= 3; what lies outside of the image is cut off.
        size_hw: (height, width) of the image.
    """
    height, width = size_hw
    mask = np.zeros((width, height), bool)
    for polygon in polygons:
        columns, rows = _crossings(np.asarray(polygon, np.float64), size_hw)
        if not len(columns):
            continue
        first, last = int(columns.min()), int(columns.max())
        # An outline crosses a column an even number of times, so each column starts outside. The
        # last place of one column is the first of the next, where a run that ends there ends.
        toggles = np.zeros((last - first + 1) * height + 1, np.int64)
        np.add.at(toggles, (columns - first) * height + rows, 1)
        inside = (np.cumsum(toggles[:-1]) & 1).astype(bool)
        mask[first : last + 1] |= inside.reshape(-1, height)
    return mask.T


def _crossings(polygon: Array, size_hw: tuple[int, int]) -> tuple[Array, Array]:
    """Return the columns and rows at which runs begin or end."""
    height, width = size_hw
    # Far outside nothing happens but work: an outline is cut to a margin around the image.
    low, high = [-_FINE * width, -_FINE * height], [2 * _FINE * width, 2 * _FINE * height]
    fine = np.clip(_FINE * polygon + 0.5, low, high)
    start = np.trunc(fine).astype(np.int64)
    end = np.roll(start, -1, axis=0)
    u, v = (np.concatenate(part) for part in zip(*map(_walk, start, end), strict=True))
    turned = np.flatnonzero(u[1:] != u[:-1]) + 1
    column = np.where(u[turned] < u[turned - 1], u[turned], u[turned] - 1)
    place = (column + 0.5) / _FINE - 0.5
    usable = (np.floor(place) == place) & (place >= 0) & (place <= width - 1)
    row = np.minimum(v[turned], v[turned - 1])
    row = np.ceil(np.clip((row + 0.5) / _FINE - 0.5, 0, height))
    return place[usable].astype(np.int64), row[usable].astype(np.int64)


def _walk(start: Array, end: Array) -> tuple[Array, Array]:
    """List the fine grid's points along an edge, one for each step of the longer axis."""
    dx, dy = (int(v) for v in np.abs(end - start))
    steps = np.arange(max(dx, dy) + 1)
    along = 0 if dx >= dy else 1
    # Always walked in one direction, so that an edge shared by two outlines is one.
    flip = start[along] > end[along]
    a, b = (end, start) if flip else (start, end)
    slope = (b[1 - along] - a[1 - along]) / max(dx, dy) if max(dx, dy) else 0.0
    if flip:
        steps = steps[::-1]
    walked = steps + a[along]
    other = np.trunc(a[1 - along] + slope * steps + 0.5).astype(np.int64)
    return (walked, other) if along == 0 else (other, walked)
