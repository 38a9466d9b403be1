"""Boxes, objectness and classes of an anchor-based YOLO (v5, v7): ``[1, 3 * cells, 5 + classes]``.

Each row is centre x, centre y, width, height, objectness, then class scores; three anchors for each
cell of the levels. Scores are in 0-1, and a detection's score is objectness x class score. Boxes
are in input pixels, or fractions of the input in TFLite files of the same family. Source: the
output layout documented for YOLOv5's exports; YOLOv7's are the same without suppression inside.

Recognised by shape, with strides 8, 16, 32 (and 64):

=======================================  ========  ==============================================
output                                   fit       why
=======================================  ========  ==============================================
``[1, 3 * cells, C]``, C >= 7            CERTAIN   three anchors in a cell are YOLO's own
``[1, 3 * cells, 6]``                    POSSIBLE  rows of a detector that suppresses inside
``[1, A, C]``, a size is free            POSSIBLE  A cannot be checked
two outputs                              NO        instance masks
=======================================  ========  ==============================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import candidates, yolo_layouts
from edgecv.head import (
    DetectionOptions,
    Fit,
    Pixels,
    grid_cells,
    image_size,
    only_output,
    output_shapes,
    wrong_shape,
)
from edgecv.results.detections import Detections
from edgecv.types import Array, TensorSpec

TASK = "detect"
PIXELS = Pixels("letterbox", "rgb", (0, 0, 0), (255, 255, 255))

_PYRAMIDS = ((8, 16, 32), (8, 16, 32, 64))


class Options(DetectionOptions, kw_only=True):
    """How to read the tensor.

    Attributes:
        normalized: boxes are fractions of the input, not pixels. None sees it from the centres,
            which spread over the whole input.
    """

    normalized: bool | None = None


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the table above."""
    shapes = output_shapes(inputs, outputs)
    if shapes is None or len(shapes) != 1 or len(shapes[0]) != 2:
        return Fit.NO
    anchors, channels = shapes[0]
    if channels is None or channels < 6:
        return Fit.NO
    size = image_size(inputs)
    if size is None or anchors is None:
        # Inputs are multiples of the largest stride, and then the cells are of 16 + 4 + 1, or of
        # 64 + 16 + 4 + 1.
        fits = anchors is None or anchors % (3 * 21) == 0 or anchors % (3 * 85) == 0
        return Fit.POSSIBLE if fits else Fit.NO
    if anchors not in [3 * grid_cells(size, strides) for strides in _PYRAMIDS]:
        return Fit.NO
    return Fit.CERTAIN if channels > 6 else Fit.POSSIBLE


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Score each row as objectness x best class, then suppress overlaps.

    Args:
        outputs: one tensor, as in this module's docstring.
        options: how to read it.

    Raises:
        HeadError: another number of outputs, another shape, or no scores where scores should be.
    """
    array = only_output(outputs, "yolov5")
    count, columns = 5 + options.num_classes, array.shape[-1] if array.ndim == 3 else 0
    wrong_width = columns != count if options.num_classes else columns < 6
    if array.ndim != 3 or array.shape[0] != 1 or wrong_width:
        width = count if options.num_classes else "5 + classes"
        raise wrong_shape("yolov5", f"[1, A, {width}]", outputs)
    rows = np.asarray(array[0], np.float32)
    picked = yolo_layouts.pick_objects(rows, options, options.normalized, "yolov5")
    xyxy = candidates.corners(picked.box, picked.scale)
    return candidates.select(
        xyxy, picked.score, picked.class_id, options, head="yolov5", lost=picked.lost
    )
