"""COCO's average precision for sets of images in which each image counts several times or never.

Rules: cocodataset.org, "Detection evaluation", and the matching of its reference implementation:
detections are matched from the best score down, each to the free object it overlaps most, at ten
IoU thresholds; what matches a crowd, or an object outside of the size range, is left out; precision
is made monotonic and read at 101 recalls.

Matching looks at one image at a time, so it is done once; a resample only changes how often each
image's matches are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecv.overlaps import ClassOverlap, box_overlaps
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


def match(images: Sequence[tuple[Detections, BoxTruth]], classes: Sequence[int]) -> Matches:
    """Match the boxes of every image once; see `match_overlaps`.

    Args:
        images: what was found and what is true, both in source pixels.
        classes: class ids to judge.
    """
    return match_overlaps([box_overlaps(found, truth) for found, truth in images], classes)


def match_overlaps(images: Sequence[Sequence[ClassOverlap]], classes: Sequence[int]) -> Matches:
    """Match the detections of every image once.

    Args:
        images: how the classes of each image overlap, as `edgecv.overlaps` tells it.
        classes: class ids to judge.
    """
    index = {class_id: k for k, class_id in enumerate(classes)}
    rows: dict[tuple[str, int], list[tuple[Array, ...]]] = {
        (area, k): [] for area in AREAS for k in range(len(classes))
    }
    objects = {area: np.zeros((len(classes), len(images)), np.int64) for area in AREAS}
    for i, overlaps in enumerate(images):
        for one in overlaps:
            if (k := index.get(one.class_id)) is None:
                continue
            rank = np.arange(len(one.score))
            for area, (low, high) in AREAS.items():
                outside = (one.true_area < low) | (one.true_area > high)
                hit, ignored = _assign(one.iou, one.crowd | outside, one.crowd)
                strange = (one.found_area < low) | (one.found_area > high)
                ignored |= strange & ~hit
                objects[area][k, i] = np.count_nonzero(~(one.crowd | outside))
                rows[area, k].append((one.score, np.full(len(rank), i), rank, hit, ignored))
    return {
        area: [_sorted(rows[area, k], objects[area][k]) for k in range(len(classes))]
        for area in AREAS
    }


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
        area: np.stack([average_precision(m, weights) for m in matches[area]], axis=1)
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


def reason(name: str) -> str:
    """Say why one of the numbers of `weighted_scores` is unknown."""
    size = name.rpartition("_")[2]
    if size not in AREAS:
        return "no object that counts in any image"
    low, high = (round(side**0.5) for side in AREAS[size])
    return f"no object of an area from {low}x{low} to {high}x{high} pixels in any image"


def _mean(values: Floats) -> Floats:
    """Average (B, classes) over the classes that are not NaN."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0).sum(axis=1)
    return _ratio(total, count, np.nan)


def average_precision(matches: ClassMatches, weights: Array) -> Floats:
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
