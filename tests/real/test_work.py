"""Work of public networks, beside the figures that are published of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecv.bench import work
from edgecv.engines import choose_backend, gather
from edgecv.types import ModelSource


def source(path: Path) -> ModelSource:
    return gather(path, choose_backend(path))


@pytest.mark.parametrize(
    ("file", "million_macs", "off"),
    [
        # The table of Howard et al.'s MobileNet_v1 model zoo says 14 million.
        ("coral/mobilenet_v1_0.25_128_quant.tflite", 14, 0.05),
        # Sandler et al. 2018: 300 million; counted by hand from the table of layers: 300.8.
        ("coral/mobilenet_v2_1.0_224_quant.tflite", 300.8, 0.001),
        # YOLOX's README: 1.08 GFLOPs, two for each of them, decoding included.
        ("yolox-nano/yolox_nano.onnx", 522.6, 0.01),
    ],
)
def test_published_figures(real_dir: Path, file: str, million_macs: float, off: float) -> None:
    found = work.of_source(source(real_dir / "models" / file))
    assert found.macs == pytest.approx(million_macs * 1e6, rel=off)
    assert found.bytes_moved


FILES = [
    "coral/deeplabv3_mnv2_dm05_pascal_quant.tflite", "coral/deeplabv3_mnv2_pascal_quant.tflite",
    "coral/movenet_single_pose_lightning_ptq.tflite", "fastestdet/FastestDet.onnx",
    "mediapipe/face_detection_short_range.tflite", "nanodet/nanodet.onnx",
    "nanodet/nanodet_m.onnx", "omz/face-detection-retail-0005.xml",
    "ultraface/version-RFB-320.onnx",
    "ultraface/version-slim-320_without_postprocessing.onnx",
]  # fmt: skip


@pytest.mark.parametrize("file", FILES)
def test_the_work_of_every_public_file_is_told(real_dir: Path, file: str) -> None:
    path = real_dir / "models" / file
    found = work.of_source(source(path))
    assert found.missing == {"instructions": work.INSTRUCTIONS}
    assert found.bytes_moved > path.stat().st_size * 0.8


def test_an_operator_of_others_is_named(real_dir: Path) -> None:
    found = work.of_source(source(real_dir / "models/mediapipe/selfie_segmentation.tflite"))
    assert (found.macs, found.bytes_moved) == (None, None)
    assert "Convolution2DTransposeBias" in found.missing["macs"]


@pytest.mark.parametrize("file", ["yolox-nano/yolox_nano.onnx", "fastestdet/FastestDet.onnx"])
def test_openvino_and_onnx_have_the_same_work(real_dir: Path, tmp_path: Path, file: str) -> None:
    openvino = pytest.importorskip("openvino")
    path = real_dir / "models" / file
    converted = tmp_path / "m.xml"
    openvino.save_model(openvino.convert_model(path), converted, compress_to_fp16=False)
    assert work.of_source(source(converted)).macs == work.of_source(source(path)).macs
