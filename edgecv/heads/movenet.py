"""Keypoints of MoveNet: ``[1, 1, 17, 3]`` of one person, or ``[1, 6, 56]`` of up to six.

A keypoint is y, x and score, all in 0-1, places as fractions of the input. A row of the second kind
is 17 such keypoints, then ymin, xmin, ymax, xmax and the person's score. Source: the published
model cards of MoveNet.SinglePose and MoveNet.MultiPose, which also recommend to trust a keypoint
from a score of 0.3.

The first kind tells no box and no score of the person: here the box is the hull of the keypoints
that are seen (see `Options.seen`), and the score their mean. Where none is seen, nobody is found.

Recognised by shape: ``[1, 1, 17, 3]`` and ``[1, 6, 56]`` are CERTAIN, no other known head puts out
either of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import candidates, keypoints
from edgecv.head import DetectionOptions, Fit, Pixels, only_output, output_shapes, wrong_shape
from edgecv.results.detections import Detections
from edgecv.types import Array, Float32, TensorSpec

TASK = "pose"
# The cards' example code pads the image to a square with zeros, evenly on both sides, and feeds
# values of 0-255.
PIXELS = Pixels("letterbox", "rgb", (0, 0, 0), (1, 1, 1), pad_value=0)

_K = 17
_SINGLE, _MULTI = (1, _K, 3), (6, _K * 3 + 5)


class Options(DetectionOptions, kw_only=True):
    """How to read the tensor; suppression applies to the second kind alone.

    Attributes:
        seen: a keypoint with this score is seen; of the first kind only.
    """

    seen: float = 0.3


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the shapes in this module's docstring."""
    return Fit.CERTAIN if output_shapes(inputs, outputs) in ((_SINGLE,), (_MULTI,)) else Fit.NO


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Read the keypoints of every person.

    Args:
        outputs: one tensor, as in this module's docstring.
        options: how to read it.

    Raises:
        HeadError: another number of outputs, another shape, or the input's size is not known.
    """
    array = only_output(outputs, "movenet")
    scale = candidates.pixel_scale(True, array, options, "movenet")
    if array.shape == (1, *_SINGLE):
        return _single(np.asarray(array[0], np.float32), scale, options)
    if array.ndim == 3 and array.shape[0] == 1 and array.shape[2] == _MULTI[1]:
        return _multi(np.asarray(array[0], np.float32), scale, options)
    raise wrong_shape("movenet", "[1, 1, 17, 3] or [1, 6, 56]", outputs)


def _points(rows: Float32, scale: Float32) -> Float32:
    """Turn (N, 17, 3) y, x, score in 0-1 into keypoints in input pixels."""
    with np.errstate(over="ignore", invalid="ignore"):
        return keypoints.tidy(rows[..., 1::-1] * scale[:2], rows[..., 2])


def _single(rows: Float32, scale: Float32, options: Options) -> Detections:
    points = _points(rows, scale)
    xyxy, seen = keypoints.hulls(points, options.seen)
    seen &= points[..., 2] > 0
    score = points[..., 2].mean(axis=1, where=seen) if seen.any() else np.zeros(1, np.float32)
    found = seen.any(axis=1) & (score >= options.confidence)
    return Detections(
        xyxy[found],
        score[found].astype(np.float32),
        np.zeros(int(found.sum()), np.int32),
        keypoints=points[found],
    )


def _multi(rows: Float32, scale: Float32, options: Options) -> Detections:
    index, lost = candidates.above(rows[:, -1], options.confidence)
    rows = rows[index]
    with np.errstate(over="ignore", invalid="ignore"):
        xyxy = rows[:, [-4, -5, -2, -3]] * scale
    class_id = np.zeros(len(rows), np.int32)
    keep, dropped = candidates.choose(xyxy, rows[:, -1], class_id, options, head="movenet")
    rows = rows[keep]
    return Detections(
        np.ascontiguousarray(xyxy[keep], np.float32),
        np.ascontiguousarray(rows[:, -1], np.float32),
        class_id[keep],
        lost + dropped,
        keypoints=_points(rows[:, :-5].reshape(-1, _K, 3), scale),
    )
