"""Layers that go with a float layer, and what lies between them."""

from __future__ import annotations

from edgecv.converters.float_islands import between, feeding
from edgecv.converters.tail import Node


def is_layer(node: Node) -> bool:
    return node.op == "conv"


#  x - a - silu(s, m) - b - c
#                  \___ add _/ - d
NODES = [
    Node("a", "conv", ("x", "wa"), ("ta",)),
    Node("s", "sigmoid", ("ta",), ("ts",)),
    Node("m", "mul", ("ta", "ts"), ("tm",)),
    Node("b", "conv", ("tm", "wb"), ("tb",)),
    Node("c", "conv", ("tb", "wc"), ("tc",)),
    Node("add", "add", ("tc", "tm"), ("tadd",)),
    Node("d", "conv", ("tadd", "wd"), ("td",)),
]


def test_the_layers_right_before_each_layer() -> None:
    assert feeding(NODES, is_layer) == {"a": (), "b": ("a",), "c": ("b",), "d": ("c", "a")}


def test_what_lies_between_float_layers_is_float() -> None:
    assert between(NODES, {"a", "b"}, is_layer) == {"s", "m"}
    # The sum has an input of eight bits.
    assert "add" not in between(NODES, {"a"}, is_layer)
    assert between(NODES, {"a", "b", "c"}, is_layer) == {"s", "m", "add"}


def test_nothing_is_kept() -> None:
    assert between(NODES, set(), is_layer) == set()
    assert between([], {"a"}, is_layer) == set()
    assert feeding([], is_layer) == {}


def test_what_prepares_the_pixels_is_not_among_them() -> None:
    nodes = [Node("cast", "cast", ("x",), ("t",)), Node("a", "conv", ("t", "w"), ("y",))]
    assert between(nodes, {"a"}, is_layer) == set()
