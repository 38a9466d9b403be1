"""The steps on ONNX graphs, on public models and real images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from edgecv.converters import onnx_edit, onnx_graph
from edgecv.converters.artifact import Artifact
from edgecv.converters.steps.onnx_bias_correction import bias_correct
from edgecv.converters.steps.onnx_equalize import equalizable, equalize
from edgecv.converters.steps.onnx_fp16 import to_fp16
from edgecv.converters.steps.onnx_fuse_input import fuse_input
from edgecv.converters.steps.onnx_normalize import normalize
from edgecv.converters.steps.onnx_pad_pooling import pad_pooling
from edgecv.manifest import Input
from edgecv.preprocess import Preprocessor
from edgecv.types import Array, TensorSpec

pytestmark = pytest.mark.real

SPECS = {
    "yolox-nano/yolox_nano": Input(
        size_hw=(416, 416), resize="letterbox-topleft", rounding="floor", color="bgr"
    ),
    "nanodet/nanodet": Input(
        size_hw=(320, 320), resize="stretch", color="bgr",
        mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395),
    ),
    "fastestdet/FastestDet": Input(
        size_hw=(352, 352), resize="stretch", color="bgr", std=(255.0, 255.0, 255.0)
    ),
}  # fmt: skip
LAYERS = {"yolox-nano/yolox_nano": 113, "nanodet/nanodet": 73, "fastestdet/FastestDet": 70}


class Images:
    """Feeds of some real images for an artifact."""

    digest = "images"

    def __init__(self, folder: Path, spec: Input, artifact: Artifact, count: int = 3) -> None:
        self.paths = sorted((folder / "data" / "coco128" / "images").rglob("*.jpg"))[:count]
        value = onnx.load(artifact.path).graph.input[0]
        kind = "uint8" if artifact.layout == "NHWC" else "float32"
        self.tensor = TensorSpec(value.name, onnx_edit.shape_of(value) or (), kind)
        self.prepare = Preprocessor(spec, self.tensor, artifact.layout, artifact.in_graph).prepare

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        for path in self.paths:
            image = cv2.imread(str(path))
            assert image is not None
            yield {self.tensor.name: self.prepare(image)[0].copy()}  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def normal(
    real_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Artifact, Images]]:
    kept: dict[str, Artifact] = {}

    def get(name: str) -> tuple[Artifact, Images]:
        if name not in kept:
            source = Artifact("onnx", (real_dir / "models" / f"{name}.onnx",))
            kept[name] = normalize(source, tmp_path_factory.mktemp("normal"))
        return kept[name], Images(real_dir, SPECS[name], kept[name])

    return get


def worst(before: Path, after: Path, first: Images, second: Images) -> float:
    """Return the largest difference of any output, relative to the output's largest value."""
    a, b = (onnx_edit.session(onnx.load(path)) for path in (before, after))
    found = 0.0
    for feed, other in zip(first, second, strict=True):
        want, got = onnx_edit.run(a, feed), onnx_edit.run(b, other)
        for name, value in want.items():
            found = max(found, float(np.abs(value - got[name]).max() / np.abs(value).max()))
    return found


@pytest.mark.parametrize("name", SPECS)
def test_the_normal_form(real_dir: Path, normal: Callable[..., tuple[Artifact, Images]], name: str):  # type: ignore[no-untyped-def]
    made, feeds = normal(name)
    model = onnx.load(made.path)
    assert onnx_edit.opset(model) == 17
    assert model.ir_version <= 10
    assert len(onnx_graph.layers(model)) == LAYERS[name]
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)
    assert worst(real_dir / "models" / f"{name}.onnx", made.path, feeds, feeds) < 1e-4


@pytest.mark.parametrize("name", SPECS)
def test_pixels_in_the_graph(
    real_dir: Path, tmp_path: Path, normal: Callable[..., tuple[Artifact, Images]], name: str
) -> None:
    plain, feeds = normal(name)
    fused = fuse_input(plain, tmp_path, spec=SPECS[name])
    raw = Images(real_dir, SPECS[name], fused)
    assert worst(plain.path, fused.path, feeds, raw) < 1e-4


@pytest.mark.parametrize("name", SPECS)
def test_half_precision(
    tmp_path: Path, normal: Callable[..., tuple[Artifact, Images]], name: str
) -> None:
    plain, feeds = normal(name)
    made = to_fp16(plain, tmp_path)
    assert made.size_bytes < 0.55 * plain.size_bytes
    first, second = (onnx_edit.session(onnx.load(path)) for path in (plain.path, made.path))
    for feed in feeds:
        want, got = onnx_edit.run(first, feed), onnx_edit.run(second, feed)
        for output, value in want.items():
            # In decibels: yolox_nano's boxes move at cells without a score, by the rounding of
            # weights alone, so the largest error says little.
            noise = np.square(value - got[output]).sum() / np.square(value).sum()
            assert -10 * np.log10(noise) > 30


@pytest.mark.parametrize(
    ("name", "pairs"), [("nanodet/nanodet", 47), ("fastestdet/FastestDet", 41)]
)
def test_equalizing_changes_nothing(
    tmp_path: Path, normal: Callable[..., tuple[Artifact, Images]], name: str, pairs: int
) -> None:
    plain, feeds = normal(name)
    assert equalizable(onnx.load(plain.path)) == pairs
    made = equalize(plain, tmp_path)
    assert worst(plain.path, made.path, feeds, feeds) < 1e-4


def test_silu_is_not_equalized(normal: Callable[..., tuple[Artifact, Images]]) -> None:
    plain, _ = normal("yolox-nano/yolox_nano")
    assert equalizable(onnx.load(plain.path)) == 0


@pytest.mark.parametrize(
    ("name", "mode"), [("nanodet/nanodet", "reflect"), ("fastestdet/FastestDet", "constant")]
)
def test_poolings_are_padded_exactly(
    tmp_path: Path, normal: Callable[..., tuple[Artifact, Images]], name: str, mode: str
) -> None:
    plain, feeds = normal(name)
    made = pad_pooling(plain, tmp_path)
    graph = onnx.load(made.path).graph
    (pool,) = (node for node in graph.node if node.op_type == "MaxPool")
    (pad,) = (node for node in graph.node if node.output[0] == pool.input[0])
    assert onnx_edit.attributes(pad)["mode"] == mode
    assert not any(onnx_edit.attributes(pool).get("pads", []))
    assert worst(plain.path, made.path, feeds, feeds) == 0


def test_biases_of_yolox_make_up_for_rounded_weights(
    tmp_path: Path, normal: Callable[..., tuple[Artifact, Images]]
) -> None:
    plain, feeds = normal("yolox-nano/yolox_nano")
    made = bias_correct(plain, tmp_path, feeds=feeds)
    assert made.notes[-1] == "biases of 113 layers corrected"

    def error(artifact: Artifact) -> float:
        rounded = onnx.load(artifact.path)
        for tensor in rounded.graph.initializer:
            value = onnx.numpy_helper.to_array(tensor)
            if value.ndim == 4:
                scale = np.abs(value).max(axis=(1, 2, 3), keepdims=True) / 127
                name = tensor.name
                value = (np.rint(value / scale) * scale).astype(np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))
        a, b = onnx_edit.session(onnx.load(plain.path)), onnx_edit.session(rounded)
        shift = [onnx_edit.run(b, f)["output"] - onnx_edit.run(a, f)["output"] for f in feeds]
        return float(np.abs(np.mean(shift, axis=(0, 1, 2))).mean())

    assert error(made) < 0.5 * error(plain)


def test_the_joins_that_quantization_must_leave_in_float(
    normal: Callable[..., tuple[Artifact, Images]],
) -> None:
    plain, feeds = normal("fastestdet/FastestDet")
    (join,) = onnx_graph.mixed_joins(onnx.load(plain.path), feeds)
    assert join.op == "Concat"
    assert 0 <= join.low[1][0] < join.low[1][1] <= 1
    assert max(map(abs, join.high[1])) > 4


@pytest.mark.parametrize(
    ("name", "count"), [("yolox-nano/yolox_nano", 14), ("nanodet/nanodet", 18)]
)
def test_the_tail_holds_no_layer(
    normal: Callable[..., tuple[Artifact, Images]], name: str, count: int
) -> None:
    model = onnx.load(normal(name)[0].path)
    inside = onnx_graph.tail(model)
    assert len(inside) == count
    assert not set(inside) & {layer.name for layer in onnx_graph.layers(model)}
