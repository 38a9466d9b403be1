"""Finished detections in tensors of their own: boxes, scores, classes, and often their number.

Exporters name and order these tensors as they like. Which is which is told by their names where
these are known, else by shapes and types; the values are asked last, and only to tell scores from
class ids of one shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv.errors import HeadError
from edgecv.head import wrong_shape
from edgecv.types import Array, Float32, TensorSpec

Role = str
"""``boxes``, ``scores``, ``classes`` or ``count``."""


def roles_by_shape(shapes: Sequence[tuple[int | None, ...]]) -> dict[str, int] | None:
    """Find boxes ``[1, N, 4]`` and their number among shapes with the batch axis.

    Returns:
        ``boxes`` and, if there is one, ``count`` -> index of the tensor; None where the others are
        not exactly two of shape ``[1, N]``, or the number cannot be told from them.
    """
    boxes = [i for i, shape in enumerate(shapes) if len(shape) == 3 and shape[2] == 4]
    if len(boxes) != 1:
        return None
    rows = shapes[boxes[0]][1]
    found, lists = {"boxes": boxes[0]}, []
    for i, shape in enumerate(shapes):
        if len(shape) == 2 and shape[1] == rows and (rows != 1 or len(shapes) == 3):
            lists.append(i)
        elif tuple(shape) in ((), (1,), (None,)) or (len(shape) == 2 and shape[1] == 1):
            found.setdefault("count", i)
    complete = len(found) + len(lists) == len(shapes) and len(lists) == 2
    return found if complete else None


def named(specs: Sequence[TensorSpec] | Mapping[str, Array], names: Mapping[str, Role]) -> bool:
    """Tell whether boxes, scores and classes all are among the known names."""
    given = [item if isinstance(item, str) else item.name for item in specs]
    return {names.get(name) for name in given} >= {"boxes", "scores", "classes"}


def read(
    outputs: Mapping[str, Array],
    names: Mapping[str, Role],
    *,
    scores: str | None,
    head: str,
) -> tuple[Float32, Float32, Float32]:
    """Find the tensors and cut them at the number of detections.

    Args:
        outputs: tensor name -> array with a batch axis of 1.
        names: known tensor name -> role; where they name all of boxes, scores and classes, other
            tensors are not looked at.
        scores: name of the tensor with the scores, where the user says it.
        head: name for errors.

    Returns:
        (N, 4) boxes as the model writes them, (N,) scores and (N,) class ids, float32.

    Raises:
        HeadError: other tensors, a number beyond the rows, or scores and classes that nothing
            tells apart.
    """
    found = _roles(outputs, names, scores, head)
    boxes, score, class_id = (found[role] for role in ("boxes", "scores", "classes"))
    rows = boxes.shape[1] if boxes.ndim == 3 else -1
    lists = (1, rows)
    if boxes.shape != (1, rows, 4) or score.shape != lists or class_id.shape != lists:
        raise wrong_shape(head, "[1, N, 4], [1, N] and [1, N]", outputs)
    count = rows
    if "count" in found:
        number = found["count"]
        value = float(number.flat[0]) if number.size == 1 else -1.0
        if not 0 <= value <= rows:
            raise HeadError(
                "the number of detections cannot be right",
                where=f"head {head}",
                expected=f"one number from 0 to {rows}",
                got=f"{list(number.shape)} {value:g}",
            )
        count = round(value)
    return (
        np.asarray(boxes[0, :count], np.float32),
        np.asarray(score[0, :count], np.float32),
        np.asarray(class_id[0, :count], np.float32),
    )


def _roles(
    outputs: Mapping[str, Array], names: Mapping[str, Role], scores: str | None, head: str
) -> dict[Role, Array]:
    if scores is not None and scores not in outputs:
        raise HeadError(
            "no such output",
            where=f"head {head}: scores",
            expected=f"one of {', '.join(outputs)}",
            got=repr(scores),
        )
    if scores is None and named(outputs, names):
        return {names[name]: array for name, array in outputs.items() if name in names}
    tensors = list(outputs.values())
    by_shape = roles_by_shape([array.shape for array in tensors])
    if by_shape is None:
        raise wrong_shape(head, "[1, N, 4], [1, N], [1, N] and a number", outputs)
    found = {role: tensors[i] for role, i in by_shape.items()}
    pair = [name for i, name in enumerate(outputs) if i not in by_shape.values()]
    first = _scores_first(pair, outputs, names, scores, head)
    found["scores"], found["classes"] = (
        outputs[name] for name in (pair if first else reversed(pair))
    )
    return found


def _scores_first(
    pair: Sequence[str],
    outputs: Mapping[str, Array],
    names: Mapping[str, Role],
    scores: str | None,
    head: str,
) -> bool:
    """Tell whether the first of two tensors [1, N] holds the scores, and the other class ids."""
    if scores in pair:
        return scores == pair[0]
    said = [names.get(name) for name in pair]
    if "scores" in said or "classes" in said:
        return said[0] == "scores" or said[1] == "classes"
    a, b = (outputs[name] for name in pair)
    if (a.dtype.kind in "iu") != (b.dtype.kind in "iu"):
        return b.dtype.kind in "iu"
    # A class id is whole, and most are above 1; a score is neither.
    with np.errstate(invalid="ignore"):
        a_scores, b_scores = (bool(((x % 1 != 0) & np.isfinite(x)).any()) for x in (a, b))
    if a_scores == b_scores:
        b_scores, a_scores = (bool((x > 1).any()) for x in (a, b))
    if a_scores == b_scores and (a.any() or b.any()):
        raise HeadError(
            "nothing tells scores from class ids",
            where=f"head {head}",
            expected="scores in 0-1 and whole class ids, or names that are known",
            got=" and ".join(pair),
            remedy=f"name the scores: --head-option scores={pair[0]}",
        )
    return a_scores
