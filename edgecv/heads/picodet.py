"""PicoDet and its relatives from PaddleDetection, in the three layouts of its exports.

- Without post-processing: two tensors for each of four levels (strides 8, 16, 32, 64), scores
  ``[1, cells, classes]`` in 0-1 and distances ``[1, cells, 4 * bins]`` from a cell's centre. Told
  apart by shape, as for NanoDet. Source: "PP-PicoDet" (Yu et al., 2021) and "Generalized Focal
  Loss" (Li et al., 2020), see `edgecv.distances`.
- With the boxes decoded, without suppression: ``[1, N, 4]`` corners and ``[1, classes, N]`` scores.
- With suppression: ``[N, 6]`` rows class id, score, x1, y1, x2, y2, and ``[1]``, their number.
  PP-YOLOE, RT-DETR and others of PaddleDetection end like this, too; those that are not normalized
  with ImageNet's mean (PP-YOLOE+, RT-DETR) need a mean of 0 and a std of 255. Source:
  PaddleDetection's page on exported models.

Boxes are in pixels of the image that the inputs beside it describe: ``scale_factor`` (y, x) is fed
with 1, 1 and ``im_shape`` with the input's size, so that they are in input pixels.

Recognised by shape:

=========================================  ========  ============================================
outputs                                    fit       why
=========================================  ========  ============================================
eight that pair up, distances of 32        CERTAIN   no other known head pairs four levels
eight that pair up, another width or size  POSSIBLE  raw heads whose scores lack the sigmoid
``[N, 6]`` and ``[1]``                     CERTAIN   nobody else puts out rows and their number
``[1, N, 4]`` and ``[1, C, N]``            POSSIBLE  others have such pairs
=========================================  ========  ============================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import candidates, distances
from edgecv.errors import HeadError
from edgecv.head import DetectionOptions, Fit, Pixels, image_size, output_shapes, wrong_shape
from edgecv.results.detections import Detections
from edgecv.types import Array, TensorSpec

TASK = "detect"
PIXELS = Pixels(
    "stretch",
    "rgb",
    (123.675, 116.28, 103.53),
    (58.395, 57.12, 57.375),
    interpolation="cubic",
)
CONSTANTS = {
    "scale_factor": lambda input_hw: (1, 1),
    "im_shape": lambda input_hw: input_hw,
}

_STRIDES = (8, 16, 32, 64)


class Options(DetectionOptions, kw_only=True):
    """How to read the tensors; ``iou`` and ``class_aware`` have no effect on finished rows.

    Attributes:
        iou: PaddleDetection uses 0.6 for this family.
        strides: of the levels, where the model puts them out one by one.
    """

    iou: float = 0.6
    strides: tuple[int, ...] = _STRIDES


def rows_of_all_images(outputs: Sequence[TensorSpec]) -> bool:
    """Tell whether one list holds the detections of all images of a batch."""
    return any(len(spec.shape) == 2 for spec in outputs)


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the table above."""
    shapes = output_shapes(inputs, outputs)
    if len(outputs) == 2:
        if _rows([spec.shape for spec in outputs]) is not None:
            return Fit.CERTAIN if _takes_image(inputs) else Fit.NO
        if shapes is None:
            return Fit.NO
        return Fit.NO if _boxes([(1, *shape) for shape in shapes]) is None else Fit.POSSIBLE
    if not _takes_image(inputs):
        return Fit.NO
    width = distances.widths_pair_up(outputs, image_size(inputs), _STRIDES)
    if width is None:
        return Fit.NO
    return Fit.CERTAIN if width == distances.USUAL_WIDTH else Fit.POSSIBLE


def _takes_image(inputs: Sequence[TensorSpec]) -> bool:
    return len(inputs) == 1 and len(inputs[0].shape) == 4 and inputs[0].shape[0] in (1, None)


def _rows(shapes: Sequence[Sequence[int | None]]) -> int | None:
    """Find which of two tensors holds finished rows, the other being their number."""
    for i, (rows, number) in enumerate((shapes, shapes[::-1])):
        if len(rows) == 2 and rows[1] == 6 and tuple(number) in ((1,), (None,)):
            return i
    return None


def _boxes(shapes: Sequence[Sequence[int | None]]) -> int | None:
    """Find which of two tensors holds boxes [1, N, 4], the other being scores [1, C, N]."""
    for i, (boxes, scores) in enumerate((shapes, shapes[::-1])):
        if len(boxes) != 3 or len(scores) != 3 or boxes[0] != 1 or scores[0] != 1:
            continue
        if boxes[2] == 4 and boxes[1] is not None and boxes[1] == scores[2] != scores[1]:
            return i
    return None


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Decode whichever layout the shapes tell.

    Args:
        outputs: the tensors, as in this module's docstring, in any order.
        options: how to read them.

    Raises:
        HeadError: tensors of another layout, no scores where scores should be, or class ids that
            are not whole numbers of the model's classes.
    """
    if len(outputs) != 2:
        return distances.decode_levels(
            outputs, options, options.strides, offset=0.5, head="picodet"
        )
    pair = [np.asarray(array, np.float32) for array in outputs.values()]
    shapes = [array.shape for array in pair]
    at = _rows(shapes)
    if at is not None:
        return _finished(pair[at], pair[1 - at], options)
    at = _boxes(shapes)
    wrong_number = at is not None and options.num_classes not in (0, shapes[1 - at][1])
    if at is None or wrong_number:
        classes = options.num_classes or "classes"
        raise wrong_shape("picodet", f"[N, 6] and [1], or [1, N, 4] and [1, {classes}, N]", outputs)
    index, score, class_id, lost = candidates.classes(pair[1 - at][0].T, options)
    return candidates.select(
        pair[at][0][index], score, class_id, options, head="picodet", lost=lost
    )


def _finished(rows: Array, number: Array, options: Options) -> Detections:
    count = float(number[0])
    # Where nothing is found, some versions put out one row of -1.
    if not 0 <= count <= len(rows):
        raise HeadError(
            "the number of detections cannot be right",
            where="head picodet",
            expected=f"0 to {len(rows)}",
            got=f"{count:g}",
        )
    rows = rows[: round(count)]
    index, lost = candidates.above(rows[:, 1], options.confidence)
    index = index[rows[index, 0] >= 0] if options.confidence <= 0 else index
    rows = rows[index]
    class_id = candidates.whole_classes(rows[:, 0], options, "picodet")
    return candidates.select(
        rows[:, 2:], rows[:, 1], class_id, options, head="picodet", lost=lost, suppress=False
    )
