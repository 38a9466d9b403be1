"""Space-to-depth by slices, folded into the convolution behind it.

A stem of YOLOv5's and YOLOX's first versions takes every second pixel four times, joins the four
quarter images as channels, and convolves them ("Focus"). The same sums over the same pixels are one
convolution with a kernel and a stride of twice the size, which spares the engine the strided copies
of the whole image.

With the channels of the joined image numbered g C + c, where group g is x[..., dy::r, dx::r], a
kernel V over them equals W[o, c, r i + dy, r j + dx] = V[o, g C + c, i, j] over x, with r times the
stride and the padding: output y reads rows r (s y - p + i) + dy = (r s) y - (r p) + (r i + dy).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgecv.converters import onnx_edit
from edgecv.converters.onnx_edit import Graph

if TYPE_CHECKING:
    import onnx

Shapes = Mapping[str, tuple[int | None, ...]]

_SPATIAL = (2, 3)


def fold_into_convolutions(graph: Graph) -> None:
    """Replace each convolution over slices that are joined as channels by one over the image.

    Left as it is: what is not the whole of one image, each pixel once, and what something else
    takes, too. That the parts can be joined at all says that the image divides into them.
    """
    shapes = graph.shapes()
    for node in graph.nodes:
        joined = graph.producers.get(node.input[0]) if node.op_type == "Conv" else None
        if joined is None or joined.op_type != "Concat" or len(shapes.get(node.input[0], ())) != 4:
            continue
        if onnx_edit.attributes(joined)["axis"] % 4 != 1 or not graph.sole_consumer(node.input[0]):
            continue
        phases = [_phase(graph, shapes, name) for name in joined.input]
        first = phases[0]
        found = [
            p for p in phases if p and first and (p.image, p.step) == (first.image, first.step)
        ]
        if first is None or len(found) != len(phases):
            continue
        offsets = [p.offset for p in found]
        rows, columns = first.step
        if sorted(offsets) == [(y, x) for y in range(rows) for x in range(columns)]:
            _fold(graph, node, first.image, offsets, first.step)


def _fold(
    graph: Graph,
    conv: onnx.NodeProto,
    image: str,
    offsets: list[tuple[int, int]],
    step: tuple[int, int],
) -> None:
    """Let a convolution take the image itself."""
    said = onnx_edit.attributes(conv)
    kernel = graph.weights(conv)
    plain = said.get("group", 1) == 1 and set(said.get("dilations", (1, 1))) == {1}
    if kernel is None or kernel.ndim != 4 or not plain:
        return
    if said.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return
    outputs, joined, rows, columns = kernel.shape
    channels = joined // len(offsets)
    wide = np.zeros((outputs, channels, rows * step[0], columns * step[1]), kernel.dtype)
    for group, (dy, dx) in enumerate(offsets):
        part = kernel[:, group * channels : (group + 1) * channels]
        wide[:, :, dy :: step[0], dx :: step[1]] = part
    spared, conv.input[0] = conv.input[0], image
    graph.set_input(conv, 1, wide)
    by = {
        "kernel_shape": [rows * step[0], columns * step[1]],
        "strides": [a * b for a, b in zip(said.get("strides", (1, 1)), step, strict=True)],
        "pads": [a * b for a, b in zip(said.get("pads", (0,) * 4), step * 2, strict=True)],
    }
    from onnx import helper

    kept = [attribute for attribute in conv.attribute if attribute.name not in by]
    del conv.attribute[:]
    conv.attribute.extend(kept)
    conv.attribute.extend(helper.make_attribute(name, value) for name, value in by.items())
    graph.index()
    _remove_unused(graph, spared)


def _remove_unused(graph: Graph, name: str) -> None:
    """Remove what makes a tensor if nothing takes any of it, and so on upwards."""
    node = graph.producers.get(name)
    if node is None or any(out in graph.consumers or out in graph.outputs for out in node.output):
        return
    names = list(dict.fromkeys(onnx_edit.taken(node)))
    graph.model.graph.node.remove(node)
    graph.index()
    for taken in names:
        _remove_unused(graph, taken)


class _Phase(NamedTuple):
    """Every so many rows and columns of an image."""

    image: str
    offset: tuple[int, int]
    step: tuple[int, int]


def _phase(graph: Graph, shapes: Shapes, name: str) -> _Phase | None:
    """Tell which pixels of which image a tensor holds, if nothing but slices chose them.

    Returns:
        None where a slice does anything else.
    """
    offset, step = [0, 0], [1, 1]
    while (node := graph.producers.get(name)) is not None and node.op_type == "Slice":
        name = node.input[0]
        found = _steps(graph, node, shapes.get(name, ()))
        if found is None:
            return None
        for at, (start, by) in found.items():
            # x[a::b][c::d] is x[a + b c :: b d]; the outer slice comes first here.
            offset[at], step[at] = start + by * offset[at], by * step[at]
    return _Phase(name, (offset[0], offset[1]), (step[0], step[1]))


def _steps(
    graph: Graph, node: onnx.NodeProto, shape: tuple[int | None, ...]
) -> dict[int, tuple[int, int]] | None:
    """Read a slice that leaves rows (0) or columns (1) out: which -> (start, step).

    Returns:
        None where it does anything else, such as to end before the image does.
    """
    starts, ends, axes, steps = (graph.weights(node, at) for at in range(1, 5))
    if starts is None or ends is None or axes is None or steps is None or len(shape) != 4:
        return None
    found: dict[int, tuple[int, int]] = {}
    for start, end, axis, by in zip(starts, ends, axes % 4, steps, strict=True):
        size = shape[axis]
        if axis not in _SPATIAL or size is None or end < size or not 0 <= start < by:
            return None
        found[int(axis) - _SPATIAL[0]] = (int(start), int(by))
    return found
