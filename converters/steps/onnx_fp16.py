"""Float32 graph -> float16 weights and arithmetic, float32 inputs and outputs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.converters import onnx_edit, onnx_parity
from edgecv.converters.artifact import Artifact
from edgecv.converters.onnx_edit import Graph
from edgecv.converters.quiet import quiet
from edgecv.errors import DependencyMissingError, ParityError, StepError
from edgecv.types import Array

if TYPE_CHECKING:
    import onnx

TOOLS = ("onnx", "onnxruntime")

_STEP = "onnx_fp16"
_LARGEST = float(np.finfo(np.float16).max)
_FLOAT = 1
# -10 dB. Half precision has 11 bits: what is noisier than this is broken, not rounded.
_NOISE = 0.1


def to_fp16(artifact: Artifact, folder: Path) -> Artifact:
    """Write the graph in half precision; inputs and outputs keep their types.

    Args:
        artifact: a normal ONNX graph in float32.
        folder: where to.

    Raises:
        StepError: a weight is too large for half precision, or the tool fails.
        ParityError: outputs overflow or are far from the float32 graph's, on random input of 0..1
            and on random input of 0..255.
        DependencyMissingError: a tool is not installed.
    """
    before = onnx_edit.load(artifact.path)
    float16 = _tool()
    graph = Graph.open(artifact.path)
    _check_weights(graph)
    blocked = {*float16.DEFAULT_OP_BLOCK_LIST, *float16.ALWAYS_FLOAT_INPUTS}
    _separate(graph, blocked)
    try:
        with quiet():
            half = float16.convert_float_to_float16(graph.model, keep_io_types=True)
    except Exception as error:
        raise StepError(
            f"ONNX Runtime's float16 tool failed: {onnx_edit.reason(error)}", where=f"step {_STEP}"
        ) from error
    made = Graph(half)
    path = made.save(folder)
    _check_works(before, made.model)
    return replace(artifact, files=(path,), precision="fp16")


def _tool() -> Any:
    path = list(sys.path)
    try:
        # Its quantizer finds those modules by that folder, too, and must not come too late.
        import onnxruntime.quantization  # noqa: F401  # for what it loads
        from onnxruntime.transformers import float16
    except ImportError:
        raise DependencyMissingError(
            "ONNX Runtime's float16 tool cannot be imported",
            remedy="pip install 'edgecv[convert]'",
        ) from None
    finally:
        # The package puts its own folder there, with modules of everyday names.
        sys.path[:] = path
    return float16


def _check_works(before: onnx.ModelProto, half: onnx.ModelProto) -> None:
    """Compare on random inputs of both usual ranges: one is wrong for the model, and may overflow.

    The noise is measured, not the largest error: a detector's boxes at cells where it sees nothing
    can move far for a last bit of a weight.
    """
    first, second = onnx_edit.session(before), onnx_edit.session(half)
    failure: ParityError | None = None
    for high in (1.0, 255.0):
        feed = onnx_parity.random_feed(before, high=high)
        wanted, got = onnx_edit.run(first, feed), onnx_edit.run(second, feed)
        noise = {name: _noise(value, got[name]) for name, value in wanted.items()}
        worst = max(noise, key=lambda name: noise[name])
        if noise[worst] <= _NOISE:
            return
        failure = failure or ParityError(
            "the outputs are not those of the float32 graph",
            where=f"step {_STEP}: output {worst}",
            expected=f"noise of at most {_NOISE:.0%} of the signal",
            got="values that are no numbers" if np.isinf(noise[worst]) else f"{noise[worst]:.0%}",
            remedy="keep this model in fp32, or use bf16, which has float32's range",
        )
    assert failure is not None
    raise failure


def _noise(want: Array, got: Array) -> float:
    """Return the energy of the error by that of the signal; infinity where numbers got lost."""
    if want.dtype.kind != "f":
        return 0.0
    want, got = want.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(want)
    if not np.isfinite(got[finite]).all():
        return float("inf")
    energy = float(np.square(want[finite]).sum())
    return float(np.square(want[finite] - got[finite]).sum()) / max(energy, 1e-30)


def _check_weights(graph: Graph) -> None:
    """Refuse weights that would become infinite."""
    for node in graph.nodes:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        for name in node.input:
            value = graph.constant(name)
            if value is not None and value.size and np.abs(value).max() > _LARGEST:
                raise StepError(
                    "a weight is too large for half precision",
                    where=f"node {node.name}",
                    expected=f"at most {_LARGEST:g}",
                    got=f"{float(np.abs(value).max()):g}",
                )


def _separate(graph: Graph, blocked: set[str]) -> None:
    """Give each node that stays in float32 constants of its own.

    The tool adds a cast for each node that shares one, and gives them all the same name.
    """
    for node in graph.nodes:
        if node.op_type in blocked:
            _own_constants(graph, node)


def _own_constants(graph: Graph, node: onnx.NodeProto) -> None:
    for at, name in enumerate(node.input):
        tensor = graph.constants.get(name)
        if tensor is not None and tensor.data_type == _FLOAT and len(graph.consumers[name]) > 1:
            value = graph.constant(name)
            assert value is not None
            graph.set_input(node, at, value)
