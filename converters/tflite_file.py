"""Reading and writing TFLite files as objects: ops, tensors, constants, the signature.

The schema's classes come with LiteRT. Only the first subgraph is looked at: converters of vision
models make no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.converters.layers import Fingerprint, Layer
from edgecv.converters.tail import Node
from edgecv.errors import DependencyMissingError, StepError
from edgecv.types import Array

# Ops that carry weights; these are the second of their inputs.
_LAYERS = frozenset(
    {"CONV_2D", "DEPTHWISE_CONV_2D", "CONV_3D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL"}
)
_ALIGNMENT = 16  # that the schema demands of a buffer's bytes
_IDENTIFIER = b"TFL3"
SIGNATURE = "serving_default"

Ranges = Mapping[str, tuple[float, float]]
"""Tensor name -> lowest and highest value that its integers stand for."""


class Graph:
    """A TFLite model in memory, to be looked at and changed.

    Args:
        model: the schema's ``ModelT``.
        where: the file, for errors.
    """

    def __init__(self, model: Any, where: str = "") -> None:
        self.model = model
        self.where = where
        self.body = model.subgraphs[0]
        self._schema = schema()
        self._words = {
            code: name
            for name, code in vars(self._schema.BuiltinOperator).items()
            if not name.startswith("_")
        }

    @classmethod
    def read(cls, path: Path) -> Graph:
        """Read a file.

        Raises:
            DependencyMissingError: LiteRT is not installed.
            StepError: the file is no TFLite model.
        """
        data = path.read_bytes()
        if data[4:8] != _IDENTIFIER:
            raise StepError("this is not a TFLite file", where=str(path))
        try:
            model = schema().ModelT.InitFromPackedBuf(data, 0)
            for buffer in model.buffers:
                # Large files keep their constants behind the flatbuffer.
                if buffer.offset > 1:
                    end = buffer.offset + buffer.size
                    buffer.data = np.frombuffer(data[buffer.offset : end], np.uint8)
                    buffer.offset = buffer.size = 0
        except Exception as error:  # whatever a broken flatbuffer makes of its reader
            raise StepError(f"the file is broken: {error}", where=str(path)) from error
        if not model.subgraphs:
            raise StepError("the file holds no graph", where=str(path))
        return cls(model, str(path))

    def write(self, path: Path) -> None:
        """Write the model; the same model gives the same bytes."""
        import flatbuffers

        class Builder(flatbuffers.Builder):  # type: ignore[misc]  # comes without types
            """Aligns byte vectors as the schema asks for; the generated classes do not."""

            def StartVector(self, size: int, count: int, alignment: int) -> Any:  # noqa: N802
                wanted = _ALIGNMENT if size == 1 else alignment
                return super().StartVector(size, count, wanted)

        builder = Builder(1024)
        builder.Finish(self.model.Pack(builder), _IDENTIFIER)
        path.write_bytes(bytes(builder.Output()))

    @property
    def ops(self) -> list[Any]:
        """Ops in the order of execution."""
        return list(self.body.operators)

    @property
    def inputs(self) -> list[int]:
        """Tensors that the model takes."""
        return [int(index) for index in self.body.inputs]

    @property
    def outputs(self) -> list[int]:
        """Tensors that the model gives."""
        return [int(index) for index in self.body.outputs]

    def word(self, op: Any) -> str:
        """Name an op's kind as the schema does, such as ``CONV_2D``."""
        code = self.model.operatorCodes[op.opcodeIndex]
        if code.customCode:
            return _text(code.customCode)
        return str(self._words[max(code.builtinCode, code.deprecatedBuiltinCode)])

    def name(self, tensor: int) -> str:
        """Name a tensor."""
        return _text(self.body.tensors[tensor].name)

    def dtype(self, tensor: int) -> str:
        """Name a tensor's type as numpy does; ``string`` and the like as the schema does."""
        code = self.body.tensors[tensor].type
        words = {code: name for name, code in vars(self._schema.TensorType).items()}
        return str(words[code]).lower()

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return a tensor's shape as it is written down."""
        shape = self.body.tensors[tensor].shape
        return () if shape is None else tuple(int(size) for size in shape)

    def constant(self, tensor: int) -> Array | None:
        """Return a constant's values in its own type and shape; None of any other tensor."""
        if tensor < 0:
            return None
        data = self.model.buffers[self.body.tensors[tensor].buffer].data
        if data is None or not len(data):
            return None
        values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), self.dtype(tensor))
        return values.reshape(self.shape(tensor))

    def producers(self) -> dict[int, Any]:
        """Map each computed tensor to its op."""
        return {int(tensor): op for op in self.ops for tensor in op.outputs}

    def consumers(self) -> dict[int, list[Any]]:
        """Map each tensor that an op reads to the ops that do."""
        found: dict[int, list[Any]] = {}
        for op in self.ops:
            for tensor in operands(op):
                found.setdefault(tensor, []).append(op)
        return found

    def nodes(self) -> list[Node]:
        """List the ops, each named by its first output, with tensors by number."""
        return [
            Node(
                self.op_name(op),
                self.word(op),
                operands(op),
                [int(tensor) for tensor in op.outputs],
            )
            for op in self.ops
        ]

    def op_name(self, op: Any) -> str:
        """Name an op by its first output: ops have no names of their own."""
        return self.name(int(op.outputs[0]))

    def weights(self, op: Any) -> Array | None:
        """Return the constant float weights of an op that carries arithmetic, or None."""
        if self.word(op) not in _LAYERS or len(op.inputs) < 2:
            return None
        values = self.constant(int(op.inputs[1]))
        return values if values is not None and values.dtype.kind == "f" else None

    def layers(self) -> list[Layer]:
        """List the ops with constant float weights, in the order of execution."""
        found = []
        for op in self.ops:
            weights = self.weights(op)
            if weights is not None:
                found.append(Layer(self.op_name(op), self.word(op), Fingerprint.of(weights)))
        return found

    def add_tensor(
        self, name: str, shape: Sequence[int], like: int, dtype: str | None = None
    ) -> int:
        """Add a computed tensor of another one's type, under a name that is still free.

        Args:
            name: wanted; gets a number behind it if it is taken.
            shape: of the tensor.
            like: tensor whose type and quantization it takes.
            dtype: the schema's word for another type, such as ``INT8``.
        """
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape = self.free_name(name).encode(), np.asarray(shape, np.int32)
        tensor.type, tensor.buffer = self.body.tensors[like].type, 0
        tensor.quantization = self.body.tensors[like].quantization
        if dtype is not None:
            tensor.type, tensor.quantization = getattr(self._schema.TensorType, dtype), None
        self.body.tensors.append(tensor)
        return len(self.body.tensors) - 1

    def add_constant(self, name: str, values: Array) -> int:
        """Add a constant, under a name that is still free."""
        buffer, tensor = self._schema.BufferT(), self._schema.TensorT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        tensor.name = self.free_name(name).encode()
        tensor.shape = np.asarray(values.shape, np.int32)
        tensor.type = getattr(self._schema.TensorType, values.dtype.name.upper())
        tensor.buffer = len(self.model.buffers) - 1
        self.body.tensors.append(tensor)
        return len(self.body.tensors) - 1

    def quantization(self, scale: float, zero_point: int) -> Any:
        """Make the quantization of a whole tensor."""
        made = self._schema.QuantizationParametersT()
        made.scale = np.asarray([scale], np.float32)
        made.zeroPoint = np.asarray([zero_point], np.int64)
        return made

    def make_op(
        self, word: str, inputs: Sequence[int], outputs: Sequence[int], options: str | None = None
    ) -> Any:
        """Make an op of a built-in kind; the caller puts it where it belongs.

        Args:
            word: the schema's name of the kind, such as ``TRANSPOSE``.
            inputs: tensors, -1 for one that is left out.
            outputs: tensors.
            options: name of the kind's table of options, made with its defaults.
        """
        code = getattr(self._schema.BuiltinOperator, word)
        codes = self.model.operatorCodes
        index = next((i for i, one in enumerate(codes) if one.builtinCode == code), -1)
        if index < 0:
            fresh = self._schema.OperatorCodeT()
            # Readers from before the list outgrew a byte look at this field.
            fresh.builtinCode, fresh.deprecatedBuiltinCode = code, min(code, 127)
            codes.append(fresh)
            index = len(codes) - 1
        op = self._schema.OperatorT()
        op.opcodeIndex = index
        op.inputs, op.outputs = np.asarray(inputs, np.int32), np.asarray(outputs, np.int32)
        if options is not None:
            op.builtinOptionsType = getattr(self._schema.BuiltinOptions, options)
            op.builtinOptions = getattr(self._schema, f"{options}T")()
        return op

    def make_reshape(self, source: int, made: int) -> Any:
        """Make an op that reshapes one tensor into another one's shape."""
        shape = np.asarray(self.shape(made), np.int32)
        wanted = self.add_constant(f"{self.name(made)}.shape", shape)
        op = self.make_op("RESHAPE", [source, wanted], [made], "ReshapeOptions")
        op.builtinOptions.newShape = shape
        return op

    def rename(self, tensor: int, name: str) -> None:
        """Give a tensor a name; whichever other one bears it gets a number behind it."""
        for other, item in enumerate(self.body.tensors):
            if other != tensor and _text(item.name) == name:
                item.name = self.free_name(f"{name}.inner").encode()
        self.body.tensors[tensor].name = name.encode()

    def free_name(self, wanted: str) -> str:
        """Return a name that no tensor bears."""
        taken = {_text(tensor.name) for tensor in self.body.tensors}
        name, number = wanted, 1
        while name in taken:
            name, number = f"{wanted}.{number}", number + 1
        return name

    def replace_reads(self, old: int, new: int) -> None:
        """Let every op and output that reads one tensor read another."""
        for op in self.ops:
            op.inputs = np.asarray([new if int(i) == old else int(i) for i in op.inputs], np.int32)
        self.body.outputs = np.asarray([new if i == old else i for i in self.outputs], np.int32)

    def sign(self) -> None:
        """Write the one signature anew, so that it names what the model takes and gives."""
        signature = self._schema.SignatureDefT()
        signature.signatureKey = SIGNATURE.encode()
        signature.inputs = [self._entry(tensor) for tensor in self.inputs]
        signature.outputs = [self._entry(tensor) for tensor in self.outputs]
        self.model.signatureDefs = [signature]

    def _entry(self, tensor: int) -> Any:
        entry = self._schema.TensorMapT()
        entry.name, entry.tensorIndex = self.name(tensor).encode(), tensor
        return entry

    def sort(self) -> None:
        """Bring the ops into an order in which each comes after what it reads."""
        made = {int(tensor) for op in self.ops for tensor in op.outputs}
        waiting, ordered = self.ops, []
        while waiting:
            later = []
            for op in waiting:
                if made.isdisjoint(operands(op)):
                    ordered.append(op)
                    made.difference_update(int(tensor) for tensor in op.outputs)
                else:
                    later.append(op)
            if len(later) == len(waiting):
                raise StepError("the ops of the graph wait for each other", where=self.where)
            waiting = later
        self.body.operators = ordered

    def drop_unread(self) -> None:
        """Remove ops that nothing reads; their tensors stay and cost a few bytes."""
        wanted = set(self.outputs)
        kept = []
        for op in reversed(self.ops):
            if any(int(tensor) in wanted for tensor in op.outputs):
                kept.append(op)
                wanted.update(operands(op))
        self.body.operators = kept[::-1]


def operands(op: Any) -> list[int]:
    """List the tensors that an op reads."""
    return [int(tensor) for tensor in op.inputs if int(tensor) >= 0] if len(op.inputs) else []


def layers(path: Path) -> list[Layer]:
    """List the layers with weights of a float file; see `Graph.layers`."""
    return Graph.read(path).layers()


def schema() -> Any:
    """Import the schema's classes.

    Raises:
        DependencyMissingError: LiteRT is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError:
        raise DependencyMissingError(
            "writing TFLite files needs ai-edge-litert", remedy="pip install 'edgecv[convert]'"
        ) from None
    return schema_py_generated


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name or "")
