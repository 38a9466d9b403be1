"""COCO's average precision for sets of images in which each image counts several times or never.

Rules: cocodataset.org, "Detection evaluation", and the matching of its reference implementation:
detections are matched from the best score down, each to the free object it overlaps most, at ten
IoU thresholds; what matches a crowd, or an object outside of the size range, is left out; precision
is made monotonic and read at 101 recalls.

Matching looks at one image at a time, so it is done once; a resample only changes how often each
image's matches are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecv.results.detections import Detections
from edgecv.truth import BoxTruth
from edgecv.types import Array

Floats = npt.NDArray[np.float64]

IOU_THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
RECALLS: Floats = np.linspace(0, 1, 101)
AREAS: Mapping[str, tuple[float, float]] = {
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}
"""Square pixels of an object, both ends inside."""
IMAGE_LIMITS = (1, 10, 100)
"""Best detections of a class in an image that count for ar1, ar10, and for everything else."""

_BLOCK_VALUES = 4_000_000


@dataclass(frozen=True, slots=True)
class ClassMatches:
    """How the D detections of one class fared against objects of one size range.

    Attributes:
        image: (D,) index of the image; detections are sorted by score, ties by image.
        rank: (D,) place within the class in its image, from 0.
        hit: (10, D) bool, matched to an object that counts, by IoU threshold.
        ignored: (10, D) bool, neither right nor wrong.
        objects: (images,) objects that count.
    """

    image: Array
    rank: Array
    hit: Array
    ignored: Array
    objects: Array


Matches = Mapping[str, Sequence[ClassMatches]]
"""Size range -> one `ClassMatches` a class."""

Overlap = Callable[[Detections, Any, Array, Array], Floats]
"""(found, truth, (D,) indices, (G,) indices) -> (D, G) how much they overlap, 0-1."""


def xywh(xyxy: Array) -> Floats:
    """Convert (N, 4) boxes to left, top, width, height as (N, 4) float64."""
    boxes = np.asarray(xyxy, np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def object_areas(truth: BoxTruth) -> Floats:
    """List the areas (M,) by which objects belong to size ranges: as stated, else of the box."""
    boxes = xywh(truth.xyxy)
    areas = boxes[:, 2] * boxes[:, 3]
    if truth.area is None:
        return areas
    return np.where(np.isnan(truth.area), areas, truth.area.astype(np.float64))


def box_overlap(found: Detections, truth: BoxTruth, mine: Array, true: Array) -> Floats:
    """Compute IoU of boxes; with a crowd, the share of the detection that lies inside it."""
    return _iou(xywh(found.xyxy)[mine], xywh(truth.xyxy)[true], truth.crowd[true])


def match(
    images: Sequence[tuple[Detections, BoxTruth]],
    classes: Sequence[int],
    *,
    overlap: Overlap = box_overlap,
    ignore: Callable[[Any], Array] | None = None,
    limit: int = IMAGE_LIMITS[-1],
) -> Matches:
    """Match the detections of every image once.

    Args:
        images: what was found and what is true, both in source pixels.
        classes: class ids to judge.
        overlap: how much detections and objects of one class overlap.
        ignore: truth -> (M,) bool, objects that are neither to be found nor wrong to find, beside
            crowds.
        limit: best detections of a class in an image that count.
    """
    index = {class_id: k for k, class_id in enumerate(classes)}
    rows: dict[tuple[str, int], list[tuple[Array, ...]]] = {
        (area, k): [] for area in AREAS for k in range(len(classes))
    }
    objects = {area: np.zeros((len(classes), len(images)), np.int64) for area in AREAS}
    for i, (found, truth) in enumerate(images):
        found_boxes = xywh(found.xyxy)
        found_areas, true_areas = found_boxes[:, 2] * found_boxes[:, 3], object_areas(truth)
        left_out = truth.crowd if ignore is None else truth.crowd | ignore(truth)
        for class_id in np.union1d(found.class_id, truth.class_id):
            if (k := index.get(int(class_id))) is None:
                continue
            mine = np.flatnonzero(found.class_id == class_id)
            score = found.score[mine].astype(np.float64)
            best = np.argsort(-score, kind="stable")[:limit]
            mine, score = mine[best], score[best]
            true = np.flatnonzero(truth.class_id == class_id)
            crowd = truth.crowd[true]
            iou = overlap(found, truth, mine, true)
            for area, (low, high) in AREAS.items():
                outside = (true_areas[true] < low) | (true_areas[true] > high) | left_out[true]
                hit, ignored = _assign(iou, outside, crowd)
                strange = (found_areas[mine] < low) | (found_areas[mine] > high)
                ignored |= strange & ~hit
                objects[area][k, i] = np.count_nonzero(~outside)
                rank = np.arange(len(mine))
                rows[area, k].append((score, np.full(len(mine), i), rank, hit, ignored))
    return {
        area: [_sorted(rows[area, k], objects[area][k]) for k in range(len(classes))]
        for area in AREAS
    }


def _iou(found: Floats, true: Floats, crowd: Array) -> Floats:
    """Compute IoU (D, G) of xywh boxes; with a crowd, the share of the detection inside it."""
    low = np.maximum(found[:, None, :2], true[None, :, :2])
    high = np.minimum((found[:, :2] + found[:, 2:])[:, None], (true[:, :2] + true[:, 2:])[None, :])
    size = np.maximum(high - low, 0)
    inner = size[..., 0] * size[..., 1]
    own = (found[:, 2] * found[:, 3])[:, None]
    union = np.where(crowd[None, :], own, own + (true[:, 2] * true[:, 3])[None, :] - inner)
    return _ratio(inner, union, 0.0)


def _assign(iou: Floats, ignore: Array, crowd: Array) -> tuple[Array, Array]:
    """Match D detections, best first, to G objects at every threshold.

    Returns:
        hit and ignored, (10, D) bool each: matched to an object that counts, or to another.
    """
    thresholds = IOU_THRESHOLDS[:, None]
    hit = np.zeros((len(thresholds), len(iou)), bool)
    ignored = np.zeros_like(hit)
    if not iou.size:
        return hit, ignored
    free = np.ones((len(thresholds), iou.shape[1]), bool)
    rows = np.arange(len(thresholds))
    for d in np.flatnonzero(iou.max(axis=1) >= IOU_THRESHOLDS[0]):
        open_ = free & (iou[d] >= thresholds)
        for group, mark in ((~ignore, hit), (ignore, ignored)):
            # An object that does not count is taken only where none that counts is to be had.
            value = np.where(open_ & group, iou[d], -1.0)
            last_best = value.shape[1] - 1 - value[:, ::-1].argmax(axis=1)
            taken = (value[rows, last_best] >= 0) & ~hit[:, d]
            mark[:, d] = taken
            single = taken & ~crowd[last_best]  # a crowd takes any number of detections
            free[rows[single], last_best[single]] = False
    return hit, ignored


def _sorted(rows: Sequence[tuple[Array, ...]], objects: Array) -> ClassMatches:
    """Join the images of one class and sort all detections by score."""
    if not rows:
        none = np.zeros((len(IOU_THRESHOLDS), 0), bool)
        nothing = np.zeros(0, np.int64)
        return ClassMatches(nothing, nothing, none, none, objects)
    score, image, rank, hit, ignored = (
        np.concatenate(part, axis=-1) for part in zip(*rows, strict=True)
    )
    order = np.argsort(-score, kind="stable")
    return ClassMatches(image[order], rank[order], hit[:, order], ignored[:, order], objects)


def weighted_scores(matches: Matches, weights: Array) -> dict[str, Floats]:
    """Compute COCO's twelve numbers for several resamples at once.

    Args:
        matches: of `match`.
        weights: (B, images) integers, how often each image is in each resample.

    Returns:
        Name as in COCO's summary -> (B,); NaN where a resample has nothing to measure.
    """
    precision = {
        area: np.stack([_average_precision(m, weights) for m in matches[area]], axis=1)
        for area in AREAS
    }
    best = IMAGE_LIMITS[-1]
    recall = {
        (area, limit): np.stack([_recall(m, weights, limit) for m in matches[area]], axis=1)
        for area in AREAS
        for limit in (IMAGE_LIMITS if area == "all" else (best,))
    }
    scores = {
        "map": _mean(precision["all"].mean(axis=2)),
        "map50": _mean(precision["all"][:, :, 0]),
        "map75": _mean(precision["all"][:, :, 5]),
    }
    sizes = [area for area in AREAS if area != "all"]
    scores |= {f"map_{area}": _mean(precision[area].mean(axis=2)) for area in sizes}
    scores |= {f"ar{limit}": _mean(recall["all", limit]) for limit in IMAGE_LIMITS}
    scores |= {f"ar_{area}": _mean(recall[area, best]) for area in sizes}
    return scores


def _mean(values: Floats) -> Floats:
    """Average (B, classes) over the classes that are not NaN."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0).sum(axis=1)
    return _ratio(total, count, np.nan)


def _average_precision(matches: ClassMatches, weights: Array) -> Floats:
    """Compute AP (B, 10) of one class; NaN where a resample holds no object of it."""
    objects = weights @ matches.objects
    result = np.full((len(weights), len(IOU_THRESHOLDS)), np.nan)
    present = np.flatnonzero(objects)
    block = max(1, _BLOCK_VALUES // max(1, len(matches.image)))
    for start in range(0, len(present), block):
        rows = present[start : start + block]
        result[rows] = _block_precision(matches, weights[rows], objects[rows, None])
    return result


def _block_precision(matches: ClassMatches, weights: Array, objects: Array) -> Floats:
    """Compute AP (B, 10) of one class, where each resample holds an object of it."""
    result = np.zeros((len(weights), len(IOU_THRESHOLDS)))
    counts = weights[:, matches.image]
    before, judged = None, np.zeros(0)
    for t in range(len(IOU_THRESHOLDS)):
        # Precision only rises at a hit, and recall only there: the others need not be looked at.
        hits = np.flatnonzero(matches.hit[t])
        if not hits.size:
            continue
        if before is None or (matches.ignored[t] != before).any():
            before = matches.ignored[t]
            judged = np.cumsum(counts * ~before, axis=1)
        right = np.cumsum(counts[:, hits], axis=1)
        precision = right / (judged[:, hits] + np.spacing(1))
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        # Of the 101 recalls, each is read at the first hit that reaches it.
        reached = np.searchsorted(RECALLS, right / objects, side="right")
        newly = np.diff(reached, axis=1, prepend=0)
        result[:, t] = (envelope * newly).sum(axis=1) / len(RECALLS)
    return result


def _recall(matches: ClassMatches, weights: Array, limit: int) -> Floats:
    """Compute recall (B,) of one class, averaged over the thresholds; NaN without objects."""
    objects = weights @ matches.objects
    counted = matches.hit[:, matches.rank < limit].sum(axis=0)
    images = matches.image[matches.rank < limit]
    per_image = np.bincount(images, weights=counted, minlength=len(matches.objects))
    hits = weights @ per_image / len(IOU_THRESHOLDS)
    return _ratio(hits, objects, np.nan)


def _ratio(part: Array, whole: Array, otherwise: float) -> Floats:
    """Divide, with another value where there is nothing to divide by."""
    result: Floats = np.full(part.shape, otherwise)
    np.divide(part, whole, out=result, where=whole > 0)
    return result
