"""Oriented boxes as (N, 5) ``xywhr``: exact IoU, the IoU of Gaussians, and suppression.

``xywhr`` is centre x, centre y, width, height in pixels, and the angle in radians from the x axis
towards the y axis. Pairs are computed in float64, in coordinates around one box's centre, so that
boxes far from the origin lose nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgecv import boxes
from edgecv.types import Array, Float32

Overlap = Callable[[Array, Array], Array]
"""Overlaps (P,) of P pairs of boxes, (P, 5) and (P, 5)."""

_BLOCK = 256
_PAIRS = 2**14
_SIGNS = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])


def iou(a: Float32, b: Float32) -> Array:
    """Compute the exact intersection over union of (N, 5) with (M, 5) boxes as (N, M) float64.

    Two boxes without area have IoU 0.
    """
    inner = intersection(a, b)
    sizes = [np.abs(np.prod(np.asarray(box[:, 2:4], np.float64), axis=1)) for box in (a, b)]
    union = sizes[0][:, None] + sizes[1] - inner
    return _ratio(inner, union)


def intersection(a: Float32, b: Float32) -> Array:
    """Compute the areas in which (N, 5) and (M, 5) boxes overlap as (N, M) float64."""
    inner = np.zeros((len(a), len(b)))
    hull_a, hull_b = boxes.hull_of_rotated(a), boxes.hull_of_rotated(b)
    for start in range(0, len(a), _BLOCK):
        part = hull_a[start : start + _BLOCK, None]
        meet = (part[..., :2] < hull_b[:, 2:]) & (hull_b[:, :2] < part[..., 2:])
        rows, columns = np.nonzero(meet.all(axis=2))
        rows += start
        for at in range(0, len(rows), _PAIRS):
            i, j = rows[at : at + _PAIRS], columns[at : at + _PAIRS]
            inner[i, j] = pair_intersection(a[i], b[j])
    return inner


def pair_intersection(a: Array, b: Array) -> Array:
    """Compute the areas in which P pairs of boxes overlap as (P,) float64.

    The second box is clipped to the two slabs that make up the first one: a point is put where an
    edge crosses a slab's border, and what lies beyond is pressed onto the border, where it encloses
    nothing. No case of touching or coinciding edges is a special one.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    # In the coordinates in which the first box lies straight around the origin.
    half_b = np.abs(b[:, None, 2:4]) / 2
    outline = _turned(half_b * _SIGNS, b[:, 4] - a[:, 4])
    outline += _turned(b[:, :2] - a[:, :2], -a[:, 4])[:, None]
    half = np.abs(a[:, 2:4]) / 2
    for axis in (0, 1):
        outline = _pressed(outline, axis, half[:, axis, None])
    x, y = outline[..., 0], outline[..., 1]
    following = np.roll(outline, -1, axis=1)
    area = (x * following[..., 1] - y * following[..., 0]).sum(axis=1) / 2
    return np.asarray(np.maximum(area, 0))


def pair_iou(a: Array, b: Array) -> Array:
    """Compute the exact intersection over union of P pairs of boxes as (P,) float64."""
    inner = pair_intersection(a, b)
    union = np.abs(a[:, 2] * a[:, 3]) + np.abs(b[:, 2] * b[:, 3]) - inner
    return _ratio(inner, union)


def pair_probiou(a: Array, b: Array) -> Array:
    """Compute the probabilistic IoU of P pairs of boxes as (P,) float64.

    Source: Llerena et al., "Gaussian Bounding Boxes and Probabilistic Intersection-over-Union for
    Object Detection" (arXiv:2106.06072): a box is the Gaussian with its centre and the covariance
    of a uniform density over it; ProbIoU is 1 - the Hellinger distance of two of them.
    """
    (ax, ay), (bx, by) = (np.asarray(box[:, :2], np.float64).T for box in (a, b))
    (a1, b1, c1), (a2, b2, c2) = _covariance(a), _covariance(b)
    xx, yy, xy = a1 + a2, b1 + b2, c1 + c2
    dx, dy = ax - bx, ay - by
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        det = xx * yy - xy * xy
        # The determinants of the two: those of their axes, which rounding cannot make negative.
        own = np.prod(np.asarray(a[:, 2:4], np.float64) ** 2 / 12, axis=1)
        own *= np.prod(np.asarray(b[:, 2:4], np.float64) ** 2 / 12, axis=1)
        distance = (xx * dy * dy + yy * dx * dx - 2 * xy * dx * dy) / (4 * det)
        distance += 0.5 * np.log(det / (4 * np.sqrt(own)))
        hellinger = np.sqrt(np.clip(1 - np.exp(-distance), 0, 1))
    # A box without area has no density, and overlaps nothing.
    return np.where(own > 0, 1 - np.nan_to_num(hellinger, nan=1.0), 0.0)


def nms(
    xywhr: Float32,
    score: Float32,
    threshold: float,
    groups: Array | None = None,
    *,
    overlap: Overlap = pair_iou,
    greedy: bool = True,
) -> Array:
    """Suppress every box that overlaps a better one by more than `threshold`.

    Args:
        xywhr: (N, 5), finite.
        score: (N,); equal scores keep their order.
        threshold: of the overlap, 0-1.
        groups: (N,) class ids; boxes of different groups do not suppress each other. None puts all
            into one group.
        overlap: `pair_iou` or `pair_probiou`.
        greedy: only boxes that are kept suppress others. If not, suppressed ones do so as well, and
            of a chain of overlapping boxes only the best stays: YOLACT's Fast NMS (Bolya et al.,
            2019, section 3.3).

    Returns:
        (K,) int64 indices of the boxes kept, best first.
    """
    order = np.argsort(-np.asarray(score), kind="stable")
    sorted_boxes = np.asarray(xywhr, np.float64)[order]
    labels = np.zeros(len(order), np.int64) if groups is None else np.asarray(groups)[order]
    alive = np.ones(len(order), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        alive[members] = _survivors(sorted_boxes[members], threshold, overlap, greedy)
    return order[alive]


def _survivors(xywhr: Array, threshold: float, overlap: Overlap, greedy: bool) -> Array:
    """Suppress among (N, 5) boxes of one group, best first; return (N,) whether each stays."""
    alive = np.ones(len(xywhr), bool)
    for start in range(0, len(xywhr), _BLOCK):
        end = min(start + _BLOCK, len(xywhr))
        # Within the block: by the better ones of it that are alive themselves.
        i, j = np.triu_indices(end - start, 1)
        i, j = i + start, j + start
        if greedy:
            both = alive[i] & alive[j]
            i, j = i[both], j[both]
        over = _over(xywhr, i, j, threshold, overlap)
        for row, column in zip(i[over].tolist(), j[over].tolist(), strict=True):
            # Pairs come row by row, so a row's fate is sealed before its turn.
            if alive[row] or not greedy:
                alive[column] = False
        # Everything behind the block, as far as it is alive.
        better = np.arange(start, end)
        better = better[alive[start:end]] if greedy else better
        rest = end + np.flatnonzero(alive[end:])
        step = max(1, _PAIRS // max(1, len(better)))
        for at in range(0, len(rest), step):
            later = rest[at : at + step]
            i, j = np.repeat(better, len(later)), np.tile(later, len(better))
            alive[j[_over(xywhr, i, j, threshold, overlap)]] = False
    return alive


def _over(xywhr: Array, i: Array, j: Array, threshold: float, overlap: Overlap) -> Array:
    """Tell which pairs of boxes i and j overlap by more than the threshold."""
    over = np.zeros(len(i), bool)
    if not len(i):
        return over
    # Two Gaussians whose centres are two diagonals apart have a ProbIoU below 1e-5, and boxes end
    # long before.
    reach = np.hypot(xywhr[:, 2], xywhr[:, 3])
    apart = np.hypot(*(xywhr[i, :2] - xywhr[j, :2]).T)
    fits = apart < 2 * (reach[i] + reach[j])
    if overlap is pair_iou:
        size = np.abs(xywhr[:, 2] * xywhr[:, 3])
        fits &= np.minimum(size[i], size[j]) > threshold * np.maximum(size[i], size[j])
        fits &= apart < (reach[i] + reach[j]) / 2
    near = np.flatnonzero(fits)
    for at in range(0, len(near), _PAIRS):
        part = near[at : at + _PAIRS]
        over[part] = overlap(xywhr[i[part]], xywhr[j[part]]) > threshold
    return over


def _ratio(part: Array, whole: Array) -> Array:
    """Divide; 0 where there is nothing to divide by."""
    result: Array = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return result


def _covariance(xywhr: Array) -> tuple[Array, Array, Array]:
    """Return xx, yy and xy of the covariance of a uniform density over each box."""
    width, height, angle = np.asarray(xywhr[:, 2:5], np.float64).T
    w, h, cos, sin = width**2 / 12, height**2 / 12, np.cos(angle), np.sin(angle)
    return w * cos**2 + h * sin**2, w * sin**2 + h * cos**2, (w - h) * cos * sin


def _turned(xy: Array, angle: Array) -> Array:
    """Turn points (P, ..., 2) about the origin by an angle (P,)."""
    shape = (len(xy),) + (1,) * (xy.ndim - 2)
    cos, sin = np.cos(angle).reshape(shape), np.sin(angle).reshape(shape)
    x, y = xy[..., 0], xy[..., 1]
    return np.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)


def _pressed(outline: Array, axis: int, half: Array) -> Array:
    """Press polygons (P, n, 2) into the slab [-half, half] of an axis; return (P, 3 * n, 2)."""
    start = outline[..., axis]
    step = np.roll(outline, -1, axis=1) - outline
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (-half - start) / step[..., axis], (half - start) / step[..., axis]
    # An edge along the border crosses it nowhere.
    places = np.stack([np.zeros_like(one), np.fmin(one, other), np.fmax(one, other)], axis=-1)
    places = np.clip(np.nan_to_num(places, nan=0.0), 0, 1)
    points = outline[..., None, :] + places[..., None] * step[..., None, :]
    points = points.reshape(len(outline), -1, 2)
    points[..., axis] = np.clip(points[..., axis], -half, half)
    return np.asarray(points)
