"""TensorFlow Lite: the first subgraph of a ``.tflite``, by the field numbers of schema.fbs."""

from __future__ import annotations

import math
import mmap
from pathlib import Path
from typing import NamedTuple

from edgecv.bench.graph import (
    Graph,
    Operation,
    Role,
    Shape,
    Tensor,
    Untold,
    convolution,
    in_order,
    product,
)
from edgecv.errors import ModelLoadError
from edgecv.flatbuffer import Table
from edgecv.types import ModelSource

SUFFIXES = (".tflite",)

_MODEL_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS = 1, 2, 4
_CODE_OLD, _CODE_CUSTOM, _CODE_BUILTIN = 0, 1, 3
_GRAPH_TENSORS, _GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_OPERATORS = 0, 1, 2, 3
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_NAME, _TENSOR_SIGNATURE = 0, 1, 2, 3, 7
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS, _OPERATOR_OPTIONS = 0, 1, 2, 4
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE = 0, 1, 2
_MATMUL_ADJOINT_FIRST = 0

_BITS = {
    0: 32, 1: 16, 2: 32, 3: 8, 4: 64, 6: 8, 7: 16, 8: 64, 9: 8, 10: 64, 11: 128, 12: 64, 15: 32,
    16: 16, 17: 4, 18: 16,
}  # fmt: skip
# BuiltinOperator.
_CONV_2D, _DEPTHWISE, _FULLY_CONNECTED = 3, 4, 9
_TRANSPOSE_CONV, _BATCH_MATMUL, _CONV_3D, _CUSTOM = 67, 126, 132, 32
_VIEWS = {22, 43, 70}  # RESHAPE, SQUEEZE, EXPAND_DIMS
_ELEMENTWISE = {
    0, 6, 8, 14, 18, 19, 20, 21, 28, 41, 42, 47, 53, 54, 55, 57, 58, 59, 61, 62, 63, 64, 66, 71, 72,
    73, 75, 76, 78, 84, 86, 87, 90, 92, 95, 98, 99, 101, 104, 108, 111, 114, 116, 117, 123, 150,
    152, 156, 158,
}  # fmt: skip
_UNCOUNTED = {
    15: "LSH_PROJECTION", 16: "LSTM", 24: "RNN", 27: "SVDF", 31: "CALL",
    33: "EMBEDDING_LOOKUP_SPARSE", 35: "UNIDIRECTIONAL_SEQUENCE_RNN",
    44: "UNIDIRECTIONAL_SEQUENCE_LSTM",
    46: "BIDIRECTIONAL_SEQUENCE_RNN", 51: "DELEGATE", 52: "BIDIRECTIONAL_SEQUENCE_LSTM",
    118: "IF", 119: "WHILE", 129: "CALL_ONCE", 131: "RFFT2D", 141: "CONV_3D_TRANSPOSE",
}  # fmt: skip
_LAST_KNOWN = 161
# What runs other subgraphs: the four control operators, and those of StableHLO with a body.
_NESTED = {31, 118, 119, 129, 174, 190, 198, 199, 200, 206, 209}
# The operators of others that multiply no matrices.
_CUSTOM_WITHOUT_MACS = {"TFLite_Detection_PostProcess"}

_MOST_AXES, _MOST_NAMES, _MOST_EDGES, _MOST_LETTERS = 16, 4096, 1_000_000, 200


class _Code(NamedTuple):
    number: int
    custom: str

    @property
    def name(self) -> str:
        return self.custom or _UNCOUNTED.get(self.number, f"operator {self.number}")


def read(source: ModelSource, size_hw: tuple[int, int] | None) -> Graph:
    """Read a graph; its sizes are those that the file was written with.

    Raises:
        ModelLoadError: it is no such file.
    """
    try:
        return _Reader(_bytes(source.main)).graph(str(source))
    except (ValueError, OSError) as error:
        raise ModelLoadError(f"not a readable TFLite file: {error}", where=str(source)) from None


def _bytes(main: Path | memoryview) -> memoryview:
    if isinstance(main, memoryview):
        return main
    with main.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


class _Reader:
    def __init__(self, data: memoryview) -> None:
        model = Table.root(data, b"TFL3")
        self.codes = [
            _Code(
                int(max(code.scalar(_CODE_OLD, "b"), code.scalar(_CODE_BUILTIN, "i"))),
                _label(code, _CODE_CUSTOM),
            )
            for code in model.tables(_MODEL_CODES)
        ]
        self.buffers = [_stored(buffer) for buffer in model.tables(_MODEL_BUFFERS)]
        subgraphs = model.tables(_MODEL_SUBGRAPHS)
        if not subgraphs:
            raise ValueError("no graph in it")
        self.main = subgraphs[0]
        self.tensors: list[Tensor] = []
        self.edges = 0

    def graph(self, where: str) -> Graph:
        tables = self.main.tables(_GRAPH_TENSORS)
        inputs = self.names(self.main, _GRAPH_INPUTS, len(tables))
        free_batch = any(_free_axes(tables[int(name)]) == [0] for name in inputs)
        shared: set[int] = set()
        self.tensors = [self.tensor(table, free_batch, shared) for table in tables]
        free = (int(n) for n in inputs if max(_free_axes(tables[int(n)]), default=0) > 0)
        if (first := next(free, None)) is not None:
            # What stands in the file behind it is of no size that anybody meant.
            why = f"input {_label(tables[first], _TENSOR_NAME)} leaves its size free"
            self.tensors = [
                one if one.stored is not None else one.replace(shape=None, why=why)
                for one in self.tensors
            ]
        operations = [self.operation(table) for table in self.main.tables(_GRAPH_OPERATORS)]
        return Graph(
            tensors={str(i): tensor for i, tensor in enumerate(self.tensors)},
            operations=in_order(operations, where),
            inputs=inputs,
            outputs=self.names(self.main, _GRAPH_OUTPUTS, len(tables)),
        )

    def names(self, table: Table, field: int, count: int) -> tuple[str, ...]:
        """Read indices of tensors; -1 is an input that is left out."""
        found = table.ints(field, _MOST_NAMES)
        self.edges += len(found)
        if self.edges > _MOST_EDGES or any(not -1 <= i < count for i in found):
            raise ValueError("tensors that do not exist")
        return tuple(str(i) for i in found if i >= 0)

    def tensor(self, table: Table, free_batch: bool, shared: set[int]) -> Tensor:
        shape = table.ints(_TENSOR_SHAPE, _MOST_AXES)
        bits = _BITS.get(int(table.scalar(_TENSOR_TYPE, "b")))
        buffer = int(table.scalar(_TENSOR_BUFFER, "I"))
        stored = self.buffers[buffer] if buffer < len(self.buffers) else 0
        if stored:
            # Tensors may share their values.
            bytes_here = 0 if buffer in shared else stored
            shared.add(buffer)
            return Tensor(shape=shape, bits=bits, stored=bytes_here)
        free = _free_axes(table)
        if free and not (free == [0] and free_batch):
            why = f"the size of {_label(table, _TENSOR_NAME)} depends on what comes in"
            return Tensor(bits=bits, why=why)
        return Tensor(shape=shape, bits=bits)

    def operation(self, table: Table) -> Operation:
        index = int(table.scalar(_OPERATOR_CODE, "I"))
        if index >= len(self.codes):
            raise ValueError("an operator without a code")
        code = self.codes[index]
        inputs = self.names(table, _OPERATOR_INPUTS, len(self.tensors))
        outputs = self.names(table, _OPERATOR_OUTPUTS, len(self.tensors))
        if code.number == _CUSTOM:
            for name in outputs:  # others' operators leave their sizes open without saying so
                why = f"{code.name} does not tell the size of what it makes"
                self.tensors[int(name)] = self.tensors[int(name)].replace(shape=None, why=why)
        role: Role = "plain"
        if code.number in _VIEWS and len(outputs) == 1:
            role = "view"
        elif code.number in _ELEMENTWISE and outputs:
            role = "elementwise"
        macs, why = None, ""
        try:
            macs = self.macs(code, table, inputs, outputs)
        except Untold as reason:
            why = str(reason)
        except IndexError:
            why = "its tensors do not fit together"
        return Operation(
            kind=code.name,
            inputs=inputs,
            outputs=outputs,
            macs=macs,
            role=role,
            why=why,
            nested=code.number in _NESTED,
        )

    def macs(
        self, code: _Code, table: Table, inputs: tuple[str, ...], outputs: tuple[str, ...]
    ) -> int:
        number = code.number
        if number in (_CONV_2D, _DEPTHWISE, _CONV_3D):
            return convolution(self.shape(inputs[1]), self.shape(outputs[0])[:-1])
        if number == _TRANSPOSE_CONV:
            return convolution(self.shape(inputs[1]), self.shape(inputs[2])[:-1])
        if number == _FULLY_CONNECTED:
            rows, columns = self.shape(inputs[1])[-2:]
            return product([math.prod(self.shape(inputs[0])) // max(columns, 1), rows], columns)
        if number == _BATCH_MATMUL:
            options = table.table(_OPERATOR_OPTIONS)
            turned = options is not None and options.scalar(_MATMUL_ADJOINT_FIRST, "b")
            return product(self.shape(outputs[0]), self.shape(inputs[0])[-2 if turned else -1])
        if number == _CUSTOM and code.custom not in _CUSTOM_WITHOUT_MACS:
            raise Untold("an operator that TensorFlow Lite does not define")
        if number in _UNCOUNTED or not 0 <= number <= _LAST_KNOWN:
            raise Untold("its work is not counted")
        return 0

    def shape(self, name: str) -> Shape:
        tensor = self.tensors[int(name)]
        if tensor.shape is None:
            raise Untold(tensor.why)
        return tensor.shape


def _label(table: Table, field: int) -> str:
    """Read the beginning of a name; a damaged file has them as long as itself."""
    return str(table.data(field)[:_MOST_LETTERS], "utf-8", "replace")


def _stored(buffer: Table) -> int:
    """Return the bytes of a buffer; large ones lie behind the tables."""
    inside = buffer.data(_BUFFER_DATA).nbytes
    outside = buffer.scalar(_BUFFER_SIZE, "Q") if buffer.scalar(_BUFFER_OFFSET, "Q") > 1 else 0
    return inside or int(outside)


def _free_axes(table: Table) -> list[int]:
    return [i for i, size in enumerate(table.ints(_TENSOR_SIGNATURE, _MOST_AXES)) if size < 0]
