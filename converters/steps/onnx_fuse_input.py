"""The pixel work moved into the graph: prepared float planes in -> raw uint8 BGR pixels in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecv.converters import onnx_edit, onnx_parity
from edgecv.converters.artifact import Artifact
from edgecv.converters.onnx_edit import Graph
from edgecv.errors import StepError
from edgecv.manifest import Input
from edgecv.types import Array

if TYPE_CHECKING:
    import onnx

TOOLS = ("onnx",)

INPUT = "image"
"""Name of the input of a fused graph."""

_STEP = "onnx_fuse_input"


@dataclass(frozen=True, slots=True)
class _Pixels:
    """How BGR levels become planes: plane c = (level[order[c]] - mean[c]) / std[c]."""

    order: Array
    mean: Array
    std: Array

    @classmethod
    def of(cls, spec: Input) -> _Pixels:
        order = np.array([2, 1, 0] if spec.color == "rgb" else [0, 1, 2], np.int64)
        return cls(order, np.array(spec.mean, np.float64), np.array(spec.std, np.float64))

    def prepare(self, image: Array) -> Array:
        """Turn (1, H, W, 3) uint8 BGR into (1, 3, H, W) float32 planes."""
        planes = image[..., self.order].astype(np.float64)
        planes = (planes - self.mean) / self.std
        return np.ascontiguousarray(planes.transpose(0, 3, 1, 2), np.float32)


def fuse_input(artifact: Artifact, folder: Path, *, spec: Input) -> Artifact:
    """Write the graph with a uint8 [1, H, W, 3] BGR input that prepares the pixels itself.

    Colour order and scaling go into the weights of the first convolution where it is the only one
    to take the image. A mean goes into its bias only if it pads nothing: a padded 0 is a pixel of
    the mean colour. What cannot go into weights becomes nodes of its own.

    Args:
        artifact: a normal ONNX graph that takes float32 planes [1, 3, H, W].
        folder: where to.
        spec: how the graph wants its pixels.

    Returns:
        The graph, its input named `INPUT`; a note says what became nodes.

    Raises:
        StepError: the graph takes no such planes, or grey ones: OpenCV's grey of BGR is rounded, so
            a graph cannot give the same.
        ParityError: the result does not compute the same.
    """
    before = onnx_edit.load(artifact.path)
    graph = Graph.open(artifact.path)
    old = _image_input(graph, artifact, spec)
    pixels = _Pixels.of(spec)
    height, width = spec.size_hw
    planes = _make_room(graph, old)
    explicit = _fuse(graph, planes, pixels)
    _replace_input(graph, old, height, width)
    path = graph.save(folder)

    image = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    others = {k: v for k, v in onnx_parity.random_feed(before).items() if k != old}
    feeds = ({**others, old: pixels.prepare(image)}, {**others, INPUT: image})
    onnx_parity.check_same(before, graph.model, [feeds], step=_STEP)
    made = Artifact("onnx", (path,), artifact.precision, "NHWC", ("color", "normalize"))
    how = f"with nodes for {' and '.join(explicit)}" if explicit else "in the first layer's weights"
    return made.noting(*artifact.notes, f"pixels are prepared {how}")


def _image_input(graph: Graph, artifact: Artifact, spec: Input) -> str:
    """Find the image input and check that it takes what the spec describes."""
    where = f"step {_STEP}: {artifact.path.name}"
    if spec.color == "grey":
        raise StepError(
            "a grey input cannot be fused: OpenCV rounds its grey, so the graph would differ",
            where=where,
            remedy="ship the plain graph",
        )
    if artifact.layout != "NCHW" or artifact.in_graph:
        raise StepError(
            "",
            where=where,
            expected="a plain NCHW graph",
            got=f"{artifact.layout}, with {', '.join(artifact.in_graph) or 'nothing'} in it",
        )
    found = [v for v in graph.inputs if len(onnx_edit.shape_of(v) or ()) == 4]
    want = (1, 3, *spec.size_hw)
    for value in found[:1]:
        shape = onnx_edit.shape_of(value)
        float32 = value.type.tensor_type.elem_type == 1
        if shape == want and float32:
            return str(value.name)
        raise StepError(
            "the image input is not what is to be fused",
            where=f"{where}: input {value.name}",
            expected=f"float32 {list(want)}",
            got=f"{'float32' if float32 else 'another type'} {list(shape or ())}",
        )
    raise StepError("no image input", where=where, expected="an input with 4 axes")


def _make_room(graph: Graph, old: str) -> str:
    """Free the old and the new input's names in the graph; return the planes' new name."""
    planes = graph.fresh(f"{old}_planes")
    graph.rename(old, planes)
    graph.index()
    if old != INPUT and (INPUT in graph.producers or INPUT in graph.constants):
        if INPUT in graph.outputs:
            raise StepError(f"an output is named {INPUT!r}", where=f"step {_STEP}")
        other = graph.fresh(f"{INPUT}_inner")
        graph.rename(INPUT, other)
        if INPUT in graph.producers:
            node = graph.producers[INPUT]
            node.output[list(node.output).index(INPUT)] = other
        else:
            graph.constants[INPUT].name = other
        graph.index()
    return planes


def _fuse(graph: Graph, planes: str, pixels: _Pixels) -> list[str]:
    """Make the planes out of the new input; return what became nodes of its own."""
    layer = graph.sole_consumer(planes)
    weights = None
    if layer is not None and layer.op_type == "Conv" and list(layer.input).count(planes) == 1:
        weights = graph.weights(layer)
    bias = None if layer is None else graph.weights(layer, 2)
    explicit = []
    current = graph.fresh(f"{INPUT}_levels")
    graph.add("Cast", [INPUT], current, "input_cast", to=1)

    def then(op: str, hint: str, *more: str, **attributes: list[int] | int) -> None:
        nonlocal current
        made = graph.fresh(f"{INPUT}_{hint}")
        graph.add(op, [current, *more], made, f"input_{hint}", **attributes)
        current = made

    then("Transpose", "channels", perm=[0, 3, 1, 2])
    if layer is not None and weights is not None and weights.shape[1] == 3:
        folded_mean = _pads_nothing(layer) and (bias is not None or len(layer.input) < 3)
        scaled = weights / pixels.std.reshape(1, 3, 1, 1)
        if np.any(pixels.mean):
            if folded_mean:
                moved = (0.0 if bias is None else bias) - np.einsum(
                    "ochw,c->o", scaled, pixels.mean
                )
                graph.set_input(layer, 2, moved.astype(np.float32))
            else:
                by_level = np.empty(3)
                by_level[pixels.order] = pixels.mean
                explicit.append("the mean")
                then("Sub", "centred", _per_channel(graph, "mean", by_level))
        by_level = np.empty_like(scaled)
        by_level[:, pixels.order] = scaled
        graph.set_input(layer, 1, by_level.astype(np.float32))
        graph.rename(planes, current)
        return explicit
    if list(pixels.order) != [0, 1, 2]:
        explicit.append("the colour order")
        then("Gather", "colours", graph.add_constant("image_order", pixels.order), axis=1)
    if np.any(pixels.mean):
        explicit.append("the mean")
        then("Sub", "centred", _per_channel(graph, "mean", pixels.mean))
    if np.any(pixels.std != 1):
        explicit.append("the scale")
        then("Mul", "scaled", _per_channel(graph, "scale", 1 / pixels.std))
    graph.rename(planes, current)
    return explicit


def _per_channel(graph: Graph, hint: str, values: Array) -> str:
    return graph.add_constant(f"image_{hint}", values.astype(np.float32).reshape(1, 3, 1, 1))


def _pads_nothing(layer: onnx.NodeProto) -> bool:
    said = onnx_edit.attributes(layer)
    return said.get("auto_pad", "NOTSET") in ("NOTSET", "VALID") and not any(said.get("pads", []))


def _replace_input(graph: Graph, old: str, height: int, width: int) -> None:
    """Give the old input's place to the new one."""
    from onnx import TensorProto, helper

    for value in graph.model.graph.input:
        if value.name == old:
            value.CopyFrom(
                helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [1, height, width, 3])
            )
