"""Max pooling with padding -> an explicit pad and a pooling without.

ONNX pads a max pooling with minus infinity. TFLite has no such pooling, so a converter pads with a
constant of minus infinity, for which an int8 tensor has no scale.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgecv.converters import onnx_edit, onnx_parity
from edgecv.converters.artifact import Artifact
from edgecv.converters.onnx_edit import Graph

if TYPE_CHECKING:
    import onnx

TOOLS = ("onnx",)

_STEP = "onnx_pad_pooling"
_NOT_NEGATIVE = {
    "Relu", "Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Abs", "Exp", "Sqrt", "ReduceL2",
}  # fmt: skip
# Not negative where nothing that they take is.
_PASSING = {
    "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Concat", "Identity", "Reshape",
    "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather", "Add", "Mul",
    "Dropout", "ReduceMean", "ReduceMax", "DepthToSpace", "SpaceToDepth",
}  # fmt: skip
_DATA_ONLY = {"Reshape", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather", "Dropout"}


def pad_pooling(artifact: Artifact, folder: Path) -> Artifact:
    """Write the graph with its max poolings' padding made explicit where that changes nothing.

    Where no value can be negative, zeros are added. Elsewhere the border is mirrored: as long as
    the padding is less than half the window, every mirrored value is in the window anyway, so the
    maximum stays. Poolings with ``auto_pad``, ``ceil_mode``, dilations or indices are left alone,
    and those with a stride of 1 and equal padding, which TFLite does itself.

    Args:
        artifact: a normal ONNX graph.
        folder: where to.

    Returns:
        The graph; a note says what was changed and what could not be.

    Raises:
        StepError: the file cannot be read or written as ONNX.
        ParityError: the result does not compute the same.
    """
    before = onnx_edit.load(artifact.path)
    graph = Graph.open(artifact.path)
    shapes = graph.shapes()
    changed, left = 0, []
    for node in graph.nodes:
        if node.op_type != "MaxPool" or not _needs(node):
            continue
        pads = _pads(node)
        shape = shapes.get(node.input[0])
        mode = None if pads is None else _mode(graph, node, pads, shape)
        if pads is None or mode is None:
            left.append(node.name)
            continue
        _rewrite(graph, node, _used(node, pads, shape), mode)
        changed += 1
    path = graph.save(folder)
    notes = []
    if changed:
        feed = onnx_parity.random_feed(before)
        onnx_parity.check_same(before, graph.model, [(feed, feed)], step=_STEP, tolerance=0.0)
        notes.append(f"padding of {changed} max poolings made explicit")
    if left:
        notes.append(f"max poolings that keep their padding: {', '.join(left)}")
    made = Artifact("onnx", (path,), artifact.precision, artifact.layout, artifact.in_graph)
    return made.noting(*artifact.notes, *notes)


def _needs(node: onnx.NodeProto) -> bool:
    """Tell whether a pooling pads in a way that TFLite's own SAME does not."""
    said = onnx_edit.attributes(node)
    if said.get("auto_pad", "NOTSET") != "NOTSET":
        return bool(said["auto_pad"] == "SAME_LOWER")
    pads, kernel = said.get("pads", []), said["kernel_shape"]
    strides = said.get("strides", [1] * len(kernel))
    if not any(pads):
        return False
    same = [(size - 1) // 2 for size in kernel] + [size // 2 for size in kernel]
    return not (set(strides) == {1} and list(pads) == same)


def _pads(node: onnx.NodeProto) -> tuple[int, int, int, int] | None:
    """Return (top, left, bottom, right) of a plain 2-D pooling; None of any other."""
    said = onnx_edit.attributes(node)
    plain = (
        said.get("auto_pad", "NOTSET") == "NOTSET"
        and not said.get("ceil_mode", 0)
        and not said.get("storage_order", 0)
        and set(said.get("dilations", [1])) == {1}
        and len([name for name in node.output if name]) == 1
        and len(said["kernel_shape"]) == 2
    )
    if not plain:
        return None
    top, left, bottom, right = (int(size) for size in said["pads"])
    return top, left, bottom, right


def _used(
    node: onnx.NodeProto, pads: tuple[int, int, int, int], shape: tuple[int | None, ...] | None
) -> tuple[int, int, int, int]:
    """Leave out rows and columns of padding that no window reaches."""
    said = onnx_edit.attributes(node)
    kernel = said["kernel_shape"]
    strides = said.get("strides", [1, 1])
    ends = [pads[2], pads[3]]
    for axis in range(2):
        size = None if shape is None else shape[2 + axis]
        if size is not None:
            windows = (size + pads[axis] + pads[2 + axis] - kernel[axis]) // strides[axis]
            ends[axis] = max(0, windows * strides[axis] + kernel[axis] - pads[axis] - size)
    return pads[0], pads[1], ends[0], ends[1]


def _mode(
    graph: Graph,
    node: onnx.NodeProto,
    pads: tuple[int, int, int, int],
    shape: tuple[int | None, ...] | None,
) -> Literal["constant", "reflect"] | None:
    """Choose how to pad so that no maximum changes; None where there is no such way."""
    if _not_negative(graph, node.input[0], {}):
        return "constant"
    kernel = onnx_edit.attributes(node)["kernel_shape"]
    sides = (None, None) if shape is None else shape[2:4]
    for side, size, before, after in zip(sides, kernel, pads[:2], pads[2:], strict=True):
        # A window that reaches r beyond the border holds the size - r values next to it; the
        # mirrored ones are those at 1 .. r behind the border value.
        if max(before, after) > (size - 1) // 2 or side is None or side < size:
            return None
    return "reflect"


def _not_negative(graph: Graph, name: str, known: dict[str, bool]) -> bool:
    """Tell whether no value of a tensor can be below 0, whatever goes into the graph."""
    waiting = [name]
    while waiting:
        at = waiting[-1]
        if at in known:
            waiting.pop()
            continue
        parents = _parents(graph, at)
        if isinstance(parents, bool):
            known[waiting.pop()] = parents
            continue
        missing = [parent for parent in parents if parent not in known]
        if missing:
            waiting += missing
        else:
            known[waiting.pop()] = all(known[parent] for parent in parents)
    return known[name]


def _parents(graph: Graph, name: str) -> bool | list[str]:
    """Say whether a tensor is never negative, or the tensors on which that depends."""
    constant = graph.constant(name)
    if constant is not None:
        return bool(constant.size and constant.min() >= 0)
    node = graph.producers.get(name)
    if node is None or node.domain:
        return False
    if node.op_type in _NOT_NEGATIVE:
        return True
    if node.op_type == "Clip":
        low = graph.weights(node, 1)
        return bool(low is not None and low.size == 1 and low.item() >= 0)
    if node.op_type not in _PASSING:
        return False
    return [node.input[0]] if node.op_type in _DATA_ONLY else [n for n in node.input if n]


def _rewrite(
    graph: Graph,
    node: onnx.NodeProto,
    pads: tuple[int, int, int, int],
    mode: Literal["constant", "reflect"],
) -> None:
    top, left, bottom, right = pads
    if any(pads):
        data = node.input[0]
        sizes = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
        inputs = [data, graph.add_constant(f"{node.name}_pads", sizes)]
        if mode == "constant":
            inputs.append(graph.add_constant(f"{node.name}_zero", np.array(0, np.float32)))
        padded = graph.fresh(f"{data}_padded")
        graph.add("Pad", inputs, padded, f"{node.name}_pad", mode=mode)
        node.input[0] = padded
    for attribute in list(node.attribute):
        if attribute.name == "pads":
            node.attribute.remove(attribute)
