"""Values of ONNX operators that are known before an inference: arithmetic on shapes, as exported.

Only what has a few values is computed; see `fold`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgecv.bench.graph import Shape
from edgecv.bench.onnx_graph.call import Call
from edgecv.bench.onnx_graph.nodes import DTYPES, FEW, FLOAT
from edgecv.bench.onnx_graph.shapes import slices
from edgecv.types import Array

_TWO: dict[str, Callable[[Any, Any], Any]] = {
    "Add": np.add, "And": np.logical_and, "Equal": np.equal, "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal, "Less": np.less, "LessOrEqual": np.less_equal,
    "Max": np.maximum, "Min": np.minimum, "Mul": np.multiply, "Or": np.logical_or,
    "Sub": np.subtract,
}  # fmt: skip
_ONE: dict[str, Callable[[Any], Any]] = {
    "Abs": np.abs, "Ceil": np.ceil, "Floor": np.floor, "Identity": np.asarray, "Neg": np.negative,
    "Not": np.logical_not, "Round": np.rint, "Sqrt": np.sqrt,
}  # fmt: skip
_RESHAPED = {"Reshape", "Squeeze", "Unsqueeze", "Flatten"}
_REDUCED: dict[str, Callable[..., Any]] = {
    "ReduceMax": np.max, "ReduceMin": np.min, "ReduceProd": np.prod, "ReduceSum": np.sum,
}  # fmt: skip


def fold(call: Call, shapes: Sequence[Shape | None]) -> list[Array | None]:
    """Compute what an operator makes, where that is known.

    Args:
        call: the operator.
        shapes: of what it makes.

    Returns:
        The values of each result; None for one with more than `FEW` values or that is not known.
    """
    nothing: list[Array | None] = [None] * len(shapes)
    if any(shape is None or math.prod(shape) > FEW for shape in shapes):
        return nothing
    known = [shape for shape in shapes if shape is not None]
    if call.node.op in ("Shape", "Size"):  # of a tensor that itself is only known as it runs
        data = call.shape(0)
        sizes = list(data)[slice(call.get("start", 0), call.get("end"))]
        whole = sizes if call.node.op == "Shape" else math.prod(data)
        return [np.array(whole, np.int64)]
    given = [value for i, value in enumerate(call.values) if call.has(i)]
    if not given or any(value is None for value in given):
        return nothing
    with np.errstate(all="ignore"):
        made = _compute(call, known)
    if made is None:
        return nothing
    fits = len(made) == len(known) and all(
        value.shape == shape for value, shape in zip(made, known, strict=True)
    )
    return list(made) if fits else nothing


def _compute(call: Call, shapes: Sequence[Shape]) -> list[Array] | None:
    op = call.node.op
    values = [np.asarray(value) for value in call.values if value is not None]
    first = values[0]
    if op in _ONE and len(values) == 1:
        return [np.asarray(_ONE[op](first))]
    if op in _TWO and len(values) == 2:
        return [np.asarray(_TWO[op](first, values[1]))]
    if op in _RESHAPED:
        return [first.reshape(shapes[0])]
    if op == "Div" and len(values) == 2:
        whole = first.dtype.kind in "iu"
        quotient = first / values[1]
        return [np.trunc(quotient).astype(first.dtype) if whole else quotient]
    if op == "Cast" and call.get("to") in DTYPES:
        return [first.astype(DTYPES[call.get("to")])]
    if op == "Gather":
        return [np.take(first, values[1], axis=call.axis(0, first.ndim))]
    if op == "Concat":
        return [np.concatenate(values, axis=call.axis(1, first.ndim))]
    if op == "Slice":
        parts = slices(call, first.ndim)
        return [first[tuple(parts.get(axis, slice(None)) for axis in range(first.ndim))]]
    if op == "Split":
        axis = call.axis(0, first.ndim)
        cuts = np.cumsum([shape[axis] for shape in shapes])[:-1]
        return [np.asarray(part) for part in np.split(first, cuts, axis=axis)]
    if op == "Transpose":
        return [np.transpose(first, call.integers("perm"))]
    if op == "Expand":
        return [np.broadcast_to(first, shapes[0])]
    if op == "Tile":
        return [np.tile(first, call.integers("repeats", 1) or ())]
    if op == "Where":
        return [np.where(first, values[1], values[2])]
    if op == "Range":
        return [first + np.arange(shapes[0][0], dtype=first.dtype) * values[2]]
    if op == "ConstantOfShape":
        filler = call.get("value")
        value = np.zeros(1, DTYPES[FLOAT]) if filler is None else filler.value
        return None if value is None else [np.full(shapes[0], value.reshape(-1)[0])]
    if op in _REDUCED:
        axes = call.axes(first.ndim, 1) or list(range(first.ndim))
        kept = bool(call.get("keepdims", 1))
        return [np.asarray(_REDUCED[op](first, axis=tuple(axes), keepdims=kept))]
    return None
