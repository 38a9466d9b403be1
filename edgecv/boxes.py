"""Axis-aligned boxes as (N, 4) float32 ``xyxy``: area, IoU, conversion and suppression.

Coordinates are continuous: pixel (0, 0) covers [0, 1) x [0, 1), so a box's width is x2 - x1.
"""

from __future__ import annotations

import numpy as np

from edgecv.types import Array, Float32


def area(xyxy: Float32) -> Float32:
    """Compute areas of (N, 4) boxes as (N,); a reversed box has area 0."""
    size = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 0)
    return np.asarray(size[:, 0] * size[:, 1], np.float32)


def iou(a: Float32, b: Float32) -> Float32:
    """Compute intersection over union of (N, 4) with (M, 4) boxes as (N, M).

    Two empty boxes have IoU 0.
    """
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    size = np.maximum(high - low, 0)
    inner = size[..., 0] * size[..., 1]
    union = area(a)[:, None] + area(b)[None, :] - inner
    result: Float32 = np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)
    return result


def from_cxcywh(cxcywh: Float32) -> Float32:
    """Convert (N, 4) centre x, centre y, width, height to xyxy."""
    half = cxcywh[:, 2:] * np.float32(0.5)
    return np.concatenate([cxcywh[:, :2] - half, cxcywh[:, :2] + half], axis=1)


def to_cxcywh(xyxy: Float32) -> Float32:
    """Convert (N, 4) xyxy to centre x, centre y, width, height."""
    low, high = xyxy[:, :2], xyxy[:, 2:]
    return np.concatenate([(low + high) * np.float32(0.5), high - low], axis=1)


def corners_of_rotated(xywhr: Float32) -> Float32:
    """Return the corners of (N, 5) oriented boxes as (N, 4, 2) x, y.

    Args:
        xywhr: centre x, centre y, width, height, and the angle in radians from the x axis towards
            the y axis.

    Returns:
        Right-bottom, left-bottom, left-top and right-top of the box before it is turned.
    """
    centre, half = xywhr[:, None, :2], xywhr[:, 2:4] * np.float32(0.5)
    cos, sin = np.cos(xywhr[:, 4]), np.sin(xywhr[:, 4])
    along = np.stack([cos, sin], axis=1) * half[:, :1]
    across = np.stack([-sin, cos], axis=1) * half[:, 1:]
    signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    offsets = np.stack([along * a + across * b for a, b in signs], axis=1)
    return np.asarray(centre + offsets, np.float32)


def hull_of_rotated(xywhr: Float32) -> Float32:
    """Return the upright boxes (N, 4) xyxy around (N, 5) oriented ones."""
    corners = corners_of_rotated(xywhr)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def clip(xyxy: Float32, size_hw: tuple[int, int]) -> Float32:
    """Clip boxes to an image of `size_hw` (height, width)."""
    height, width = size_hw
    limit = np.array([width, height, width, height], np.float32)
    return np.clip(xyxy, np.float32(0), limit)


def nms(xyxy: Float32, score: Float32, threshold: float, groups: Array | None = None) -> Array:
    """Suppress greedily every box that overlaps a better one by more than `threshold`.

    Args:
        xyxy: (N, 4), finite, within +-1e9, so that no area overflows.
        score: (N,); equal scores keep their order.
        threshold: IoU in 0-1; a box whose IoU is exactly the threshold stays.
        groups: (N,) class ids; boxes of different groups do not suppress each other. None puts all
            into one group.

    Returns:
        (K,) int64 indices of the boxes kept, best first.
    """
    order = np.argsort(-np.asarray(score), kind="stable")
    if len(order) < 2:
        return order
    boxes = np.asarray(xyxy, np.float32)[order]
    if groups is None:
        return order[_survivors(boxes, threshold, None)]
    labels = np.asarray(groups)[order]
    if len(order) <= _BLOCK:
        return order[_survivors(boxes, threshold, labels)]
    # Many boxes: few groups at a time, so that few pairs of different groups are compared.
    by_group = np.argsort(labels, kind="stable")
    ends = [*(np.flatnonzero(np.diff(labels[by_group])) + 1).tolist(), len(order)]
    kept = np.zeros(len(order), bool)
    start = 0
    for end, following in zip(ends, [*ends[1:], None], strict=True):
        if following is not None and following - start <= _BLOCK:
            continue
        members = by_group[start:end]
        # More than a block is one group alone.
        mixed = labels[members] if len(members) <= _BLOCK else None
        kept[members[_survivors(boxes[members], threshold, mixed)]] = True
        start = end
    return order[kept]


# Boxes compared with each other at once. Larger blocks cost more pairs that greedy suppression
# never needs, smaller ones more calls; 64 to 256 take the same time.
_BLOCK = 128
_LATER = np.triu(np.ones((_BLOCK, _BLOCK), bool), 1)


def _survivors(boxes: Float32, threshold: float, labels: Array | None) -> Array:
    """Suppress among (N, 4) boxes that are sorted best first; return ascending indices.

    `labels`, (N,) group ids, are for at most one block of boxes; None means one group.
    """
    if len(boxes) == 1:
        return np.zeros(1, np.int64)
    columns = np.ascontiguousarray(boxes.T)
    columns = np.concatenate([columns, area(boxes)[None]])
    rest = np.arange(len(boxes))
    kept = []
    while rest.size:
        block, rest = rest[:_BLOCK], rest[_BLOCK:]
        part = columns[:, block]
        over = _overlap(part, part, threshold)
        if labels is not None:
            over &= labels[:, None] == labels
        # Row i now holds what box i suppresses, if it is itself alive.
        over &= _LATER[: len(block), : len(block)]
        alive = np.ones(len(block), bool)
        for i in np.flatnonzero(over.any(axis=1)).tolist():
            if alive[i]:
                alive &= ~over[i]
        block = block[alive]
        kept.append(block)
        if rest.size:
            over = _overlap(part[:, alive], columns[:, rest], threshold)
            rest = rest[~over.any(axis=0)]
    return kept[0] if len(kept) == 1 else np.concatenate(kept)


def _overlap(a: Float32, b: Float32, threshold: float) -> Array:
    """Tell which pairs overlap by more than `threshold`.

    Args:
        a: (5, N) rows x1, y1, x2, y2, area.
        b: (5, M) the same.
        threshold: IoU.

    Returns:
        (N, M) bool.
    """
    ax1, ay1, ax2, ay2, a_size = a[:, :, None]
    bx1, by1, bx2, by2, b_size = b[:, None, :]
    inner = np.minimum(ax2, bx2)
    inner -= np.maximum(ax1, bx1)
    np.maximum(inner, 0, out=inner)
    height = np.minimum(ay2, by2)
    height -= np.maximum(ay1, by1)
    np.maximum(height, 0, out=height)
    inner *= height
    # inner / union > threshold, without dividing by an empty union
    union = np.add(a_size, b_size, out=height)
    union -= inner
    union *= np.float32(threshold)
    result: Array = inner > union
    return result
