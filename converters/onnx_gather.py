"""GatherElements in the form that every engine takes."""

from __future__ import annotations

import numpy as np

from edgecv.converters import onnx_edit
from edgecv.converters.onnx_edit import Graph


def cut_to_indices(graph: Graph) -> None:
    """Cut the data of each GatherElements to the size of its indices, but for the axis it picks on.

    ONNX lets indices be narrower than the data; OpenVINO does not. Worse, OpenVINO 2026.4 takes a
    Slice that starts at 0 away from before a GatherElements, and then refuses what it made: seen on
    end-to-end exports of YOLO26 with masks, keypoints or an angle. So the cut is a Split.
    """
    shapes = graph.shapes()
    for node in graph.nodes:
        if node.op_type != "GatherElements":
            continue
        source, indices = node.input
        rank = len(shapes.get(indices, ()))
        picks = onnx_edit.attributes(node).get("axis", 0) % max(rank, 1)
        source = _before_cut(graph, source, picks, rank)
        sizes = zip(shapes.get(source, ()), shapes.get(indices, ()), strict=False)
        for axis, (size, wanted) in enumerate(sizes):
            if axis == picks or size is None or wanted is None or wanted >= size:
                continue
            parts = graph.add_constant(f"{node.name}_parts", np.array([wanted, size - wanted]))
            cut, rest = graph.fresh(f"{source}_cut"), graph.fresh(f"{source}_rest")
            split = graph.add("Split", [source, parts], cut, f"{node.name}_cut", axis=axis)
            split.output.append(rest)
            source = cut
            node.input[0] = cut
            graph.index()


def _before_cut(graph: Graph, name: str, picks: int, rank: int) -> str:
    """Return what a Slice takes that starts at 0 and is not along the axis that is picked on."""
    node = graph.producers.get(name)
    if node is None or node.op_type != "Slice":
        return name
    starts, axes = graph.weights(node, 1), graph.weights(node, 3)
    steps = graph.weights(node, 4)
    whole = steps is None if len(node.input) < 5 else steps is not None and (steps == 1).all()
    if starts is None or axes is None or not whole:
        return name
    return node.input[0] if not starts.any() and picks not in axes % rank else name
