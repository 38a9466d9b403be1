"""Finished detections of a model that suppresses overlaps itself: ``[1, N, 6]``.

Each row is x1, y1, x2, y2, score, class id. One-to-one detectors (YOLOv10, YOLO26) and exports with
suppression inside put out N rows, best first, of which rows with score 0 are padding; N may be 0.
Boxes are in input pixels or fractions of the input. Nothing is suppressed here. Source: the output
layout that Ultralytics documents for its end-to-end exports.

Recognised by shape:

=========================================  ========  ============================================
output                                     fit       why
=========================================  ========  ============================================
``[1, N, 6]``, N <= 1000, no grid's cells  CERTAIN   decoding checks that class ids are whole
``[1, N, 6]``, N free or a grid's cells    POSSIBLE  a YOLO with one class
=========================================  ========  ============================================
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


class Options(DetectionOptions, kw_only=True):
    """How to read the tensor; ``iou`` and ``class_aware`` have no effect.

    Attributes:
        normalized: boxes are fractions of the input, not pixels. None sees it from the boxes: no
            detector puts all its objects into the first two pixels.
    """

    normalized: bool | None = None


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the table above."""
    shapes = output_shapes(inputs, outputs)
    if shapes is None or len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][1] != 6:
        return Fit.NO
    rows, size = shapes[0][0], image_size(inputs)
    if rows is None:
        return Fit.POSSIBLE
    if size is None:
        # Inputs are multiples of 32, and then the cells of strides 8, 16, 32 are of 16 + 4 + 1.
        is_grid = rows % 21 == 0
    else:
        cells = (grid_cells(size, (8, 16, 32)), grid_cells(size, (8, 16, 32, 64)))
        is_grid = rows in cells or rows in [3 * n for n in cells]
    if is_grid:
        return Fit.POSSIBLE
    return Fit.CERTAIN if rows <= yolo_layouts.MAX_ROWS else Fit.NO


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Take the rows at or above the confidence.

    Args:
        outputs: one tensor, as in this module's docstring.
        options: how to read it.

    Raises:
        HeadError: another number of outputs, another shape, no scores where scores should be, or
            class ids that are not whole numbers of the model's classes.
    """
    array = only_output(outputs, "end2end")
    if array.ndim != 3 or array.shape[0] != 1 or array.shape[2] != 6:
        raise wrong_shape("end2end", "[1, N, 6]", outputs)
    rows = np.asarray(array[0], np.float32)
    picked = yolo_layouts.pick_finished(rows, options, options.normalized, "end2end")
    with np.errstate(over="ignore"):
        xyxy = picked.box * picked.scale
    return candidates.select(
        xyxy,
        picked.score,
        picked.class_id,
        options,
        head="end2end",
        lost=picked.lost,
        suppress=False,
    )
