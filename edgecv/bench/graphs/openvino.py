"""OpenVINO IR: the ``.xml``, which tells the shape of everything."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

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
from edgecv.types import ModelSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

SUFFIXES = (".xml",)

_BITS = {
    "FP64": 64, "FP32": 32, "FP16": 16, "BF16": 16, "I64": 64, "U64": 64, "I32": 32, "U32": 32,
    "I16": 16, "U16": 16, "I8": 8, "U8": 8, "BOOL": 8, "BOOLEAN": 8, "F8E4M3": 8, "F8E5M2": 8,
    "F8E8M0": 8, "I4": 4, "U4": 4, "NF4": 4, "F4E2M1": 4, "U2": 2, "U1": 1, "BIN": 1,
}  # fmt: skip
_VIEWS = {"Reshape", "Squeeze", "Unsqueeze"}
_ELEMENTWISE = {
    "Abs", "Acos", "Acosh", "Add", "Asin", "Asinh", "Atan", "Atanh", "BatchNormInference",
    "Ceiling", "Clamp", "Convert", "ConvertLike", "Cos", "Cosh", "Divide", "Elu", "Equal", "Erf",
    "Exp", "FakeConvert", "FakeQuantize", "Floor", "FloorMod", "Gelu", "Greater", "GreaterEqual",
    "HSigmoid", "HSwish", "HardSigmoid", "Less", "LessEqual", "Log", "LogicalAnd", "LogicalNot",
    "LogicalOr", "LogicalXor", "Maximum", "Minimum", "Mish", "Mod", "Multiply", "Negative",
    "NotEqual", "PReLU", "Power", "ReLU", "Round", "Select", "Selu", "Sigmoid", "Sign", "Sin",
    "Sinh", "SoftPlus", "SoftSign", "Sqrt", "SquaredDifference", "Subtract", "Swish", "Tan", "Tanh",
}  # fmt: skip
_CONVOLUTIONS = {"Convolution", "GroupConvolution"}
_TRANSPOSED = {"ConvolutionBackpropData", "GroupConvolutionBackpropData"}
_UNCOUNTED = {
    "AUGRUCell", "AUGRUSequence", "BinaryConvolution", "DFT", "DeformableConvolution", "Einsum",
    "GRUCell", "GRUSequence", "IDFT", "IRDFT", "ISTFT", "If", "Inverse", "LSTMCell",
    "LSTMSequence", "Loop", "RDFT", "RNNCell", "RNNSequence", "STFT", "ScaledDotProductAttention",
    "TensorIterator",
}  # fmt: skip
_LAST_OPSET = 16
# A parsed document takes twenty times its bytes, and real ones have a few MiB.
_MOST_BYTES = 32 << 20
_MOST_AXES, _MOST_LETTERS = 64, 200
_NESTED = {"If", "Loop", "TensorIterator"}


def read(source: ModelSource, size_hw: tuple[int, int] | None) -> Graph:
    """Read a graph.

    Raises:
        ModelLoadError: it is no such file.
    """
    from xml.etree import ElementTree

    try:
        main = source.main
        size = main.stat().st_size if isinstance(main, Path) else main.nbytes
        if size > _MOST_BYTES:
            raise ValueError(f"{size} bytes, which is too long")
        text = str(main.read_bytes() if isinstance(main, Path) else main, "utf-8")
        # An entity can blow a document up.
        if re.search(r"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE):
            raise ValueError("a document type or an entity")
        net = ElementTree.fromstring(text)
        return _Reader(net).graph(str(source))
    except (ElementTree.ParseError, ValueError, OSError) as error:
        raise ModelLoadError(f"not a readable OpenVINO IR: {error}", where=str(source)) from None


class _Reader:
    def __init__(self, net: Element) -> None:
        self.layers = list(net.iterfind("layers/layer"))
        if net.tag != "net" or not self.layers:
            raise ValueError("no layers in it")
        self.ends = {
            (edge.get("to-layer"), edge.get("to-port")): _name(
                edge.get("from-layer"), edge.get("from-port")
            )
            for edge in net.iterfind("edges/edge")
        }
        self.tensors: dict[str, Tensor] = {}
        self.stored: set[str | None] = set()

    def graph(self, where: str) -> Graph:
        for layer in self.layers:
            self.tensors.update(self.made_by(layer))
        lost = next((name for name in self.ends.values() if name not in self.tensors), None)
        if lost is not None:
            raise ValueError(f"an edge from {lost}, which does not exist")
        inputs: list[str] = []
        outputs: list[str] = []
        operations = []
        for layer in self.layers:
            kind = _said(layer, "type")
            if kind == "Parameter":
                inputs += self.outputs(layer)
            elif kind in ("Result", "Assign"):
                outputs += self.inputs(layer)
            elif kind != "Const":
                operations.append(self.operation(layer, kind))
        return Graph(
            tensors=self.tensors,
            operations=in_order(operations, where),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
        )

    def made_by(self, layer: Element) -> Iterator[tuple[str, Tensor]]:
        data = layer.find("data")
        options = {} if data is None else data.attrib
        for port in layer.iterfind("output/port"):
            bits = _BITS.get(port.get("precision", "").upper())
            if layer.get("type") == "FakeQuantize":
                # What flows from it is integers; the file calls them by what they stand for.
                bits = min(bits or 64, (_integer(options.get("levels")) - 1).bit_length())
                bits = next(width for width in (4, 8, 16, 32, 64) if bits <= width)
            stored = None
            if layer.get("type") == "Const":
                # Several constants may share their bytes.
                stored = 0 if options.get("offset") in self.stored else _integer(options["size"])
                self.stored.add(options.get("offset"))
            yield _name(layer.get("id"), port.get("id")), self.tensor(layer, port, bits, stored)

    def tensor(self, layer: Element, port: Element, bits: int | None, stored: int | None) -> Tensor:
        sizes = [(dim.text or "").strip() for dim in port.iterfind("dim")]
        if len(sizes) > _MOST_AXES:
            raise ValueError(f"a tensor of {len(sizes)} axes")
        if all(size.isdecimal() and size.isascii() for size in sizes):
            return Tensor(shape=tuple(map(_integer, sizes)), bits=bits, stored=stored)
        why = f"the file leaves the size of {_said(layer, 'name')} free"
        return Tensor(bits=bits, stored=stored, why=why)

    def inputs(self, layer: Element) -> list[str]:
        ports = [(layer.get("id"), port.get("id")) for port in layer.iterfind("input/port")]
        return [self.ends[port] for port in ports if port in self.ends]

    def outputs(self, layer: Element) -> list[str]:
        return [_name(layer.get("id"), port.get("id")) for port in layer.iterfind("output/port")]

    def operation(self, layer: Element, kind: str) -> Operation:
        inputs, outputs = tuple(self.inputs(layer)), tuple(self.outputs(layer))
        role: Role = "plain"
        if kind in _VIEWS and len(outputs) == 1:
            role = "view"
        elif kind in _ELEMENTWISE and outputs:
            role = "elementwise"
        macs, why = None, ""
        try:
            macs = self.macs(layer, kind, inputs, outputs)
        except Untold as reason:
            why = str(reason)
        except IndexError:
            why = "its tensors do not fit together"
        return Operation(
            kind=kind,
            inputs=inputs,
            outputs=outputs,
            macs=macs,
            role=role,
            why=why,
            nested=kind in _NESTED,
        )

    def macs(
        self, layer: Element, kind: str, inputs: tuple[str, ...], outputs: tuple[str, ...]
    ) -> int:
        if kind in _CONVOLUTIONS:
            batch, _, *spatial = self.shape(outputs[0])
            return convolution(self.shape(inputs[1]), [batch, *spatial])
        if kind in _TRANSPOSED:
            batch, _, *spatial = self.shape(inputs[0])
            return convolution(self.shape(inputs[1]), [batch, *spatial])
        if kind == "MatMul":
            first, data = self.shape(inputs[0]), layer.find("data")
            turned = data is not None and data.get("transpose_a") in ("true", "1")
            return product(self.shape(outputs[0]), first[-2 if turned and len(first) > 1 else -1])
        version = re.fullmatch(r"opset(\d{1,3})", layer.get("version", ""))
        if version is None or int(version[1]) > _LAST_OPSET:
            raise Untold(f"an operator of {_said(layer, 'version') or 'no opset'}")
        if kind in _UNCOUNTED:
            raise Untold("its work is not counted")
        return 0

    def shape(self, name: str) -> Shape:
        tensor = self.tensors[name]
        if tensor.shape is None:
            raise Untold(tensor.why)
        return tensor.shape


def _name(layer: str | None, port: str | None) -> str:
    name = f"{layer}:{port}"
    if len(name) > _MOST_LETTERS:
        raise ValueError(f"a number of a layer or port that has {len(name)} letters")
    return name


def _said(layer: Element, what: str) -> str:
    """Read the beginning of a text; a damaged file has them as long as itself."""
    return layer.get(what, "")[:_MOST_LETTERS]


def _integer(text: str | None) -> int:
    """Read a number that is no longer than any in a real file."""
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise ValueError(f"expected a number, got {str(text)[:40]!r}")
    return int(text)
