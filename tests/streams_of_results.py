"""Frames with results, as a pipeline hands them to sinks."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecv.result import Result, Timings
from edgecv.results.detections import Detections
from edgecv.types import Frame

LABELS = ("red", "green")


def frame(index: int = 0, hw: tuple[int, int] = (48, 64), **more: Any) -> Frame:
    """Make a grey frame that gets brighter with its index."""
    image = np.full((*hw, 3), 40 + 10 * index % 200, np.uint8)
    return Frame(image, index, **{"timestamp_s": index / 10, "stream": "door", "epoch": 0, **more})


def result(found: int = 1, hw: tuple[int, int] = (48, 64)) -> Result:
    """Make a result with so many boxes of class 1."""
    boxes = np.tile(np.array([[4, 6, 30, 40]], np.float32), (found, 1))
    value = Detections(boxes, np.full(found, 0.5, np.float32), np.ones(found, np.int32))
    return Result(value, "", hw, LABELS, Timings(0.0, 0.1, 1.5, 0.1, 1.7))
