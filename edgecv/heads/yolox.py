"""Raw grid outputs of YOLOX: ``[1, cells, 5 + classes]``.

Each row is x, y, w, h, objectness, then class scores; one row for each cell, level by level. Boxes
are relative to the cell: centre = (xy + cell's corner) * stride, size = exp(wh) * stride. Scores
have had their sigmoid, and a detection's score is objectness x class score. Source: YOLOX's
published decoding for exported models ("YOLOX: Exceeding YOLO Series in 2021", and its ONNX
Runtime demo). Files exported with the decoding inside have the same shape and boxes as centre and
size in input pixels: option `decoded`.

Recognised by shape, with strides 8, 16, 32:

=====================================  ========  ================================================
output                                 fit       why
=====================================  ========  ================================================
``[1, cells, C]``, C >= 7              CERTAIN   but for C = 84, also a transposed YOLO, and 112,
                                                 also a NanoDet
``[1, cells, 6]``, ``[1, cells, 84]``  POSSIBLE  one class looks like box, score, class
``[1, A, C]``, a size is free          POSSIBLE  A cannot be checked
=====================================  ========  ================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import candidates
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
PIXELS = Pixels("letterbox-topleft", "bgr", (0, 0, 0), (1, 1, 1), rounding="floor")

_STRIDES = (8, 16, 32)


class Options(DetectionOptions, kw_only=True):
    """How to read the tensor.

    Attributes:
        decoded: boxes already are centre and size in input pixels.
        strides: of the levels, in the order in which the rows come.
    """

    decoded: bool = False
    strides: tuple[int, ...] = _STRIDES


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
        # Inputs are multiples of 32, and then the cells of strides 8, 16, 32 are of 16 + 4 + 1.
        return Fit.POSSIBLE if anchors is None or anchors % 21 == 0 else Fit.NO
    if anchors != grid_cells(size, _STRIDES):
        return Fit.NO
    return Fit.POSSIBLE if channels in (6, 84, 112) else Fit.CERTAIN


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Score each cell as objectness x best class, decode the boxes of candidates, suppress.

    Args:
        outputs: one tensor, as in this module's docstring.
        options: how to read it.

    Raises:
        HeadError: another number of outputs, another shape, or no scores where scores should be.
    """
    array = only_output(outputs, "yolox")
    points, strides = candidates.grid_centres(options.input_hw, options.strides, 0, "yolox")
    count, columns = 5 + options.num_classes, array.shape[-1] if array.ndim == 3 else 0
    wrong_width = columns != count if options.num_classes else columns < 6
    wrong_cells = array.shape[1:2] != (len(points),)
    if array.ndim != 3 or array.shape[0] != 1 or wrong_width or wrong_cells:
        width = count if options.num_classes else "5 + classes"
        height, width_px = options.input_hw
        raise wrong_shape(
            "yolox",
            f"[1, {len(points)}, {width}] for input {height}x{width_px} "
            f"and strides {', '.join(map(str, options.strides))}",
            outputs,
        )
    rows = np.asarray(array[0], np.float32)
    index, score, class_id, lost = candidates.objectness(rows, options)
    cxcywh = rows[index, :4]
    if not options.decoded:
        cxcywh[:, :2] += points[index]
        # A size that overflows becomes infinite, and `select` counts it as dropped.
        with np.errstate(over="ignore", invalid="ignore"):
            np.exp(cxcywh[:, 2:], out=cxcywh[:, 2:])
            cxcywh *= strides[index]
    xyxy = candidates.corners(cxcywh, np.ones(4, np.float32))
    return candidates.select(xyxy, score, class_id, options, head="yolox", lost=lost)
