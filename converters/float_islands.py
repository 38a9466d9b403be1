"""Which nodes belong to the layers that stay in float, in any format.

A layer's input is rounded where it is made, so a layer that suffers from a rough input is helped
only if what makes that input stays in float, too: the layers before it, and what lies in between.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence

from edgecv.converters.tail import Node


def feeding(nodes: Sequence[Node], is_layer: Callable[[Node], bool]) -> dict[str, tuple[str, ...]]:
    """Find the layers whose results reach each layer without passing another one.

    Args:
        nodes: all of a graph, in the order of execution.
        is_layer: tells whether a node has weights.

    Returns:
        Layer -> the layers right before it, in the order of execution.
    """
    behind: dict[Hashable, dict[str, None]] = {}  # tensor -> layers that it was made from
    found: dict[str, tuple[str, ...]] = {}
    for node in nodes:
        before: dict[str, None] = {}
        for tensor in node.inputs:
            before |= behind.get(tensor, {})
        if is_layer(node):
            found[node.name] = tuple(before)
            before = {node.name: None}
        behind |= dict.fromkeys(node.outputs, before)
    return found


def between(
    nodes: Sequence[Node], kept: Collection[str], is_layer: Callable[[Node], bool]
) -> set[str]:
    """Name the nodes without weights that have nothing but results of float nodes to work on.

    Args:
        nodes: all of a graph, in the order of execution.
        kept: names of the nodes that stay in float.
        is_layer: tells whether a node has weights.
    """
    made = {tensor for node in nodes for tensor in node.outputs}
    floats: set[Hashable] = set()
    found: set[str] = set()
    for node in nodes:
        computed = [tensor for tensor in node.inputs if tensor in made]
        if node.name not in kept:
            if is_layer(node) or not computed or not floats.issuperset(computed):
                continue
            found.add(node.name)
        floats.update(node.outputs)
    return found
