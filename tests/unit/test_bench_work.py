"""Counts of work: every kind of operator by hand, and what is moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import flatbuffers
import numpy as np
import openvino
import pytest

from edgecv.bench import work
from edgecv.bench.report import Work
from edgecv.hints import Hints
from edgecv.packing import pack
from edgecv.types import ModelSource
from tests import models
from tests.contract import tiny_models
from tests.onnx_graphs import INNER, count, graph, node

PRODUCTS: list[tuple[str, list[int], tuple[int, ...], dict[str, Any], int]] = [
    # Output values times what each of them is a sum of.
    ("Conv", [1, 3, 10, 12], (8, 3, 3, 3), {}, 8 * 10 * 8 * 27),
    ("Conv", [2, 3, 10, 12], (8, 3, 3, 3), {"pads": [1] * 4}, 2 * 10 * 12 * 8 * 27),
    (
        "Conv", [1, 3, 10, 12], (8, 3, 3, 3), {"pads": [1] * 4, "strides": [2, 3]},
        5 * 4 * 8 * 27,
    ),
    ("Conv", [1, 3, 10, 12], (8, 3, 3, 3), {"dilations": [2, 3]}, 6 * 6 * 8 * 27),
    ("Conv", [1, 3, 10, 12], (8, 3, 3, 5), {"auto_pad": "SAME_UPPER"}, 10 * 12 * 8 * 45),
    (
        "Conv", [1, 3, 9, 9], (8, 3, 3, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        5 * 5 * 8 * 27,
    ),
    ("Conv", [1, 3, 10, 12], (8, 3, 3, 3), {"auto_pad": "VALID"}, 8 * 10 * 8 * 27),
    ("Conv", [1, 8, 10, 12], (12, 2, 3, 3), {"group": 4, "pads": [1] * 4}, 120 * 12 * 2 * 9),
    ("Conv", [1, 8, 10, 12], (8, 1, 3, 3), {"group": 8, "pads": [1] * 4}, 120 * 8 * 9),
    ("Conv", [1, 4, 20], (6, 4, 5), {}, 16 * 6 * 20),
    ("Conv", [1, 4, 5, 6, 7], (6, 4, 3, 3, 3), {}, 3 * 4 * 5 * 6 * 4 * 27),
    # Input values times how often each of them is used.
    ("ConvTranspose", [1, 4, 5, 6], (4, 7, 3, 3), {"strides": [2, 2]}, 5 * 6 * 4 * 7 * 9),
    (
        "ConvTranspose", [1, 4, 5, 6], (4, 3, 2, 2), {"group": 2, "strides": [2, 2]},
        5 * 6 * 4 * 3 * 4,
    ),
    ("MatMul", [5, 7], (7, 11), {}, 5 * 7 * 11),
    ("MatMul", [2, 3, 5, 7], (7, 11), {}, 6 * 5 * 7 * 11),
    ("MatMul", [3, 5, 7], (2, 3, 7, 11), {}, 6 * 5 * 7 * 11),
    ("MatMul", [7], (7, 11), {}, 7 * 11),
    ("MatMul", [5, 7], (7,), {}, 5 * 7),
    ("Gemm", [5, 7], (7, 11), {}, 5 * 7 * 11),
    ("Gemm", [7, 5], (11, 7), {"transA": 1, "transB": 1}, 5 * 7 * 11),
]  # fmt: skip


@pytest.mark.parametrize(("op", "x", "w", "attributes", "macs"), PRODUCTS)
def test_products(
    op: str, x: list[int], w: tuple[int, ...], attributes: dict[str, Any], macs: int
) -> None:
    found = count(graph([node(op, "x w", **attributes)], x, {"w": w}))
    assert found.macs == macs
    assert found.bytes_moved is not None


@pytest.mark.parametrize(("op", "x", "w", "attributes", "macs"), PRODUCTS)
def test_products_in_openvino(
    op: str, x: list[int], w: tuple[int, ...], attributes: dict[str, Any], macs: int, tmp_path: Path
) -> None:
    made = graph([node(op, "x w", **attributes)], x, {"w": w})
    (tmp_path / "m.onnx").write_bytes(made.main)  # type: ignore[arg-type]  # bytes, not a path
    network = openvino.convert_model(tmp_path / "m.onnx")
    openvino.save_model(network, tmp_path / "m.xml", compress_to_fp16=False)
    found = count(ModelSource.from_paths(tmp_path / "m.xml"))
    assert found.macs == macs
    assert found.bytes_moved is not None


def tflite(
    code: int,
    inputs: list[tuple[list[int], bool]],
    out: list[int],
    *,
    shared: bool = False,
    **said: Any,
) -> Work:
    """Count a TFLite file of one operator; an input is a shape, and whether it is stored."""
    from ai_edge_litert import schema_py_generated as schema

    model, main, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorT()
    model.version, model.subgraphs, model.buffers = 3, [main], [schema.BufferT()]
    model.operatorCodes = [schema.OperatorCodeT()]
    model.operatorCodes[0].builtinCode = code
    model.operatorCodes[0].deprecatedBuiltinCode = min(code, 127)
    main.tensors, main.operators = [], [operator]
    for shape, stored in [*inputs, (out, False)]:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = shape, schema.TensorType.INT8, 0
        if stored:
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.zeros(shape, np.uint8).reshape(-1)
            tensor.buffer = 1 if shared else len(model.buffers) - 1
        main.tensors.append(tensor)
    operator.opcodeIndex, operator.inputs = 0, list(range(len(inputs)))
    operator.outputs = main.outputs = [len(inputs)]
    main.inputs = [i for i, (_, stored) in enumerate(inputs) if not stored]
    for name, value in said.items():
        setattr(operator, name, value)
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return count(ModelSource({"m.tflite": memoryview(bytes(builder.Output()))}))


def test_products_in_tflite() -> None:
    from ai_edge_litert import schema_py_generated as schema

    op = schema.BuiltinOperator
    image, flat = ([1, 10, 12, 3], False), ([5, 7], False)
    # Weights lie as (out, height, width, in), (1, height, width, channels), (out, in).
    found = tflite(op.CONV_2D, [image, ([8, 3, 3, 3], True)], [1, 5, 4, 8])
    assert (found.macs, found.bytes_moved) == (5 * 4 * 8 * 27, 8 * 27 + 10 * 12 * 3 + 5 * 4 * 8)
    grouped = tflite(op.CONV_2D, [([1, 10, 12, 8], False), ([6, 3, 3, 2], True)], [1, 8, 10, 6])
    assert grouped.macs == 8 * 10 * 6 * 2 * 9
    depthwise = [([1, 10, 12, 8], False), ([1, 3, 3, 16], True)]
    assert tflite(op.DEPTHWISE_CONV_2D, depthwise, [1, 8, 10, 16]).macs == 8 * 10 * 16 * 9
    transposed = [([4], True), ([7, 3, 3, 4], True), ([1, 5, 6, 4], False)]
    assert tflite(op.TRANSPOSE_CONV, transposed, [1, 11, 13, 7]).macs == 5 * 6 * 4 * 7 * 9
    deep = [([1, 5, 6, 7, 4], False), ([3, 3, 3, 4, 6], True)]
    assert tflite(op.CONV_3D, deep, [1, 3, 4, 5, 6]).macs == 3 * 4 * 5 * 6 * 4 * 27
    assert tflite(op.FULLY_CONNECTED, [flat, ([11, 7], True)], [5, 11]).macs == 5 * 7 * 11
    wide = ([1, 5, 1, 7], False)
    assert tflite(op.FULLY_CONNECTED, [wide, ([11, 7], True)], [5, 11]).macs == 5 * 7 * 11
    pair = [([2, 5, 7], False), ([2, 7, 11], False)]
    assert tflite(op.BATCH_MATMUL, pair, [2, 5, 11]).macs == 2 * 5 * 7 * 11
    turned = schema.BatchMatMulOptionsT()
    turned.adjX = True
    pair = [([2, 7, 5], False), ([2, 7, 11], False)]
    found = tflite(
        op.BATCH_MATMUL, pair, [2, 5, 11], builtinOptions=turned,
        builtinOptionsType=schema.BuiltinOptions.BatchMatMulOptions,
    )  # fmt: skip
    assert found.macs == 2 * 5 * 7 * 11
    assert tflite(op.LSTM, [flat], [5, 7]).missing["macs"] == "LSTM: its work is not counted"
    assert tflite(op.WHILE, [flat], [5, 7]).macs is None
    assert tflite(op.WHILE, [flat], [5, 7]).missing["bytes_moved"] == f"WHILE: {INNER}"
    assert tflite(op.LSTM, [flat], [5, 7]).bytes_moved == 5 * 7 * 2
    later = tflite(op.STABLEHLO_DOT_GENERAL, [flat], [5, 7])
    assert later.missing["macs"].startswith(f"operator {op.STABLEHLO_DOT_GENERAL}: ")


def test_constants_that_share_their_bytes_are_read_once() -> None:
    from ai_edge_litert.schema_py_generated import BuiltinOperator as Operator

    inputs = [([4, 3], False), ([4, 3], True), ([4, 3], True)]
    apart = tflite(Operator.CONCATENATION, inputs, [12, 3])
    assert apart.bytes_moved == 12 + 12 + 12 + 36
    assert tflite(Operator.CONCATENATION, inputs, [12, 3], shared=True).bytes_moved == 12 + 12 + 36


@pytest.mark.parametrize(("levels", "bits"), [(16, 4), (255, 8), (256, 8), (65536, 16)])
def test_what_is_behind_a_fake_quantization_is_integers(
    tmp_path: Path, levels: int, bits: int
) -> None:
    from openvino import opset13 as op

    x = op.parameter([1, 2, 4, 4], np.float32)
    ends = [op.constant(np.float32(v)) for v in (0, 1, 0, 1)]
    conv = op.convolution(
        op.fake_quantize(op.relu(op.convolution(
            x, op.constant(np.ones((3, 2, 1, 1), np.float32)), [1, 1], [0, 0], [0, 0], [1, 1]
        )), *ends, levels),
        op.constant(np.full((5, 3, 1, 1), 2, np.float32)), [1, 1], [0, 0], [0, 0], [1, 1],
    )  # fmt: skip
    openvino.save_model(openvino.Model([conv], [x]), tmp_path / "m.xml", compress_to_fp16=False)
    found = count(ModelSource.from_paths(tmp_path / "m.xml"))
    # The image in, the integers between both convolutions, what comes out, and all of the .bin.
    flows = 4 * 32 + 2 * 48 * bits // 8 + 4 * 80
    assert found.bytes_moved == flows + (tmp_path / "m.bin").stat().st_size


IR = """<net name="m" version="11"><layers>
<layer id="0" name="x" type="Parameter" version="opset1"><output>
<port id="0" precision="FP32"><dim>2</dim><dim>{size}</dim></port></output></layer>
<layer id="1" name="a" type="{kind}" version="{version}"><input>
<port id="0"><dim>2</dim><dim>3</dim></port><port id="1"><dim>2</dim><dim>3</dim></port></input>
<output><port id="2" precision="FP32"><dim>2</dim><dim>{size}</dim></port></output></layer>
<layer id="2" name="y" type="Result" version="opset1"><input>
<port id="0"><dim>2</dim><dim>3</dim></port></input></layer></layers><edges>
<edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>
<edge from-layer="{other}" to-layer="1" to-port="1"/>
<edge from-layer="1" from-port="2" to-layer="2" to-port="0"/></edges></net>"""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"kind": "LSTMCell"}, "LSTMCell: its work is not counted"),
        ({"version": "extension"}, "Add: an operator of extension"),
        ({"version": "opset99"}, "Add: an operator of opset99"),
        ({"kind": "MatMul", "size": "-1"}, "MatMul: the file leaves the size of x free"),
        ({"other": '1" from-port="2'}, "the graph has a cycle"),
        ({"other": '7" from-port="2'}, "an edge from 7:2, which does not exist"),
        ({"size": "9" * 40}, "expected a number"),
        ({"other": '0" from-port="0"/><!DOCTYPE x><edge a="'}, "a document type"),
    ],
)
def test_openvino_files_that_do_not_tell(changes: dict[str, str], reason: str | None) -> None:
    usual = {"kind": "Add", "version": "opset1", "size": "3", "other": '0" from-port="0'}
    text = IR.format(**usual | changes)
    found = count(ModelSource({"m.xml": memoryview(text.encode())}))
    if reason is None:
        assert (found.macs, found.bytes_moved) == (0, 4 * (6 + 6))
    else:
        assert found.macs is None
        assert reason in found.missing["macs"]


@pytest.mark.parametrize("kind", ["If", "Loop", "TensorIterator"])
def test_openvino_operators_with_a_graph_inside(kind: str) -> None:
    text = IR.format(kind=kind, version="opset1", size="3", other='0" from-port="0')
    found = count(ModelSource({"m.xml": memoryview(text.encode())}))
    assert found.missing["bytes_moved"] == f"{kind}: {INNER}"


def test_openvino_files_beyond_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecv.bench.graphs import openvino as reader

    def read(text: str) -> Work:
        return count(ModelSource({"m.xml": memoryview(text.encode())}))

    usual = {"kind": "Add", "version": "opset1", "size": "3", "other": '0" from-port="0'}
    deep = IR.format(**usual | {"size": "3</dim>" + "<dim>1</dim>" * 62 + "<dim>1"})
    assert "a tensor of 65 axes" in read(deep).missing["macs"]
    named = IR.format(**usual | {"kind": "MatMul", "size": "-1"})
    endless = read(named.replace('name="x"', f'name="{"x" * 999}"')).missing["macs"]
    assert endless == f"MatMul: the file leaves the size of {'x' * 200} free"
    kind = read(IR.format(**usual | {"kind": "K" * 999, "version": "x"})).missing["macs"]
    assert kind == f"{'K' * 200}: an operator of x"
    number = IR.format(**usual).replace('id="1"', f'id="{"1" * 999}"')
    assert "of a layer or port that has" in read(number).missing["macs"]
    monkeypatch.setattr(reader, "_MOST_BYTES", 99)
    assert "which is too long" in read(IR.format(**usual)).missing["macs"]


def test_a_batch_that_openvino_leaves_free_is_not_told(tmp_path: Path) -> None:
    network = openvino.convert_model(tiny_models.onnx_file(tmp_path / "m.onnx"))
    network.reshape([-1, 3, 8, 8])
    openvino.save_model(network, tmp_path / "m.xml", compress_to_fp16=False)
    found = count(ModelSource.from_paths(tmp_path / "m.xml"))
    assert (found.macs, found.bytes_moved) == (None, None)


def test_integer_products() -> None:
    zero, scale = np.uint8(0), np.float32(0.1)
    constants = {
        "w": np.zeros((8, 3, 3, 3), np.int8), "b": np.zeros((7, 11), np.int8), "s": scale,
        "z": zero, "wz": np.int8(0),
    }  # fmt: skip
    quantized = node("QuantizeLinear", "x s z", "q")
    nodes = [quantized, node("QLinearConv", "q s z w s wz s z")]
    assert count(graph(nodes, [1, 3, 10, 12], constants)).macs == 8 * 10 * 8 * 27
    nodes = [quantized, node("ConvInteger", "q w z wz")]
    assert count(graph(nodes, [1, 3, 10, 12], constants)).macs == 8 * 10 * 8 * 27
    nodes = [quantized, node("MatMulInteger", "q b z wz")]
    assert count(graph(nodes, [5, 7], constants)).macs == 5 * 7 * 11
    nodes = [quantized, node("QLinearMatMul", "q s z b s wz s z")]
    found = count(graph(nodes, [5, 7], constants))
    assert found.macs == 5 * 7 * 11
    # Weights, scale, two zero points; x in; q written and read; y out as integers.
    assert found.bytes_moved == 77 + 4 + 1 + 1 + 4 * 35 + 2 * 35 + 55


def test_what_is_element_wise_moves_nothing_of_its_own() -> None:
    """SiLU behind a convolution, and a residual sum: only what another convolution reads stays."""
    nodes = [
        node("Conv", "x w", "a"), node("Sigmoid", "a", "s"), node("Mul", "a s", "b"),
        node("Conv", "b v", "c"), node("Add", "b c", "y"),
    ]  # fmt: skip
    found = count(graph(nodes, [1, 2, 4, 4], {"w": (3, 2, 1, 1), "v": (3, 3, 1, 1)}))
    assert found.macs == 16 * (6 + 9)
    x, b, y = 2 * 16, 3 * 16, 3 * 16
    assert found.bytes_moved == 4 * (6 + 9 + x + 2 * b + y)


def test_what_is_broadcast_is_moved() -> None:
    """Gates of a squeeze-and-excitation are read from memory, for each is used many times."""
    nodes = [node("GlobalAveragePool", "x", "g"), node("Sigmoid", "g", "s"), node("Mul", "x s")]
    found = count(graph(nodes, [1, 3, 4, 4]))
    assert (found.macs, found.bytes_moved) == (0, 4 * (48 + 2 * 3 + 48))


def test_views_move_nothing_and_transpositions_do() -> None:
    shape = {"to": np.array([1, 3, -1])}
    flat = [node("Conv", "x w", "c"), node("Reshape", "c to", "r"), node("Softmax", "r")]
    found = count(graph(flat, [1, 2, 4, 4], {"w": (3, 2, 1, 1), **shape}))
    assert found.bytes_moved == 4 * (6 + 32 + 2 * 48 + 48) + 3 * 8
    nodes = [node("Conv", "x w", "c"), node("Transpose", "c", perm=[0, 2, 3, 1])]
    found = count(graph(nodes, [1, 2, 4, 4], {"w": (3, 2, 1, 1)}))
    assert found.bytes_moved == 4 * (6 + 32 + 2 * 48 + 48)


def test_what_no_output_needs_is_not_counted() -> None:
    nodes = [node("Conv", "x w", "dead"), node("Relu", "x")]
    found = count(graph(nodes, [1, 2, 4, 4], {"w": (3, 2, 1, 1), "unused": (99,)}))
    assert (found.macs, found.bytes_moved) == (0, 4 * (32 + 32))


def test_what_follows_from_constants_is_computed_once() -> None:
    """Weights that are multiplied when the model is loaded are read as they are stored."""
    nodes = [node("MatMul", "v v", "vv"), node("MatMul", "x vv")]
    found = count(graph(nodes, [5, 4], {"v": (4, 4)}))
    assert (found.macs, found.bytes_moved) == (5 * 4 * 4, 4 * (16 + 20 + 20))


@pytest.mark.parametrize("op", ["Identity", "Transpose", "Reshape"])
def test_small_constants_behind_another_operator_are_read(op: str) -> None:
    options = {"perm": [0, 1, 2, 3]} if op == "Transpose" else {}
    to = {"to": np.array([8, 3, 3, 3])} if op == "Reshape" else {}
    nodes = [node(op, " ".join(["v", *to]), "w", **options), node("Conv", "x w")]
    twice = [*nodes, node("Conv", "x w", "z")]  # read by two, and still in the file once
    direct = count(graph(nodes[1:], [1, 3, 8, 8], {"w": (8, 3, 3, 3)})).bytes_moved
    assert direct == 4 * (216 + 192 + 8 * 36)
    found = count(graph(nodes, [1, 3, 8, 8], {"v": (8, 3, 3, 3), **to}))
    assert found.bytes_moved == direct + 8 * 4 * len(to)
    found = count(graph(twice, [1, 3, 8, 8], {"v": (8, 3, 3, 3), **to}, outputs=("y", "z")))
    assert found.bytes_moved == direct + 8 * 4 * len(to) + 4 * 8 * 36


@pytest.mark.parametrize(
    ("kind", "moved"),
    [
        ("fp32", 4 * (108 + 192 + 2 * 256)),
        ("fp16", 2 * (108 + 192 + 2 * 256)),
        # Integer weights, their scale and zero point; all that flows is float.
        ("qdq-weights", 108 + 4 + 1 + 4 * (192 + 2 * 256)),
        # ... and the quantized image is written and read as bytes.
        ("qdq", 108 + 4 * 3 + 2 + 4 * 192 + 2 * 192 + 4 * 2 * 256),
    ],
)
def test_bytes_are_those_that_ship(tmp_path: Path, kind: str, moved: int) -> None:
    path = tiny_models.onnx_file(tmp_path / "m.onnx", kind=kind)
    found = count(ModelSource.from_paths(path))
    assert (found.macs, found.bytes_moved) == (8 * 8 * 4 * 27, moved)


@pytest.mark.parametrize(
    ("kind", "moved"),
    [
        ("int8", 108 + 16 + 192 + 2 * 256),
        ("int8-weights", 108 + 16 + 4 * (192 + 2 * 256)),
        ("fp16", 2 * 108 + 16 + 4 * (192 + 2 * 256)),
    ],
)
def test_bytes_of_tflite(tmp_path: Path, kind: str, moved: int) -> None:
    found = count(ModelSource.from_paths(tiny_models.tflite_file(tmp_path / "m.tflite", kind=kind)))
    assert (found.macs, found.bytes_moved) == (8 * 8 * 4 * 27, moved)


def test_bytes_of_a_quantized_openvino_file(tmp_path: Path) -> None:
    path, _ = tiny_models.ir_files(tmp_path, kind="qdq")
    found = count(ModelSource.from_paths(path))
    assert found.macs == 8 * 8 * 4 * 27
    # The image as bytes, written and read, and both outputs in float; the rest are constants.
    flows = 4 * 192 + 2 * 192 + 4 * 2 * 256
    assert found.bytes_moved == flows + path.with_suffix(".bin").stat().st_size


def test_external_weights_count(tmp_path: Path) -> None:
    path = tiny_models.onnx_file(tmp_path / "m.onnx", external="w.bin")
    found = count(ModelSource.from_paths(path, tmp_path / "w.bin"))
    assert (found.macs, found.bytes_moved) == (8 * 8 * 4 * 27, 4 * (108 + 192 + 2 * 256))


def test_free_axes() -> None:
    nodes, constants = [node("Conv", "x w")], {"w": (4, 3, 1, 1)}
    assert count(graph(nodes, ["n", 3, 5, 6], constants)).macs == 30 * 12
    sides = graph(nodes, ["n", 3, "h", "w"], constants)
    found = count(sides)
    assert (found.macs, found.bytes_moved) == (None, None)
    assert found.missing["macs"] == "Conv: input x leaves its size free"
    assert count(sides, (5, 6)).macs == 30 * 12
    assert count(graph(nodes, ["n", 3, "h", 6], constants), (5, 6)).macs is None


def test_free_axes_of_tflite(tmp_path: Path) -> None:
    """What stands in the file for a free side is 1, which nobody means to run."""
    from ai_edge_litert import schema_py_generated as schema

    path = tiny_models.tflite_file(tmp_path / "m.tflite", batch_free=True)
    assert count(ModelSource.from_paths(path)).macs == 8 * 8 * 4 * 27
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    for tensor in model.subgraphs[0].tensors:
        if tensor.name == b"x":
            tensor.shapeSignature = [-1, -1, 8, 3]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    found = count(ModelSource({"m.tflite": memoryview(bytes(builder.Output()))}))
    assert (found.macs, found.bytes_moved) == (None, None)
    assert found.missing["bytes_moved"] == "input x leaves its size free"


def test_operators_of_tflite_have_the_numbers_of_its_schema() -> None:
    from ai_edge_litert.schema_py_generated import BuiltinOperator as Operator

    from edgecv.bench.graphs import tflite

    numbers = {n: getattr(Operator, n) for n in vars(Operator) if n.isupper()}
    names = {number: name for name, number in numbers.items()}
    assert {names[n] for n in tflite._VIEWS} == {"RESHAPE", "SQUEEZE", "EXPAND_DIMS"}
    assert {n: names[n] for n in tflite._UNCOUNTED} == tflite._UNCOUNTED
    multiplying = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV",
                   "BATCH_MATMUL", "CONV_3D", "CUSTOM"}  # fmt: skip
    assert {names[n].removeprefix("STABLEHLO_") for n in tflite._NESTED} == {
        "CALL", "CALL_ONCE", "CASE", "COMPOSITE", "IF", "REDUCE", "REDUCE_WINDOW", "SCATTER",
        "SORT", "WHILE",
    }  # fmt: skip
    here = {tflite._CONV_2D, tflite._DEPTHWISE, tflite._FULLY_CONNECTED, tflite._TRANSPOSE_CONV,
            tflite._BATCH_MATMUL, tflite._CONV_3D, tflite._CUSTOM}  # fmt: skip
    assert {names[n] for n in here} == multiplying
    # One by one, what is taken for element-wise; nothing that joins, reduces or moves values.
    joined = ("POOL", "CONCAT", "REDUCE", "MEAN", "SUM", "SOFTMAX", "GATHER", "PAD", "SLICE",
              "TRANSPOSE", "RESIZE", "SPLIT", "PACK", "ARG", "TOPK", "TILE", "NORM")  # fmt: skip
    elementwise = {names[n] for n in tflite._ELEMENTWISE}
    assert not [name for name in elementwise if any(word in name for word in joined)]
    assert {"ADD", "MUL", "LOGISTIC", "RELU6", "QUANTIZE", "DEQUANTIZE", "HARD_SWISH"} < elementwise


def test_a_bundle_and_a_bare_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_models.onnx_file(tmp_path / "m.onnx", size="side")
    assert work.of_model(path, "m.onnx", "onnxruntime").macs is None
    assert work.of_model(path, "m.onnx", "onnxruntime", (8, 8)).macs == 8 * 8 * 4 * 27
    lost = work.of_model(tmp_path / "gone.onnx", "gone.onnx", "onnxruntime")
    assert "no such file" in lost.missing["macs"]
    with monkeypatch.context() as patched:
        closed = Mock(side_effect=PermissionError(13, "Permission denied"))
        patched.setattr(work, "opened", closed)
        shut = work.of_model(path, "m.onnx", "onnxruntime")
    assert shut.missing["macs"] == "m.onnx: Permission denied"
    bundle = pack(
        [models.onnx_classifier(tmp_path / "c.onnx", batch="n")],
        tmp_path / "c.edgecv",
        hints=Hints(head="softmax", labels=models.LABELS),
        golden=[],
        trusted=True,
    )
    assert work.of_model(bundle, "onnxruntime-fp32", "onnxruntime").macs == 3 * 3
    assert "nope" in work.of_model(bundle, "nope", "onnxruntime").missing["macs"]


def test_a_file_of_no_known_format_has_a_reason(tmp_path: Path) -> None:
    found = count(tiny_models.build("null", tmp_path))
    assert found.missing["macs"] == "nothing reads the graph of tiny.null.json"
