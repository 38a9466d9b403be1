"""torch to TFLite through litert-torch, for networks whose ONNX graph onnx2tf cannot convert."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.converters.artifact import Artifact
from edgecv.converters.quiet import quiet
from edgecv.converters.source import Source
from edgecv.converters.tflite_file import Graph
from edgecv.engines import load_backend
from edgecv.errors import DependencyMissingError, ParityError, StepError
from edgecv.types import Array, SessionOptions

if TYPE_CHECKING:
    import torch

TOOLS = ("litert-torch", "torch")

TOLERANCE = 1e-3
"""Largest deviation of an output, as a share of its largest magnitude."""


def export_tflite(source: Source, folder: Path) -> Artifact:
    """Convert a torch module into a float TFLite file with NHWC input.

    Args:
        source: with a module; its outputs keep their torch layout.
        folder: where ``model.tflite`` is written.

    Raises:
        DependencyMissingError: torch or litert-torch is not installed.
        StepError: there is no module, or litert-torch cannot convert it.
        ParityError: the outputs are not the module's.
    """
    if source.module is None or source.input_hw is None:
        raise StepError("there is no torch module to convert", where=source.name)
    try:
        with quiet(), _quiet_streams():
            import litert_torch
            import torch
    except ImportError:
        raise DependencyMissingError(
            "converting torch to TFLite needs torch and litert-torch",
            remedy="pip install 'edgecv[convert]'",
        ) from None
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, source.channels, *source.input_hw), generator=generator)
    module = source.module.eval()
    with torch.no_grad():
        wanted = [np.asarray(tensor) for tensor in _flat(module(image))]
    nhwc = image.permute(0, 2, 3, 1).contiguous()
    made = folder / "model.tflite"
    try:
        with quiet(), _quiet_streams(), torch.no_grad():
            channels_last = litert_torch.to_channel_last_io(module, args=[0]).eval()
            litert_torch.convert(channels_last, (nhwc,)).export(str(made))
    except Exception as error:  # torch.export, its lowering and LiteRT each raise their own
        text = " ".join(str(error).split())[:400]
        raise StepError(
            f"litert-torch failed: {type(error).__name__}: {text}",
            where=source.name,
            remedy="use ONNX or OpenVINO",
        ) from error
    graph = Graph.read(made)
    _name(graph, source, len(wanted))
    graph.write(made)
    result = Artifact("tflite", (made,), layout="NHWC")
    _verify(result, np.asarray(nhwc), wanted)
    return result


@contextlib.contextmanager
def _quiet_streams() -> Iterator[None]:
    """Swallow what compiled libraries write to the standard streams, of all threads."""
    with Path(os.devnull).open("wb") as nowhere, contextlib.ExitStack() as stack:
        for stream in (1, 2):
            kept = os.dup(stream)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, stream)
            os.dup2(nowhere.fileno(), stream)
        yield


def _flat(outputs: Any) -> list[torch.Tensor]:
    """List a module's output tensors in the order that an exporter flattens them."""
    import torch

    leaves, _ = torch.utils._pytree.tree_flatten(outputs)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _name(graph: Graph, source: Source, count: int) -> None:
    """Order the outputs as the module gives them, and name them as the source says.

    The signature names them ``output_0``, ``output_1``, ... in the module's order.
    """
    entries = graph.model.signatureDefs[0].outputs if graph.model.signatureDefs else []
    by_number = {_number(entry.name): int(entry.tensorIndex) for entry in entries}
    if sorted(by_number) == list(range(count)):
        graph.body.outputs = np.asarray([by_number[i] for i in range(count)], np.int32)
    if len(graph.outputs) != count or len(set(graph.outputs)) != count:
        raise StepError(
            "litert-torch lost an output",
            where=source.name,
            expected=f"{count} outputs",
            got=str(len(set(graph.outputs))),
        )
    names = source.output_names or tuple(f"output{i}" for i in range(count))
    if len(names) != count:
        raise StepError(
            "the source names another number of outputs",
            where=source.name,
            expected=f"{count} names",
            got=", ".join(names),
        )
    tensors = [graph.inputs[0], *graph.outputs]
    for tensor, name in zip(tensors, (source.input_name, *names), strict=True):
        graph.rename(tensor, name)
    graph.model.metadata, graph.model.metadataBuffer = [], None
    graph.sign()


def _number(name: bytes) -> int:
    digits = name.decode().rpartition("_")[2]
    return int(digits) if digits.isdigit() else -1


def _verify(made: Artifact, image: Array, wanted: Sequence[Array]) -> None:
    session = load_backend("litert").open_session(made.source(), SessionOptions())
    try:
        found = session.run({session.inputs[0].name: image})
    finally:
        session.close()
    for (name, values), expected in zip(found.items(), wanted, strict=True):
        deviation = float("inf")
        if values.shape == expected.shape and values.size:
            scale = max(float(np.abs(expected).max()), 1e-12)
            deviation = float(np.abs(values.astype(np.float64) - expected).max()) / scale
        if not deviation <= TOLERANCE and expected.size:
            raise ParityError(
                "the TFLite file does not compute what the module does",
                where=f"output {name}",
                expected=f"{list(expected.shape)} within {TOLERANCE:g} of the output's scale",
                got=f"{list(values.shape)}, deviation {deviation:.2g}",
                remedy="use ONNX or OpenVINO",
            )
