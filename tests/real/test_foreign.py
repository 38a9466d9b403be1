"""What real files say about themselves is enough to run them right."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecv.dataset import open_dataset
from edgecv.evaluation import evaluate
from edgecv.hints import Hints
from edgecv.interchange import export_metadata, unpacked
from edgecv.loading import load
from edgecv.packing import pack


def test_tflite_metadata_give_labels_and_pixels(real_dir: Path) -> None:
    """No option at all: the figures are those of raw pixels, which the metadata mean."""
    with load(real_dir / "models/coral/mobilenet_v2_1.0_224_quant.tflite", trusted=True) as model:
        assert model.labels[:2] == ("background", "tench, Tinca tinca")
        assert set(model.info.input.std) == {128.0}
        data = open_dataset(real_dir / "data/imagenet200", labels=model.labels)
        metrics = evaluate(model, data, bootstrap=0).metrics
    assert metrics["top1"] == pytest.approx(0.880, abs=0.01)
    assert metrics["top5"] == pytest.approx(0.995, abs=0.01)


@pytest.mark.parametrize("format", ["model_api", "nn_archive"])
def test_yolox_goes_out_and_comes_back(real_dir: Path, tmp_path: Path, format: str) -> None:
    source = real_dir / "models/yolox-nano/yolox_nano.onnx"
    labels = tuple(f"class {i}" for i in range(80))
    bundle = pack([source], tmp_path / "y.edgecv", hints=Hints(head="yolox", labels=labels))
    made = export_metadata(bundle, format, tmp_path / "out")
    image = sorted((real_dir / "data/coco128/images/val2017").glob("*.jpg"))[0]
    with load(bundle, backend="onnxruntime", confidence=0.25) as model:
        expected = model(image).detections
    assert len(expected)
    said = Hints(head="yolox", foreign=format)
    with unpacked([made.path]) as (path,), load(path, hints=said, confidence=0.25) as model:
        found = model(image).detections
    assert found.difference(expected).unmatched == ()
    assert found.difference(expected).box_px < 0.01
