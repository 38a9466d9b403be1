"""Public model files in every engine that opens them: what they say, and that they run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecv import plugins
from edgecv.errors import ModelLoadError
from edgecv.probe import probe
from edgecv.types import Array, ModelSource, Session, SessionOptions

pytestmark = pytest.mark.real

# file -> (precision, first input, number of outputs)
ONNX = {
    "yolox-nano/yolox_nano.onnx": ("images float32[1,3,416,416]", 1),
    "nanodet/nanodet.onnx": ("image float32[1,3,320,320]", 6),
    "nanodet/nanodet_m.onnx": ("input.1 float32[1,3,416,416]", 6),
    "fastestdet/FastestDet.onnx": ("input.1 float32[1,3,352,352]", 1),
    "ultraface/version-RFB-320.onnx": ("input float32[1,3,240,320]", 2),
    "ultraface/version-slim-320_without_postprocessing.onnx": ("input float32[1,3,240,320]", 2),
}
TFLITE = {
    "coral/mobilenet_v2_1.0_224_quant.tflite": ("int8", "input uint8[1,224,224,3]"),
    "coral/mobilenet_v1_0.25_128_quant.tflite": ("int8", "input uint8[1,128,128,3]"),
    "coral/deeplabv3_mnv2_pascal_quant.tflite":
        ("int8", "MobilenetV2/MobilenetV2/input uint8[1,513,513,3]"),
    "coral/deeplabv3_mnv2_dm05_pascal_quant.tflite":
        ("int8", "MobilenetV2/MobilenetV2/input uint8[1,513,513,3]"),
    "coral/movenet_single_pose_lightning_ptq.tflite":
        ("int8", "serving_default_input:0 uint8[1,192,192,3]"),
    "mediapipe/face_detection_short_range.tflite": ("fp32", "input float32[1,128,128,3]"),
    "mediapipe/selfie_segmentation.tflite": ("fp32", "input_1 float32[1,256,256,3]"),
}  # fmt: skip
SEGMENTATION = "mediapipe/selfie_segmentation.tflite"


def opened(path: Path, backend: str, **options: object) -> Session:
    module = plugins.load("backends", backend)
    source = ModelSource.from_paths(path, *module.companions(path))
    return module.open_session(source, SessionOptions(**{"threads": 2, **options}))


def random_inputs(session: Session) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    made = {}
    for spec in session.inputs:
        high = 255 if np.dtype(spec.dtype).kind in "iu" else 1
        made[spec.name] = (rng.random(spec.shape) * high).astype(spec.dtype)
    return made


@pytest.mark.parametrize("file", ONNX)
def test_onnx_files_in_two_engines(real_dir: Path, file: str) -> None:
    path = real_dir / "models" / file
    first, count = ONNX[file]
    outputs = []
    for backend in ("onnxruntime", "openvino"):
        session = opened(path, backend)
        print(session.info)
        assert session.info.precision == "fp32"
        assert session.info.notes == ()
        assert str(session.inputs[0]) == first
        assert len(session.outputs) == count
        outputs.append(session.run(random_inputs(session)))
        for spec in session.outputs:
            array = outputs[-1][spec.name]
            assert array.dtype == spec.dtype
            assert len(array.shape) == len(spec.shape)
        assert probe(path, backend).not_run is None
    assert outputs[0].keys() == outputs[1].keys()
    for name, array in outputs[0].items():
        scale = max(1.0, float(np.abs(array).max()))
        np.testing.assert_allclose(array / scale, outputs[1][name] / scale, atol=2e-4)


def test_openvino_ir(real_dir: Path) -> None:
    path = real_dir / "models/omz/face-detection-retail-0005.xml"
    session = opened(path, "openvino")
    print(session.info)
    assert session.info.precision == "fp32"
    assert str(session.inputs[0]) == "input.1 float32[1,3,300,300]"
    assert str(session.outputs[0]) == "527 float32[1,1,200,7]"
    assert "conversion_parameters/input_shape" in session.metadata
    whole = session.run(random_inputs(session))["527"]
    module = plugins.load("backends", "openvino")
    views = {p.name: memoryview(p.read_bytes()) for p in (path, *module.companions(path))}
    again = module.open_session(ModelSource(views), SessionOptions(threads=2))
    np.testing.assert_array_equal(again.run(random_inputs(again))["527"], whole)
    assert probe(path, "openvino").metadata == session.metadata


@pytest.mark.parametrize("file", TFLITE)
def test_tflite_files(real_dir: Path, file: str) -> None:
    path = real_dir / "models" / file
    precision, first = TFLITE[file]
    session = opened(path, "litert")
    print(session.info)
    assert session.info.precision == precision
    assert session.info.device == "CPU (XNNPACK)"
    assert str(session.inputs[0]) == first
    if first.startswith("input uint8"):
        assert session.inputs[0].quantization is not None
    outputs = session.run(random_inputs(session))
    for spec in session.outputs:
        assert outputs[spec.name].shape == spec.shape
        assert outputs[spec.name].dtype == spec.dtype
    assert probe(path, "litert").not_run is None


def test_custom_ops_need_xnnpack(real_dir: Path) -> None:
    path = real_dir / "models" / SEGMENTATION
    with pytest.raises(ModelLoadError, match="Convolution2DTransposeBias") as caught:
        opened(path, "litert", extra={"xnnpack": "false"})
    assert "xnnpack=false" in str(caught.value.remedy)


def test_bf16_where_the_cpu_has_it(real_dir: Path) -> None:
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bf16")
    path = real_dir / "models/yolox-nano/yolox_nano.onnx"
    full, reduced = opened(path, "openvino"), opened(path, "openvino", precision="bf16")
    assert (full.info.precision, reduced.info.precision) == ("fp32", "bf16")
    inputs = random_inputs(full)
    difference = np.abs(full.run(inputs)["output"] - reduced.run(inputs)["output"])
    assert difference.max() > 1e-3
