"""Compare what two ONNX models compute, on random inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgecv.converters import onnx_edit
from edgecv.errors import ParityError
from edgecv.types import Array

if TYPE_CHECKING:
    import onnx

TOLERANCE = 1e-4
"""Largest difference, relative to an output's largest magnitude, of a step that changes nothing."""

# Of whole-number outputs: an argmax between two equals falls either way.
_TIES = 1e-3


def random_feed(model: onnx.ModelProto, seed: int = 0, high: float = 1.0) -> dict[str, Array]:
    """Make inputs of fixed shapes: floats in 0..high, pixels in 0..255, ones elsewhere."""
    from onnx import helper

    rng = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for value in onnx_edit.Graph(model).inputs:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        shape = [size or 1 for size in onnx_edit.shape_of(value) or ()]
        if dtype.kind == "f":
            made[value.name] = (rng.random(shape) * high).astype(dtype)
        elif dtype == np.uint8:
            made[value.name] = rng.integers(0, 256, shape, np.uint8)
        else:
            made[value.name] = np.ones(shape, dtype)
    return made


def check_same(
    before: onnx.ModelProto,
    after: onnx.ModelProto,
    feeds: Iterable[tuple[Mapping[str, Array], Mapping[str, Array]]],
    *,
    step: str,
    tolerance: float = TOLERANCE,
) -> dict[str, Array]:
    """Check that two models give the same outputs.

    Args:
        before: the reference.
        after: the changed model.
        feeds: inputs of `before` and of `after` that mean the same.
        step: named in errors.
        tolerance: of floats, relative to the largest magnitude of the output.

    Returns:
        The outputs of `after` for the last feed.

    Raises:
        ParityError: an output is missing, differs, or is a number in one model only.
        StepError: ONNX Runtime cannot run one of them.
    """
    first, second = onnx_edit.session(before), onnx_edit.session(after)
    sorts = any(node.op_type == "TopK" for node in before.graph.node)
    outputs: dict[str, Array] = {}
    for feed_before, feed_after in feeds:
        wanted, outputs = onnx_edit.run(first, feed_before), onnx_edit.run(second, feed_after)
        for name, want in wanted.items():
            got = outputs.get(name)
            if got is None or got.shape != want.shape:
                raise ParityError(
                    "an output got lost" if got is None else "an output changed its shape",
                    where=f"step {step}: output {name}",
                    expected=str(want.shape),
                    got=None if got is None else str(got.shape),
                )
            found = difference(want, got)
            if found > tolerance and sorts:
                # Equal scores may come out in another order.
                found = difference(np.sort(want, None), np.sort(got, None))
            if not found <= tolerance:
                raise ParityError(
                    "the outputs changed",
                    where=f"step {step}: output {name}",
                    expected=f"a difference of at most {tolerance:g} of the largest value",
                    got=f"{found:.2g}",
                )
    return outputs


def difference(want: Array, got: Array) -> float:
    """Return the largest difference relative to the largest magnitude of `want`.

    Of whole numbers 0 where at most one in a thousand differs, else 1. Infinity where a value is a
    number in one array only.
    """
    if want.dtype.kind not in "fc":
        return 0.0 if want.size == 0 or np.mean(want != got) <= _TIES else 1.0
    want, got = want.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(want)
    if not np.array_equal(finite, np.isfinite(got)):
        return float("inf")
    if not finite.any():
        return 0.0
    error = np.abs(want[finite] - got[finite]).max()
    return float(error / max(np.abs(want[finite]).max(), 1e-12))
