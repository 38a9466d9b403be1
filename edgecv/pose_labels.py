"""Keypoints in YOLO label lines, as Ultralytics' documentation describes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecv.types import Float32


def read_keypoints(fields: Sequence[str], kpt_shape: tuple[int, int]) -> Float32:
    """Read what follows the box in a label line.

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
