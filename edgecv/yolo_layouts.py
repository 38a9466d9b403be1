"""Rows of the YOLO family: the three layouts in which its heads put out boxes and scores.

======================  =========================  ==============================================
layout                  tensor                     row
======================  =========================  ==============================================
``anchor-free``         ``[1, C, A]``, transposed  cx, cy, w, h, a score for each class, extras
``anchor-based``        ``[1, 3 * cells, C]``      cx, cy, w, h, objectness, class scores, extras
``end2end``             ``[1, N, C]``              box, score, class id, extras
======================  =========================  ==============================================

Extras are mask coefficients or an angle. Sources: the output layouts that Ultralytics documents for
its exports, and those documented for YOLOv5's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from edgecv import candidates
from edgecv.errors import HeadError
from edgecv.head import DetectionOptions, grid_cells, wrong_shape
from edgecv.types import Array, Float32

ANCHOR_FREE, ANCHOR_BASED, END2END = "anchor-free", "anchor-based", "end2end"
PYRAMIDS = ((8, 16, 32), (4, 8, 16, 32), (8, 16, 32, 64), (16, 32))
MAX_ROWS = 1000
"""No model that suppresses overlaps inside puts out more rows."""


class YoloOptions(DetectionOptions, kw_only=True):
    """Options of the heads of this family whose rows carry extras.

    Attributes:
        normalized: boxes are fractions of the input, not pixels. None sees it from the centres,
            which spread over the whole input.
        layout: ``anchor-free``, ``anchor-based`` or ``end2end``; ``auto`` tells it from the shape.
        transposed: an anchor-free tensor is ``[1, A, C]``. None sees it from ``num_classes``, or
            takes the longer axis for the anchors.
    """

    normalized: bool | None = None
    layout: str = "auto"
    transposed: bool | None = None


class Picked(NamedTuple):
    """The K rows that reach the confidence.

    Attributes:
        rows: (K,) their places.
        box: (K, 4) float32 as the tensor has it: centre and size, or two corners.
        scale: (4,) float32 factors that bring `box` to input pixels.
        score: (K,) float32.
        class_id: (K,) integers.
        lost: rows whose score is NaN.
    """

    rows: Array
    box: Float32
    scale: Float32
    score: Float32
    class_id: Array
    lost: int


def grids(size_hw: tuple[int, int] | None) -> tuple[int, ...]:
    """List how many cells the family's pyramids have over an input of (height, width)."""
    if size_hw is None:
        return ()
    return tuple(grid_cells(size_hw, strides) for strides in PYRAMIDS)


def layout_of(shape: tuple[int, ...], options: YoloOptions, extras: int, head: str) -> str:
    """Tell the layout of rows ``[1, a, b]`` with extras.

    Finished detections are at most `MAX_ROWS` rows of 6 and the extras; three rows for each cell of
    the input are anchor-based.

    Args:
        shape: (a, b), without the batch axis.
        options: its ``layout`` wins; ``input_hw`` is used.
        extras: columns behind the classes.
        head: name for the error.

    Raises:
        HeadError: the option ``layout`` is none of these.
    """
    known = (ANCHOR_FREE, ANCHOR_BASED, END2END)
    if options.layout in known:
        return options.layout
    if options.layout != "auto":
        raise HeadError(
            "no such layout",
            where=f"head {head}: layout",
            expected=f"auto or one of {', '.join(known)}",
            got=repr(options.layout)[:80],
        )
    if shape[1] == 6 + extras and shape[0] <= MAX_ROWS:
        return END2END
    size = options.input_hw if min(options.input_hw) > 0 else None
    if shape[0] in [3 * cells for cells in grids(size)]:
        return ANCHOR_BASED
    return ANCHOR_FREE


def is_transposed(
    shape: tuple[int, ...], num_classes: int, transposed: bool | None, extras: int = 0
) -> bool:
    """Tell whether anchor-free rows of a shape (a, b) are ``[A, C]``.

    Args:
        shape: without the batch axis.
        num_classes: 0 where it is not known; then the longer axis holds the anchors.
        transposed: what somebody said, or None.
        extras: rows behind the classes.
    """
    if transposed is not None:
        return transposed
    channels = 4 + num_classes + extras
    if num_classes and channels in shape:
        return shape[0] != channels
    return shape[0] > shape[1]


def channel_rows(
    array: Array,
    options: DetectionOptions,
    transposed: bool | None,
    head: str,
    outputs: Mapping[str, Array],
    extras: int = 0,
) -> Float32:
    """Check an anchor-free tensor, and return it as (4 + classes + extras, A).

    Args:
        array: ``[1, C, A]`` or ``[1, A, C]``.
        options: its ``num_classes`` is used.
        transposed: what somebody said, or None.
        head: name for the error.
        outputs: for the error.
        extras: rows behind the classes.

    Raises:
        HeadError: another shape.
    """
    more = f" + {extras}" if extras else ""
    count = str(4 + options.num_classes + extras) if options.num_classes else f"4 + classes{more}"
    if array.ndim != 3 or array.shape[0] != 1:
        raise wrong_shape(head, f"[1, {count}, A]", outputs)
    rows = np.asarray(array[0], np.float32)
    if is_transposed(rows.shape, options.num_classes, transposed, extras):
        rows = rows.T
    classes = rows.shape[0] - 4 - extras
    if classes < 1 or (options.num_classes and classes != options.num_classes):
        raise wrong_shape(head, f"[1, {count}, A] (or transposed)", outputs)
    return rows


def pick_channels(
    rows: Float32, options: DetectionOptions, normalized: bool | None, head: str, extras: int = 0
) -> Picked:
    """Pick from anchor-free rows (4 + classes + extras, A): the best class of each, or every class.

    Args:
        rows: a view of the tensor in either order.
        options: its ``confidence`` and ``multi_label`` are used.
        normalized: whether boxes are fractions of the input; None sees it from the centres.
        head: name for the error.
        extras: rows behind the classes.
    """
    cxcywh, scores = rows[:4], rows[4 : len(rows) - extras]
    if options.multi_label or scores.strides[0] < scores.strides[1]:
        index, score, class_id, lost = candidates.classes(scores.T, options)
    else:
        # The maximum along axis 0 reads the tensor in memory order; the class is then looked up
        # for candidates only.
        best = scores.max(axis=0)
        index, lost = candidates.above(best, options.confidence)
        score, class_id = best[index], scores[:, index].argmax(axis=0)
    scale = candidates.pixel_scale(normalized, cxcywh[:2], options, head)
    return Picked(index, cxcywh[:, index].T, scale, score, class_id, lost)


def pick_objects(
    rows: Float32, options: DetectionOptions, normalized: bool | None, head: str, extras: int = 0
) -> Picked:
    """Pick from anchor-based rows (A, 5 + classes + extras): objectness x best class, or every one.

    The arguments are those of `pick_channels`.
    """
    index, score, class_id, lost = candidates.objectness(rows[:, : rows.shape[1] - extras], options)
    cxcywh = rows[index, :4]
    # Beside the candidates, every 16th row is enough to see how far the centres spread.
    centres = np.concatenate([cxcywh[:, :2], rows[::16, :2]])
    scale = candidates.pixel_scale(normalized, centres, options, head)
    return Picked(index, cxcywh, scale, score, class_id, lost)


def pick_finished(
    rows: Float32, options: DetectionOptions, normalized: bool | None, head: str
) -> Picked:
    """Pick from finished detections (N, 6 + extras): box, score, class id; score 0 is padding.

    The arguments are those of `pick_channels`.

    Raises:
        HeadError: class ids that are not whole numbers of the model's classes.
    """
    index, lost = candidates.above(rows[:, 4], options.confidence)
    if options.confidence <= 0:
        index = index[rows[index, 4] > 0]
    rows = rows[index]
    class_id = candidates.whole_classes(rows[:, 5], options, head)
    scale = candidates.pixel_scale(normalized, rows[:, :4], options, head)
    return Picked(index, rows[:, :4], scale, rows[:, 4], class_id, lost)


def choose(
    picked: Picked, options: YoloOptions, finished: bool, head: str
) -> tuple[Float32, Array, int]:
    """Choose among upright boxes by `candidates.choose`.

    Args:
        picked: the rows that reach the confidence.
        options: thresholds and bounds.
        finished: boxes are corners of which none is to be suppressed, not centres and sizes.
        head: names the head in errors.

    Returns:
        (K, 4) float32 left, top, right, bottom in input pixels of those that stay, their places in
        `picked`, and how many a bound cut off.
    """
    if finished:
        with np.errstate(over="ignore", invalid="ignore"):
            xyxy = picked.box * picked.scale
    else:
        xyxy = candidates.corners(picked.box, picked.scale)
    keep, dropped = candidates.choose(
        xyxy,
        picked.score,
        picked.class_id,
        options,
        head=head,
        lost=picked.lost,
        suppress=not finished,
    )
    return np.ascontiguousarray(xyxy[keep], np.float32), keep, dropped
