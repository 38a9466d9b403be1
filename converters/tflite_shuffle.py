"""Shuffling the channels of a TFLite graph's maps fast."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecv.converters.tflite_file import Graph


def unshuffle(graph: Graph) -> int:
    """Let transpositions of narrow axes shuffle channels instead of a GATHER.

    A GATHER along the innermost axis copies value by value, and keeps XNNPACK from taking its
    neighbours over. A shuffle is a transposition of [groups, channels of each], of which each
    GATHER takes a part.

    Args:
        graph: changed.

    Returns:
        The number of ops that were replaced.
    """
    shuffled: dict[tuple[int, int], int] = {}
    done = 0
    ops: list[Any] = []
    for op in graph.ops:
        plan = _shuffle_of(graph, op) if graph.word(op) == "GATHER" else None
        if plan is None:
            ops.append(op)
            continue
        (groups, start), source, result = plan, int(op.inputs[0]), int(op.outputs[0])
        n, height, width, channels = graph.shape(source)
        if (source, groups) not in shuffled:
            apart = (n * height * width, groups, channels // groups)
            turned = (apart[0], apart[2], apart[1])
            name = f"{graph.name(source)}.shuffled"
            before = graph.add_tensor(f"{name}.groups", apart, source)
            behind = graph.add_tensor(f"{name}.turned", turned, source)
            whole = graph.add_tensor(name, (n, height, width, channels), source)
            axes = graph.add_constant(f"{name}.axes", np.asarray([0, 2, 1], np.int32))
            ops += [
                graph.make_reshape(source, before),
                graph.make_op("TRANSPOSE", [before, axes], [behind], "TransposeOptions"),
                graph.make_reshape(behind, whole),
            ]
            shuffled[source, groups] = whole
        begin = graph.add_constant(
            f"{graph.name(result)}.begin", np.asarray([0, 0, 0, start], np.int32)
        )
        size = graph.add_constant(
            f"{graph.name(result)}.size", np.asarray(graph.shape(result), np.int32)
        )
        inputs = [shuffled[source, groups], begin, size]
        ops.append(graph.make_op("SLICE", inputs, [result], "SliceOptions"))
        done += 1
    graph.body.operators = ops
    return done


def _shuffle_of(graph: Graph, op: Any) -> tuple[int, int] | None:
    """Return the groups of the shuffle that a GATHER takes a part of, and where that begins."""
    source = graph.shape(int(op.inputs[0]))
    indices = graph.constant(int(op.inputs[1]))
    options = op.builtinOptions
    if indices is None or len(source) != 4 or indices.ndim != 1 or len(indices) < 2:
        return None
    if options is None or options.axis % 4 != 3 or options.batchDims:
        return None
    channels = source[3]
    for groups in range(2, channels // 2 + 1):
        if channels % groups == 0:
            order = np.arange(channels).reshape(groups, -1).T.ravel()
            start = int(np.flatnonzero(order == indices[0])[0])
            if np.array_equal(order[start : start + len(indices)], indices):
                return groups, start
    return None
