"""Merge detections of overlapping parts of one image, so that each object counts once.

Two rules, because two things happen where tiles overlap:

- An object that two tiles show whole is found twice, with nearly the same box. The better one
  stays where their *intersection over union* is above the threshold, as in any suppression.
- An object that a tile's border cuts is found as a part, beside the whole one of the neighbour. A
  part may be a tenth of the whole: their IoU says nothing, but it lies inside of it. So a detection
  that touches a border is compared by *intersection over its own area*, with any class (a half
  object is often taken for something else), and it is dropped however well it scores.

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

Shared = Callable[[int, Array], Array]
"""(i, (J,) indices) -> (J,) square pixels that detection i has in common with each."""


def merge(found: Detections, part: Array, is_cut: Array, threshold: float) -> Detections:
    """Keep one detection of each object.

    Args:
        found: of all parts, in pixels of the whole image.
        part: (N,) which part each comes from.
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
        near &= (found.class_id[later] == found.class_id[i]) | (is_cut[later] & ~is_cut[i])
        rivals = later[near]
        if not rivals.size:
            continue
        inner = shared(int(i), rivals)
        union = area[i] + area[rivals] - inner
        whole = np.where(is_cut[rivals], area[rivals], union)
        alive[rivals[inner > threshold * np.maximum(whole, np.finfo(np.float32).tiny)]] = False
    kept = np.flatnonzero(alive)
    return found[kept[np.argsort(-found.score[kept], kind="stable")]]


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
