"""An ONNX operator with what is known of its inputs: what the rules of shapes and values read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgecv.bench.graph import Shape, Untold
from edgecv.bench.onnx_graph.nodes import Node
from edgecv.record import Record
from edgecv.types import Array


class Call(Record, kw_only=True):
    """One node.

    Attributes:
        node: as the file has it.
        opset: of ONNX's own operators.
        shapes: of the inputs; None for one that is left out or not told.
        values: of the inputs, where they are known before an inference.
    """

    node: Node
    opset: int
    shapes: Sequence[Shape | None]
    values: Sequence[Array | None]

    def shape(self, at: int) -> Shape:
        """Return the shape of an input.

        Raises:
            Untold: it is not told.
        """
        found = self.shapes[at] if at < len(self.shapes) else None
        if found is None:
            raise Untold(f"the shape of input {at} is not told")
        return found

    def has(self, at: int) -> bool:
        """Tell whether an input is given."""
        return at < len(self.node.inputs) and self.node.inputs[at] != ""

    def value(self, at: int) -> Array:
        """Return the values of an input.

        Raises:
            Untold: they are only known in an inference.
        """
        found = self.values[at] if at < len(self.values) else None
        if found is None:
            raise Untold(f"the values of input {at} are not told before it runs")
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        found = self.node.attributes.get(name)
        return default if found is None else found

    def integers(self, name: str, at: int | None = None) -> list[int] | None:
        """Return a list that is an attribute in old opsets and an input in new ones, or None."""
        if at is not None and self.has(at):
            return [int(value) for value in self.value(at).reshape(-1)]
        found = self.get(name)
        return None if found is None else [int(value) for value in found]

    def axes(self, rank: int, at: int | None = None) -> list[int] | None:
        """Return the axes that are named, counted from the front."""
        found = self.integers("axes", at)
        return None if found is None else [axis_of(axis, rank) for axis in found]

    def axis(self, default: int, rank: int) -> int:
        """Return the axis that is named, counted from the front."""
        return axis_of(int(self.get("axis", default)), rank)


def axis_of(axis: int, rank: int) -> int:
    """Count an axis from the front.

    Raises:
        Untold: there is no such axis.
    """
    if not -rank <= axis < rank:
        raise Untold(f"axis {axis} of {rank}")
    return axis % rank
