"""What comes after the last layers of a graph, in any format.

There boxes, objectness and classes are decoded and joined: much of the harm that quantization does
and little of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple


class Node(NamedTuple):
    """A node of a graph.

    Attributes:
        name: unique in the graph.
        op: kind, in the format's own word.
        inputs: tensors that it takes, by name or by number.
        outputs: tensors that it makes.
    """

    name: str
    op: str
    inputs: Sequence[Hashable]
    outputs: Sequence[Hashable]


def tail(
    nodes: Iterable[Node], outputs: Iterable[Hashable], is_layer: Callable[[Node], bool]
) -> tuple[str, ...]:
    """Name the nodes that lead to an output without a layer on any way, in their own order.

    Args:
        nodes: all of a graph, in any order. Every node needs a maker before it only logically.
        outputs: tensors that the graph puts out.
        is_layer: tells whether a node has weights.

    Returns:
        Names; () where the graph has no layer.
    """
    listed = list(nodes)
    makers = {tensor: at for at, node in enumerate(listed) for tensor in node.outputs}
    layers = [at for at, node in enumerate(listed) if is_layer(node)]
    if not layers:
        return ()
    before = _ancestors(listed, makers, layers)
    ends = [makers[tensor] for tensor in outputs if tensor in makers]
    leading = _ancestors(listed, makers, ends)
    return tuple(node.name for at, node in enumerate(listed) if at in leading - before)


def _ancestors(nodes: Sequence[Node], makers: dict[Hashable, int], starts: list[int]) -> set[int]:
    """Return `starts` and every node that they depend on."""
    found: set[int] = set()
    waiting = list(starts)
    while waiting:
        at = waiting.pop()
        if at not in found:
            found.add(at)
            waiting += [makers[tensor] for tensor in nodes[at].inputs if tensor in makers]
    return found
