"""ONNX graph -> OpenVINO IR in fp32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from edgecv.converters import onnx_edit, onnx_parity, openvino_graph
from edgecv.converters.artifact import Artifact
from edgecv.converters.quiet import quiet
from edgecv.converters.telemetry import no_telemetry
from edgecv.errors import ParityError, StepError

TOOLS = ("openvino", "onnx", "onnxruntime")

TOLERANCE = 1e-3
"""Largest difference from ONNX Runtime, relative to an output's largest magnitude."""

_STEP = "onnx_openvino"
_PIXELS = 255.0


def to_openvino(artifact: Artifact, folder: Path) -> Artifact:
    """Write the graph as an IR with the same inputs, outputs and metadata.

    The file's metadata lie in ``rt_info/framework``. The outputs are compared with those of ONNX
    Runtime, both in fp32, on random input of 0..1 and of 0..255.

    Args:
        artifact: a normal ONNX graph, plain or with the pixel work fused in.
        folder: where to.

    Raises:
        StepError: OpenVINO cannot convert the graph; it may lack an operator.
        ParityError: an output differs by more than `TOLERANCE`.
        DependencyMissingError: OpenVINO or onnx is not installed.
    """
    openvino = openvino_graph.require()
    if artifact.format != "onnx":
        raise StepError("not an ONNX file", where=f"step {_STEP}", got=artifact.format)
    model = onnx_edit.load(artifact.path)
    try:
        with quiet(), no_telemetry():
            converted = openvino.convert_model(artifact.path)
    except Exception as error:
        raise StepError(
            f"OpenVINO cannot convert the model: {openvino_graph.reason(error)}",
            where=f"step {_STEP}: {artifact.path}",
            remedy="OpenVINO also runs ONNX files as they are: ask for onnx alone",
        ) from error
    files = openvino_graph.save(converted, folder)
    sorts = any(node.op_type == "TopK" for node in model.graph.node)
    reference = onnx_edit.session(model)
    opened = openvino_graph.compiled(openvino_graph.load(files[0]))
    for seed, high in enumerate((1.0, _PIXELS)):
        feed = onnx_parity.random_feed(model, seed, high)
        wanted = onnx_edit.run(reference, feed)
        got = openvino_graph.run(opened, feed)
        names = [output.any_name for output in opened.outputs]
        if sorted(names) != sorted(wanted):
            raise ParityError(
                "outputs got lost or renamed",
                where=f"step {_STEP}",
                expected=", ".join(wanted),
                got=", ".join(names),
            )
        for name, value in zip(names, got, strict=True):
            found = onnx_parity.difference(wanted[name], value)
            if found > TOLERANCE and sorts:
                # Equal scores may come out in another order.
                found = onnx_parity.difference(np.sort(wanted[name], None), np.sort(value, None))
            if not found <= TOLERANCE:
                raise ParityError(
                    "OpenVINO computes something else than ONNX Runtime",
                    where=f"step {_STEP}: output {name}",
                    expected=f"a difference of at most {TOLERANCE:g} of the largest value",
                    got=f"{found:.2g}",
                )
    return replace(artifact, format="openvino", files=files)
