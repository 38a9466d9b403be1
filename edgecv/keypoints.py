"""Keypoint maths: what heads, metrics, drawing and tiles share.

Keypoints are (N, K, 3) float32: x, y in pixels and a score in 0-1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecv.errors import HeadError
from edgecv.head import DetectionOptions
from edgecv.results.detections import Detections
from edgecv.types import Array, Float32

MAX_COORDINATE = 1e9
"""A keypoint that lies beyond this, in pixels, is not seen."""

COCO_LIMBS: tuple[tuple[int, int], ...] = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
    (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
"""Pairs of the 17 COCO keypoints that a limb joins, from 0: the ``skeleton`` of COCO's category
*person*. Even numbers but the nose are of the right side, odd ones of the left."""

COCO_SIGMAS: tuple[float, ...] = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107,
    0.087, 0.087, 0.089, 0.089,
)  # fmt: skip
"""How far annotators are apart in each of the 17 keypoints, in parts of the object's size: nose,
eyes, ears, shoulders, elbows, wrists, hips, knees, ankles. Source: cocodataset.org, "Keypoint
evaluation"."""


def tidy(xy: Array, score: Array) -> Float32:
    """Join places (N, K, 2) and scores (N, K) into keypoints that can be drawn and written.

    A keypoint with a value that is not finite, or a place beyond `MAX_COORDINATE`, becomes
    (0, 0, 0); scores are limited to 0-1.
    """
    points = np.concatenate([xy, score[..., None]], axis=-1, dtype=np.float32)
    with np.errstate(invalid="ignore"):
        usable = (np.abs(points) < MAX_COORDINATE).all(axis=-1, keepdims=True)
    points = np.where(usable, points, np.float32(0))
    np.clip(points[..., 2], 0, 1, out=points[..., 2])
    return points


def hulls(keypoints: Float32, least: float) -> tuple[Float32, Array]:
    """Put boxes around what is seen.

    Args:
        keypoints: (N, K, 3).
        least: a keypoint with this score is seen.

    Returns:
        (N, 4) xyxy in pixels, zeros where nothing is seen, and (N, K) bool, what is seen.
    """
    seen = keypoints[..., 2] >= least
    any_seen = seen.any(axis=1)
    xyxy = np.zeros((len(keypoints), 4), np.float32)
    xy = keypoints[any_seen, :, :2]
    mask = seen[any_seen, :, None]
    if len(xy):
        xyxy[any_seen, :2] = xy.min(axis=1, where=mask, initial=np.inf)
        xyxy[any_seen, 2:] = xy.max(axis=1, where=mask, initial=-np.inf)
    return xyxy, seen


def whole_input(xy: Array, score: Array, options: DetectionOptions, head: str) -> Detections:
    """Make the one row of a model that is fed with a crop around one person.

    Args:
        xy: (K, 2) in model-input pixels.
        score: (K,); limited to 0-1.
        options: its ``input_hw`` and ``confidence`` are used.
        head: name for the error.

    Returns:
        One detection whose box is the input and whose score is the mean of the keypoints'; none
        where that is below the confidence.

    Raises:
        HeadError: the input's size is not known.
    """
    height, width = options.input_hw
    if height < 1 or width < 1:
        raise HeadError(
            "the size of the model's input is not known",
            where=f"head {head}: input_hw",
            expected="(height, width) in pixels",
            got=str(options.input_hw),
        )
    points = tidy(xy[None], score[None])
    mean = points[..., 2].mean(axis=1)
    found = mean >= options.confidence
    return Detections(
        np.array([[0, 0, width, height]], np.float32)[found],
        mean[found],
        np.zeros(1, np.int32)[found],
        keypoints=points[found],
    )


def sigmas(count: int, given: Sequence[float] = ()) -> Array:
    """Return the (K,) float64 tolerances of K keypoints: as given, COCO's for 17, else 1 / K.

    Uniform 1 / K is what evaluations of other skeletons use where nobody measured annotators.
    """
    values = given or (COCO_SIGMAS if count == len(COCO_SIGMAS) else (1 / max(count, 1),) * count)
    return np.array(values, np.float64)


def similarity(
    found: Array, true: Array, xyxy: Array, area: Array, tolerance: Array
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Compute the object keypoint similarity (OKS) of D found with G true sets of keypoints.

    Source: cocodataset.org, "Keypoint evaluation": the mean over labelled keypoints of
    ``exp(-d^2 / (2 s^2 k^2))``, d the distance, s^2 the object's area, k twice the sigma. An object
    without labelled keypoints is compared as its reference implementation does: by how far the
    keypoints found lie outside a region three times as wide and as high as the object's box.

    Args:
        found: (D, K, 3) x, y, score; the score plays no part.
        true: (G, K, 3) x, y, visibility; 0 is not labelled.
        xyxy: (G, 4) boxes of the objects.
        area: (G,) of the objects, square pixels.
        tolerance: (K,) of `sigmas`.

    Returns:
        (D, G) float64 in 0-1.
    """
    apart = found[:, None, :, :2].astype(np.float64) - true[None, :, :, :2].astype(np.float64)
    labelled = np.asarray(true[..., 2] > 0)
    boxes = np.asarray(xyxy, np.float64)
    size = boxes[:, 2:] - boxes[:, :2]
    low, high = boxes[:, :2] - size, boxes[:, :2] + 2 * size
    points = found[:, None, :, :2].astype(np.float64)
    outside = np.maximum(0, low[None, :, None] - points) + np.maximum(
        0, points - high[None, :, None]
    )
    unlabelled = np.asarray(~labelled.any(axis=1))
    apart = np.where(unlabelled[None, :, None, None], outside, apart)
    counted = labelled | unlabelled[:, None]
    spread = (2 * tolerance) ** 2 * 2 * (np.asarray(area, np.float64)[:, None] + np.spacing(1))
    close = np.exp(-(apart**2).sum(axis=3) / spread[None])
    count = np.maximum(counted.sum(axis=1), 1)
    return np.asarray((close * counted[None]).sum(axis=2) / count, np.float64)
