"""Tensors that hold a value, or a score of each class, for every place of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecv.errors import HeadError
from edgecv.types import Array, Float32, TensorSpec

STRIDES = (1, 2, 4, 8, 16)
"""Pixels of the input for a place of the map, that networks of these kinds have."""

Axes = Sequence[int | None]


def stride(input_hw: Axes | None, map_hw: Axes) -> int | None:
    """Return how many input pixels a place of a map stands for; None where the sizes do not fit.

    Args:
        input_hw: (height, width) of the model's input; None, or None inside, where it is free.
        map_hw: (height, width) of the map. What is free fits any size, but not both of one side.

    Returns:
        The first of `STRIDES` that both sides fit, rounded up or down. Where both sides of the map
        are free, 1.
    """
    if None in map_hw or input_hw is None or None in input_hw:
        return 1 if tuple(map_hw) == (None, None) else None
    sizes = [size or 0 for size in input_hw]
    for step in STRIDES:
        pairs = zip(sizes, map_hw, strict=True)
        if all(have in (size // step, -(-size // step)) and have for size, have in pairs):
            return step
    return None


def plane(shape: Axes) -> tuple[int | None, int | None] | None:
    """Return (h, w) of ``[1, h, w]``, ``[1, 1, h, w]`` or ``[1, h, w, 1]``, else None.

    Args:
        shape: without the batch axis.
    """
    if len(shape) == 2:
        return shape[0], shape[1]
    if len(shape) == 3 and shape[0] == 1:
        return shape[1], shape[2]
    if len(shape) == 3 and shape[2] == 1:
        return shape[0], shape[1]
    return None


def as_plane(array: Array) -> Array | None:
    """Return one image's (h, w) map of `plane`, in the array's own type; None where it is none."""
    hw = plane(array.shape[1:]) if array.shape[:1] == (1,) else None
    # A size of the array's own is never free.
    return None if hw is None or not array.size else array.reshape(hw[0] or 0, hw[1] or 0)


def holds_classes(spec: TensorSpec) -> bool:
    """Tell whether a tensor holds whole numbers as they are, not quantized scores."""
    return spec.quantization is None and spec.dtype.lstrip("u").startswith(("int", "bool"))


def finite(array: Array, head: str) -> Float32:
    """Return an array as float32.

    Raises:
        HeadError: a value is NaN or infinite.
    """
    values = np.ascontiguousarray(array, np.float32)
    # One pass: float64 cannot overflow here, and what is not finite stays so.
    with np.errstate(invalid="ignore"):
        total = values.sum(dtype=np.float64)
    if not np.isfinite(total):
        raise HeadError(
            "a value is not finite",
            where=f"head {head}",
            expected=f"{values.size} numbers",
            got=f"{np.count_nonzero(~np.isfinite(values))} that are not",
        )
    return values
