"""Finished detections of a model that suppresses overlaps itself: ``[1, N, 6]``, and others.

One-to-one detectors (YOLOv10, YOLO26) and exports with suppression inside. Nothing is suppressed
here; boxes are corners in input pixels or fractions of the input; N may be 0. Three layouts:

- ``[1, N, 6]``: rows x1, y1, x2, y2, score, class id, of which rows with score 0 are padding.
  Source: the output layout that Ultralytics documents for its end-to-end exports.
- ``num_dets [1, 1]``, ``det_boxes [1, N, 4]``, ``det_scores [1, N]``, ``det_classes [1, N]``: what
  lies beyond the number is padding. Source: the outputs of TensorRT's EfficientNMS plug-in, which
  exports without it imitate, some under other names.
- ``[N, 7]``: rows image, x1, y1, x2, y2, then class and score (YOLOv7's export with ONNX's own
  NonMaxSuppression) or score and class (YOLO-NAS's flat format). Source: the examples of both
  projects. The column that is not whole is the score.

Recognised by shape, and by name where there are four outputs:

=========================================  ========  ============================================
output                                     fit       why
=========================================  ========  ============================================
``[1, N, 6]``, N <= 1000, no grid's cells  CERTAIN   decoding checks that class ids are whole,
                                                     and boxes corners (RT-DETR's are not)
``[1, N, 6]``, N free or a grid's cells    POSSIBLE  a YOLO with one class
four outputs, the number ``[1, 1]``        CERTAIN   of TensorFlow's, the number is ``[1]``
four outputs with known names              CERTAIN
``[N, 7]``, N free or not 1                POSSIBLE  a classifier with 7 classes
=========================================  ========  ============================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import candidates, finished, yolo_layouts
from edgecv.errors import HeadError
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
from edgecv.types import Array, Float32, TensorSpec

TASK = "detect"
PIXELS = Pixels("letterbox", "rgb", (0, 0, 0), (255, 255, 255))

_NAMES = {
    f"{before}{name}": role
    for before, names in {
        "": ("num_dets", "det_boxes", "det_scores", "det_classes"),
        "graph2_": ("num_predictions", "pred_boxes", "pred_scores", "pred_classes"),
        "nmsed_": ("num", "boxes", "scores", "classes"),
    }.items()
    for name, role in zip(names, ("count", "boxes", "scores", "classes"), strict=True)
}


class Options(DetectionOptions, kw_only=True):
    """How to read the tensors; ``iou`` and ``class_aware`` have no effect.

    Attributes:
        normalized: boxes are fractions of the input, not pixels. None sees it from the boxes: no
            detector puts all its objects into the first two pixels.
        scores: name of the output with the scores, where there are four and nothing tells them
            from the classes.
        score_column: of rows of seven, 5 or 6. None sees it from the values: class ids are whole.
    """

    normalized: bool | None = None
    scores: str | None = None
    score_column: int | None = None


def rows_of_all_images(outputs: Sequence[TensorSpec]) -> bool:
    """Tell whether one list holds the detections of all images of a batch."""
    return len(outputs) == 1 and len(outputs[0].shape) == 2


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the table above."""
    if len(outputs) == 1 and outputs[0].shape[1:] == (7,) and outputs[0].shape[0] != 1:
        return Fit.POSSIBLE if output_shapes(inputs, ()) is not None else Fit.NO
    shapes = output_shapes(inputs, outputs)
    if shapes is None:
        return Fit.NO
    if len(shapes) == 4:
        return _recognise_four(outputs)
    if len(shapes) != 1:
        return Fit.NO
    if len(shapes[0]) != 2 or shapes[0][1] != 6:
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


def _recognise_four(outputs: Sequence[TensorSpec]) -> Fit:
    if finished.named(outputs, _NAMES):
        return Fit.CERTAIN
    found = finished.roles_by_shape([spec.shape for spec in outputs])
    if found is None or "count" not in found:
        return Fit.NO
    return Fit.CERTAIN if len(outputs[found["count"]].shape) == 2 else Fit.NO


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Take the rows at or above the confidence.

    Args:
        outputs: one of the layouts in this module's docstring.
        options: how to read it.

    Raises:
        HeadError: another number of outputs, another shape, no scores where scores should be, or
            class ids that are not whole numbers of the model's classes.
    """
    boxes, score, class_id = _columns(outputs, options)
    index, lost = candidates.above(score, options.confidence)
    if options.confidence <= 0:
        index = index[score[index] > 0]
    boxes, score = boxes[index], score[index]
    class_id = candidates.whole_classes(class_id[index], options, "end2end")
    scale = candidates.pixel_scale(options.normalized, boxes, options, "end2end")
    with np.errstate(over="ignore"):
        xyxy = boxes * scale
    return candidates.select(
        xyxy, score, class_id, options, head="end2end", lost=lost, suppress=False
    )


def _columns(outputs: Mapping[str, Array], options: Options) -> tuple[Float32, Float32, Float32]:
    """Return (N, 4) boxes, (N,) scores and (N,) class ids of any of the layouts."""
    if len(outputs) == 4:
        return finished.read(outputs, _NAMES, scores=options.scores, head="end2end")
    array = next(iter(outputs.values()), np.zeros(0))
    if len(outputs) == 1 and array.ndim == 3 and array.shape[0] == 1 and array.shape[2] == 6:
        rows = np.asarray(array[0], np.float32)
        _check_corners(rows)
        return rows[:, :4], rows[:, 4], rows[:, 5]
    if len(outputs) != 1 or array.ndim != 2 or array.shape[1] != 7:
        expected = "[1, N, 6], [N, 7], or boxes, scores, classes and their number"
        raise wrong_shape("end2end", expected, outputs)
    rows = np.asarray(array, np.float32)
    if (rows[:, 0] != 0).any():
        raise HeadError(
            "the first column names another image than the only one",
            where="head end2end",
            expected="0",
            got=f"{float(rows[rows[:, 0] != 0][0, 0]):g}",
        )
    column = _score_column(rows, options)
    return rows[:, 1:5], rows[:, column], rows[:, 11 - column]


def _check_corners(rows: Float32) -> None:
    """Refuse rows that hold centre and size: most of them would end before they begin."""
    real = rows[rows[:, 4] > 0]
    reversed_ = (real[:, 2:4] < real[:, :2]).any(axis=1)
    if 2 * int(np.count_nonzero(reversed_)) > len(real):
        raise HeadError(
            "the boxes are no corners",
            where="head end2end",
            expected="x1, y1, x2, y2",
            got=f"{np.count_nonzero(reversed_)} of {len(real)} boxes that end before they begin",
            remedy="choose another head, such as detr: RT-DETR has rows of centre and size",
        )


def _score_column(rows: Float32, options: Options) -> int:
    if options.score_column is not None:
        if options.score_column in (5, 6):
            return options.score_column
        raise HeadError(
            "",
            where="head end2end: score_column",
            expected="5 or 6",
            got=str(options.score_column),
        )
    tail = rows[:, 5:]
    with np.errstate(invalid="ignore"):
        fractions = np.asarray(((tail % 1 != 0) & np.isfinite(tail)).any(axis=0))
    if fractions[0] == fractions[1]:
        # Whole numbers in both: what is above 1 is no score.
        fractions = np.array([(tail[:, 1] > 1).any(), (tail[:, 0] > 1).any()])
    if fractions[0] != fractions[1]:
        return 5 + int(fractions.argmax())
    if not tail.any():
        return 6
    raise HeadError(
        "nothing tells scores from class ids in the last two columns",
        where="head end2end",
        expected="scores in 0-1 and whole class ids",
        remedy="say which is the score: --head-option score_column=6 (YOLOv7) or 5 (YOLO-NAS)",
    )
