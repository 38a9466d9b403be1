"""Tier 5: the work of one inference, counted from the file that ships. It is no energy.

For one image (a batch that an ONNX or a TFLite file leaves free is 1; no size that an OpenVINO file
leaves free is told):

- ``macs``: multiply-accumulates of convolutions (grouped, depthwise and transposed ones too) and of
  products of matrices. Weights times positions of the output, of the input where transposed; K for
  each value of a product over K. Taps on padding count, as is usual. Left out: biases, activations,
  pooling, normalisation, resizing, comparisons.
- ``bytes_moved``: constants as the file stores them, read once; network inputs read once, outputs
  written once; each other tensor written once and read once, however many read it, in the type the
  graph gives it. A tensor that only element-wise operations read is not moved: they run where it is
  made. Neither are reshapes. What makes a tensor wider, such as dequantizing, is done while it is
  read: between QuantizeLinear and DequantizeLinear, or behind a FakeQuantize of up to 256 levels,
  integers are moved.
  Left out: what caches save, and what an engine adds by padding, reordering, reading again, or by
  working in another precision than the file's.

One operator that cannot be counted makes the whole number null: part of a sum is no sum. One
that runs a graph of its own, such as If or Loop, makes both null.
"""

from __future__ import annotations

from pathlib import Path

from edgecv import plugins
from edgecv.bench.graph import Graph, Operation, Untold, bounded, elements, size_bytes
from edgecv.bench.report import Work
from edgecv.bench.weights import opened
from edgecv.errors import EdgecvError
from edgecv.types import ModelSource

INSTRUCTIONS = "counted under emulation only: scripts/arm64 count"
_LONGEST = 300
_COUNTS = ("macs", "bytes_moved")
# What the parts of a damaged file cause that a reader takes at their word.
_UNFIT = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)


def of_model(
    model: Path, variant: str, backend: str, size_hw: tuple[int, int] | None = None
) -> Work:
    """Count the work of what ran.

    Args:
        model: a bundle or a bare model file.
        variant: of the bundle.
        backend: of the bare file.
        size_hw: height and width of its input, where file and bundle do not say them.
    """
    try:
        with opened(model, variant, backend) as (source, said_hw):
            return of_source(source, said_hw or size_hw)
    except EdgecvError as error:
        return _untold(error.message)
    except OSError as error:
        return _untold(f"{model.name}: {error.strerror}")


def of_source(source: ModelSource, size_hw: tuple[int, int] | None = None) -> Work:
    """Count the work of a model's files.

    Args:
        source: the files.
        size_hw: height and width of the input, where the file leaves them free.
    """
    for name in plugins.names("bench.graphs"):
        reader = plugins.load("bench.graphs", name)
        if source.name.endswith(reader.SUFFIXES):
            try:
                return count(reader.read(source, size_hw))
            except EdgecvError as error:
                return _untold(error.message)
            except _UNFIT:
                # Work stands beside what was measured, and must not cost it.
                return _untold(f"{source.name}: the file does not fit together")
    return _untold(f"nothing reads the graph of {source.name}")


def count(graph: Graph) -> Work:
    """Count the work of a graph; see this module."""
    needed = _needed(graph)
    fixed = {name for name, tensor in graph.tensors.items() if tensor.stored is not None}
    there = fixed.union(graph.inputs, *(one.outputs for one in needed))
    lost = next((name for name in graph.outputs if name not in there), None)
    if lost is not None:
        return _untold(f"nothing makes the output {lost}")
    used = fixed.intersection(name for one in needed for name in one.inputs)
    stored = sum(graph.tensors[name].stored or 0 for name in used)
    computed = []
    for one in needed:
        # What follows from constants alone is computed once, when the model is loaded.
        if one.inputs and not one.nested and fixed.issuperset(one.inputs):
            fixed.update(one.outputs)
        else:
            computed.append(one)
    found: dict[str, int] = {}
    missing = {"instructions": INSTRUCTIONS}
    try:
        found["macs"] = _macs(computed)
    except Untold as reason:
        missing["macs"] = _shortened(reason)
    try:
        if (opaque := next((one for one in computed if one.nested), None)) is not None:
            raise Untold(f"{opaque.kind}: it runs a graph of its own, which is not counted")
        found["bytes_moved"] = bounded(stored + _Memory(graph, fixed).moved(computed))
    except Untold as reason:
        missing["bytes_moved"] = _shortened(reason)
    return Work(**found, missing=missing)


def _untold(why: str) -> Work:
    said = dict.fromkeys(_COUNTS, _shortened(why))
    return Work(missing={**said, "instructions": INSTRUCTIONS})


def _shortened(why: object) -> str:
    """Keep names out of a report that are long as only a damaged file's are."""
    said = str(why)
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]} ..."


def _needed(graph: Graph) -> list[Operation]:
    """List the operations that an output needs."""
    wanted = set(graph.outputs)
    found = []
    for one in reversed(graph.operations):
        if not wanted.isdisjoint(one.outputs):
            found.append(one)
            wanted.update(one.inputs)
    return found[::-1]


def _macs(computed: list[Operation]) -> int:
    total = 0
    for one in computed:
        if one.macs is None:
            raise Untold(f"{one.kind}: {one.why}")
        total += one.macs
    return bounded(total)


class _Memory:
    """Which tensors are written and read.

    Args:
        graph: what they belong to.
        fixed: those that follow from constants alone.
    """

    def __init__(self, graph: Graph, fixed: set[str]) -> None:
        self._tensors, self._fixed = graph.tensors, fixed
        self._inputs, self._outputs = graph.inputs, set(graph.outputs)

    def moved(self, computed: list[Operation]) -> int:
        """Count the bytes of all tensors that are not constants.

        Raises:
            Untold: a shape or a type is not told.
        """
        # A view and what it views are one piece of memory, named after what was made first.
        home: dict[str, str] = {}
        touched: set[str] = set()
        read: set[str] = set()
        made: list[str] = []
        for one in computed:
            varying = [name for name in one.inputs if name not in self._fixed]
            touched.update(home.get(name, name) for name in varying)
            if one.role == "elementwise":
                largest = max(map(self._size, one.outputs))
                here = [name for name in varying if self._size(name) == largest]
            else:
                here = varying
            if here and self._is_view(one, len(varying), home.get(here[0], here[0])):
                home[one.outputs[0]] = home.get(here[0], here[0])
                continue
            made += one.outputs
            read.update(
                home.get(name, name)
                for name in varying
                if one.role != "elementwise" or name not in here
            )
        written = {home.get(name, name) for name in self._outputs}
        total = sum(self._bytes(name) for name in set(self._inputs) & touched)
        for name in made:
            if name in read:
                total += 2 * self._bytes(name)
            elif name in written:
                total += self._bytes(name)
        return total

    def _is_view(self, one: Operation, varying: int, of: str) -> bool:
        """Tell whether nothing is written: readers reshape, or widen, what is there.

        What is handed out in a type of its own is written.
        """
        bits, before = self._tensors[one.outputs[0]].bits, self._tensors[of].bits
        if one.outputs[0] in self._outputs and bits != before:
            return False
        widens = bits is not None and before is not None and before < bits
        return one.role == "view" or (
            one.role == "elementwise" and varying == len(one.outputs) == 1 and widens
        )

    def _size(self, name: str) -> int:
        tensor = self._tensors[name]
        if tensor.shape is None:
            raise Untold(tensor.why)
        return elements(tensor.shape)

    def _bytes(self, name: str) -> int:
        tensor = self._tensors[name]
        if tensor.shape is None:
            raise Untold(tensor.why)
        if tensor.bits is None:
            raise Untold(f"the type of {name} is not told")
        return size_bytes(tensor.shape, tensor.bits)
