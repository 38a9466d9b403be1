"""Faces of YuNet, OpenCV's face detector: class, objectness, box and five points of each cell.

Twelve tensors, four for each of the strides 8, 16 and 32: ``cls_S [1, cells, 1]`` and ``obj_S
[1, cells, 1]`` in 0-1, ``bbox_S [1, cells, 4]``, ``kps_S [1, cells, 10]``. Score = square root of
cls x obj, both limited to 0-1. Centre = (cell's corner + xy) * stride, size = exp(wh) * stride;
points like centres: right eye, left eye, tip of the nose, right and left corner of the mouth, as
the person has them. They have no score of their own and get 1. Source: the decoding of OpenCV's
`FaceDetectorYN`, whose documentation names the points.

Rows give the level and the width the kind. The order of cls and obj does not matter.

Recognised by shape: twelve outputs of these widths and rows are CERTAIN, POSSIBLE where a size is
free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import boxes, candidates
from edgecv.head import (
    DetectionOptions,
    Fit,
    Pixels,
    grid_cells,
    image_size,
    output_shapes,
    wrong_shape,
)
from edgecv.results.detections import Detections
from edgecv.types import Array, TensorSpec

TASK = "detect"
PIXELS = Pixels("letterbox-topleft", "bgr", (0, 0, 0), (1, 1, 1), rounding="floor", pad_value=0)

_STRIDES = (8, 16, 32)
_WIDTHS = (1, 1, 4, 10)


class Options(DetectionOptions, kw_only=True):
    """How to read the tensors.

    Attributes:
        confidence: OpenCV uses 0.9.
        iou: OpenCV uses 0.3.
        max_candidates: OpenCV uses 5000.
    """

    confidence: float = 0.9
    iou: float = 0.3
    max_candidates: int = 5000


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge as described above."""
    shapes = output_shapes(inputs, outputs)
    if shapes is None or any(len(shape) != 2 for shape in shapes):
        return Fit.NO
    if sorted(width or 0 for _, width in shapes) != sorted(_WIDTHS * len(_STRIDES)):
        return Fit.NO
    size = image_size(inputs)
    if size is None or any(rows is None for rows, _ in shapes):
        return Fit.POSSIBLE
    expected = [(grid_cells(size, (s,)), width) for s in _STRIDES for width in _WIDTHS]
    return Fit.CERTAIN if sorted(expected) == sorted(shapes) else Fit.NO


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Take the faces at or above the confidence, then suppress overlaps.

    Args:
        outputs: the twelve tensors, in any order.
        options: how to read them.

    Raises:
        HeadError: other tensors, more than one class, or no scores where scores should be.
    """
    cells = [grid_cells(options.input_hw, (s,)) for s in _STRIDES]
    by_shape: dict[tuple[int, ...], list[Array]] = {}
    for array in outputs.values():
        by_shape.setdefault(array.shape, []).append(np.asarray(array, np.float32))
    kinds = {width: [by_shape.get((1, n, width), []) for n in cells] for width in set(_WIDTHS)}
    complete = all(len(found) == _WIDTHS.count(w) for w in kinds for found in kinds[w])
    if not complete or len(outputs) != len(_WIDTHS) * len(cells) or options.num_classes > 1:
        levels = ", ".join(f"2 x [1, {n}, 1], [1, {n}, 4], [1, {n}, 10]" for n in cells)
        raise wrong_shape("yunet", levels, outputs)
    sides, points = (np.concatenate([found[0][0] for found in kinds[width]]) for width in (4, 10))
    a, b = (np.concatenate([found[i][0, :, 0] for found in kinds[1]]) for i in (0, 1))
    score = np.sqrt(np.clip(a, 0, 1) * np.clip(b, 0, 1))
    index, lost = candidates.above(score, options.confidence)
    corner, stride = candidates.grid_centres(options.input_hw, _STRIDES, 0, "yunet")
    corner, stride, sides = corner[index], stride[index], sides[index]
    # A size that overflows becomes infinite, and `select` counts it as dropped.
    with np.errstate(over="ignore", invalid="ignore"):
        cxcywh = np.concatenate([corner + sides[:, :2], np.exp(sides[:, 2:])], axis=1) * stride
        xyxy = boxes.from_cxcywh(cxcywh)
        places = (points[index].reshape(-1, 5, 2) + corner[:, None]) * stride[:, None]
    keypoints = np.concatenate([places, np.ones_like(places[..., :1])], axis=2)
    class_id = np.zeros(len(index), np.int32)
    return candidates.select(
        xyxy, score[index], class_id, options, head="yunet", lost=lost, keypoints=keypoints
    )
