"""Where the scores are in tensors that hold boxes as well, head by head."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgecv import yolo_layouts
from edgecv.head import grid_cells
from edgecv.types import Array


def score_part(head: str, options: Any, array: Array) -> Array | None:
    """Return the scores of a tensor that holds boxes as well, or None where it does not.

    Args:
        head: name of the head that decodes the tensor.
        options: of that head.
        array: real values, with a batch axis of 1, in one of the head's layouts.

    Returns:
        A view of any shape.
    """
    cut = _MIXED.get(head)
    return None if cut is None else cut(array, options)


def _rows_after(columns: int) -> Callable[[Array, Any], Array | None]:
    """Make a cut for tensors ``[..., columns of a box, scores]``."""
    return lambda array, options: array[..., columns:]


def _yolo(array: Array, options: Any) -> Array | None:
    return _channels(array, options, 0)


def _yolo_seg(array: Array, options: Any) -> Array | None:
    if array.ndim != 3:
        return None  # prototypes
    extras = options.coefficients
    layout = yolo_layouts.layout_of(array.shape[1:], options, extras, "yolo_seg")
    if layout == yolo_layouts.ANCHOR_BASED:
        objects: Array = array[..., 4 : array.shape[2] - extras]
        return objects
    return _finished(array) if layout == yolo_layouts.END2END else _channels(array, options, extras)


def _yolo_obb(array: Array, options: Any) -> Array | None:
    layout = yolo_layouts.layout_of(array.shape[1:], options, 1, "yolo_obb")
    return _finished(array) if layout == yolo_layouts.END2END else _channels(array, options, 1)


def _finished(array: Array) -> Array:
    scores: Array = array[..., 4]
    return scores


def _yolo_pose(array: Array, options: Any) -> Array | None:
    extras = math.prod(options.kpt_shape)
    layout = yolo_layouts.layout_of(array.shape[1:], options, extras, "yolo_pose")
    return _finished(array) if layout == yolo_layouts.END2END else _channels(array, options, extras)


def _channels(array: Array, options: Any, extras: int) -> Array:
    """Cut the scores out of anchor-free rows ``[1, 4 + classes + extras, A]``."""
    rows = array[0]
    transposed = yolo_layouts.is_transposed(
        rows.shape, options.num_classes, options.transposed, extras
    )
    last = rows.shape[1 if transposed else 0] - extras
    scores: Array = rows[:, 4:last] if transposed else rows[4:last]
    return scores


def _fastestdet(array: Array, options: Any) -> Array | None:
    del options
    return np.concatenate([array[:, :1], array[:, 5:]], axis=1)


def _end2end(array: Array, options: Any) -> Array | None:
    """Cut rows of six; other layouts have tensors of their own, or a column that values tell."""
    del options
    return array[..., 4] if array.ndim == 3 and array.shape[2] == 6 else None


def _nanodet(array: Array, options: Any) -> Array | None:
    """Cut the single tensor, whose rows are those of all levels."""
    levels = [grid_cells(options.input_hw, strides) for strides in ((8, 16, 32), (8, 16, 32, 64))]
    return array[..., :-32] if array.ndim == 3 and array.shape[1] in levels else None


_MIXED: Mapping[str, Callable[[Array, Any], Array | None]] = {
    "yolo": _yolo,
    "yolo_seg": _yolo_seg,
    "yolo_obb": _yolo_obb,
    "yolo_pose": _yolo_pose,
    "yolov5": _rows_after(4),
    "yolox": _rows_after(4),
    "end2end": _end2end,
    "ssd": lambda array, options: array[..., 2],
    "fastestdet": _fastestdet,
    "nanodet": _nanodet,
}
"""Heads that read boxes and scores from one tensor, with where the scores are."""
