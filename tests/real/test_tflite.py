"""Real detectors as TFLite: parity of the float file, and what full int8 keeps of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx2tf")
pytest.importorskip("ai_edge_quantizer")

from edgecv.converters.artifact import Artifact
from edgecv.converters.quantizers import litert
from edgecv.converters.recipe import Recipe
from edgecv.converters.steps.onnx_tflite import to_tflite
from edgecv.converters.tflite_file import Graph
from edgecv.converters.tflite_int8 import float_ops
from edgecv.types import Array
from tests.conversion import tflite_models as tiny


@dataclass(frozen=True)
class Images:
    """Eight training images, stretched to a model's input, NHWC."""

    folder: Path
    name: str
    size: int
    scale: float
    shift: float
    digest: str = "coco128"

    def __len__(self) -> int:
        return 8

    def __iter__(self) -> Iterator[Mapping[str, Array]]:
        for path in sorted(self.folder.glob("*.jpg"))[: len(self)]:
            image = cv2.resize(cv2.imread(str(path)), (self.size, self.size))
            pixels = (image.astype(np.float32) - self.shift) * self.scale
            yield {self.name: pixels[None].astype(np.float32)}


@dataclass(frozen=True)
class Case:
    path: str
    input: str
    size: int
    scale: float = 1.0
    shift: float = 0.0


CASES = {
    "yolox_nano": Case("yolox-nano/yolox_nano.onnx", "images", 416),
    "nanodet": Case("nanodet/nanodet.onnx", "image", 320, 1 / 57.0, 113.0),
    "fastestdet": Case("fastestdet/FastestDet.onnx", "input.1", 352, 1 / 255),
}


@pytest.fixture(scope="module", params=CASES)
def case(
    request: pytest.FixtureRequest, real_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Artifact, Artifact, Images]:
    one = CASES[request.param]
    before = Artifact("onnx", (real_dir / "models" / one.path,))
    bytes_before = before.path.read_bytes()
    after = to_tflite(before, tmp_path_factory.mktemp(request.param))
    assert before.path.read_bytes() == bytes_before
    folder = next((real_dir / "data" / "coco128").rglob("train2017"), None)
    assert folder is not None
    images = folder if list(folder.glob("*.jpg")) else real_dir / "data/coco128/images/train2017"
    return before, after, Images(images, one.input, one.size, one.scale, one.shift)


def test_the_float_file_computes_the_same(case: tuple[Artifact, Artifact, Images]) -> None:
    before, after, images = case
    (image,) = next(iter(images)).values()
    wanted = tiny.run_onnx(before, np.ascontiguousarray(image.transpose(0, 3, 1, 2)))
    found = tiny.run_tflite(after, image)
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        assert found[name].shape == values.shape
        assert tiny.snr_db(found[name], values) > 80


def test_int8_with_a_float_tail(case: tuple[Artifact, Artifact, Images], tmp_path: Path) -> None:
    _, after, images = case
    recipe = Recipe(precision="int8", calibrator="percentile", float_tail=True)
    assert litert.refuses(after, recipe) is None
    made = litert.quantize(after, recipe, images, tmp_path)
    assert made.size_bytes < 0.45 * after.size_bytes
    left = float_ops(Graph.read(made.path))
    assert not {"CONV_2D", "DEPTHWISE_CONV_2D", "LEAKY_RELU", "PADV2"} & set(left)
    (image,) = list(images)[-1].values()
    wanted, found = tiny.run_tflite(after, image), tiny.run_tflite(made, image)
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        assert np.isfinite(found[name]).all()
        # Little, but not noise; what it is worth is for the ladder to measure as mAP.
        assert tiny.snr_db(found[name], values) > 4
