"""Draw zones and lines with their counts onto an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from edgecv.drawing import color_of, scale_of, write
from edgecv.lines import Lines
from edgecv.result import Places
from edgecv.types import Array, Image
from edgecv.zones import Zones

_VEIL = 0.25
_FAR = 30000
_FIRST_COLOR = 4  # those before are of the first classes, which most models find most
_ARROW = 0.06  # length, as a share of the image's shorter side


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
    places = Places({} if zones is None else zones.polygons, {} if lines is None else lines.ends)
    counts = {
        "zones": {} if zones is None else zones.to_json(),
        "lines": {} if lines is None else lines.to_json(),
    }
    draw_places(canvas, places, counts)
    return canvas


def draw_places(canvas: Image, places: Places, counts: Mapping[str, Any]) -> None:
    """Draw zones and lines as `draw_zones` does, from what a result says.

    Args:
        canvas: (H, W, 3) uint8 BGR, drawn on.
        places: where they lie.
        counts: `edgecv.result.Result.counts`; what they say nothing of has its name alone.
    """
    _draw_zones(canvas, places.zones, counts.get("zones", {}))
    shift = len(places.zones)
    for k, (name, ends) in enumerate(places.lines.items()):
        _draw_line(canvas, ends, _color(shift + k), said_of(name, counts.get("lines", {})))


def said_of(name: str, counts: Mapping[str, Mapping[str, int]]) -> str:
    """Word the counts of a zone or a line in one line, after its name."""
    count = counts.get(name)
    if count is None:
        return name
    if "occupancy" in count:
        return f"{name}: {count['occupancy']} inside, {count['entries']} in, {count['exits']} out"
    return f"{name}: {count['in']} in, {count['out']} out"


def _draw_zones(
    canvas: Image, zones: Mapping[str, Array], counts: Mapping[str, Mapping[str, int]]
) -> None:
    if not zones:
        return
    scale, thickness = scale_of(canvas)
    veil = canvas.copy()
    corners = [_whole(polygon) for polygon in zones.values()]
    for z, polygon in enumerate(corners):
        cv2.fillPoly(veil, [polygon], _color(z))
    cv2.addWeighted(veil, _VEIL, canvas, 1 - _VEIL, 0, dst=canvas)
    for z, (name, polygon) in enumerate(zip(zones, corners, strict=True)):
        cv2.polylines(canvas, [polygon], True, _color(z), thickness, cv2.LINE_AA)
        # In the lower left corner: heads, and the labels of boxes, are above.
        left, low = polygon[(polygon @ [-1, 1]).argmax()].tolist()
        write(canvas, said_of(name, counts), (left, low), _color(z), scale, thickness)


def _draw_line(canvas: Image, ends: Array, color: tuple[int, int, int], text: str) -> None:
    scale, thickness = scale_of(canvas)
    start, end = ends
    cv2.line(canvas, *_points(start, end), color, 2 * thickness, cv2.LINE_AA)
    way = end - start
    # To the right hand of who walks from start to end, as y points down.
    across = np.array([-way[1], way[0]]) / np.hypot(*way)
    middle = (start + end) / 2
    tip = middle + across * min(canvas.shape[:2]) * _ARROW
    cv2.arrowedLine(canvas, *_points(middle, tip), color, 2 * thickness, cv2.LINE_AA, tipLength=0.4)
    write(canvas, text, _points(start, end)[0], color, scale, thickness)


def _color(place: int) -> tuple[int, int, int]:
    return color_of(_FIRST_COLOR + place)


def _whole(points: Array) -> Array:
    # Pixels are drawn in 32-bit integers; what is far outside is not seen anyway.
    return np.round(np.clip(points, -_FAR, _FAR)).astype(np.int32)


def _points(a: Array, b: Array) -> tuple[tuple[int, int], tuple[int, int]]:
    (x1, y1), (x2, y2) = _whole(np.stack([a, b])).tolist()
    return (x1, y1), (x2, y2)
