"""Write the trained detector as one small ONNX file, and check it against PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort
import onnxslim
import torch
from model import INPUT_SIZE, DigitDetector

OPSET: Final = 18
IR_VERSION: Final = 10
"""Newest ONNX IR that the file may need; ONNX Runtime 1.20 reads it."""
TOLERANCE: Final = 1e-3
"""Largest difference allowed between PyTorch and ONNX Runtime (pixels, or probability)."""
PROVENANCE: Final = {
    "producer": "edgecv examples/digits",
    "license": "Apache-2.0",
    "data": "UCI Optical Recognition of Handwritten Digits (CC BY 4.0), via scikit-learn",
}


def export_onnx(state: dict[str, torch.Tensor], path: Path) -> None:
    """Export a state dict of ``DigitDetector`` with folded batch normalisation.

    The file has one input ``images``, float32 [1, 3, 192, 192], and one output ``output0``,
    float32 [1, 14, 720], as the class docstring of ``DigitDetector`` describes them.
    """
    model = DigitDetector()
    model.load_state_dict(state)
    model.fuse()
    example = torch.rand(1, 3, INPUT_SIZE, INPUT_SIZE, generator=torch.Generator().manual_seed(0))
    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=["images"],
        output_names=["output0"],
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    graph = onnxslim.slim(program.model_proto)
    graph.ir_version = min(graph.ir_version, IR_VERSION)
    _strip(graph)
    onnx.checker.check_model(graph, full_check=True)
    onnx.save_model(graph, str(path), save_as_external_data=False)

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    actual = session.run(None, {"images": example.numpy()})[0]
    with torch.inference_mode():
        expected = model(example).numpy()
    worst = float(np.abs(actual - expected).max())
    if worst > TOLERANCE:
        raise RuntimeError(f"ONNX Runtime and PyTorch differ by {worst:.2e}")


def _strip(graph: onnx.ModelProto) -> None:
    """Drop the exporter's notes (they quote source paths) and state the provenance, in place."""
    graph.doc_string = ""
    graph.graph.doc_string = ""
    del graph.graph.value_info[:]
    for node in graph.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    del graph.graph.metadata_props[:]
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, PROVENANCE)
