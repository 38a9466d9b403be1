"""Outlines as YOLO label lines and COCO's JSON write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgecv.mask_truth import MaskTruth, Outline
from edgecv.masks import decompress
from edgecv.truth import BoxTruth
from edgecv.types import Array

_FAR = 1e9  # no coordinate is larger


def with_outlines(boxes: BoxTruth, outlines: Sequence[Outline]) -> MaskTruth:
    """Add an outline to each box."""
    return MaskTruth(
        boxes.xyxy, boxes.class_id, boxes.crowd, boxes.area, boxes.normalised, tuple(outlines)
    )


def polygon_of(values: Sequence[str]) -> Outline:
    """Read the coordinates of a YOLO label line, x1 y1 x2 y2 x3 y3 ..., in parts of the image.

    Raises:
        ValueError: a box, or no polygon.
    """
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"no polygon: {len(values)} coordinates")
    return (np.array(values, np.float64).astype(np.float32).reshape(-1, 2),)


def corners_of(values: Sequence[str]) -> Array:
    """Read the corners of a YOLO label line, x1 y1 ... x4 y4, in parts of the image, as (4, 2).

    Raises:
        ValueError: not four corners.
    """
    if len(values) != 8:
        raise ValueError(f"no oriented box of four corners: {len(values)} coordinates")
    return np.array(values, np.float64).astype(np.float32).reshape(4, 2)


def segmentation_of(value: Any, size_hw: tuple[int, int] | None) -> Outline:
    """Read COCO's ``segmentation``: polygons, or run lengths as a list or as text.

    Args:
        value: ``[[x1, y1, x2, y2, ...], ...]`` in pixels, or ``{"size": [h, w], "counts": ...}``.
        size_hw: (height, width) of the image; None where the file does not say it.

    Raises:
        ValueError: neither, or run lengths of another image.
    """
    if isinstance(value, Mapping):
        return (_runs(value, size_hw),)
    if not isinstance(value, list) or not value:
        raise ValueError("no segmentation")
    outline = []
    for part in value:
        if not isinstance(part, list) or len(part) < 6 or len(part) % 2:
            raise ValueError("a polygon needs three or more corners of two numbers")
        if not all(type(v) in (int, float) and abs(v) < _FAR for v in part):
            raise ValueError("a polygon of something else than numbers")
        outline.append(np.array(part, np.float64).reshape(-1, 2))
    return outline


def _runs(value: Mapping[str, Any], size_hw: tuple[int, int] | None) -> Array:
    size, counts = value.get("size"), value.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int for n in size):
        raise ValueError("run lengths without a size")
    if size_hw is not None and tuple(size) != tuple(size_hw):
        raise ValueError(f"run lengths of an image of {size[1]}x{size[0]} pixels")
    runs = decompress(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(n) is int and 0 <= n < _FAR for n in runs):
        raise ValueError("run lengths of something else than whole numbers")
    if sum(runs) != size[0] * size[1]:
        raise ValueError("run lengths that do not add up to the image")
    return np.array(runs, np.int64)
