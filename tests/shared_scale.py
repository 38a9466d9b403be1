"""A detector quantized the wrong way: one scale for coordinates and scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests import models


def shared_scale_detector(path: Path, step: float = 0.5) -> Path:
    """Write the detector of `models` with its output rounded to whole multiples of `step`."""
    import onnx
    from onnx import helper, numpy_helper

    random = np.random.default_rng(0)
    low, high = (4, 4, 4, 4), (92, 60, 30, 30)
    boxes = [[*random.uniform(low, high), i % 3, random.uniform(0.3, 0.8)] for i in range(60)]
    model = onnx.load(str(models.onnx_detector(path, boxes=boxes)))
    graph = model.graph
    graph.node[-1].output[0] = "exact"
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.float32(step), "step"),
            numpy_helper.from_array(np.uint8(0), "zero_point"),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("QuantizeLinear", ["exact", "step", "zero_point"], ["whole"]),
            helper.make_node("DequantizeLinear", ["whole", "step", "zero_point"], ["y"]),
        ]
    )
    onnx.save(model, str(path))
    return path
