"""ONNX files of a few nodes whose work is known by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgecv.bench import work
from edgecv.bench.report import Work
from edgecv.types import ModelSource

FLOAT = TensorProto.FLOAT
INNER = "it runs a graph of its own, which is not counted"
"""Why an operator that runs a graph of its own is not counted."""


def graph(
    nodes: list[Any],
    x: list[Any],
    constants: dict[str, Any] | None = None,
    *,
    outputs: tuple[str, ...] = ("y",),
    opset: int = 18,
    inputs: dict[str, list[Any]] | None = None,
    info: list[Any] | None = None,
) -> ModelSource:
    """Make an ONNX file whose outputs' shapes are not declared; a constant may be a shape."""
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, FLOAT, s) for n, s in {"x": x, **(inputs or {})}.items()],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [
            numpy_helper.from_array(
                np.zeros(v, np.float32) if isinstance(v, tuple) else np.asarray(v), name
            )
            for name, v in (constants or {}).items()
        ],
        value_info=info,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return ModelSource({"m.onnx": memoryview(model.SerializeToString())})


def node(op: str, inputs: str, outputs: str = "y", **attributes: Any) -> Any:
    names = [("" if name == "_" else name) for name in inputs.split()]
    return helper.make_node(op, names, outputs.split(), **attributes)


def count(source: ModelSource, size_hw: tuple[int, int] | None = None) -> Work:
    return work.of_source(source, size_hw)
