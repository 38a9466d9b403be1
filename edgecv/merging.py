"""Merge detections of overlapping parts of one image, so that each object counts once.

Two rules, because two things happen where tiles overlap:

- An object that two tiles show whole is found twice, with nearly the same box. The better one
  stays where their *intersection over union* is above the threshold, as in any suppression.
- An object that a tile's border cuts is found as a part, beside the whole one of the neighbour. A
  part may be a tenth of the whole: their IoU says nothing, but it lies inside of it. So a detection
  that touches a border is compared by *intersection over its own area*, and it is dropped however
  well it scores. A half object is often taken for something else: then it is dropped only if its
  box is also about what its tile shows of the whole one. What merely lies inside of something
  larger, as a driver in a car, stays.

Oriented boxes are compared as such, masks by their pixels, everything else by boxes. Detections of
one tile are never compared with each other: the model has had its say on them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgecv import boxes, rotated
from edgecv.masks import Masks
from edgecv.results.detections import Detections
from edgecv.types import Array, Float32

_TINY = np.finfo(np.float32).tiny

Shared = Callable[[int, Array], Array]
"""(i, (J,) indices) -> (J,) square pixels that detection i has in common with each."""


def merge(
    found: Detections, windows: Float32, part: Array, is_cut: Array, threshold: float
) -> Detections:
    """Keep one detection of each object.

    Args:
        found: of all parts, in pixels of the whole image.
        windows: (P, 4) xyxy of the parts.
        part: (N,) which part each detection comes from.
        is_cut: (N,) bool, it touches a border of its part that is not one of the image.
        threshold: 0-1, of both rules.

    Returns:
        What remains, best first.
    """
    area, shared = _geometry(found)
    # Whole ones first, best first; then parts, largest first: the larger part tells more.
    rank = np.where(is_cut, -area, -found.score)
    order = np.lexsort((rank, is_cut))
    low, high = found.xyxy[:, :2], found.xyxy[:, 2:]
    alive = np.ones(len(found), bool)
    for place, i in enumerate(order):
        if not alive[i]:
            continue
        later = order[place + 1 :]
        near = (low[later] < high[i]).all(axis=1) & (high[later] > low[i]).all(axis=1)
        near &= alive[later] & (part[later] != part[i])
        same = found.class_id[later] == found.class_id[i]
        rivals, others = later[near & same], later[near & ~same & is_cut[later] & ~is_cut[i]]
        if rivals.size:
            inner = shared(int(i), rivals)
            union = area[i] + area[rivals] - inner
            whole = np.where(is_cut[rivals], area[rivals], union)
            alive[rivals[inner > threshold * np.maximum(whole, _TINY)]] = False
        if others.size:
            shown = _clipped(found.xyxy[i], windows[part[others]])
            # Half the threshold: of what is taken for something else the box is not exact either.
            alike = _pair_iou(shown, found.xyxy[others]) > threshold / 2
            inner = shared(int(i), others)
            alive[others[alike & (inner > threshold * np.maximum(area[others], _TINY))]] = False
    kept = np.flatnonzero(alive)
    return found[kept[np.argsort(-found.score[kept], kind="stable")]]


def _clipped(box: Float32, windows: Float32) -> Float32:
    """Cut a box (4,) down to what each of (N, 4) windows shows of it."""
    low, high = np.maximum(box[:2], windows[:, :2]), np.minimum(box[2:], windows[:, 2:])
    return np.concatenate([low, np.maximum(low, high)], axis=1)


def _pair_iou(a: Float32, b: Float32) -> Float32:
    """Compute the IoU of N pairs of boxes as (N,)."""
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    inner = np.maximum(high - low, 0).prod(axis=1)
    union = boxes.area(a) + boxes.area(b) - inner
    return np.asarray(inner / np.maximum(union, _TINY), np.float32)


def _geometry(found: Detections) -> tuple[Float32, Shared]:
    """Return the (N,) areas of detections, and how to measure what two have in common."""
    if isinstance(found.masks, Masks):
        masks = found.masks
        return masks.area(), lambda i, j: masks[[i]].intersection(masks[j])[0]
    if found.xywhr is not None:
        xywhr = found.xywhr
        return xywhr[:, 2] * xywhr[:, 3], lambda i, j: rotated.intersection(xywhr[[i]], xywhr[j])[0]
    xyxy = found.xyxy
    return boxes.area(xyxy), lambda i, j: _box_intersection(xyxy[i], xyxy[j])


def _box_intersection(one: Float32, others: Float32) -> Float32:
    low, high = np.maximum(one[:2], others[:, :2]), np.minimum(one[2:], others[:, 2:])
    size = np.maximum(high - low, 0)
    return np.asarray(size[:, 0] * size[:, 1], np.float32)
