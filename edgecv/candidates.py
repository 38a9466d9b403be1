"""From the raw candidates of a detection head to detections: what the heads share.

A candidate whose score or box is not finite never becomes a detection; it is counted in
``Detections.dropped``, as is everything that a bound cuts off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from edgecv import boxes
from edgecv.errors import HeadError
from edgecv.head import DetectionOptions
from edgecv.results.detections import Detections
from edgecv.types import Array, Float32

MAX_COORDINATE = 1e9
"""A candidate with a coordinate that is NaN or beyond this, in pixels, is no detection."""

MAX_SCORE = 1.05
"""Scores are probabilities; beyond this (1 and what rounding adds) the tensor is no score."""


def grid_centres(
    input_hw: tuple[int, int], strides: Sequence[int], offset: float, head: str
) -> tuple[Float32, Float32]:
    """List the cells of a pyramid row by row, level by level.

    Args:
        input_hw: (height, width) of the model input in pixels.
        strides: of the levels, in the order in which the model concatenates them.
        offset: 0 for a cell's corner, 0.5 for its centre, in cells.
        head: name for the error.

    Returns:
        (A, 2) float32 x, y in cells, and (A, 1) float32 stride of each; read-only, because every
        call with the same arguments shares them.

    Raises:
        HeadError: no stride, or one below 1.
    """
    if not strides or min(strides) < 1:
        raise HeadError(
            "",
            where=f"head {head}: strides",
            expected="pixels of input for a cell, such as 8, 16, 32",
            got=str(strides),
        )
    return _grid_centres(input_hw, tuple(strides), offset)


@lru_cache(maxsize=8)
def _grid_centres(
    input_hw: tuple[int, int], strides: tuple[int, ...], offset: float
) -> tuple[Float32, Float32]:
    points, scales = [], []
    for stride in strides:
        rows, columns = -(-input_hw[0] // stride), -(-input_hw[1] // stride)
        y, x = np.mgrid[:rows, :columns].astype(np.float32) + np.float32(offset)
        points.append(np.stack([x.ravel(), y.ravel()], axis=1))
        scales.append(np.full((rows * columns, 1), stride, np.float32))
    result = np.concatenate(points), np.concatenate(scales)
    for array in result:
        array.flags.writeable = False
    return result


def pixel_scale(
    normalized: bool | None, coordinates: Array, options: DetectionOptions, head: str
) -> Float32:
    """Return the (4,) factors that bring x, y, x, y (or x, y, w, h) to input pixels.

    Args:
        normalized: whether coordinates are fractions of the input; None to see it from them.
        coordinates: of candidates spread over the whole image. The largest of them is about the
            input's size in pixels, or about 1; nothing in between is possible.
        options: its ``input_hw`` is used.
        head: name for the error.

    Raises:
        HeadError: fractions, and the input's size is not known.
    """
    if normalized is None:
        high = float(np.max(coordinates, initial=-np.inf, where=~np.isnan(coordinates)))
        if high == np.inf:
            high = float(np.max(coordinates, initial=-np.inf, where=np.isfinite(coordinates)))
        normalized = bool(-np.inf < high <= 2)
    if not normalized:
        return np.ones(4, np.float32)
    height, width = options.input_hw
    if height < 1 or width < 1:
        raise HeadError(
            "the size of the model's input is not known",
            where=f"head {head}: input_hw",
            expected="(height, width) in pixels",
            got=str(options.input_hw),
        )
    return np.array([width, height, width, height], np.float32)


def corners(cxcywh: Float32, scale: Float32) -> Float32:
    """Scale (N, 4) centre and size by the (4,) factors, and convert to xyxy.

    What is not finite stays so, without a warning: `select` sorts it out.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return boxes.from_cxcywh(cxcywh * scale)


def above(score: Float32, confidence: float) -> tuple[Array, int]:
    """Pick the scores at or above `confidence`.

    Returns:
        (K,) indices, and the number of scores that are NaN: those are lost, and to be counted.
    """
    score = np.ascontiguousarray(score)
    return np.flatnonzero(score >= confidence), int(np.count_nonzero(np.isnan(score)))


def classes(scores: Float32, options: DetectionOptions) -> tuple[Array, Float32, Array, int]:
    """Pick candidates from class scores: the best class of each, or every class.

    Args:
        scores: (A, classes) in 0-1.
        options: its ``confidence`` and ``multi_label`` are used.

    Returns:
        (K,) index into `scores` of those at or above the confidence, (K,) score, (K,) class id,
        and how many candidates were lost because a score is NaN.
    """
    if options.multi_label:
        index, class_id = np.nonzero(scores >= options.confidence)
        lost = int(np.count_nonzero(np.isnan(scores).any(axis=1)))
        return index, scores[index, class_id], class_id, lost
    # argmax, then the value: along the short axis numpy's argmax is faster than its max. It finds
    # a NaN where there is one.
    best_class = scores.argmax(axis=1)
    best = scores[np.arange(len(scores)), best_class]
    index, lost = above(best, options.confidence)
    return index, best[index], best_class[index], lost


def objectness(rows: Array, options: DetectionOptions) -> tuple[Array, Float32, Array, int]:
    """Score candidates as objectness x best class.

    A class score is at most 1, so what fails on objectness alone need not be looked at further.

    Args:
        rows: (A, 5 + classes): four numbers of a box, objectness, classes; all scores in 0-1.
        options: its ``confidence`` and ``multi_label`` are used.

    Returns:
        (K,) index into `rows` of those at or above the confidence, (K,) score, (K,) class id,
        and how many were lost because a score is NaN.
    """
    index, lost = above(rows[:, 4], options.confidence)
    picked = rows.take(index, axis=0)
    with np.errstate(invalid="ignore", over="ignore"):
        if options.multi_label:
            scores = picked[:, 5:] * picked[:, 4:5]
            within, score, class_id, lost_classes = classes(scores, options)
        else:
            # Only the best class is multiplied.
            class_id = picked[:, 5:].argmax(axis=1)
            score = picked[:, 4] * picked[np.arange(len(picked)), class_id + 5]
            within, lost_classes = above(score, options.confidence)
            score, class_id = score[within], class_id[within]
    return index[within], score, class_id, lost + lost_classes


def whole_classes(class_id: Float32, options: DetectionOptions, head: str) -> Array:
    """Check that class ids that came as floats are whole, and turn them into int32.

    Args:
        class_id: (N,) of candidates.
        options: its ``num_classes`` is used.
        head: name for the error.

    Raises:
        HeadError: one is not whole, negative or beyond the classes: the column is something else.
    """
    limit = options.num_classes or np.iinfo(np.int32).max
    with np.errstate(invalid="ignore"):
        whole = np.rint(class_id)
        right = (np.abs(class_id - whole) < 0.01) & (whole >= 0) & (whole < limit)
    if not right.all():
        raise HeadError(
            "the column of the class ids holds something else",
            where=f"head {head}",
            expected=f"whole numbers from 0 to {limit - 1}"
            if options.num_classes
            else "0, 1, 2, ...",
            got=f"{float(class_id[~right][0]):.6g}",
            remedy="choose another head",
        )
    return whole.astype(np.int32)


Suppress = Callable[[Array], Array]
"""Takes (K,) indices of candidates, best first; returns the places of those that stay."""


def choose(
    xyxy: Float32,
    score: Float32,
    class_id: Array,
    options: DetectionOptions,
    *,
    head: str,
    lost: int = 0,
    suppress: bool | Suppress = True,
    keypoints: Float32 | None = None,
) -> tuple[Array, int]:
    """Choose which candidates become detections: sort, bound, suppress overlaps, bound the rest.

    A candidate whose score is not finite, or whose box or point is not finite (or beyond
    MAX_COORDINATE), is no detection; it is counted in `dropped`.

    Args:
        xyxy: (N, 4) candidates in model-input pixels, already at or above ``confidence``.
        score: (N,).
        class_id: (N,).
        options: its ``iou``, ``class_aware``, ``max_candidates`` and ``max_detections`` are used.
        head: name for the error.
        lost: candidates that the head itself had to drop because they are not finite.
        suppress: False for models that suppress overlaps inside; a function where something else
            than upright boxes overlaps.
        keypoints: (N, K, 3) x, y in model-input pixels and a score in 0-1, if the model has any.

    Returns:
        (K,) indices into the candidates, best first, and `dropped`: what the two bounds cut off,
        and boxes that are not finite or end before they begin.

    Raises:
        HeadError: a score is far above 1: the tensors mean something else.
    """
    dropped = lost
    order = np.argsort(-score, kind="stable")
    usable = (np.abs(xyxy).max(axis=1, initial=0) < MAX_COORDINATE) & (score < np.inf)
    usable &= (xyxy[:, 2:] >= xyxy[:, :2]).all(axis=1)
    if keypoints is not None:
        usable &= np.abs(keypoints).max(axis=(1, 2), initial=0) < MAX_COORDINATE
    if not usable.all():
        order = order[usable[order]]
        dropped += len(score) - len(order)
    if len(order) and score[order[0]] > MAX_SCORE:
        raise HeadError(
            "the tensor at the place of the scores holds no probabilities",
            where=f"head {head}",
            expected="scores in 0-1",
            got=f"{float(score[order[0]]):.4g}",
            remedy="choose another head, or export the model with its sigmoid or softmax inside",
        )
    dropped += max(0, len(order) - options.max_candidates)
    order = order[: options.max_candidates]
    if suppress is True:
        groups = class_id[order] if options.class_aware else None
        order = order[boxes.nms(xyxy[order], score[order], options.iou, groups)]
    elif suppress:
        order = order[suppress(order)]
    dropped += max(0, len(order) - options.max_detections)
    return order[: options.max_detections], dropped


def select(
    xyxy: Float32,
    score: Float32,
    class_id: Array,
    options: DetectionOptions,
    *,
    head: str,
    lost: int = 0,
    suppress: bool = True,
    keypoints: Float32 | None = None,
) -> Detections:
    """Finish a detection head; see `choose`."""
    keep, dropped = choose(
        xyxy,
        score,
        class_id,
        options,
        head=head,
        lost=lost,
        suppress=suppress,
        keypoints=keypoints,
    )
    return Detections(
        np.ascontiguousarray(xyxy[keep], np.float32),
        np.ascontiguousarray(score[keep], np.float32),
        np.ascontiguousarray(class_id[keep], np.int32),
        dropped,
        keypoints=None if keypoints is None else keypoints[keep],
    )
