"""Tiny ONNX networks for tests, written node by node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgecv.converters import onnx_edit
from edgecv.converters.artifact import Artifact
from edgecv.types import Array


class Net:
    """Collects nodes and weights; `model` makes the file."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[Any] = []
        self.weights: dict[str, Array] = {}
        self.rng = np.random.default_rng(seed)

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def hold(self, name: str, value: Any) -> str:
        self.weights[name] = np.asarray(value)
        return name

    def conv(
        self,
        source: str,
        output: str,
        channels: tuple[int, int],
        *,
        kernel: int = 3,
        bias: bool = True,
        spread: float = 0.0,
        group: int = 1,
        **attributes: Any,
    ) -> str:
        """Add a convolution; `spread` makes the ranges of its output channels unequal."""
        taken, made = channels
        value = self.rng.normal(0, 0.4, (made, taken // group, kernel, kernel))
        value *= np.exp(self.rng.uniform(-spread, spread, (made, 1, 1, 1)))
        inputs = [source, self.hold(f"{output}_w", value.astype(np.float32))]
        if bias:
            shift = self.rng.normal(0, 0.3, made)
            inputs.append(self.hold(f"{output}_b", shift.astype(np.float32)))
        attributes.setdefault("pads", [kernel // 2] * 4)
        name = attributes.pop("name", output)
        return self.add("Conv", inputs, output, name=name, group=group, **attributes)

    def model(
        self,
        outputs: Sequence[str],
        *,
        shape: Sequence[int | str] = (1, 3, 12, 16),
        name: str = "x",
        opset: int = 17,
        ir_version: int = 8,
        metadata: Mapping[str, str] | None = None,
    ) -> onnx.ModelProto:
        made = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))],
            [helper.make_tensor_value_info(out, TensorProto.FLOAT, None) for out in outputs],
            [numpy_helper.from_array(value, key) for key, value in self.weights.items()],
        )
        model = helper.make_model(
            made, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version
        )
        helper.set_model_props(model, dict(metadata or {}))
        return model


def save(model: onnx.ModelProto, folder: Path, name: str = "net.onnx") -> Artifact:
    """Write a model as an artifact."""
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return Artifact("onnx", (path,))


def outputs(source: onnx.ModelProto | Artifact, feed: Mapping[str, Array]) -> dict[str, Array]:
    """Run a model once."""
    model = onnx.load(source.path) if isinstance(source, Artifact) else source
    return onnx_edit.run(onnx_edit.session(model), feed)


def ops(artifact: Artifact) -> list[str]:
    """List the operators of a file in its order."""
    return [node.op_type for node in onnx.load(artifact.path).graph.node]


class Some:
    """Feeds: `count` random images of the input ``x``."""

    digest = "some"

    def __init__(self, count: int = 4, shape: Sequence[int] = (1, 3, 12, 16)) -> None:
        self.count, self.shape = count, shape

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[dict[str, Array]]:
        rng = np.random.default_rng(3)
        for _ in range(self.count):
            yield {"x": rng.random(self.shape).astype(np.float32)}


def image(shape: Sequence[int] = (1, 3, 12, 16), seed: int = 9) -> Array:
    """Random floats, negative and positive."""
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
