"""What cannot be counted has a reason, whatever a file holds, and never loses a measurement."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from edgecv.types import ModelSource
from tests.onnx_graphs import FLOAT, INNER, count, graph, node


@pytest.mark.parametrize("name", ["If", "Loop", "LSTM", "Einsum", "Attention", "DeformConv"])
def test_part_of_a_sum_is_no_sum(name: str) -> None:
    nodes = [node("Conv", "x w", "c"), node(name, "c", "d"), node("Conv", "d v")]
    found = count(graph(nodes, [1, 3, 4, 4], {"w": (4, 3, 1, 1), "v": (4, 4, 1, 1)}))
    assert (found.macs, found.bytes_moved) == (None, None)
    assert found.missing["macs"] == f"{name}: its work is not counted"
    assert found.missing["bytes_moved"] == f"{name} d: no rule for its shape"


def test_a_graph_inside_an_operator_leaves_no_bytes() -> None:
    declared = [helper.make_tensor_value_info("d", FLOAT, [1, 4, 4, 4])]
    inner = helper.make_graph([], "inner", [], [helper.make_tensor_value_info("c", FLOAT, None)])
    chosen = node("If", "one", "d", then_branch=inner, else_branch=inner)
    nodes = [node("Conv", "x w", "c"), chosen, node("Conv", "d v")]
    constants = {"w": (4, 3, 1, 1), "v": (4, 4, 1, 1), "one": np.array(True)}
    found = count(graph(nodes, [1, 3, 4, 4], constants, info=declared))
    assert (found.macs, found.bytes_moved) == (None, None)
    assert found.missing["macs"] == "If: its work is not counted"
    assert found.missing["bytes_moved"] == f"If: {INNER}"


def test_a_function_of_the_file_leaves_no_bytes() -> None:
    ids = [helper.make_opsetid("", 18), helper.make_opsetid("example", 1)]
    own = helper.make_function("example", "Own", ["a"], ["b"], [node("Relu", "a", "b")], ids[:1])
    made = helper.make_graph(
        [helper.make_node("Own", ["x"], ["y"], domain="example")], "g",
        *([helper.make_tensor_value_info(name, FLOAT, [1, 3])] for name in "xy"),
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=ids, functions=[own], ir_version=9)
    found = count(ModelSource({"m.onnx": memoryview(model.SerializeToString())}))
    assert found.missing["bytes_moved"] == f"Own: {INNER}"


def test_an_operator_of_another_domain_is_not_guessed() -> None:
    strange = helper.make_node("Conv", ["x", "w"], ["y"], domain="example")
    found = count(graph([strange], [1, 3, 4, 4], {"w": (4, 3, 1, 1)}))
    assert found.missing["macs"] == "Conv: its work is not counted"
    assert found.missing["bytes_moved"] == "Conv y: no rule for its shape"


def test_an_order_of_axes_that_only_some_engines_know_is_not_guessed() -> None:
    last = node("GlobalAveragePool", "x", channels_last=1)
    assert "channels_last" in count(graph([last], [1, 4, 4, 3])).missing["bytes_moved"]


CONST = """<net name="m" version="11"><layers>
<layer id="0" name="c" type="Const" version="opset1"><data offset="0"/>
<output><port id="0"/></output></layer></layers></net>"""


@pytest.mark.parametrize(
    "source",
    [
        graph([node("Cast", "x", to="text")], [1, 3]),
        graph([node("ConstantOfShape", "x", value=3)], [3]),
        graph([node("Constant", "", "c", value_int="text"), node("Add", "x c")], [3]),
        ModelSource({"m.xml": memoryview(CONST.encode())}),
    ],
    ids=lambda source: source.name,
)
def test_parts_that_do_not_fit_lose_nothing_but_the_count(source: ModelSource) -> None:
    found = count(source)
    assert (found.macs, found.bytes_moved) == (None, None)
    said = f"{source.name}: the file does not fit together"
    assert (found.missing["macs"], found.missing["bytes_moved"]) == (said, said)


def test_endless_names_do_not_flood_a_report() -> None:
    strange = helper.make_node("Odd" * 999, ["x"], ["y" * 999], domain="example")
    found = count(graph([strange], [1], outputs=("y" * 999,)))
    assert {name: len(why) for name, why in found.missing.items() if name != "instructions"} == {
        "macs": 225, "bytes_moved": 304,
    }  # fmt: skip


def test_endless_names_are_not_kept_in_reasons() -> None:
    from edgecv.bench.graphs import onnx

    nodes = [helper.make_node("Odd" * 999, ["z" * 999], ["y" * 999], name="n" * 999)]
    tensors = onnx.read(graph(nodes, ["h", "w"], outputs=("y" * 999, "q" * 999)), None).tensors
    assert max(len(tensor.why) for tensor in tensors.values()) < 500


def test_how_many_boxes_are_left_depends_on_the_image() -> None:
    nodes = [node("Conv", "x w", "c"), node("NonZero", "c")]
    found = count(graph(nodes, [1, 3, 4, 4], {"w": (4, 3, 1, 1)}))
    assert (found.macs, found.bytes_moved) == (16 * 12, None)
    assert "NonZero" in found.missing["bytes_moved"]


def test_a_declared_shape_stands_in_for_a_rule() -> None:
    declared = [helper.make_tensor_value_info("d", FLOAT, [1, 4, 4, 4])]
    nodes = [helper.make_node("Odd", ["x"], ["d"], domain="example"), node("Conv", "d v")]
    found = count(graph(nodes, [1, 3, 4, 4], {"v": (4, 4, 1, 1)}, info=declared))
    assert found.macs is None  # what Odd itself does is not known
    assert found.bytes_moved == 4 * (16 + 48 + 2 * 64 + 64)


def test_cycles_and_missing_tensors_have_reasons() -> None:
    weights = {"w": (3, 3, 1, 1)}
    ring = [node("Conv", "b w", "a"), node("Conv", "a w", "b"), node("Relu", "b")]
    found = count(graph(ring, [1, 3, 4, 4], weights))
    assert found.missing["macs"] == "Conv: nothing before Conv makes b"
    nothing = count(graph([node("Relu", "x", "z")], [1, 3, 4, 4]))
    assert set(nothing.missing) == {"macs", "bytes_moved", "instructions"}
    assert nothing.missing["macs"] == "nothing makes the output y"


def test_sizes_beyond_reason_are_reasons() -> None:
    doubled = [node("Tile", f"t{i} r", f"t{i + 1}") for i in range(60)]
    nodes = [node("Identity", "x", "t0"), *doubled, node("Relu", "t60")]
    found = count(graph(nodes, [1, 3], {"r": np.array([1 << 40, 1 << 40])}))
    assert found.bytes_moved is None
    grown = [node("Gather", f"t{i} t{i}", f"t{i + 1}") for i in range(60)]
    found = count(graph([node("Identity", "x", "t0"), *grown, node("Relu", "t60")], [2, 3]))
    assert "axes" in found.missing["bytes_moved"]
    huge = graph([node("MatMul", "x x")], [1 << 31, 1 << 31])
    assert count(huge).missing["macs"].endswith("more than 2^53 of something")
