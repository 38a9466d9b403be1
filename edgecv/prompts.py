"""What a user points at: points, boxes and earlier masks, checked before a model sees them."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecv.errors import UsageError
from edgecv.record import Record
from edgecv.types import Array, Float32


class Prompts(Record, kw_only=True):
    """What is asked about one object, in model-input pixels.

    Attributes:
        points: (N, 2) float32 x, y, continuous; N may be 0.
        labels: (N,) int32, 1 on the object and 0 beside it.
        box: (4,) float32 xyxy, or None.
        mask: (h, w) float32 logits of an earlier answer, or None.
        source_hw: (height, width) of the image.
    """

    points: Float32
    labels: Array
    box: Float32 | None
    mask: Float32 | None
    source_hw: tuple[int, int]


def prompts_of(
    points: Any, labels: Any, boxes: Any, mask: Any, source_hw: tuple[int, int]
) -> tuple[Float32, Array, Float32 | None]:
    """Check prompts in source pixels, and bring them to arrays.

    Args:
        points: (N, 2) x, y in source pixels, or None.
        labels: (N,) of 0 and 1; None means 1 for each.
        boxes: (4,) or (B, 4) xyxy in source pixels, or None.
        mask: (h, w) logits, or None.
        source_hw: (height, width) of the image.

    Returns:
        (N, 2) float32 points, (N,) int32 labels, and (B, 4) float32 boxes or None.

    Raises:
        UsageError: no prompt, another shape, or a place outside the image.
    """
    xy = np.zeros((0, 2), np.float32) if points is None else _array("points", points, 2)
    on = np.ones(len(xy), np.int32) if labels is None else np.asarray(labels)
    corners = None if boxes is None else _array("boxes", boxes, 4)
    if on.shape != (len(xy),) or not np.isin(on, (0, 1)).all():
        raise UsageError(
            "", where="labels", expected=f"{len(xy)} of 0 or 1", got=str(on.tolist())[:80]
        )
    if mask is not None and (np.ndim(mask) != 2 or not np.isfinite(mask).all()):
        raise UsageError("", where="mask", expected="(h, w) finite logits", got=str(np.shape(mask)))
    if not len(xy) and corners is None and mask is None:
        raise UsageError("no prompt", where="predict", expected="points, boxes or a mask")
    if corners is not None and len(corners) > 1 and (len(xy) or mask is not None):
        raise UsageError(
            "points and masks cannot be shared by several boxes",
            where="boxes",
            expected="one box",
            got=str(len(corners)),
            remedy="call predict for each object",
        )
    height, width = source_hw
    for name, places in (("points", xy), ("boxes", corners)):
        if places is None:
            continue
        flat = places.reshape(-1, 2)
        if not ((flat >= 0) & (flat <= (width, height))).all():
            raise UsageError("outside the image", where=name, expected=f"0 to {width}, {height}")
    if corners is not None and not (corners[:, 2:] >= corners[:, :2]).all():
        raise UsageError("", where="boxes", expected="left, top, right, bottom")
    return xy, on.astype(np.int32), corners


def _array(name: str, value: Any, columns: int) -> Float32:
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        array = np.zeros((1, 0), np.float32)
    if array.ndim == 1 and columns == 4:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != columns or not len(array):
        raise UsageError(
            "", where=name, expected=f"(N, {columns}) numbers, N at least 1", got=repr(value)[:80]
        )
    if not np.isfinite(array).all():
        raise UsageError("not finite", where=name)
    return array
