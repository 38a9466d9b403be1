"""Boxes with keypoints of YOLO-pose: ``[1, 4 + classes + K * D, A]`` or ``[1, N, 6 + K * D]``.

The first kind is that of the head ``yolo`` (v8, 11, 12) with K keypoints of D numbers behind the
class scores, the second that of ``end2end`` (26, exports with NMS inside) with the same behind the
class id. Of a keypoint D = 3 numbers are x, y and the visibility in 0-1; D = 2 are x and y, and the
keypoint's score is then 1. Places are in input pixels, or fractions of the input where boxes are.
Source: the output layout that Ultralytics documents for its exports; ``kpt_shape`` of its metadata
is [K, D].

Recognised by shape, for the 17 keypoints of COCO alone:

=======================================  ========  =============================================
output                                   fit       why
=======================================  ========  =============================================
``[1, 56, A]``, A far larger than 56     POSSIBLE  52 classes look alike
``[1, N, 57]``, N <= 1000                POSSIBLE  so do the rows of a DETR with 53 classes
another number of channels               NO        it says neither K nor the number of classes
=======================================  ========  =============================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import candidates, keypoints, yolo_layouts
from edgecv.errors import HeadError
from edgecv.head import Fit, Pixels, only_output, output_shapes, wrong_shape
from edgecv.results.detections import Detections
from edgecv.types import Array, Float32, TensorSpec

TASK = "pose"
PIXELS = Pixels("letterbox", "rgb", (0, 0, 0), (255, 255, 255))

_COCO = 17 * 3


class Options(yolo_layouts.YoloOptions, kw_only=True):
    """How to read the tensor.

    Attributes:
        kpt_shape: keypoints of an object and numbers of a keypoint, [K, D]; D is 2 or 3.
    """

    kpt_shape: tuple[int, ...] = (17, 3)


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the table above."""
    shapes = output_shapes(inputs, outputs)
    if shapes is None or len(shapes) != 1 or len(shapes[0]) != 2:
        return Fit.NO
    rows, columns = shapes[0]
    if columns == 6 + _COCO and (rows is None or rows <= yolo_layouts.MAX_ROWS):
        return Fit.POSSIBLE
    channels = 4 + 1 + _COCO
    many = columns is None or columns > channels
    return Fit.POSSIBLE if rows == channels and many else Fit.NO


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Decode the boxes, and take along the keypoints of those that remain.

    Args:
        outputs: one tensor, as in this module's docstring.
        options: how to read it.

    Raises:
        HeadError: another number of outputs, another shape, or numbers at the place of scores that
            are none.
    """
    array = only_output(outputs, "yolo_pose")
    count, numbers = _shape(options)
    picked, more, finished = _pick(array, count * numbers, options, outputs)
    xyxy, keep, dropped = yolo_layouts.choose(picked, options, finished, "yolo_pose")
    points = more[keep].reshape(len(keep), count, numbers)
    with np.errstate(over="ignore", invalid="ignore"):
        xy = points[..., :2] * picked.scale[:2]
    score = np.ones(points.shape[:2], np.float32) if numbers == 2 else points[..., 2]
    _check_scores(score)
    return Detections(
        xyxy,
        np.ascontiguousarray(picked.score[keep], np.float32),
        np.ascontiguousarray(picked.class_id[keep], np.int32),
        dropped,
        keypoints=keypoints.tidy(xy, score),
    )


def _pick(
    array: Array, extras: int, options: Options, outputs: Mapping[str, Array]
) -> tuple[yolo_layouts.Picked, Float32, bool]:
    """Return the rows that reach the confidence, what they carry, and whether they are final."""
    if array.ndim != 3 or array.shape[0] != 1:
        raise wrong_shape("yolo_pose", f"[1, {4 + extras} + classes, A]", outputs)
    layout = yolo_layouts.layout_of(array.shape[1:], options, extras, "yolo_pose")
    if layout == yolo_layouts.END2END:
        if array.shape[2] != 6 + extras:
            raise wrong_shape("yolo_pose", f"[1, N, {6 + extras}]", outputs)
        rows = np.asarray(array[0], np.float32)
        picked = yolo_layouts.pick_finished(rows, options, options.normalized, "yolo_pose")
        return picked, rows[picked.rows, 6:], True
    if options.layout == yolo_layouts.ANCHOR_BASED:
        raise HeadError(
            "no poses come in this layout",
            where="head yolo_pose: layout",
            expected="auto, anchor-free or end2end",
            got=options.layout,
        )
    rows = yolo_layouts.channel_rows(
        array, options, options.transposed, "yolo_pose", outputs, extras
    )
    picked = yolo_layouts.pick_channels(rows, options, options.normalized, "yolo_pose", extras)
    return picked, rows[len(rows) - extras :, picked.rows].T, False


def _shape(options: Options) -> tuple[int, int]:
    shape = tuple(options.kpt_shape)
    if len(shape) != 2 or shape[0] < 1 or shape[1] not in (2, 3):
        raise HeadError(
            "",
            where="head yolo_pose: kpt_shape",
            expected="[K, D]: keypoints of an object, and 2 or 3 numbers of each",
            got=str(list(shape)),
        )
    return shape[0], shape[1]


def _check_scores(score: Float32) -> None:
    beyond = score[np.isfinite(score) & (score > candidates.MAX_SCORE)]
    if beyond.size:
        raise HeadError(
            "the numbers at the place of the keypoints' scores are none",
            where="head yolo_pose: kpt_shape",
            expected="visibilities in 0-1",
            got=f"{float(beyond[0]):.4g}",
            remedy="name the model's own: --head-option kpt_shape=[17,3]",
        )
