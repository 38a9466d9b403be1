"""Making good what ai-edge-quantizer leaves in float although TFLite has int8 kernels for it.

It puts a DEQUANTIZE before and a QUANTIZE behind each op that it does not know. Where the kernel
takes int8 at any two scales, these two go and the op works on the integers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edgecv.converters.tflite_file import Graph, Ranges, operands

# Kernels that read int8 at one scale and write it at another.
_RESCALING = frozenset({"LEAKY_RELU", "RELU6", "RELU_N1_TO_1", "ELU", "EXP"})
# Kernels that move values: what comes out has the scale of what went in.
_MOVING = frozenset({"DEPTH_TO_SPACE", "SQUEEZE", "EXPAND_DIMS", "TILE", "PADV2"})
# What a padding of maximum pooling is filled with is below this: the lowest float there is.
_NOTHING = -1e30


def integrate(graph: Graph, ranges: Ranges, keep: Iterable[str]) -> int:
    """Let ops work on int8 that stand between a DEQUANTIZE and a QUANTIZE.

    Args:
        graph: changed.
        ranges: tensor name -> (low, high) of its values.
        keep: names of ops that are to stay in float.

    Returns:
        The number of ops that changed.
    """
    kept = set(keep)
    _part(graph, ranges, kept)
    changed = 0
    for op in graph.ops:
        word = graph.word(op)
        if word not in _RESCALING | _MOVING or graph.op_name(op) in kept:
            continue
        makers, readers = graph.producers(), graph.consumers()
        before = makers.get(int(op.inputs[0]))
        result = int(op.outputs[0])
        behind = readers.get(result, [])
        lowered = [one for one in behind if _is_int8(graph, one, "QUANTIZE", out=True)]
        if before is None or not _is_int8(graph, before, "DEQUANTIZE", out=False) or not lowered:
            continue
        if word == "PADV2" and not _lower_filling(graph, op, int(before.inputs[0])):
            continue
        changed += 1
        made = int(lowered[0].outputs[0])
        _set_first_input(op, int(before.inputs[0]))
        fresh = []
        if word in _MOVING:
            # The op writes at its input's scale; a QUANTIZE brings that to the next op's.
            body = graph.body.tensors
            made = graph.add_tensor(
                f"{graph.name(result)}.int8", graph.shape(result), like=int(before.inputs[0])
            )
            body[made].quantization = body[int(before.inputs[0])].quantization
            for one in lowered:
                _set_first_input(one, made)
                if _same(graph, int(one.outputs[0]), made):
                    graph.replace_reads(int(one.outputs[0]), made)
        else:
            graph.body.operators = [one for one in graph.ops if one is not lowered[0]]
            for one in lowered[1:]:
                _set_first_input(one, made)
        op.outputs = np.asarray([made], np.int32)
        if len(lowered) < len(behind) or result in graph.outputs:
            fresh = [graph.make_op("DEQUANTIZE", [made], [result], "DequantizeOptions")]
        ops = graph.ops
        place = next(i for i, one in enumerate(ops) if one is op) + 1
        graph.body.operators = [*ops[:place], *fresh, *ops[place:]]
    graph.drop_unread()
    return changed


def _part(graph: Graph, ranges: Ranges, kept: set[str]) -> None:
    """Put a QUANTIZE and a DEQUANTIZE between two such ops that follow each other."""
    for op in graph.ops:
        if graph.word(op) not in _RESCALING | _MOVING or graph.op_name(op) in kept:
            continue
        result, name = int(op.outputs[0]), graph.op_name(op)
        behind = [
            one
            for one in graph.consumers().get(result, [])
            if graph.word(one) in _RESCALING | _MOVING and graph.op_name(one) not in kept
        ]
        if not behind or name not in ranges:
            continue
        low, high = ranges[name]
        whole = graph.add_tensor(f"{name}.int8", graph.shape(result), like=result, dtype="INT8")
        graph.body.tensors[whole].quantization = graph.quantization(
            (high - low) / 255, round(-128 - low * 255 / (high - low))
        )
        again = graph.add_tensor(f"{name}.float", graph.shape(result), like=result)
        for one in behind:
            _set_first_input(one, again)
        ops = graph.ops
        place = next(i for i, one in enumerate(ops) if one is op) + 1
        pair = [
            graph.make_op("QUANTIZE", [result], [whole], "QuantizeOptions"),
            graph.make_op("DEQUANTIZE", [whole], [again], "DequantizeOptions"),
        ]
        graph.body.operators = [*ops[:place], *pair, *ops[place:]]


def take_bytes(graph: Graph) -> bool:
    """Let uint8 pixels become int8 directly, where they become floats only to be quantized.

    Args:
        graph: changed: the input then says that its bytes are its values (scale 1).

    Returns:
        Whether there was such an input.
    """
    done = False
    for tensor in graph.inputs:
        readers = graph.consumers().get(tensor, [])
        if graph.dtype(tensor) != "uint8" or len(readers) != 1:
            continue
        cast = readers[0]
        behind = graph.consumers().get(int(cast.outputs[0]), [])
        if graph.word(cast) != "CAST" or not behind:
            continue
        if not all(_is_int8(graph, one, "QUANTIZE", out=True) for one in behind):
            continue
        graph.body.tensors[tensor].quantization = graph.quantization(1.0, 0)
        for one in behind:
            _set_first_input(one, tensor)
        done = True
    graph.drop_unread()
    return done


def float_ops(graph: Graph) -> dict[str, int]:
    """Count the ops that compute with floats, by kind; conversions from and to int8 left out."""
    found: dict[str, int] = {}
    for op in graph.ops:
        word = graph.word(op)
        results = {graph.dtype(int(tensor)) for tensor in op.outputs}
        takes = {graph.dtype(tensor) for tensor in operands(op) if graph.constant(tensor) is None}
        if word not in ("DEQUANTIZE", "QUANTIZE") and "float32" in results | takes:
            found[word] = found.get(word, 0) + 1
    return found


def is_filled_with_nothing(graph: Graph, op: Any) -> bool:
    """Tell whether an op pads with the lowest float, which maximum pooling then passes over."""
    if graph.word(op) != "PADV2":
        return False
    value = graph.constant(int(op.inputs[2]))
    return value is not None and float(value.flat[0]) < _NOTHING


def _lower_filling(graph: Graph, op: Any, like: int) -> bool:
    """Turn what a PADV2 fills with into int8 at the scale of a tensor, if that can hold it."""
    value = graph.constant(int(op.inputs[2]))
    if value is None:
        return False
    quantization = graph.body.tensors[like].quantization
    scale, zero = float(quantization.scale[0]), int(quantization.zeroPoint[0])
    exact = float(value.flat[0]) / scale + zero
    level = int(np.clip(np.rint(exact), -128, 127))
    if abs(exact - level) > 0.5 and not is_filled_with_nothing(graph, op):
        return False
    name = f"{graph.name(int(op.inputs[2]))}.int8"
    filling = graph.add_constant(name, np.full(value.shape, level, np.int8))
    graph.body.tensors[filling].quantization = quantization
    op.inputs = np.asarray([int(op.inputs[0]), int(op.inputs[1]), filling], np.int32)
    return True


def _is_int8(graph: Graph, op: Any, word: str, *, out: bool) -> bool:
    tensor = int((op.outputs if out else op.inputs)[0])
    return graph.word(op) == word and graph.dtype(tensor) == "int8"


def _same(graph: Graph, a: int, b: int) -> bool:
    """Tell whether two tensors have the same scale and zero point."""
    one, other = (graph.body.tensors[tensor].quantization for tensor in (a, b))
    return bool(one.scale[0] == other.scale[0] and one.zeroPoint[0] == other.zeroPoint[0])


def _set_first_input(op: Any, tensor: int) -> None:
    op.inputs = np.asarray([tensor, *(int(one) for one in op.inputs[1:])], np.int32)
