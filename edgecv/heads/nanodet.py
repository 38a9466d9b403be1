"""Class maps and box distributions of NanoDet, in six tensors or in one.

First versions: two tensors for each of three levels, scores ``[1, cells, classes]`` in 0-1 and
distances ``[1, cells, 4 * bins]``; files without the batch axis occur. A cell's point is its
centre, (column + 0.5, row + 0.5) * stride. Outputs are told apart by shape, because some files name
and order them freely: the rows give the level. A width of 32 (8 bins, which every published NanoDet
has), or else the only width that four sides can share, is the distances. Where widths leave it
open, the class map comes first.

NanoDet-Plus: one tensor ``[1, cells, classes + 32]`` of four levels, each row the scores, then the
distances. A cell's point is its corner, (column, row) * stride.

Sources: for the distances "Generalized Focal Loss" (Li et al., 2020), see `edgecv.distances`; for
points and levels the demonstration programs that NanoDet publishes for each version.

Recognised by shape, with strides 8, 16, 32 and in one tensor 64 too:

====================================  ========  =================================================
outputs                               fit       why
====================================  ========  =================================================
six that pair up, distances of 32     CERTAIN   no other known head pairs three levels this way
six that pair up, another width       POSSIBLE  raw YOLO heads, whose scores lack the sigmoid
six, and a size is free               POSSIBLE  rows cannot be checked
``[1, cells of four, 112]``           CERTAIN   80 classes are COCO's
``[1, cells of four, C]``, C >= 33    POSSIBLE  rows with objectness look alike
``[1, cells of three, 112]``          POSSIBLE  first versions in one tensor, or a YOLOX with 107
                                                classes
====================================  ========  =================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import distances
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
from edgecv.types import Array, TensorSpec

TASK = "detect"
PIXELS = Pixels("stretch", "bgr", (103.53, 116.28, 123.675), (57.375, 57.12, 58.395))

_STRIDES = (8, 16, 32)
_PLUS = (8, 16, 32, 64)
_COCO_WIDTH = 80 + distances.USUAL_WIDTH


class Options(DetectionOptions, kw_only=True):
    """How to read the tensors.

    Attributes:
        strides: of the levels; () takes 8, 16, 32, and 64 too where one tensor has its rows.
        offset: of a cell's point, 0.5 for the centre and 0 for the corner. None takes the corner
            for NanoDet-Plus, the tensor with four levels.
    """

    strides: tuple[int, ...] = ()
    offset: float | None = None


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the table above."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[0] not in (1, None):
        return Fit.NO
    size = image_size(inputs)
    if len(outputs) == 1:
        shapes = output_shapes(inputs, outputs)
        if shapes is None or len(shapes[0]) != 2 or size is None:
            return Fit.NO
        rows, width = shapes[0]
        if rows == grid_cells(size, _PLUS) and width is not None:
            wide = width > distances.USUAL_WIDTH
            return Fit.CERTAIN if width == _COCO_WIDTH else Fit.POSSIBLE if wide else Fit.NO
        plain = rows == grid_cells(size, _STRIDES) and width == _COCO_WIDTH
        return Fit.POSSIBLE if plain else Fit.NO
    width = distances.widths_pair_up(outputs, size, _STRIDES)
    if width is None:
        return Fit.NO
    return Fit.CERTAIN if width == distances.USUAL_WIDTH else Fit.POSSIBLE


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Take the best class of each cell, decode the boxes of candidates, then suppress overlaps.

    Args:
        outputs: the tensors, as in this module's docstring.
        options: how to read them.

    Raises:
        HeadError: tensors that do not pair up to levels of this input, or no scores where scores
            should be.
    """
    offset = options.offset
    if offset is not None and not 0 <= offset <= 1:
        raise HeadError(
            "", where="head nanodet: offset", expected="0 to 1, in cells", got=f"{offset:g}"
        )
    if len(outputs) != 1:
        return distances.decode_levels(
            outputs,
            options,
            options.strides or _STRIDES,
            offset=0.5 if offset is None else offset,
            head="nanodet",
        )
    array = next(iter(outputs.values()))
    rows = array.shape[1] if array.ndim == 3 else 0
    fitting = [s for s in (_PLUS, _STRIDES) if rows == grid_cells(options.input_hw, s)]
    strides = options.strides or (fitting or [_PLUS])[0]
    cells = grid_cells(options.input_hw, strides) if min(strides) > 0 else 0
    count = options.num_classes or "classes"
    classes = array.shape[-1] - distances.USUAL_WIDTH if array.ndim == 3 else 0
    if array.shape != (1, cells, classes + distances.USUAL_WIDTH) or classes < 1 or not cells:
        raise wrong_shape("nanodet", f"[1, {cells}, {count} + 32]", outputs)
    if options.num_classes not in (0, classes):
        raise wrong_shape("nanodet", f"[1, {cells}, {count} + 32]", outputs)
    if offset is None:
        offset = 0.0 if tuple(strides) == _PLUS else 0.5
    table = np.asarray(array[0], np.float32)
    level = (table[:, :classes], table[:, classes:])
    return distances.decode([level], options, strides, offset=offset, head="nanodet")
