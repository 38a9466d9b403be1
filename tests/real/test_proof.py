"""Flags, overlaps and parity on public models and photographs."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from edgecv import load
from edgecv.converters.artifact import Artifact
from edgecv.converters.calibration import calibration_set
from edgecv.converters.near_duplicates import check_disjoint, overlaps
from edgecv.converters.parity import check_float, parity
from edgecv.manifest import HeadSpec, Input
from edgecv.output_check import check_model
from edgecv.verification import verify_file

pytestmark = pytest.mark.real

MODELS = {
    "yolox-nano/yolox_nano.onnx": ("onnxruntime", "openvino"),
    "nanodet/nanodet.onnx": ("onnxruntime", "openvino"),
    "fastestdet/FastestDet.onnx": ("onnxruntime", "openvino"),
    "ultraface/version-RFB-320.onnx": ("onnxruntime",),
    "omz/face-detection-retail-0005.xml": ("openvino",),
    "coral/mobilenet_v2_1.0_224_quant.tflite": ("litert",),
    "coral/mobilenet_v1_0.25_128_quant.tflite": ("litert",),
}
FILES = [(file, backend) for file, backends in MODELS.items() for backend in backends]


def val_images(real_dir: Path) -> list[Path]:
    return sorted((real_dir / "data/coco128/images/val2017").glob("*.jpg"))


@pytest.mark.parametrize(("file", "backend"), FILES)
def test_healthy_models_are_not_flagged(real_dir: Path, file: str, backend: str) -> None:
    path = real_dir / "models" / file
    for images in ([], val_images(real_dir)[:40]):
        report = verify_file(path, images, backend=backend, trusted=True)
        refused = [f for f in report.flags[backend] if f.severity == "refuse"]
        assert report.ok, refused
        assert refused == []


@pytest.mark.parametrize(
    "file", [file for file, backends in MODELS.items() if "openvino" in backends]
)
def test_short_floats_are_not_taken_for_a_lattice(real_dir: Path, file: str) -> None:
    images = val_images(real_dir)[:2]
    with load(
        real_dir / "models" / file, backend="openvino", precision="auto", trusted=True
    ) as model:
        assert check_model(model, images) == ()


def test_calibration_and_validation_photographs_do_not_overlap(
    real_dir: Path, tmp_path: Path
) -> None:
    data = real_dir / "data/coco128/coco128.yaml"
    calibration = calibration_set(data, limit=100)
    assert len(calibration) == 100
    validation = val_images(real_dir)
    check_disjoint(calibration.images, validation)
    copies = []
    for i, path in enumerate(validation):
        image = cv2.imread(str(path))
        height, width = image.shape[:2]
        y, x = height * 3 // 100, width * 3 // 100
        small = cv2.resize(image[y:, : width - x], None, fx=0.5, fy=0.5)
        copies.append(tmp_path / f"{i:03}.jpg")
        cv2.imwrite(str(copies[-1]), small[:, ::-1] if i % 2 else small)
    found = {(item.first, item.second) for item in overlaps(copies, validation)}
    wanted = set(zip(copies, validation, strict=True))
    assert found <= wanted
    assert len(found) >= 0.97 * len(wanted)


def test_parity_of_one_file_in_two_forms(real_dir: Path, tmp_path: Path) -> None:
    import openvino

    source = real_dir / "models/yolox-nano/yolox_nano.onnx"
    openvino.save_model(
        openvino.convert_model(str(source)), str(tmp_path / "m.xml"), compress_to_fp16=False
    )
    spec = Input(size_hw=(416, 416), resize="letterbox-topleft", rounding="floor", color="bgr")
    images = calibration_set(real_dir / "data/coco128/coco128.yaml", limit=8)
    made = Artifact("openvino", (tmp_path / "m.xml", tmp_path / "m.bin"))
    result = parity(
        Artifact("onnx", (source,)), made, images, spec, limit=3, head=HeadSpec(name="yolox")
    )
    check_float(result, relative=1e-3)
    assert result.outputs[1].scale > 0.3
