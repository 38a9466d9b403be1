"""Permuting tensors of a TFLite graph, and settling shapes that only look as if they were free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np

from edgecv.converters.tflite_file import Graph, operands
from edgecv.types import Array

_TENSORS_OF_AN_OP = ("inputs", "outputs", "intermediates")

Axes = tuple[int, ...]
"""Of a transposition, as in `numpy.transpose`."""

# Ops that treat every value alike, wherever it stands.
_PLACELESS = frozenset(
    {"ABS", "ADD", "DIV", "ELU", "EXP", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "MUL"}
    | {"NEG", "RELU", "RELU6", "SUB", "TANH"}
)


# Ops with constants that have a row for each axis, and where these stand.
_ROWS = {"PAD": (1,), "PADV2": (1,), "SLICE": (1, 2)}


def permute_output(graph: Graph, place: int, axes: Axes) -> None:
    """Let one of the model's outputs come out transposed.

    A transposition that the graph makes just before is undone instead of being followed by another,
    also where it stands before the reshaping and joining of a detector's feature maps.

    Args:
        graph: changed.
        place: of the output among the model's outputs.
        axes: axis i of the new output is axis ``axes[i]`` of the old one.
    """
    outputs = graph.outputs
    permuter = _Permuter(graph)
    op = permuter.makers.get(outputs[place])
    if op is not None and graph.word(op) == "TRANSPOSE":
        before, source = _axes_of(graph, op), int(op.inputs[0])
        if before is not None and permuter.is_free(source, _compose(before, axes)):
            outputs[place], axes = source, _compose(before, axes)
    outputs[place] = permuter.get(outputs[place], axes)
    graph.body.outputs = np.asarray(outputs, np.int32)
    permuter.finish()


def undo_transpositions(graph: Graph) -> None:
    """Remove the transpositions that only undo others, further up the graph.

    Converters from channels first go back to it where they do not know an op; what stands between
    there and the next convolution can often be computed on the map as it was.

    Args:
        graph: changed.
    """
    permuter = _Permuter(graph)
    for op in graph.ops:
        if graph.word(op) != "TRANSPOSE":
            continue
        axes, source, result = _axes_of(graph, op), int(op.inputs[0]), int(op.outputs[0])
        if result not in graph.outputs and axes is not None and permuter.is_free(source, axes):
            graph.replace_reads(result, permuter.get(source, axes))
    permuter.finish()


class _Permuter:
    """Makes transposed tensors, without a transposition where that can be."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.makers = graph.producers()
        self._free: dict[tuple[int, Axes], bool] = {}
        self._made: dict[tuple[int, Axes], int] = {}
        self._fresh: list[Any] = []

    def finish(self) -> None:
        """Put what was made into the graph, and drop what nothing reads any more."""
        self.graph.body.operators = [*self.graph.ops, *self._fresh]
        self.graph.sort()
        self.graph.drop_unread()

    def get(self, tensor: int, axes: Axes) -> int:
        """Return a tensor that holds another one transposed."""
        if axes == tuple(range(len(axes))):
            return tensor
        if (tensor, axes) not in self._made:
            self._made[tensor, axes] = self._make(tensor, axes)
        return self._made[tensor, axes]

    def _make(self, tensor: int, axes: Axes) -> int:
        graph = self.graph
        shape = tuple(graph.shape(tensor)[axis] for axis in axes)
        if not self.is_free(tensor, axes):
            made = graph.add_tensor(f"{graph.name(tensor)}.transposed", shape, tensor)
            order = graph.add_constant(f"{graph.name(made)}.axes", np.asarray(axes, np.int32))
            inputs = [tensor, order]
            self._fresh.append(graph.make_op("TRANSPOSE", inputs, [made], "TransposeOptions"))
            return made
        op = self.makers[tensor]
        word = graph.word(op)
        if word == "TRANSPOSE":
            return self.get(int(op.inputs[0]), _compose(_axes_of(graph, op) or (), axes))
        made = graph.add_tensor(f"{graph.name(tensor)}.transposed", shape, tensor)
        if word == "RESHAPE":
            source = int(op.inputs[0])
            fresh = graph.make_reshape(self.get(source, _map_axes(graph.shape(source))), made)
        else:
            parts = [
                part if self._is_plain(op, part) else self.get(part, axes) for part in operands(op)
            ]
            fresh = graph.make_op(word, parts, [made])
            fresh.builtinOptionsType = op.builtinOptionsType
            fresh.builtinOptions = op.builtinOptions
            for place in _ROWS.get(word, ()):
                rows = graph.constant(parts[place])
                assert rows is not None
                name = f"{graph.name(parts[place])}.transposed"
                fresh.inputs[place] = graph.add_constant(name, rows[list(axes)])
            if word in ("CONCATENATION", "GATHER"):
                fresh.builtinOptions = copy(op.builtinOptions)
                fresh.builtinOptions.axis = axes.index(int(op.builtinOptions.axis) % len(axes))
        self._fresh.append(fresh)
        return made

    def is_free(self, tensor: int, axes: Axes) -> bool:
        """Tell whether a transposed tensor can be had without a transposition."""
        if axes == tuple(range(len(axes))):
            return True
        if (tensor, axes) not in self._free:
            self._free[tensor, axes] = self._look(tensor, axes)
        return self._free[tensor, axes]

    def _look(self, tensor: int, axes: Axes) -> bool:
        graph, op = self.graph, self.makers.get(tensor)
        if op is None or not operands(op):
            return False
        word, source = graph.word(op), int(op.inputs[0])
        if word == "TRANSPOSE":
            before = _axes_of(graph, op)
            return before is not None and self.is_free(source, _compose(before, axes))
        if word == "RESHAPE":
            old, new = graph.shape(source), graph.shape(tensor)
            if len(old) != 4:
                return False
            # [N, C, H, W] -> [N, C, H*W]: its transposition is a reshaping of [N, H, W, C].
            flat = (*old[:2], old[2] * old[3])
            known = (((0, 2, 1), flat), ((1, 0), flat[1:]))
            fits = (axes, new) in known and old[0] in (1, *new[:-2])
            return fits and self.is_free(source, _map_axes(old))
        if word in _PLACELESS:
            whole = graph.shape(tensor)
            return all(
                self._is_plain(op, part)
                or (graph.shape(part) == whole and self.is_free(part, axes))
                for part in operands(op)
            )
        if word == "GATHER":
            options, rank = op.builtinOptions, len(graph.shape(source))
            indices = graph.constant(int(op.inputs[1]))
            plain = options is not None and not options.batchDims and rank == len(axes)
            fits = plain and indices is not None and indices.ndim == 1
            return fits and self.is_free(source, axes)
        if word in _ROWS:
            rows = [graph.constant(int(op.inputs[place])) for place in _ROWS[word]]
            return all(one is not None for one in rows) and self.is_free(source, axes)
        if word == "CONCATENATION" and op.builtinOptions.fusedActivationFunction == 0:
            return all(self.is_free(part, axes) for part in operands(op))
        return False

    def _is_plain(self, op: Any, tensor: int) -> bool:
        """Tell whether an operand has no axes to be permuted: a scalar, indices, or sizes."""
        values = self.graph.constant(tensor)
        word = self.graph.word(op)
        places = _ROWS.get(word, (1,) if word == "GATHER" else ())
        listed = tensor in [int(op.inputs[place]) for place in places]
        return values is not None and (values.size == 1 or listed)


def _map_axes(shape: Sequence[int]) -> Axes:
    """Axes that bring [N, C, H, W] to [N, H, W, C]."""
    return (0, *range(2, len(shape)), 1)


def _compose(first: Axes, second: Axes) -> Axes:
    """Join two transpositions, made one after the other, into one."""
    return tuple(first[axis] for axis in second)


def _axes_of(graph: Graph, op: Any) -> Axes | None:
    values = graph.constant(int(op.inputs[1]))
    return None if values is None else tuple(int(axis) for axis in values)


def settle_shapes(graph: Graph, values: Mapping[int, Array]) -> int:
    """Write the shapes that a run had into the graph, and fold what computes shapes alone.

    Converters leave axes free that the model's fixed input decides, and compute shapes at run
    time from it. An engine then plans its memory anew in every run.

    Args:
        graph: of fixed input shapes; changed.
        values: tensor -> what it held in a run; constants may be there.

    Returns:
        The number of ops that were folded away.
    """
    for tensor, held in values.items():
        item = graph.body.tensors[tensor]
        item.shapeSignature = None
        if graph.constant(tensor) is None:
            item.shape = np.asarray(held.shape, np.int32)
    known = {t for t in range(len(graph.body.tensors)) if graph.constant(t) is not None}
    folded: set[int] = set()
    for op in graph.ops:
        results = [int(tensor) for tensor in op.outputs if int(tensor) not in graph.outputs]
        sizes_only = graph.word(op) == "SHAPE" or set(operands(op)) <= known
        whole = all(t in values and values[t].dtype.kind in "iu" for t in results)
        if results and operands(op) and sizes_only and whole:
            known.update(results)
            folded.update(results)
    for tensor in folded:
        graph.replace_reads(tensor, graph.add_constant(graph.name(tensor), values[tensor]))
    before = len(graph.ops)
    graph.drop_unread()
    _pin_reshapes(graph)
    return before - len(graph.ops)


def drop_unused_tensors(graph: Graph) -> int:
    """Remove the tensors that no op reads or makes, and the bytes that belonged to them.

    Engines never allocate them, and tools that ask for every tensor's values fail on them.

    Returns:
        How many were removed.
    """
    body, model = graph.body, graph.model
    used = {*graph.inputs, *graph.outputs}
    for op in graph.ops:
        used.update(int(t) for ends in _ends(op) for t in ends if int(t) >= 0)
    kept = sorted(used)
    removed = len(body.tensors) - len(kept)
    if not removed:
        return 0
    place = {-1: -1, **{old: new for new, old in enumerate(kept)}}
    body.tensors = [body.tensors[old] for old in kept]
    for op in graph.ops:
        for name in _TENSORS_OF_AN_OP:
            if (ends := getattr(op, name)) is not None:
                setattr(op, name, np.asarray([place[int(t)] for t in ends], np.int32))
    body.inputs = np.asarray([place[int(t)] for t in body.inputs], np.int32)
    body.outputs = np.asarray([place[int(t)] for t in body.outputs], np.int32)
    for signature in model.signatureDefs or []:
        for entry in [*(signature.inputs or []), *(signature.outputs or [])]:
            entry.tensorIndex = place[int(entry.tensorIndex)]
    held = {int(t.buffer) for part in model.subgraphs for t in part.tensors}
    held |= {int(item.buffer) for item in model.metadata or []}
    for at, buffer in enumerate(model.buffers):
        if at not in held:
            buffer.data = None
    return removed


def _ends(op: Any) -> list[Any]:
    return [ends for name in _TENSORS_OF_AN_OP if (ends := getattr(op, name)) is not None]


def _pin_reshapes(graph: Graph) -> None:
    """Let the options of each RESHAPE say what its constant second input says."""
    for op in graph.ops:
        if graph.word(op) == "RESHAPE" and op.builtinOptions is not None:
            op.builtinOptions.newShape = np.asarray(graph.shape(int(op.outputs[0])), np.int32)
