"""Tiny ONNX graphs, converted and quantized in the tests of TFLite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgecv.backends import litert, onnxruntime
from edgecv.converters.artifact import Artifact
from edgecv.types import Array, ModelSource, SessionOptions, TensorSpec

SIZE_HW = (32, 48)


class Net:
    """Builds an ONNX graph op by op; each method returns the name of what it computes."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        out = out or f"{kind.lower()}_{len(self.nodes)}"
        name = f"node/{out}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=name, **attributes))
        return out

    def constant(self, values: Array) -> str:
        name = f"const_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def conv(self, data: str, channels: tuple[int, int], kernel: int = 1, **more: Any) -> str:
        before, behind = channels
        group = more.get("group", 1)
        shape = (behind, before // group, kernel, kernel)
        scale = (2.0 / (shape[1] * kernel**2)) ** 0.5
        weights = self.constant(self.rng.normal(0, scale, shape).astype(np.float32))
        bias = self.constant(self.rng.normal(0, 0.1, behind).astype(np.float32))
        pad = kernel // 2
        return self.op("Conv", data, weights, bias, pads=[pad] * 4, **more)

    def silu(self, data: str) -> str:
        return self.op("Mul", data, self.op("Sigmoid", data))

    def save(
        self,
        path: Path,
        inputs: Mapping[str, tuple[int, Sequence[int]]],
        outputs: Mapping[str, Sequence[int]],
    ) -> Path:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info(k, *v) for k, v in inputs.items()],
            [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in outputs.items()],
            self.constants,
        )
        opsets = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(path))
        return path


def detector(path: Path) -> Artifact:
    """Two feature maps, depthwise, SiLU, resize; "boxes:0" [1, cells, 7] joins boxes and scores."""
    net = Net()
    h, w = SIZE_HW
    stem = net.silu(net.conv("images", (3, 8), 3, strides=[2, 2]))
    deep = net.op("Relu", net.conv(stem, (8, 8), 3, group=8))
    small = net.op("MaxPool", deep, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    small = net.op("LeakyRelu", net.conv(small, (8, 16)), alpha=0.1)
    scales = net.constant(np.asarray([1, 1, 2, 2], np.float32))
    large = net.op("Resize", small, "", scales, mode="nearest")
    large = net.op("Concat", large, deep, axis=1)
    parts = []
    for data, channels, cells in ((large, 24, h * w // 4), (small, 16, h * w // 16)):
        boxes = net.op("Mul", net.conv(data, (channels, 4)), net.constant(np.float32([100.0])))
        scores = net.op("Sigmoid", net.conv(data, (channels, 3)))
        joined = net.op("Concat", boxes, scores, axis=1)
        shape = net.constant(np.asarray([1, 7, cells], np.int64))
        parts.append(net.op("Reshape", joined, shape))
    net.op("Transpose", net.op("Concat", *parts, axis=2), perm=[0, 2, 1], out="boxes:0")
    cells = h * w // 4 + h * w // 16
    given = {"images": (TensorProto.FLOAT, [1, 3, h, w])}
    return Artifact("onnx", (net.save(path, given, {"boxes:0": [1, cells, 7]}),))


def raw_heads(path: Path) -> Artifact:
    """Outputs NCHW, in another order than they are computed in; one is used inside, too."""
    net = Net(1)
    h, w = SIZE_HW
    stem = net.op("Relu", net.conv("images", (3, 8), 3, strides=[2, 2]), out="stem")
    net.op("Sigmoid", net.conv(stem, (8, 5)), out="late")
    net.op("GlobalAveragePool", stem, out="mean")
    shapes = {"mean": [1, 8, 1, 1], "stem": [1, 8, h // 2, w // 2], "late": [1, 5, h // 2, w // 2]}
    given = {"images": (TensorProto.FLOAT, [1, 3, h, w])}
    return Artifact("onnx", (net.save(path, given, shapes),))


def fused(path: Path) -> Artifact:
    """uint8 NHWC pixels in; a cast, a transposition, a division and two convolutions."""
    net = Net(2)
    h, w = SIZE_HW
    data = net.op("Transpose", net.op("Cast", "pixels", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    stem = net.op("Relu", net.conv(data, (3, 8), 3, strides=[2, 2]))
    net.conv(net.op("MaxPool", stem, kernel_shape=[2, 2], strides=[2, 2]), (8, 6))
    net.nodes[-1].output[0] = "map"
    given = {"pixels": (TensorProto.UINT8, [1, h, w, 3])}
    path = net.save(path, given, {"map": [1, 6, h // 4, w // 4]})
    return Artifact("onnx", (path,), layout="NHWC", in_graph=("color", "normalize"))


def shuffled(path: Path) -> Artifact:
    """Channels shuffled in two groups and split; then what only transposed maps go through."""
    net = Net(3)
    h, w = SIZE_HW
    stem = net.op("LeakyRelu", net.conv("images", (3, 8), 3, strides=[2, 2]), alpha=0.2)
    apart = net.constant(np.asarray([1, 2, 4, h // 2, w // 2], np.int64))
    whole = net.constant(np.asarray([1, 8, h // 2, w // 2], np.int64))
    mixed = net.op("Transpose", net.op("Reshape", stem, apart), perm=[0, 2, 1, 3, 4])
    net.op("Reshape", mixed, whole, out="mixed")
    sizes = net.constant(np.asarray([4, 4], np.int64))
    net.nodes.append(helper.make_node("Split", ["mixed", sizes], ["left", "right"], axis=1))
    right = net.op("LeakyRelu", net.conv("right", (4, 4)), alpha=0.2)
    net.conv(net.op("Concat", "left", right, axis=1), (8, 5))
    net.nodes[-1].output[0] = "map"
    given = {"images": (TensorProto.FLOAT, [1, 3, h, w])}
    return Artifact("onnx", (net.save(path, given, {"map": [1, 5, h // 2, w // 2]}),))


@dataclass(frozen=True)
class RandomFeeds:
    """Pixels 0..255 that are smooth enough to look like images, seeded."""

    spec: TensorSpec
    count: int = 6
    digest: str = "random"

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Mapping[str, Array]]:
        for seed in range(self.count):
            yield {self.spec.name: pixels(self.spec, seed)}


def pixels(spec: TensorSpec, seed: int) -> Array:
    """One image for an input, NHWC or NCHW."""
    rng = np.random.default_rng(seed)
    shape = tuple(size or 1 for size in spec.shape)
    noise = rng.uniform(0, 60, shape) + rng.uniform(0, 195)
    noise.flat[0], noise.flat[-1] = 0, 255
    return noise.round().astype(spec.dtype)


def open_tflite(artifact: Artifact) -> litert.LiteRtSession:
    return litert.open_session(ModelSource.from_paths(artifact.path), SessionOptions(threads=1))


def run_tflite(artifact: Artifact, image: Array) -> dict[str, Array]:
    """Run a TFLite file on one float or uint8 NHWC image; outputs as floats."""
    session = open_tflite(artifact)
    try:
        (spec,) = session.inputs
        if spec.quantization is not None and spec.dtype == "int8":
            levels = image / spec.quantization.scale + spec.quantization.zero_point
            image = np.clip(np.rint(levels), -128, 127).astype(np.int8)
        found = session.run({spec.name: image})
        return {one.name: real(found[one.name], one) for one in session.outputs}
    finally:
        session.close()


def real(values: Array, spec: TensorSpec) -> Array:
    if spec.quantization is None:
        return values
    return (values.astype(np.float32) - spec.quantization.zero_point) * spec.quantization.scale


def run_onnx(artifact: Artifact, image: Array) -> dict[str, Array]:
    session = onnxruntime.open_session(
        ModelSource.from_paths(artifact.path), SessionOptions(threads=1)
    )
    try:
        return session.run({session.inputs[0].name: image})
    finally:
        session.close()


def snr_db(found: Array, wanted: Array) -> float:
    """Signal to noise in decibels."""
    noise = float(np.square(found.astype(np.float64) - wanted).sum())
    return float(10 * np.log10(np.square(wanted.astype(np.float64)).sum() / max(noise, 1e-30)))
