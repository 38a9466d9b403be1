"""Pictures of what the digit detector of this repository really finds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

import edgecv
from edgecv import codecs
from edgecv.drawing import draw
from edgecv.lines import Lines
from edgecv.model import Model
from edgecv.tracker import create_tracker
from edgecv.types import Image
from edgecv.zone_config import ZoneConfig
from edgecv.zone_drawing import draw_zones
from edgecv.zones import Zones

DIGITS = Path(__file__).parents[1] / "examples/digits"
TILE_HW = (300, 400)
SHOWN = (1, 4, 5, 6, 7, 11)
SCALE = 2.2
FRAMES, SHOWN_FRAMES = 40, (3, 21, 39)
CONFIG = ZoneConfig.parse({
    "zones": [{
        "name": "yard", "anchor": "center", "units": "fractions",
        "points": [[0.05, 0.45], [0.5, 0.55], [0.45, 0.95], [0.05, 0.9]],
    }],
    "lines": [{
        "name": "gate", "anchor": "center", "units": "fractions", "margin": 0.05,
        "start": [0.8, 0.52], "end": [0.38, 0.52],
    }],
})  # fmt: skip


def _load(**options: float) -> Model:
    labels = (DIGITS / "labels.txt").read_text().split()
    return edgecv.load(DIGITS / "digits.onnx", head="yolo", labels=labels, trusted=True, **options)


def _read(index: int) -> Image:
    return codecs.read(DIGITS / f"val/images/val_{index:03d}.jpg")


def _drawn(model: Model, index: int, size_hw: tuple[int, int]) -> Image:
    """Draw what the model finds in a validation image, cut to a size around the middle."""
    image = _read(index)
    # Enlarged first, so that the labels are drawn sharp.
    scale = max(size_hw[0] / image.shape[0], size_hw[1] / image.shape[1])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    drawn = draw(image, model(image))
    top, left = ((a - b) // 2 for a, b in zip(drawn.shape[:2], size_hw, strict=True))
    return drawn[top : top + size_hw[0], left : left + size_hw[1]]


def digits() -> Image:
    """Draw what the digit detector finds in six validation images."""
    with _load() as model:
        tiles = [_drawn(model, index, TILE_HW) for index in SHOWN]
    return np.vstack([np.hstack(tiles[i : i + 3]) for i in (0, 3)])


def detect() -> Image:
    """Draw what the digit detector finds in one validation image."""
    with _load() as model:
        return _drawn(model, 4, (400, 640))


def tiles() -> Image:
    """Read a mosaic of twelve validation images at once and in tiles, and draw both."""
    images = [_read(i) for i in range(12)]
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    mosaic = np.full((3 * height, 4 * width, 3), 114, np.uint8)
    for i, image in enumerate(images):
        y, x = i // 4 * height, i % 4 * width
        mosaic[y : y + image.shape[0], x : x + image.shape[1]] = image
    with _load() as model:
        drawn = [draw(mosaic, model(mosaic)), draw(mosaic, edgecv.tiled(model, mosaic))]
    size = (mosaic.shape[1] // 2, mosaic.shape[0] // 2)
    return np.hstack([cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in drawn])


def tracking() -> Image:
    """Follow digits under a camera that moves over a validation image; show three frames."""
    picture = _read(11)
    size_hw = (round(192 * SCALE), round(192 * SCALE))
    tracker = create_tracker("bytetrack")
    zones, lines = Zones(CONFIG.zones, size_hw), Lines(CONFIG.lines, size_hw)
    shown = []
    with _load(confidence=tracker.min_score) as model:
        for frame in range(FRAMES):
            t, part = frame / 25, frame / (FRAMES - 1)
            y, x = (part * (side - 192) for side in picture.shape[:2])
            way = np.array([[SCALE, 0, -SCALE * x], [0, SCALE, -SCALE * y]])
            image = cv2.warpAffine(picture, way, size_hw[::-1], flags=cv2.INTER_CUBIC)
            result = model(image)
            found = tracker.update(result.detections, t)
            found = found[found.track_id > 0]
            zones.update(found, t)
            lines.update(found, t)
            if frame in SHOWN_FRAMES:
                watched = draw_zones(image, zones, lines)
                shown.append(draw(watched, result.replace(value=found)))
    return np.hstack(shown)
