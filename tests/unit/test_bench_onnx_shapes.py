"""Shapes behind ONNX operators, beside those of onnx's own inference and NumPy's values."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecv import plugins
from edgecv.bench.onnx_graph import shapes as onnx_shapes
from edgecv.bench.onnx_graph import windows as onnx_windows
from edgecv.types import ModelSource

I64 = np.int64
IMAGE = [2, 8, 10, 12]


def ints(*values: int) -> Any:
    return np.array(values, I64)


def model(
    op: str,
    x: list[int],
    constants: list[Any],
    outputs: int,
    opset: int,
    attributes: dict[str, Any],
) -> Any:
    """Make a graph of one operator; a constant None is an input that is left out."""
    names = ["x", *("" if c is None else f"c{i}" for i, c in enumerate(constants))]
    results = [f"y{i}" for i in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, names, results, **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [onnx.ValueInfoProto(name=name) for name in results],
        [numpy_helper.from_array(np.asarray(c), f"c{i}") for i, c in enumerate(constants)
         if c is not None],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def shapes(made: Any, outputs: int) -> list[tuple[int, ...] | None]:
    source = ModelSource({"m.onnx": memoryview(made.SerializeToString())})
    tensors = plugins.load("bench.graphs", "onnx").read(source, None).tensors
    return [tensors[f"y{i}"].shape for i in range(outputs)]


CASES: list[tuple[str, list[int], list[Any], dict[str, Any], int]] = [
    ("Relu", IMAGE, [], {}, 18),
    ("Softmax", IMAGE, [], {"axis": 1}, 18),
    ("Add", IMAGE, [np.zeros((8, 1, 1), np.float32)], {}, 18),
    ("Add", [8, 1, 1], [np.zeros((2, 1, 10, 12), np.float32)], {}, 18),
    ("Less", IMAGE, [np.zeros((12,), np.float32)], {}, 18),
    ("AveragePool", IMAGE, [], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, 18),
    ("MaxPool", IMAGE, [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}, 18),
    ("MaxPool", IMAGE, [], {"kernel_shape": [3, 3], "dilations": [2, 2]}, 18),
    ("MaxPool", IMAGE, [],
     {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [3, 3]}, 18),
    ("GlobalAveragePool", IMAGE, [], {}, 18),
    ("Concat", IMAGE, [np.zeros((2, 3, 10, 12), np.float32)], {"axis": 1}, 18),
    ("Concat", IMAGE, [np.zeros((2, 8, 10, 3), np.float32)], {"axis": -1}, 18),
    ("Transpose", IMAGE, [], {"perm": [0, 2, 3, 1]}, 18),
    ("Transpose", IMAGE, [], {}, 18),
    ("Reshape", IMAGE, [ints(0, -1, 12)], {}, 18),
    ("Reshape", IMAGE, [ints(2, 2, 4, 120)], {}, 18),
    ("Flatten", IMAGE, [], {"axis": 2}, 18),
    ("Flatten", IMAGE, [], {"axis": -1}, 18),
    ("Squeeze", [1, 8, 1, 3], [ints(0, 2)], {}, 18),
    ("Squeeze", [1, 8, 1, 3], [ints(-2)], {}, 18),
    ("Squeeze", [1, 8, 1, 3], [], {"axes": [2]}, 11),
    ("Unsqueeze", [8, 3], [ints(0, -1)], {}, 18),
    ("Unsqueeze", [8, 3], [], {"axes": [1, 2]}, 11),
    ("Slice", IMAGE, [ints(1, 2), ints(7, 2**63 - 1), ints(1, 3), ints(2, 3)], {}, 18),
    ("Slice", IMAGE, [ints(-1), ints(-(2**63)), ints(3), ints(-2)], {}, 18),
    ("Slice", IMAGE, [], {"starts": [0, 1], "ends": [1, -1], "axes": [0, 2]}, 9),
    ("Gather", IMAGE, [ints(1, 3, 5)], {"axis": 1}, 18),
    ("Gather", IMAGE, [np.array(0, I64)], {"axis": -1}, 18),
    ("GatherElements", [3, 4], [np.zeros((3, 2), I64)], {"axis": 1}, 18),
    ("GatherND", IMAGE, [np.zeros((5, 2), I64)], {}, 18),
    ("Expand", [8, 1], [ints(3, 1, 5)], {}, 18),
    ("Tile", [2, 3], [ints(3, 2)], {}, 18),
    ("Pad", IMAGE, [ints(0, 0, 1, 2, 0, 0, 3, 4)], {}, 18),
    ("Pad", IMAGE, [ints(1, 2, 3, 4), np.float32(0), ints(2, 3)], {}, 18),
    ("Pad", IMAGE, [], {"pads": [0, 0, 1, 2, 0, 0, 3, 4]}, 9),
    ("DepthToSpace", IMAGE, [], {"blocksize": 2}, 18),
    ("SpaceToDepth", IMAGE, [], {"blocksize": 2}, 18),
    ("Resize", IMAGE, [None, np.array([1, 1, 2, 1.5], np.float32)], {}, 18),
    ("Resize", IMAGE, [None, None, ints(2, 8, 20, 24)], {}, 18),
    ("Resize", IMAGE, [None, None, ints(20, 24)], {"axes": [2, 3]}, 18),
    ("Resize", IMAGE, [np.array([1, 1, 2, 2], np.float32)], {}, 10),
    ("Upsample", IMAGE, [np.array([1, 1, 3, 2], np.float32)], {}, 9),
    ("Upsample", IMAGE, [], {"scales": [1.0, 1.0, 3.0, 2.0]}, 7),
    ("ReduceMean", IMAGE, [ints(2, 3)], {}, 18),
    ("ReduceMean", IMAGE, [], {"axes": [-1], "keepdims": 0}, 13),
    ("ReduceSum", IMAGE, [], {}, 18),
    ("ReduceMax", IMAGE, [], {"noop_with_empty_axes": 1}, 18),
    ("ArgMax", IMAGE, [], {"axis": 1, "keepdims": 0}, 18),
    ("TopK", [2, 90], [ints(7)], {}, 18),
    ("Shape", IMAGE, [], {"start": 1, "end": -1}, 18),
    ("Size", IMAGE, [], {}, 18),
    ("OneHot", [2, 3], [np.array(5, I64), np.array([0, 1], np.float32)], {"axis": 1}, 18),
    ("GridSample", [2, 3, 5, 6], [np.zeros((2, 7, 9, 2), np.float32)], {}, 18),
    ("Conv", IMAGE, [np.zeros((6, 4, 3, 5), np.float32)], {"group": 2, "pads": [1, 0, 2, 3]}, 18),
    ("ConvTranspose", IMAGE, [np.zeros((8, 5, 3, 3), np.float32)],
     {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]}, 18),
    ("ConvTranspose", IMAGE, [np.zeros((8, 5, 3, 3), np.float32)],
     {"strides": [2, 3], "auto_pad": "SAME_UPPER"}, 18),
    ("ConvTranspose", IMAGE, [np.zeros((8, 5, 3, 3), np.float32)],
     {"strides": [2, 2], "output_shape": [20, 24], "group": 2}, 18),
    ("MatMul", [12], [np.zeros((3, 12, 5), np.float32)], {}, 18),
    ("LayerNormalization", IMAGE, [np.zeros(12, np.float32)], {}, 18),
    ("InstanceNormalization", IMAGE, [np.zeros(8, np.float32)] * 2, {}, 18),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[4]}-{case[3]}")
def test_as_the_reference_infers(case: Any) -> None:
    op, x, constants, attributes, opset = case
    outputs = 2 if op == "TopK" else 1
    made = model(op, x, constants, outputs, opset, attributes)
    inferred = onnx.shape_inference.infer_shapes(made, strict_mode=True, data_prop=True)
    expected = [
        tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in inferred.graph.output
    ]
    assert shapes(made, outputs) == expected


def test_a_window_that_begins_behind_the_image_is_left_out() -> None:
    """Engines do, and the specification says so since opset 22; onnx's inference does not."""
    options = {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1}
    made = model("MaxPool", IMAGE, [], 1, 18, options)
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    session = onnxruntime.InferenceSession(made.SerializeToString())
    (found,) = session.run(None, {"x": np.zeros(IMAGE, np.float32)})
    assert shapes(made, 1) == [found.shape] == [(2, 8, 4, 4)]


def test_splits() -> None:
    for constants, attributes, opset, parts in (
        ([ints(3, 5)], {}, 18, (3, 5)),
        ([], {"split": [1, 7]}, 11, (1, 7)),
        ([], {"num_outputs": 3}, 18, (3, 3, 2)),
        ([], {}, 13, (4, 4)),
    ):
        made = model("Split", IMAGE, constants, len(parts), opset, {"axis": 1, **attributes})
        assert shapes(made, len(parts)) == [(2, part, 10, 12) for part in parts]


def test_every_product_has_a_rule() -> None:
    products = {*onnx_windows.WEIGHTS, *onnx_windows.FACTORS}
    assert products <= set(onnx_shapes.RULES)
    assert set(onnx_shapes.RULES) >= onnx_shapes.VIEWS | onnx_shapes.ELEMENTWISE
    assert not onnx_shapes.VIEWS & onnx_shapes.ELEMENTWISE
    assert not onnx_shapes.DEPENDENT & set(onnx_shapes.RULES)


@pytest.mark.parametrize(
    ("op", "constants", "attributes"),
    [
        ("Reshape", [ints(7, 7)], {}),
        ("Add", [np.zeros((3,), np.float32)], {}),
        ("Conv", [np.zeros((6, 3, 3, 3), np.float32)], {}),
        ("Conv", [np.zeros((6, 8, 30, 3), np.float32)], {}),
        ("Conv", [np.zeros((6, 8, 3, 3), np.float32)], {"strides": [0, 1]}),
        ("Conv", [np.zeros((6, 8, 3, 3), np.float32)], {"strides": [1]}),
        ("MatMul", [np.zeros((5, 5), np.float32)], {}),
        ("Transpose", [], {"perm": [0, 0, 1, 2]}),
        ("Concat", [np.zeros((2, 3, 9, 12), np.float32)], {"axis": 1}),
        ("Slice", [ints(0), ints(1), ints(9)], {}),
        ("Slice", [ints(0), ints(1), ints(0), ints(0)], {}),
        ("Resize", [], {}),
        ("DepthToSpace", [], {}),
        ("Gather", [], {}),
    ],
)
def test_what_does_not_fit_is_not_told(
    op: str, constants: list[Any], attributes: dict[str, Any]
) -> None:
    assert shapes(model(op, IMAGE, constants, 1, 18, attributes), 1) == [None]


def test_a_shape_that_no_engine_allows_is_refused_before_it_is_multiplied() -> None:
    made = model("Reshape", IMAGE, [ints(*[2**62] * 65)], 1, 18, {})
    source = ModelSource({"m.onnx": memoryview(made.SerializeToString())})
    (found,) = plugins.load("bench.graphs", "onnx").read(source, None).operations
    assert found.why == "Reshape y0: a shape of 65 axes"


def test_arithmetic_on_shapes_is_followed() -> None:
    """Exporters compute sizes in the graph: (N, C, H, W) -> (N, C, H * W) by Shape and the like."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Slice", ["s", "zero", "two"], ["front"]),
        helper.make_node("Gather", ["s", "two"], ["h"]),
        helper.make_node("Gather", ["s", "three"], ["w"]),
        helper.make_node("Mul", ["h", "w"], ["hw"]),
        helper.make_node("Cast", ["hw"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["f", "half"], ["twice"]),
        helper.make_node("Floor", ["twice"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["i"], to=TensorProto.INT64),
        helper.make_node("Div", ["i", "four"], ["rest"]),
        helper.make_node("Concat", ["front", "rest", "two"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["y0"]),
    ]
    values = {"zero": ints(0), "two": ints(2), "three": ints(3), "four": ints(4)}
    constants = [numpy_helper.from_array(v, k) for k, v in values.items()]
    constants.append(numpy_helper.from_array(np.array([0.5], np.float32), "half"))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, IMAGE)],
        [onnx.ValueInfoProto(name="y0")],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    assert shapes(made, 1) == [(2, 8, 60, 2)]
