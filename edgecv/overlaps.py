"""How the findings and objects of one image overlap: as boxes, masks, oriented boxes or poses.

What average precision needs of an image is small: scores, areas, and the overlaps of what has one
class. It is worked out when the image is seen, so that no mask outlives it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecv import keypoints, rotated
from edgecv.mask_truth import MaskTruth, RotatedTruth
from edgecv.masks import Masks
from edgecv.results.detections import Detections
from edgecv.truth import BoxTruth, PoseTruth
from edgecv.types import Array

Floats = npt.NDArray[np.float64]

BEST = 100
"""Detections of a class in an image that count, best first."""

BEST_POSES = 20
"""Of poses; source: cocodataset.org, "Keypoint evaluation"."""

BOX_SHARE = 0.53
"""Of a box that a person covers; stands for the area where nobody states it, as in xtcocotools."""


@dataclass(frozen=True, slots=True)
class ClassOverlap:
    """The D findings and G objects of one class in one image.

    Attributes:
        class_id: of all of them.
        score: (D,) float64, from high to low.
        found_area: (D,) float64 square pixels.
        iou: (D, G) float64; with a crowd, the share of the finding inside it.
        true_area: (G,) float64 square pixels, by which objects belong to size ranges; one below 0
            belongs to none, and is neither to be found nor wrong to find.
        crowd: (G,) bool.
    """

    class_id: int
    score: Floats
    found_area: Floats
    iou: Floats
    true_area: Floats
    crowd: Array


def box_overlaps(found: Detections, truth: BoxTruth) -> list[ClassOverlap]:
    """Compare boxes; all in source pixels."""
    mine, true = xywh(found.xyxy), xywh(truth.xyxy)

    def iou(d: Array, g: Array) -> Floats:
        return _box_iou(mine[d], true[g], truth.crowd[g])

    return _by_class(found, mine[:, 2] * mine[:, 3], truth, object_areas(truth), truth.crowd, iou)


def mask_overlaps(
    found: Detections, truth: MaskTruth, size_hw: tuple[int, int]
) -> list[ClassOverlap]:
    """Compare masks on an image of (height, width); areas are those of masks, unless stated.

    Raises:
        UsageError: the detections have no masks.
    """
    mine = found.instance_masks if len(found) else Masks.empty(size_hw)
    true = truth.masks(size_hw)
    own, areas = mine.area().astype(np.float64), true.area().astype(np.float64)

    def iou(d: Array, g: Array) -> Floats:
        inner = mine[d].intersection(true[g]).astype(np.float64)
        union = np.where(truth.crowd[g], own[d][:, None], own[d][:, None] + areas[g] - inner)
        return np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)

    stated = areas if truth.area is None else np.where(np.isnan(truth.area), areas, truth.area)
    return _by_class(found, own, truth, stated.astype(np.float64), truth.crowd, iou)


def rotated_overlaps(found: Detections, truth: RotatedTruth) -> list[ClassOverlap]:
    """Compare oriented boxes by their exact IoU; all in source pixels."""
    mine = np.zeros((0, 5), np.float32) if found.xywhr is None else found.xywhr
    true = truth.xywhr

    def iou(d: Array, g: Array) -> Floats:
        return rotated.iou(mine[d], true[g])

    areas = [np.prod(boxes[:, 2:4].astype(np.float64), axis=1) for boxes in (mine, true)]
    return _by_class(found, areas[0], truth, areas[1], np.zeros(len(truth), bool), iou)


def keypoint_overlaps(found: Detections, truth: PoseTruth) -> list[ClassOverlap]:
    """Compare keypoints by their similarity (OKS); all in source pixels.

    Objects without labelled keypoints belong to no size range. Findings without keypoints, or with
    another number of them, overlap nothing.
    """
    mine, true = found.keypoints, truth.keypoints
    boxes = xywh(truth.xyxy)
    covered = boxes[:, 2] * boxes[:, 3] * BOX_SHARE
    area = covered if truth.area is None else np.where(np.isnan(truth.area), covered, truth.area)

    def similarity(d: Array, g: Array) -> Floats:
        if mine is None or mine.shape[1] != true.shape[1]:
            return np.zeros((len(d), len(g)))
        tolerance = keypoints.sigmas(true.shape[1])
        return keypoints.similarity(mine[d], true[g], truth.xyxy[g], area[g], tolerance)

    judged = np.where(truth.labelled, area, -1.0).astype(np.float64)
    own = np.zeros(len(found))
    return _by_class(found, own, truth, judged, truth.crowd, similarity, BEST_POSES)


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


def _by_class(
    found: Detections,
    found_area: Floats,
    truth: BoxTruth | RotatedTruth,
    true_area: Floats,
    crowd: Array,
    iou: Callable[[Array, Array], Floats],
    most: int = BEST,
) -> list[ClassOverlap]:
    result = []
    for class_id in np.union1d(found.class_id, truth.class_id).tolist():
        mine = np.flatnonzero(found.class_id == class_id)
        score = found.score[mine].astype(np.float64)
        best = np.argsort(-score, kind="stable")[:most]
        mine, score = mine[best], score[best]
        true = np.flatnonzero(truth.class_id == class_id)
        result.append(
            ClassOverlap(
                class_id, score, found_area[mine], iou(mine, true), true_area[true], crowd[true]
            )
        )
    return result


def _box_iou(found: Floats, true: Floats, crowd: Array) -> Floats:
    """Compute IoU (D, G) of xywh boxes; with a crowd, the share of the detection inside it."""
    low = np.maximum(found[:, None, :2], true[None, :, :2])
    high = np.minimum((found[:, :2] + found[:, 2:])[:, None], (true[:, :2] + true[:, 2:])[None, :])
    size = np.maximum(high - low, 0)
    inner = size[..., 0] * size[..., 1]
    own = (found[:, 2] * found[:, 3])[:, None]
    union = np.where(crowd[None, :], own, own + (true[:, 2] * true[:, 3])[None, :] - inner)
    result: Floats = np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)
    return result
