"""Class maps and box distributions of NanoDet: six tensors, two for each of three levels.

Each level has scores ``[1, cells, classes]`` in 0-1 and distances ``[1, cells, 4 * bins]``; files
without the batch axis occur. A side's distance from the cell's centre is the mean of a softmax over
its bins (0, 1, ... bins - 1), in strides. Source: "Generalized Focal Loss" (Li et al., 2020), which
NanoDet's head follows. A cell's centre is (column + 0.5, row + 0.5) * stride, as in NanoDet's first
versions; NanoDet-Plus counts from the corner, and puts out another layout.

Outputs are told apart by shape, because some files name and order them freely: the rows give the
level. A width of 32 (8 bins, which every published NanoDet has), or else the only width that four
sides can share, is the distances. Where widths leave it open, the class map comes first.

Recognised by shape, with strides 8, 16, 32:

====================================  ========  =================================================
outputs                               fit       why
====================================  ========  =================================================
six that pair up, distances of 32     CERTAIN   no other known head pairs three levels this way
six that pair up, another width       POSSIBLE  raw YOLO heads, whose scores lack the sigmoid
six, and a size is free               POSSIBLE  rows cannot be checked
====================================  ========  =================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import boxes, candidates
from edgecv.head import DetectionOptions, Fit, Pixels, grid_cells, image_size, wrong_shape
from edgecv.results.detections import Detections
from edgecv.types import Array, Float32, TensorSpec

TASK = "detect"
PIXELS = Pixels("stretch", "bgr", (103.53, 116.28, 123.675), (57.375, 57.12, 58.395))

_STRIDES = (8, 16, 32)
_USUAL_WIDTH = 32


class Options(DetectionOptions, kw_only=True):
    """How to read the tensors.

    Attributes:
        strides: of the levels.
    """

    strides: tuple[int, ...] = _STRIDES


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the table above."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[0] not in (1, None):
        return Fit.NO
    if len(outputs) != 2 * len(_STRIDES):
        return Fit.NO
    shapes = []
    for spec in outputs:
        batch, rest = spec.shape[:-2], spec.shape[-2:]
        if batch not in ((), (1,), (None,)) or len(rest) != 2:
            return Fit.NO
        shapes.append(rest)
    size = image_size(inputs)
    known = [(rows, width) for rows, width in shapes if rows is not None and width is not None]
    if size is None or len(known) < len(shapes):
        widths = {width for _, width in shapes if width is not None}
        return Fit.POSSIBLE if any(w >= 8 and w % 4 == 0 for w in widths) else Fit.NO
    pairs = _pair(known, [grid_cells(size, (stride,)) for stride in _STRIDES], 0)
    if pairs is None:
        return Fit.NO
    return Fit.CERTAIN if known[pairs[0][1]][1] == _USUAL_WIDTH else Fit.POSSIBLE


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Take the best class of each cell, decode the boxes of candidates, then suppress overlaps.

    Args:
        outputs: the tensors, as in this module's docstring.
        options: how to read them.

    Raises:
        HeadError: tensors that do not pair up to levels of this input, or no scores where scores
            should be.
    """
    centres, strides = candidates.grid_centres(options.input_hw, options.strides, 0.5, "nanodet")
    cells = [grid_cells(options.input_hw, (stride,)) for stride in options.strides]
    tensors = [
        np.asarray(array[0] if array.ndim == 3 and array.shape[0] == 1 else array, np.float32)
        for array in outputs.values()
    ]
    pairs = None
    if all(tensor.ndim == 2 for tensor in tensors):
        pairs = _pair([tensor.shape for tensor in tensors], cells, options.num_classes)
    if pairs is None:
        classes = options.num_classes or "classes"
        levels = ", ".join(f"[1, {n}, {classes}] and [1, {n}, 4 * bins]" for n in cells)
        raise wrong_shape("nanodet", levels, outputs)
    indices, scores, class_ids, distances = [], [], [], []
    start = lost = 0
    for (scores_at, boxes_at), count in zip(pairs, cells, strict=True):
        index, score, class_id, not_numbers = candidates.classes(tensors[scores_at], options)
        indices.append(index + start)
        scores.append(score)
        class_ids.append(class_id)
        distances.append(_expected(tensors[boxes_at][index]))
        start += count
        lost += not_numbers
    index = np.concatenate(indices)
    centre = centres[index]
    distance = np.concatenate(distances)
    xyxy = np.concatenate([centre - distance[:, :2], centre + distance[:, 2:]], axis=1)
    xyxy = boxes.clip(xyxy * strides[index], options.input_hw)
    return candidates.select(
        xyxy,
        np.concatenate(scores),
        np.concatenate(class_ids),
        options,
        head="nanodet",
        lost=lost,
    )


def _expected(rows: Float32) -> Float32:
    """Turn (K, 4 * bins) logits into (K, 4) mean distances, in strides."""
    bins = rows.shape[1] // 4
    logits = rows.reshape(-1, 4, bins)
    with np.errstate(invalid="ignore"):
        weights = np.exp(logits - logits.max(axis=2, keepdims=True))
        mean: Float32 = (weights @ np.arange(bins, dtype=np.float32)) / weights.sum(axis=2)
    return mean


def _pair(
    shapes: Sequence[tuple[int, ...]], cells: Sequence[int], num_classes: int
) -> list[tuple[int, int]] | None:
    """Find the (class map, distances) of each level among (rows, width) shapes, by index.

    Returns:
        None where they do not pair up.
    """
    if len(shapes) != 2 * len(cells):
        return None
    widths = list(dict.fromkeys(width for _, width in shapes))
    if len(widths) > 2:
        return None
    a, b = widths if len(widths) == 2 else widths * 2
    splits = [
        (classes, sides)
        for classes, sides in ((a, b), (b, a))
        if sides >= 8 and sides % 4 == 0 and num_classes in (0, classes)
    ]
    if not splits:
        return None
    # The usual width first, then the model's order: class maps come before distances.
    splits.sort(key=lambda split: split[1] != _USUAL_WIDTH)
    classes, sides = splits[0]
    free = list(range(len(shapes)))
    pairs = []
    for rows in cells:
        pair = []
        for width in (classes, sides):
            found = next((i for i in free if tuple(shapes[i]) == (rows, width)), None)
            if found is None:
                return None
            free.remove(found)
            pair.append(found)
        pairs.append((pair[0], pair[1]))
    return pairs
