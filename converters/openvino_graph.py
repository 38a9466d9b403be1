"""Open, look into, run and write OpenVINO models: what every step on them needs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecv import host
from edgecv.backends.openvino import shared_core
from edgecv.converters import tail as tails
from edgecv.converters.feeds import Feeds
from edgecv.converters.layers import Fingerprint, Layer
from edgecv.converters.quiet import quiet
from edgecv.errors import DependencyMissingError, StepError
from edgecv.types import Array

LAYER_OPS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData",
             "GroupConvolutionBackpropData", "MatMul")  # fmt: skip

_FILE = "model.xml"
_TRANSPARENT = ("Convert", "Reshape")
_REASON_LENGTH = 400
_MADE_UP = re.compile(r"([A-Z]\w*)_\d+")


def require() -> Any:
    """Import openvino.

    Raises:
        DependencyMissingError: it is not installed.
    """
    try:
        import openvino
    except ImportError:
        raise DependencyMissingError(
            "OpenVINO is not installed", remedy="pip install 'edgecv[convert]'"
        ) from None
    return openvino


def load(path: Path) -> Any:
    """Read an IR.

    Raises:
        StepError: it cannot be read.
        DependencyMissingError: OpenVINO is not installed.
    """
    require()
    try:
        return shared_core().read_model(path)
    except Exception as error:
        raise StepError(
            f"OpenVINO cannot read the model: {reason(error)}", where=str(path)
        ) from None


def save(model: Any, folder: Path, *, half: bool = False) -> tuple[Path, Path]:
    """Write ``model.xml`` and ``model.bin``.

    Args:
        model: of OpenVINO.
        folder: where to.
        half: store float weights in 16 bits.

    Raises:
        StepError: OpenVINO cannot write it.
    """
    openvino = require()
    path = folder / _FILE
    _name(model)
    try:
        with quiet():
            openvino.save_model(model, path, compress_to_fp16=half)
    except Exception as error:
        raise StepError(f"OpenVINO cannot write the model: {reason(error)}") from error
    return path, path.with_suffix(".bin")


def compiled(model: Any) -> Any:
    """Compile a model for this CPU in fp32, for comparing and calibrating.

    Raises:
        StepError: OpenVINO refuses it.
    """
    require()
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": host.usable_cpus()}
    try:
        return shared_core().compile_model(model, "CPU", config)
    except Exception as error:
        raise StepError(f"OpenVINO refuses the model: {reason(error)}") from error


def run(opened: Any, feed: Mapping[str, Array]) -> list[Array]:
    """Run a compiled model once and return its outputs in order, as arrays of their own.

    Raises:
        StepError: it fails.
    """
    try:
        results = opened.create_infer_request().infer(dict(feed))
    except Exception as error:
        raise StepError(f"OpenVINO cannot run the model: {reason(error)}") from error
    return [np.array(results[i]) for i in range(len(opened.outputs))]


def layers(model: Any) -> list[Layer]:
    """List the convolutions and matrix products with constant weights, in order of execution."""
    found = []
    for op in model.get_ordered_ops():
        weights = layer_weights(op)
        if weights is not None:
            found.append(Layer(op.get_friendly_name(), op.get_type_name(), Fingerprint.of(weights)))
    return found


def layer_weights(op: Any) -> Array | None:
    """Return the constant weights of a layer; None where an operation is no layer."""
    if op.get_type_name() not in LAYER_OPS:
        return None
    weights = constant(op.input_value(1))
    if weights is None and op.get_type_name() == "MatMul":
        weights = constant(op.input_value(0))
    return weights if weights is not None and weights.ndim >= 2 else None


def constant(output: Any) -> Array | None:
    """Return the value of a constant, also behind what converts or reshapes it; else None."""
    op = output.get_node()
    while op.get_type_name() in _TRANSPARENT:
        op = op.input_value(0).get_node()
    if op.get_type_name() != "Constant":
        return None
    return np.asarray(op.data)


def tail(model: Any) -> tuple[str, ...]:
    """Name the operations behind the last layers; see `edgecv.converters.tail`."""
    named = {layer.name for layer in layers(model)}
    named |= {op.get_friendly_name() for op in model.get_ops() if _is_bias(op, named)}
    nodes, outputs = [], []
    for op in model.get_ordered_ops():
        kind, name = op.get_type_name(), op.get_friendly_name()
        taken = [_tensor(op.input_value(i)) for i in range(op.get_input_size())]
        if kind == "Result":
            outputs += taken
        elif kind not in ("Constant", "Parameter"):
            made = [(name, i) for i in range(op.get_output_size())]
            nodes.append(tails.Node(name, kind, taken, made))
    return tails.tail(nodes, outputs, lambda node: node.name in named)


def runs(
    model: Any, feeds: Feeds, tensors: Sequence[str], *, budget_bytes: int = 1 << 30
) -> Iterator[Mapping[str, Array]]:
    """Yield the values of tensors, image by image, and group by group where memory is short.

    Args:
        model: float; not changed.
        feeds: its inputs.
        tensors: friendly names of operations whose first output is meant.
        budget_bytes: of the values that are held at once.
    """
    group: list[str] = []
    held = 0
    outputs = {op.get_friendly_name(): op.output(0) for op in model.get_ops() if op.outputs()}
    for name in tensors:
        shape = outputs[name].get_partial_shape()
        size = 4 * int(np.prod(shape.get_max_shape())) if shape.is_static else 0
        if group and held + size > budget_bytes:
            yield from _group_runs(model, feeds, group)
            group, held = [], 0
        group.append(name)
        held += size
    if group:
        yield from _group_runs(model, feeds, group)


def _group_runs(model: Any, feeds: Feeds, names: list[str]) -> Iterator[Mapping[str, Array]]:
    openvino = require()
    copy = model.clone()
    ops = {op.get_friendly_name(): op for op in copy.get_ops()}
    shown = openvino.Model(
        [openvino.opset13.result(ops[name].output(0)) for name in names],
        copy.get_parameters(),
    )
    opened = compiled(shown)
    for feed in feeds:
        yield dict(zip(names, run(opened, feed), strict=True))


def _name(model: Any) -> None:
    """Number the operations whose names OpenVINO made up, model by model.

    It makes them of an operation's type and the count of operations in this process, so that no two
    files would be alike. Those of folded constants are left from what was folded.
    """
    counts: Counter[str] = Counter()
    for op in model.get_ordered_ops():
        kind = op.get_type_name()
        match = _MADE_UP.fullmatch(op.get_friendly_name())
        if match and kind not in LAYER_OPS and (kind == "Constant" or match[1] == kind):
            op.set_friendly_name(f"{kind}_{counts[kind]}")
            counts[kind] += 1


def reason(error: Exception) -> str:
    """Word what the library says, on one line, without the places in its sources."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return " ".join(kept or lines)[:_REASON_LENGTH] or type(error).__name__


def _is_bias(op: Any, layers: Container[str]) -> bool:
    """Tell whether an operation adds a layer's bias, which is part of the layer."""
    if op.get_type_name() != "Add":
        return False
    sources = [op.input_value(i) for i in (0, 1)]
    made = any(source.get_node().get_friendly_name() in layers for source in sources)
    return made and any(constant(source) is not None for source in sources)


def _tensor(output: Any) -> tuple[str, int]:
    return output.get_node().get_friendly_name(), output.get_index()
