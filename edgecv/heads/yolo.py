"""Boxes and class scores of an anchor-free YOLO (v8, v9, 11, 12): ``[1, 4 + classes, A]``.

Rows are centre x, centre y, width, height, then one score in 0-1 for each class; columns are the A
anchors of all levels. Boxes are in input pixels, or fractions of the input in TFLite files of the
same family. Source: the output layout that Ultralytics documents for its exports.

Recognised by shape, with C = 4 + classes:

======================================  ========  ===============================================
output                                  fit       why
======================================  ========  ===============================================
``[1, 84, A]``, A a grid's cells        CERTAIN   80 classes are COCO's
``[1, 5, A]``, A a grid's cells         CERTAIN   one class; neither angle nor keypoint fits in
``[1, C, A]``, A a grid's cells         POSSIBLE  keypoints (COCO: C = 56) and an angle look alike
``[1, C, A]``, A far larger than C      POSSIBLE  another pyramid, or an input of free size
``[1, A, 84]``, A a grid's cells        POSSIBLE  transposed; YOLOX with 79 classes looks alike
two outputs                             NO        instance masks
======================================  ========  ===============================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgecv import candidates, yolo_layouts
from edgecv.head import (
    DetectionOptions,
    Fit,
    Pixels,
    image_size,
    only_output,
    output_shapes,
)
from edgecv.results.detections import Detections
from edgecv.types import Array, TensorSpec

TASK = "detect"
PIXELS = Pixels("letterbox", "rgb", (0, 0, 0), (255, 255, 255))


class Options(DetectionOptions, kw_only=True):
    """How to read the tensor.

    Attributes:
        normalized: boxes are fractions of the input, not pixels. None sees it from the centres,
            which spread over the whole input.
        transposed: the tensor is ``[1, A, 4 + classes]``. None sees it from ``num_classes``, or
            takes the longer axis for the anchors.
    """

    normalized: bool | None = None
    transposed: bool | None = None


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the table above."""
    shapes = output_shapes(inputs, outputs)
    if shapes is None or len(shapes) != 1 or len(shapes[0]) != 2:
        return Fit.NO
    channels, anchors = shapes[0]
    grids = yolo_layouts.grids(image_size(inputs))
    if anchors == 84 and channels in grids:
        return Fit.POSSIBLE
    if channels is None or channels < 5:
        return Fit.NO
    if anchors is None:
        return Fit.POSSIBLE
    if anchors in grids:
        return Fit.CERTAIN if channels in (5, 84) and anchors > channels else Fit.POSSIBLE
    return Fit.POSSIBLE if anchors >= 16 * channels else Fit.NO


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Take the best class of each anchor, then suppress overlaps.

    Args:
        outputs: one tensor, as in this module's docstring.
        options: how to read it.

    Raises:
        HeadError: another number of outputs, another shape, or no scores where scores should be.
    """
    array = only_output(outputs, "yolo")
    rows = yolo_layouts.channel_rows(array, options, options.transposed, "yolo", outputs)
    picked = yolo_layouts.pick_channels(rows, options, options.normalized, "yolo")
    xyxy = candidates.corners(picked.box, picked.scale)
    return candidates.select(
        xyxy, picked.score, picked.class_id, options, head="yolo", lost=picked.lost
    )
