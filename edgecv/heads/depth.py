"""A depth for every place: ``[1, h, w]``, ``[1, 1, h, w]`` or ``[1, h, w, 1]``.

What the numbers mean is not in the tensor. MiDaS (Ranftl et al., *Towards Robust Monocular Depth
Estimation*, 2020) and Depth Anything (Yang et al., 2024) put out inverse depth, larger for what is
nearer, up to an unknown scale and shift; their metric models, ZoeDepth's and Ultralytics' put out
metres: option ``kind=metric``.

Recognised by shape, at a stride of 1, 2, 4, 8 or 16 pixels, but never for certain: a foreground or
an anomaly map looks alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgecv.errors import HeadError
from edgecv.head import Fit, Pixels, image_size, only_output, output_shapes, wrong_shape
from edgecv.map_outputs import as_plane, finite, holds_classes, plane, stride
from edgecv.record import Record
from edgecv.results.depth import KINDS, DepthMap
from edgecv.types import Array, TensorSpec

TASK = "depth"
# MiDaS's and Depth Anything's own transforms: bicubic to the input size, ImageNet's mean and std.
PIXELS = Pixels(
    "stretch",
    "rgb",
    (123.675, 116.28, 103.53),
    (58.395, 57.12, 57.375),
    interpolation="cubic",
)


class Options(Record, kw_only=True):
    """How to read the tensor.

    Attributes:
        input_hw: (height, width) of the model input in pixels; not used.
        kind: what the numbers mean, ``inverse``, ``relative`` or ``metric``; see
            `edgecv.results.depth.KINDS`.
    """

    input_hw: tuple[int, int] = (0, 0)
    kind: str = "inverse"


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by shape, as in this module's docstring."""
    shapes = output_shapes(inputs, outputs)
    if shapes is None or len(shapes) != 1 or holds_classes(outputs[0]):
        return Fit.NO
    flat = plane(shapes[0])
    fits = flat is not None and stride(image_size(inputs), flat)
    return Fit.POSSIBLE if fits else Fit.NO


def decode(outputs: Mapping[str, Array], options: Options) -> DepthMap:
    """Take the map as it is.

    Args:
        outputs: one tensor, as in this module's docstring.
        options: how to read it.

    Raises:
        HeadError: another number of outputs, another shape, or a value that is not finite.
    """
    if options.kind not in KINDS:
        raise HeadError(
            "", where="head depth: kind", expected=" or ".join(KINDS), got=repr(options.kind)
        )
    flat = as_plane(only_output(outputs, "depth"))
    if flat is None:
        raise wrong_shape("depth", "[1, h, w], [1, 1, h, w] or [1, h, w, 1]", outputs)
    return DepthMap(finite(flat, "depth"), options.kind)
