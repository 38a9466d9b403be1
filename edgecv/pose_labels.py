"""Keypoints as YOLO label lines and COCO's JSON write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.errors import DatasetError
from edgecv.types import Float32

_FAR = 1e9  # no coordinate is larger


def read_keypoints(fields: Sequence[str], kpt_shape: tuple[int, int]) -> Float32:
    """Read what follows the box in a YOLO label line.

    Source: the label format that Ultralytics documents for pose data.

    Args:
        fields: ``x y`` or ``x y visibility`` of each keypoint, places in parts of the image; none
            at all is an object whose keypoints nobody labelled.
        kpt_shape: keypoints of an object, and numbers of each, 2 or 3.

    Returns:
        (K, 3) x, y, visibility 0, 1 or 2. Where the line tells no visibility, what lies at (0, 0)
        is not labelled, and everything else is visible.

    Raises:
        ValueError: what is wrong with the line.
    """
    count, numbers = kpt_shape
    points = np.zeros((count, 3), np.float32)
    if not fields:
        return points
    if len(fields) != count * numbers:
        raise ValueError(f"broken label line: {len(fields)} values fit no {count} keypoints")
    values = np.array([float(text) for text in fields], np.float32).reshape(count, numbers)
    if not np.isfinite(values).all():
        raise ValueError("broken label line: a keypoint is not finite")
    points[:, :2] = values[:, :2]
    points[:, 2] = values[:, 2] if numbers == 3 else 2 * values.any(axis=1)
    return points


def count_numbers(file: Path, annotations: Sequence[Mapping[str, Any]]) -> int:
    """Return how many numbers the keypoints of an object have in a COCO file.

    It is that of the first object which has any.

    Raises:
        DatasetError: none has.
    """
    for annotation in annotations:
        points = annotation.get("keypoints")
        if isinstance(points, list) and points and len(points) % 3 == 0:
            return len(points)
    raise DatasetError(
        "the data have no keypoints",
        where=f"{file}: annotations",
        expected="keypoints, three numbers each",
        remedy="give a keypoints file, such as person_keypoints_val2017.json",
    )


def keypoints_of(value: Any, numbers: int) -> list[float]:
    """Read COCO's ``keypoints``: x, y, visibility of each in one list; nothing is not labelled.

    Raises:
        ValueError: something else than `numbers` numbers.
    """
    points = value or [0] * numbers
    if not isinstance(points, list) or len(points) != numbers:
        raise ValueError(f"no keypoints of {numbers} numbers")
    if not all(type(v) in (int, float) and abs(v) < _FAR for v in points):
        raise ValueError("keypoints of something else than numbers")
    return [float(v) for v in points]
