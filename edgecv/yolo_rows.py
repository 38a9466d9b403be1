"""Rows of the YOLO family that carry more than boxes: keypoints, mask coefficients, angles.

Sources: the output layouts that Ultralytics documents for its exports, as in the heads ``yolo`` and
``end2end``: what a task adds lies behind the class scores, or behind the class id.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgecv import candidates
from edgecv.head import DetectionOptions, wrong_shape
from edgecv.results.detections import Detections
from edgecv.types import Array, Float32


class RowOptions(DetectionOptions, kw_only=True):
    """How to read the rows.

    Attributes:
        end2end: the rows are finished detections; see `from_finished`. None sees it from the shape,
            which is that of anchors with two classes, too, if these are transposed.
        normalized: coordinates are fractions of the input, not pixels. None sees it from the
            boxes.
        transposed: rows of anchors are ``[1, A, channels]``. None sees it from ``num_classes``, or
            takes the longer axis for the anchors.
    """

    end2end: bool | None = None
    normalized: bool | None = None
    transposed: bool | None = None


Carried = tuple[Detections, Float32, Float32]
"""Detections, the (N, E) values that their rows carry, and the (4,) factors to input pixels."""


def decode(array: Array, extra: int, options: RowOptions, head: str) -> Carried:
    """Decode rows of either kind.

    Args:
        array: the tensor: ``[1, 4 + classes + extra, A]`` (or transposed), or
            ``[1, N, 6 + extra]``.
        extra: values that a task adds to a row.
        options: how to read it.
        head: name for the error.

    Raises:
        HeadError: another shape, no scores where scores should be, or class ids that are not whole.
    """
    if _is_finished(array.shape, extra, options):
        return from_finished(array, extra, options, head)
    return from_anchors(array, extra, options, head)


def _is_finished(shape: tuple[int, ...], extra: int, options: RowOptions) -> bool:
    if options.end2end is not None:
        return options.end2end
    anchors = options.num_classes and shape[1:2] == (4 + options.num_classes + extra,)
    return len(shape) == 3 and shape[2] == 6 + extra and not anchors


def from_anchors(array: Array, extra: int, options: RowOptions, head: str) -> Carried:
    """Take the best class of each anchor, then suppress overlaps.

    Args:
        array: ``[1, 4 + classes + extra, A]``: centre x, centre y, width, height, scores, more.
        extra: values behind the scores.
        options: how to read it.
        head: name for the error.

    Raises:
        HeadError: another shape, or no scores where scores should be.
    """
    count = (
        f"{4 + options.num_classes + extra}" if options.num_classes else f"{4 + extra} + classes"
    )
    wanted = f"[1, {count}, A] (or transposed)"
    if array.ndim != 3 or array.shape[0] != 1:
        raise wrong_shape(head, wanted, _named(array))
    rows = np.asarray(array[0], np.float32)
    if _is_transposed(rows.shape, extra, options):
        rows = rows.T
    classes = rows.shape[0] - 4 - extra
    if classes < 1 or (options.num_classes and classes != options.num_classes):
        raise wrong_shape(head, wanted, _named(array))
    cxcywh, scores = rows[:4], rows[4 : 4 + classes]
    index, score, class_id, lost = candidates.classes(scores.T, options)
    scale = candidates.pixel_scale(options.normalized, cxcywh[:2], options, head)
    xyxy = candidates.corners(cxcywh[:, index].T, scale)
    keep, dropped = candidates.choose(xyxy, score, class_id, options, head=head)
    more = rows[4 + classes :, index[keep]].T
    return _carried(xyxy[keep], score[keep], class_id[keep], lost + dropped, more, scale)


def from_finished(array: Array, extra: int, options: RowOptions, head: str) -> Carried:
    """Take the rows at or above the confidence; nothing is suppressed.

    Args:
        array: ``[1, N, 6 + extra]``: x1, y1, x2, y2, score, class id, more.
        extra: values behind the class id.
        options: how to read it.
        head: name for the error.

    Raises:
        HeadError: another shape, no scores where scores should be, or class ids that are not whole.
    """
    if array.ndim != 3 or array.shape[0] != 1 or array.shape[2] != 6 + extra:
        raise wrong_shape(head, f"[1, N, {6 + extra}]", _named(array))
    rows = np.asarray(array[0], np.float32)
    index, lost = candidates.above(rows[:, 4], options.confidence)
    rows = rows[index]
    if options.confidence <= 0:
        # Rows that score nothing are padding.
        rows = rows[rows[:, 4] > 0]
    class_id = candidates.whole_classes(rows[:, 5], options, head)
    scale = candidates.pixel_scale(options.normalized, rows[:, :4], options, head)
    with np.errstate(over="ignore", invalid="ignore"):
        xyxy = rows[:, :4] * scale
    keep, dropped = candidates.choose(
        xyxy, rows[:, 4], class_id, options, head=head, suppress=False
    )
    found = rows[keep]
    return _carried(xyxy[keep], found[:, 4], class_id[keep], lost + dropped, found[:, 6:], scale)


def scores_of(array: Array, extra: int, options: RowOptions) -> Array:
    """Return the class scores of a tensor of either kind, a view of any shape."""
    if _is_finished(array.shape, extra, options):
        return np.asarray(array[..., 4])
    rows = array[0].T if _is_transposed(array.shape[1:], extra, options) else array[0]
    return np.asarray(rows[4 : rows.shape[0] - extra])


def _carried(
    xyxy: Float32, score: Float32, class_id: Array, dropped: int, more: Float32, scale: Float32
) -> Carried:
    found = Detections(
        np.ascontiguousarray(xyxy, np.float32),
        np.ascontiguousarray(score, np.float32),
        np.ascontiguousarray(class_id, np.int32),
        dropped,
    )
    return found, more, scale


def _is_transposed(shape: tuple[int, ...], extra: int, options: RowOptions) -> bool:
    if options.transposed is not None:
        return options.transposed
    if options.num_classes:
        channels = 4 + options.num_classes + extra
        if channels in shape:
            return shape[0] != channels
    return shape[0] > shape[1]


def _named(array: Array) -> Mapping[str, Array]:
    return {"output": array}
