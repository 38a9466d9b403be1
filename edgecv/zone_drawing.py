"""Draw zones and lines with their counts onto an image."""

from __future__ import annotations

import cv2
import numpy as np

from edgecv.drawing import color_of, scale_of, write
from edgecv.lines import Lines
from edgecv.types import Array, Image
from edgecv.zones import Zones

_VEIL = 0.25


def draw_zones(image: Image, zones: Zones | None = None, lines: Lines | None = None) -> Image:
    """Return a copy of an image with zones and lines drawn on it.

    Zones are tinted and say how many are inside and how many entered and left; lines have an arrow
    at their middle in the direction that counts as ``in``.

    Args:
        image: (H, W, 3) uint8 BGR.
        zones: with their present counts.
        lines: with their present counts.
    """
    canvas = image.copy()
    scale, thickness = scale_of(canvas)
    if zones is not None:
        veil = canvas.copy()
        corners = [_whole(zones.polygon(z)) for z in range(len(zones.specs))]
        for z, polygon in enumerate(corners):
            cv2.fillPoly(veil, [polygon], color_of(z))
        cv2.addWeighted(veil, _VEIL, canvas, 1 - _VEIL, 0, dst=canvas)
        for z, (name, count) in enumerate(zones.counts.items()):
            cv2.polylines(canvas, [corners[z]], True, color_of(z), thickness, cv2.LINE_AA)
            text = f"{name}: {count.occupancy} inside, {count.entries} in, {count.exits} out"
            # In the lower left corner: heads, and the labels of boxes, are above.
            left, low = corners[z][(corners[z] @ [-1, 1]).argmax()]
            write(canvas, text, (int(left), int(low)), color_of(z), scale, thickness)
    if lines is not None:
        shift = 0 if zones is None else len(zones.specs)
        for k, (name, total) in enumerate(lines.counts.items()):
            start, end = lines.ends(k)
            color = color_of(shift + k)
            cv2.line(canvas, *_points(start, end), color, 2 * thickness, cv2.LINE_AA)
            way = end - start
            # To the right hand of who walks from start to end, as y points down.
            across = np.array([-way[1], way[0]]) / np.hypot(*way)
            middle = (start + end) / 2
            tip = middle + across * min(canvas.shape[:2]) * 0.06
            cv2.arrowedLine(
                canvas, *_points(middle, tip), color, 2 * thickness, cv2.LINE_AA, tipLength=0.4
            )
            text = f"{name}: {total.ins} in, {total.outs} out"
            write(canvas, text, _points(start, end)[0], color, scale, thickness)
    return canvas


def _whole(points: Array) -> Array:
    return np.round(points).astype(np.int32)


def _points(a: Array, b: Array) -> tuple[tuple[int, int], tuple[int, int]]:
    (x1, y1), (x2, y2) = _whole(np.stack([a, b])).tolist()
    return (x1, y1), (x2, y2)
