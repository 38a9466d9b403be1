"""Drawn backgrounds: gradients, value noise and paper, with shapes and lines on top as clutter.

Every function draws from the given random generator only. Canvases are float32 RGB [H, W, 3],
values 0..255, coordinates in pixels.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
SHIFT: Final = 3
"""Fractional bits of the coordinates that OpenCV's drawing functions get."""


def draw_background(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Draw a background with clutter, float32 RGB [height, width, 3] 0..255."""
    kind = rng.random()
    if kind < 0.3:
        canvas = _gradient(rng, height, width)
    elif kind < 0.75:
        canvas = _value_noise(rng, height, width)
    else:
        canvas = _paper(rng, height, width)
    if rng.random() < 0.75:
        _clutter(canvas, rng)
    return canvas


def _colour(rng: np.random.Generator) -> Floats:
    """A random colour, float32 [3] 0..255, half of the time a dull one."""
    colour = rng.uniform(0, 255, 3)
    if rng.random() < 0.5:
        colour = colour.mean() + (colour - colour.mean()) * 0.3
    return colour.astype(np.float32)


def _mix(first: Floats, second: Floats, weight: Floats) -> Floats:
    """Blend two colours [3] with a weight [H, W] 0..1 into [H, W, 3]."""
    return first + (second - first) * weight[..., None]


def _gradient(rng: np.random.Generator, height: int, width: int) -> Floats:
    """A linear or radial gradient between two colours."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    if rng.random() < 0.7:
        angle = rng.uniform(0, 2 * np.pi)
        ramp = 0.5 + 0.35 * np.float32(np.cos(angle)) * x + 0.35 * np.float32(np.sin(angle)) * y
    else:
        cx, cy = rng.uniform(-0.7, 0.7, 2).astype(np.float32)
        ramp = np.hypot(x - cx, y - cy) * np.float32(0.6)
    return _mix(_colour(rng), _colour(rng), np.clip(ramp, 0, 1).astype(np.float32))


def _value_noise(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Smooth random texture: coarse random grids, enlarged and summed over the octaves."""
    total = np.zeros((height, width), np.float32)
    cells, strength, weight = int(rng.integers(2, 7)), rng.uniform(0.4, 0.7), 1.0
    for _ in range(int(rng.integers(2, 6))):
        grid = rng.random((cells, max(2, round(cells * width / height))), np.float32)
        layer = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        total += np.float32(weight) * layer
        cells, weight = cells * 2, weight * strength
    total = (total - total.min()) / (np.ptp(total) + 1e-6)
    return _mix(_colour(rng), _colour(rng), total * np.float32(rng.uniform(0.3, 1.0)))


def _paper(rng: np.random.Generator, height: int, width: int) -> Floats:
    """A plain light or dark sheet, often ruled or squared."""
    light = rng.random() < 0.7
    base = rng.uniform(185, 250) if light else rng.uniform(10, 70)
    sheet = (base + rng.uniform(-15, 15, 3)).astype(np.float32)
    canvas = np.broadcast_to(sheet, (height, width, 3)).copy()
    if rng.random() < 0.6:
        pitch, line = int(rng.integers(14, 50)), sheet + np.float32(-35 if light else 35)
        start = int(rng.integers(pitch))
        canvas[start::pitch] = line
        if rng.random() < 0.5:
            canvas[:, start::pitch] = line
    shade = cv2.resize(rng.random((3, 3), np.float32), (width, height))
    return canvas * (1 - np.float32(0.2) * shade[..., None])


def _clutter(canvas: Floats, rng: np.random.Generator) -> None:
    """Draw shapes and long lines, in place, none of them like a digit."""
    height, width = canvas.shape[:2]
    layer = canvas.copy()
    for _ in range(int(rng.integers(1, 10))):
        colour = _colour(rng).tolist()
        kind = rng.random()
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        if kind < 0.3:  # a line across the image
            far = (x + rng.uniform(-1, 1) * width, y + rng.uniform(-1, 1) * height)
            start = (x - (far[0] - x), y - (far[1] - y))
            thickness = int(rng.integers(1, 6))
            cv2.line(layer, _fixed(*start), _fixed(*far), colour, thickness, cv2.LINE_AA, SHIFT)
        elif kind < 0.55:  # a filled, turned rectangle
            size = (rng.uniform(12, 110), rng.uniform(12, 110))
            corners = cv2.boxPoints(((x, y), size, rng.uniform(0, 90)))
            points = np.round(corners * 2**SHIFT).astype(np.int32)
            cv2.fillConvexPoly(layer, points, colour, cv2.LINE_AA, SHIFT)
        elif kind < 0.75:  # a filled ellipse
            axes = _fixed(rng.uniform(6, 60), rng.uniform(6, 60))
            angle = rng.uniform(0, 180)
            cv2.ellipse(layer, _fixed(x, y), axes, angle, 0, 360, colour, -1, cv2.LINE_AA, SHIFT)
        elif kind < 0.9:  # a filled triangle or irregular polygon
            count = int(rng.integers(3, 6))
            angles = np.sort(rng.uniform(0, 2 * np.pi, count))
            radii = rng.uniform(10, 60, count)
            points = np.stack((x + radii * np.cos(angles), y + radii * np.sin(angles)), 1)
            fixed = np.round(points * 2**SHIFT).astype(np.int32)
            cv2.fillPoly(layer, [fixed], colour, cv2.LINE_AA, SHIFT)
        else:  # a grid of dots
            pitch, radius = rng.uniform(9, 20), rng.uniform(1, 3)
            for row in range(int(rng.integers(2, 6))):
                for col in range(int(rng.integers(2, 6))):
                    dot = _fixed(x + col * pitch, y + row * pitch)
                    cv2.circle(layer, dot, round(radius * 2**SHIFT), colour, -1, cv2.LINE_AA, SHIFT)
    opacity = np.float32(rng.uniform(0.3, 1.0))
    canvas += (layer - canvas) * opacity


def _fixed(x: float, y: float) -> tuple[int, int]:
    """A point in the fixed-point form of OpenCV's drawing functions."""
    return round(x * 2**SHIFT), round(y * 2**SHIFT)
