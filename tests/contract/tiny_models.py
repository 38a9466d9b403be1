"""Tiny models for tests, made on the fly: one 3x3 convolution of an 8x8 image, and its ReLU.

Every engine gets the same arithmetic: input ``x``, outputs ``y`` = conv(x) and ``z`` = relu(y).
`reference` computes them in numpy.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.types import Array, ModelSource

SIZE, CHANNELS, FILTERS = 8, 3, 4
SCALE, ZERO_POINT = 0.0625, 3
"""Quantization of the int8 TFLite model's input."""


def weights() -> Array:
    """(FILTERS, CHANNELS, 3, 3) float32, the same in every model."""
    rng = np.random.default_rng(7)
    return rng.uniform(-1, 1, (FILTERS, CHANNELS, 3, 3)).astype(np.float32)


def image(seed: int = 0, batch: int = 1) -> Array:
    """(batch, CHANNELS, SIZE, SIZE) float32 in -1..1."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (batch, CHANNELS, SIZE, SIZE)).astype(np.float32)


def reference(x: Array) -> dict[str, Array]:
    """Compute ``y`` and ``z`` from x (N, CHANNELS, H, W), in numpy."""
    n, _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = np.zeros((n, FILTERS, height, width), np.float32)
    for row in range(3):
        for column in range(3):
            window = padded[:, :, row : row + height, column : column + width]
            y += np.einsum("nchw,fc->nfhw", window, weights()[:, :, row, column])
    return {"y": y, "z": np.maximum(y, 0)}


def build(backend: str, folder: Path) -> ModelSource:
    """Write the tiny model for a backend; a new backend needs an entry here."""
    return BUILDERS[backend](folder)


def layout(backend: str) -> str:
    """Return the order of axes of the tiny model's tensors: ``NCHW`` or ``NHWC``."""
    return "NHWC" if backend == "litert" else "NCHW"


def onnx_file(
    path: Path,
    *,
    kind: str = "fp32",
    batch: int | str = 1,
    size: int | str = SIZE,
    external: str | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write the tiny model as ONNX.

    Args:
        path: where to.
        kind: ``fp32``, ``fp16``, ``qdq`` (activations and weights), ``qdq-weights``, ``dynamic``
            (DynamicQuantizeLinear) or ``custom`` (an op that no engine knows).
        batch: of the input; a name makes it free.
        size: of the sides; a name makes them free.
        external: name of the file that holds the weights.
        metadata: metadata_props.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kinds: dict[str, Callable[[], tuple[list[Any], list[Any]]]] = {
        "fp32": _plain, "fp16": _plain, "qdq": _qdq, "qdq-weights": _qdq_weights,
        "dynamic": _dynamic, "custom": _custom,
    }  # fmt: skip
    nodes, initializers = kinds[kind]()
    element = TensorProto.FLOAT16 if kind == "fp16" else TensorProto.FLOAT
    if kind == "fp16":
        initializers = [numpy_helper.from_array(weights().astype(np.float16), "w")]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Relu", ["y"], ["z"])],
        "tiny",
        [helper.make_tensor_value_info("x", element, [batch, CHANNELS, size, size])],
        [
            helper.make_tensor_value_info(name, element, [batch, FILTERS, size, size])
            for name in ("y", "z")
        ],
        initializers,
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("example", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    helper.set_model_props(model, metadata or {})
    if external is None:
        path.write_bytes(model.SerializeToString())
    else:
        onnx.save(model, str(path), save_as_external_data=True, location=external, size_threshold=0)
    return path


def _plain() -> tuple[list[Any], list[Any]]:
    from onnx import helper, numpy_helper

    conv = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    return [conv], [numpy_helper.from_array(weights(), "w")]


def _quantized_weights() -> tuple[Any, list[Any]]:
    from onnx import helper, numpy_helper

    integers = np.round(weights() * 127).astype(np.int8)
    node = helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["w"])
    return node, [
        numpy_helper.from_array(integers, "wq"),
        numpy_helper.from_array(np.float32(1 / 127), "ws"),
        numpy_helper.from_array(np.int8(0), "wz"),
    ]


def _qdq_weights() -> tuple[list[Any], list[Any]]:
    from onnx import helper

    dequantize, initializers = _quantized_weights()
    conv = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    return [dequantize, conv], initializers


def _qdq() -> tuple[list[Any], list[Any]]:
    from onnx import helper, numpy_helper

    dequantize, initializers = _quantized_weights()
    initializers += [
        numpy_helper.from_array(np.float32(1 / 127), "xs"),
        numpy_helper.from_array(np.uint8(128), "xz"),
        numpy_helper.from_array(np.float32(1 / 16), "ys"),
    ]
    return [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        dequantize,
        helper.make_node("Conv", ["xd", "w"], ["yf"], pads=[1, 1, 1, 1]),
        helper.make_node("QuantizeLinear", ["yf", "ys", "xz"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "ys", "xz"], ["y"]),
    ], initializers


def _dynamic() -> tuple[list[Any], list[Any]]:
    from onnx import TensorProto, helper, numpy_helper

    _, (integers, _scale, zero) = _quantized_weights()
    return [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        helper.make_node("ConvInteger", ["xq", "wq", "xz", "wz"], ["yi"], pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["yi"], ["yf"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["xs", "ws"], ["s"]),
        helper.make_node("Mul", ["yf", "s"], ["y"]),
    ], [integers, numpy_helper.from_array(np.float32(1 / 127), "ws"), zero]


def _custom() -> tuple[list[Any], list[Any]]:
    from onnx import helper

    return [helper.make_node("Unheard", ["x"], ["y"], domain="example")], []


def ir_files(folder: Path, **options: Any) -> tuple[Path, Path]:
    """Write the tiny model as OpenVINO IR, with ``model_info`` in its rt_info."""
    import openvino

    model = openvino.Core().read_model(str(onnx_file(folder / "for-ir.onnx", **options)))
    model.set_rt_info("YOLO", ["model_info", "model_type"])
    model.set_rt_info("a b", ["model_info", "labels"])
    openvino.save_model(model, str(folder / "tiny.xml"), compress_to_fp16=False)
    (folder / "for-ir.onnx").unlink()
    return folder / "tiny.xml", folder / "tiny.bin"


def tflite_file(path: Path, *, kind: str = "fp32", batch_free: bool = False) -> Path:
    """Write the tiny model as TFLite; tensors are NHWC.

    Args:
        path: where to.
        kind: ``fp32``, ``int8`` (activations too), ``int8-weights`` (weights dequantized by an
            op), ``fp16`` (as ``int8-weights``), ``custom`` (an op that no engine knows), or
            ``twins`` (both outputs of one name).
        batch_free: whether the batch axis is free.
    """
    path.write_bytes(_tflite(kind, batch_free))
    return path


@cache
def _tflite(kind: str, batch_free: bool) -> bytes:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as s

    ops, types = s.BuiltinOperator, s.TensorType
    model = s.ModelT()
    model.version = 3
    model.description = "tiny"
    model.buffers = [s.BufferT()]
    graph = s.SubGraphT()
    graph.name, graph.tensors, graph.operators = "main", [], []
    model.subgraphs, model.operatorCodes = [graph], []

    def tensor(
        name: str,
        shape: list[int],
        kind: int,
        data: Array | None = None,
        scale: float | None = None,
        zero_point: int = 0,
    ) -> int:
        made = s.TensorT()
        made.name, made.shape, made.type, made.buffer = name, shape, kind, 0
        if batch_free and data is None:
            made.shapeSignature = [-1, *shape[1:]]
        if scale is not None:
            made.quantization = s.QuantizationParametersT()
            made.quantization.scale = [scale]
            made.quantization.zeroPoint = [zero_point]
        if data is not None:
            buffer = s.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(
        code: int,
        inputs: list[int],
        output: int,
        *,
        version: int = 1,
        custom: str | None = None,
        options: Any = None,
        options_type: int = 0,
    ) -> None:
        entry = s.OperatorCodeT()
        entry.builtinCode, entry.version = code, version
        entry.deprecatedBuiltinCode = min(code, 127)
        entry.customCode = custom
        model.operatorCodes.append(entry)
        made = s.OperatorT()
        made.opcodeIndex = len(model.operatorCodes) - 1
        made.inputs, made.outputs = inputs, [output]
        made.builtinOptions, made.builtinOptionsType = options, options_type
        graph.operators.append(made)

    # OHWI, as TFLite's CONV_2D wants its filters.
    w = np.ascontiguousarray(weights().transpose(0, 2, 3, 1))
    integer = kind == "int8"
    activation = types.INT8 if integer else types.FLOAT32
    scales = (SCALE, ZERO_POINT) if integer else (None, 0)
    x = tensor("x", [1, SIZE, SIZE, CHANNELS], activation, None, *scales)
    if integer:
        filters = tensor("w", [*w.shape], types.INT8, np.round(w * 127).astype(np.int8), 1 / 127)
        zeros = np.zeros(FILTERS, np.int32)
        bias = tensor("b", [FILTERS], types.INT32, zeros, SCALE / 127)
    else:
        if kind == "int8-weights":
            stored = tensor(
                "wq", [*w.shape], types.INT8, np.round(w * 127).astype(np.int8), 1 / 127
            )
        elif kind == "fp16":
            stored = tensor("wh", [*w.shape], types.FLOAT16, w.astype(np.float16))
        if kind in ("int8-weights", "fp16"):
            filters = tensor("w", [*w.shape], types.FLOAT32)
            operator(ops.DEQUANTIZE, [stored], filters, version=3 if kind == "fp16" else 2)
            graph.tensors[filters].shapeSignature = None
        else:
            filters = tensor("w", [*w.shape], types.FLOAT32, w)
        bias = tensor("b", [FILTERS], types.FLOAT32, np.zeros(FILTERS, np.float32))
    shape = [1, SIZE, SIZE, FILTERS]
    out_scales = (0.125, 0) if integer else (None, 0)
    y = tensor("y", shape, activation, None, *out_scales)
    z = tensor("y" if kind == "twins" else "z", shape, activation, None, *out_scales)
    if kind == "custom":
        operator(ops.CUSTOM, [x], y, custom="Unheard")
    else:
        options = s.Conv2DOptionsT()
        options.strideW = options.strideH = 1
        operator(
            ops.CONV_2D, [x, filters, bias], y, version=3 if integer else 1,
            options=options, options_type=s.BuiltinOptions.Conv2DOptions,
        )  # fmt: skip
    operator(ops.RELU, [y], z, version=2 if integer else 1)
    graph.inputs, graph.outputs = [x], [y, z]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def null_file(path: Path, **changes: Any) -> Path:
    """Write a model of the null backend with the tiny model's tensors."""
    shape = [1, FILTERS, SIZE, SIZE]
    data = {
        "inputs": [{"name": "x", "shape": [1, CHANNELS, SIZE, SIZE], "dtype": "float32"}],
        "outputs": [
            {"name": "y", "shape": shape, "dtype": "float32", "values": "mean"},
            {"name": "z", "shape": shape, "dtype": "float32", "values": [0.25, 0.5]},
        ],
    }
    path.write_text(json.dumps(data | changes))
    return path


BUILDERS: dict[str, Callable[[Path], ModelSource]] = {
    "onnxruntime": lambda folder: ModelSource.from_paths(onnx_file(folder / "tiny.onnx")),
    "openvino": lambda folder: ModelSource.from_paths(*ir_files(folder)),
    "litert": lambda folder: ModelSource.from_paths(tflite_file(folder / "tiny.tflite")),
    "null": lambda folder: ModelSource.from_paths(null_file(folder / "tiny.null.json")),
}
