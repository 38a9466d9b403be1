"""Open, look into, change, write and run ONNX models: what every step on them needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv import host
from edgecv.errors import DependencyMissingError, StepError
from edgecv.types import Array

if TYPE_CHECKING:
    import onnx

_FILE = "model.onnx"
_ERRORS_ONLY = 3
_REASON_LENGTH = 400


class Graph:
    """A model under edit: its nodes and constants by name.

    The look-ups tell the state at the last `index`. Nodes may be added in any order: `save` sorts
    them.

    Args:
        model: changed in place; nodes without a name of their own are given one.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.producers: dict[str, onnx.NodeProto] = {}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        self.constants: dict[str, onnx.TensorProto] = {}
        name_nodes(model)
        self.index()

    @classmethod
    def open(cls, path: Path) -> Graph:
        """Read a file; see `load`."""
        return cls(load(path))

    def index(self) -> None:
        """Look again at what makes, takes and holds each tensor."""
        graph = self.model.graph
        self.producers = {name: node for node in graph.node for name in node.output if name}
        self.consumers = {}
        for node in graph.node:
            for name in dict.fromkeys(taken(node)):
                self.consumers.setdefault(name, []).append(node)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                held = [a.t for a in node.attribute if a.name == "value"]
                self.constants.update(zip(node.output, held, strict=False))

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """The nodes of the main graph, in the file's order."""
        return list(self.model.graph.node)

    @property
    def inputs(self) -> list[onnx.ValueInfoProto]:
        """The inputs that must be fed."""
        return [value for value in self.model.graph.input if value.name not in self.constants]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(value.name for value in self.model.graph.output)

    @property
    def opset(self) -> int:
        """Version of ONNX's own operators."""
        return opset(self.model)

    def constant(self, name: str) -> Array | None:
        """Return the value of a constant; None for a tensor that is computed."""
        from onnx import numpy_helper

        tensor = self.constants.get(name)
        return None if tensor is None else np.array(numpy_helper.to_array(tensor))

    def weights(self, node: onnx.NodeProto, position: int = 1) -> Array | None:
        """Return a constant input of a node; None where it is absent or computed."""
        return self.constant(node.input[position]) if len(node.input) > position else None

    def add_constant(self, hint: str, value: Array) -> str:
        """Hold a new constant and return its name."""
        from onnx import numpy_helper

        name = self.fresh(hint)
        self.model.graph.initializer.append(
            numpy_helper.from_array(np.ascontiguousarray(value), name)
        )
        self.constants[name] = self.model.graph.initializer[-1]
        return name

    def set_input(self, node: onnx.NodeProto, position: int, value: Array) -> None:
        """Give a node a constant input of its own, whoever shares the one that it had."""
        while len(node.input) <= position:
            node.input.append("")
        old = node.input[position]
        node.input[position] = self.add_constant(old or f"{node.name}_{position}", value)

    def add(self, op: str, inputs: Sequence[str], output: str, name: str, **attributes: Any) -> Any:
        """Add a node with a new name and return it."""
        from onnx import helper

        names = {node.name for node in self.model.graph.node}
        node = helper.make_node(op, list(inputs), [output], name=_free(name, names), **attributes)
        self.model.graph.node.append(node)
        return self.model.graph.node[-1]

    def fresh(self, hint: str) -> str:
        """Return a tensor name that nothing in the model has."""
        known = {*self.constants, *(value.name for value in self.model.graph.input)}
        for node in self.model.graph.node:
            known.update((*taken(node), *node.output))
        return _free(hint, known)

    def sole_consumer(self, name: str) -> onnx.NodeProto | None:
        """Return the only node that takes a tensor; None where another does or it is an output."""
        found = self.consumers.get(name, [])
        return found[0] if len(found) == 1 and name not in self.outputs else None

    def rename(self, old: str, new: str) -> None:
        """Give every use of a tensor another name."""
        for node in self.consumers.get(old, []):
            _rename(node, old, new)

    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Infer the shapes of all tensors; a free axis is None, an unknown shape is left out."""
        import onnx

        inferred = onnx.shape_inference.infer_shapes(self.model).graph
        found: dict[str, tuple[int | None, ...]] = {
            name: tuple(tensor.dims) for name, tensor in self.constants.items()
        }
        for value in (*inferred.value_info, *inferred.input, *inferred.output):
            shape = shape_of(value)
            if shape is not None:
                found[value.name] = shape
        return found

    def save(self, folder: Path) -> Path:
        """Write into `folder`: only constants in use, sorted, with shapes; checked.

        Raises:
            StepError: ONNX's own checker refuses the result.
        """
        import onnx

        self.index()
        graph = self.model.graph
        used = {*self.consumers, *self.outputs}
        for at in range(len(graph.initializer) - 1, -1, -1):
            if graph.initializer[at].name not in used:
                del graph.initializer[at]
        _sort(graph)
        del graph.value_info[:]
        path = folder / _FILE
        try:
            inferred = onnx.shape_inference.infer_shapes(self.model).graph
            graph.value_info.extend(inferred.value_info)
            for value, known in zip(graph.output, inferred.output, strict=True):
                if shape_of(value) is None:
                    value.CopyFrom(known)
            onnx.checker.check_model(self.model, full_check=True)
        except Exception as error:
            raise StepError(f"the result is not valid ONNX: {reason(error)}") from error
        path.write_bytes(self.model.SerializeToString())
        return path


def require() -> None:
    """Check that the onnx package is installed.

    Raises:
        DependencyMissingError: it is not.
    """
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise DependencyMissingError(
            "the onnx package is not installed", remedy="pip install 'edgecv[convert]'"
        ) from None


def load(path: Path) -> onnx.ModelProto:
    """Read a file with its external data.

    Raises:
        StepError: it cannot be read, or is no ONNX model.
        DependencyMissingError: the onnx package is not installed.
    """
    require()
    import onnx

    try:
        model = onnx.load(str(path))
    except Exception as error:
        raise StepError(
            f"not a readable ONNX file: {reason(error)}",
            where=str(path),
            remedy="download or export it again",
        ) from None
    if not model.graph.output or not model.opset_import:
        raise StepError("not an ONNX model: it holds no graph", where=str(path))
    return model


def taken(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the tensors that a node takes, those that its inner graphs name included."""
    yield from (name for name in node.input if name)
    for inner in inner_graphs(node):
        for child in inner.node:
            yield from taken(child)
        yield from (value.name for value in inner.output)


def inner_graphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """List the graphs that a node holds, such as the branches of an If."""
    held = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return held + [graph for attribute in node.attribute for graph in attribute.graphs]


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes as Python values; strings as str."""
    from onnx import helper

    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}


def shape_of(value: onnx.ValueInfoProto) -> tuple[int | None, ...] | None:
    """Return the shape of an input, output or value; None where even its rank is unknown."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim)


def opset(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators that a model uses."""
    return max((entry.version for entry in model.opset_import if not entry.domain), default=1)


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node of the main graph a name of its own; unique names stay as they are."""
    nodes = model.graph.node
    known = {node.name for node in nodes}
    seen = {""}
    count: Counter[str] = Counter()
    for node in nodes:
        if node.name in seen:
            stem = node.name or node.op_type
            while node.name in seen or node.name in known:
                count[stem] += 1
                node.name = f"{stem}_{count[stem]}"
        seen.add(node.name)


def session(model: onnx.ModelProto) -> Any:
    """Open a model in ONNX Runtime.

    Raises:
        StepError: it refuses the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = host.usable_cpus()
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise StepError(f"ONNX Runtime refuses the model: {reason(error)}") from None


def run(opened: Any, feed: Mapping[str, Array]) -> dict[str, Array]:
    """Run an ONNX Runtime session once: input name -> array in, output name -> array out.

    Raises:
        StepError: it fails.
    """
    names = [value.name for value in opened.get_outputs()]
    try:
        return dict(zip(names, opened.run(names, dict(feed)), strict=True))
    except Exception as error:
        raise StepError(f"ONNX Runtime cannot run the model: {reason(error)}") from None


def reason(error: Exception) -> str:
    """Word what a library says, on one line."""
    text = " ".join(str(error).split())
    return text[:_REASON_LENGTH] or type(error).__name__


def _rename(node: onnx.NodeProto, old: str, new: str) -> None:
    for i, name in enumerate(node.input):
        if name == old:
            node.input[i] = new
    for inner in inner_graphs(node):
        for child in inner.node:
            _rename(child, old, new)
        for value in inner.output:
            if value.name == old:
                value.name = new


def _free(hint: str, known: Iterable[str]) -> str:
    known, name, count = set(known), hint, 0
    while name in known:
        count += 1
        name = f"{hint}_{count}"
    return name


def _sort(graph: onnx.GraphProto) -> None:
    """Put each node behind those that make its inputs, and change the order no further."""
    nodes = list(graph.node)
    maker = {name: at for at, node in enumerate(nodes) for name in node.output if name}
    order: dict[int, None] = {}
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            at = stack[-1]
            waiting = [maker[name] for name in taken(nodes[at]) if name in maker]
            waiting = [other for other in waiting if other not in order and other != at]
            if waiting and len(stack) <= len(nodes):
                stack.append(waiting[0])
            else:
                order[stack.pop()] = None
    if list(order) != list(range(len(nodes))):
        import onnx

        copies = [onnx.NodeProto.FromString(nodes[at].SerializeToString()) for at in order]
        del graph.node[:]
        graph.node.extend(copies)
