"""Boxes told as distributions of four distances from a point, level by level of a pyramid.

Each side's distance is the mean of a softmax over its bins (0, 1, ... bins - 1), in strides.
Source: "Generalized Focal Loss" (Li et al., 2020), whose head NanoDet and PicoDet use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import boxes, candidates
from edgecv.head import DetectionOptions, grid_cells, wrong_shape
from edgecv.results.detections import Detections
from edgecv.types import Array, Float32, TensorSpec

USUAL_WIDTH = 32
"""Four sides of 8 bins, which every published model of these families has."""


def widths_pair_up(
    outputs: Sequence[TensorSpec], size: tuple[int, int] | None, strides: Sequence[int]
) -> int | None:
    """Judge whether outputs are a class map and distances for each level.

    Args:
        outputs: of a model, with or without a batch axis of 1.
        size: (height, width) of its input; None where it is free.
        strides: of the levels.

    Returns:
        The width of the distances; 0 where sizes are free and they may fit; None where not.
    """
    if len(outputs) != 2 * len(strides):
        return None
    shapes = []
    for spec in outputs:
        batch, rest = spec.shape[:-2], spec.shape[-2:]
        if batch not in ((), (1,), (None,)) or len(rest) != 2:
            return None
        shapes.append(rest)
    known = [(rows, width) for rows, width in shapes if rows is not None and width is not None]
    if size is None or len(known) < len(shapes):
        widths = {width for _, width in shapes if width is not None}
        return 0 if any(w >= 8 and w % 4 == 0 for w in widths) else None
    pairs = _pair(known, [grid_cells(size, (stride,)) for stride in strides], 0)
    return None if pairs is None else known[pairs[0][1]][1]


def decode_levels(
    outputs: Mapping[str, Array],
    options: DetectionOptions,
    strides: Sequence[int],
    *,
    offset: float,
    head: str,
) -> Detections:
    """Decode a class map ``[1, cells, classes]`` and distances ``[1, cells, 4 * bins]`` a level.

    Args:
        outputs: the tensors in any order, with or without the batch axis; scores are in 0-1.
        options: of the head.
        strides: of the levels.
        offset: of the point in its cell: 0.5 for the centre, 0 for the corner.
        head: name for errors.

    Returns:
        Detections in model-input pixels, boxes cut at the input.

    Raises:
        HeadError: tensors that do not pair up to levels of this input, or no scores where scores
            should be.
    """
    candidates.grid_centres(options.input_hw, strides, offset, head)
    cells = [grid_cells(options.input_hw, (stride,)) for stride in strides]
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
        raise wrong_shape(head, levels, outputs)
    levels_of = [(tensors[a], tensors[b]) for a, b in pairs]
    return decode(levels_of, options, strides, offset=offset, head=head)


def decode(
    levels: Sequence[tuple[Float32, Float32]],
    options: DetectionOptions,
    strides: Sequence[int],
    *,
    offset: float,
    head: str,
) -> Detections:
    """Take the best class of each cell, decode the boxes of candidates, then suppress overlaps.

    Args:
        levels: (cells, classes) scores in 0-1 and (cells, 4 * bins) logits of distances; their
            cells one after another are those of the strides.
        options: as in `decode_levels`, as are the others.
        strides: of the cells.
        offset: of the point in its cell.
        head: name for errors.
    """
    centres, scale = candidates.grid_centres(options.input_hw, strides, offset, head)
    indices, scores, class_ids, distances = [], [], [], []
    start = lost = 0
    for maps, sides in levels:
        index, score, class_id, not_numbers = candidates.classes(maps, options)
        indices.append(index + start)
        scores.append(score)
        class_ids.append(class_id)
        distances.append(_expected(sides[index]))
        start += len(maps)
        lost += not_numbers
    index = np.concatenate(indices)
    centre = centres[index]
    distance = np.concatenate(distances)
    xyxy = np.concatenate([centre - distance[:, :2], centre + distance[:, 2:]], axis=1)
    xyxy = boxes.clip(xyxy * scale[index], options.input_hw)
    return candidates.select(
        xyxy, np.concatenate(scores), np.concatenate(class_ids), options, head=head, lost=lost
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
    splits.sort(key=lambda split: split[1] != USUAL_WIDTH)
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
