"""Public models that put out maps, against figures that other code gave."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import edgecv
from edgecv.dataset import open_dataset
from edgecv.drawing import draw
from edgecv.errors import AmbiguousModelError, ModelLoadError, UsageError
from edgecv.evaluation import evaluate
from edgecv.hints import Hints
from edgecv.map_files import read_map

pytestmark = pytest.mark.real

SELFIE = Hints(head="semantic", mean=(0.0,), std=(255.0,), labels=("background", "person"))
PERSON = 15


@pytest.mark.parametrize(
    ("name", "figure"),
    [("deeplabv3_mnv2_pascal_quant", 0.479), ("deeplabv3_mnv2_dm05_pascal_quant", 0.359)],
)
def test_deeplab(real_dir, name, figure):
    folder = real_dir / "models/coral"
    labels = (folder / "pascal_voc_segmentation_labels.txt").read_text().split("\n")
    labels = tuple(label.strip() for label in labels if label.strip())
    data = open_dataset(real_dir / "data/coco128/semantic-voc.yaml", task="semantic")
    # No option: the integers of [1, 513, 513] are class ids, and uint8 takes raw pixels.
    with edgecv.load(folder / f"{name}.tflite", labels=labels) as model:
        assert model.info.told_by == "shapes"
        found = evaluate(model, data, bootstrap=100)
    assert (found.images, found.skipped) == (100, 28)
    assert found.metrics["miou"] == pytest.approx(figure, abs=0.01)
    low, high = found.ci95["miou"]
    assert low < found.metrics["miou"] < high


def test_a_picture_of_what_deeplab_sees(real_dir):
    path = real_dir / "data/coco128/images/val2017/000000000139.jpg"
    with edgecv.load(real_dir / "models/coral/deeplabv3_mnv2_pascal_quant.tflite") as model:
        result = model(path)
    image = cv2.imread(str(path))
    drawn = draw(image, result)
    assert result.semantic.size_hw == image.shape[:2]
    assert {9, 20} < set(result.semantic.areas())  # chairs and a television set
    tinted = (drawn != image).any(axis=2)
    assert tinted[result.semantic.mask(20)].mean() > 0.9


def test_selfie_segmentation(real_dir):
    path = real_dir / "models/mediapipe/selfie_segmentation.tflite"
    folder = real_dir / "data/coco128"
    overlaps = []
    with edgecv.load(path, hints=SELFIE) as model:
        for file in sorted((folder / "masks-voc/val2017").iterdir()):
            person = read_map(file) == PERSON
            if person.mean() <= 0.15:
                continue
            found = model(folder / "images/val2017" / f"{file.stem}.jpg").semantic.mask(1)
            overlaps.append((person & found).sum() / (person | found).sum())
    assert len(overlaps) == 26
    assert np.mean(overlaps) == pytest.approx(0.63, abs=0.01)


def test_selfie_segmentation_elsewhere_is_a_clear_error(real_dir):
    path = real_dir / "models/mediapipe/selfie_segmentation.tflite"
    with pytest.raises(AmbiguousModelError, match="one of anomaly, depth, semantic"):
        edgecv.load(path)
    with pytest.raises(UsageError, match="openvino does not open this kind of file"):
        edgecv.load(path, hints=SELFIE, backend="openvino")
    from edgecv.backends import litert
    from edgecv.types import ModelSource, SessionOptions

    with pytest.raises(ModelLoadError, match="Convolution2DTransposeBias") as caught:
        litert.open_session(
            ModelSource.from_paths(path), SessionOptions(extra={"xnnpack": "false"})
        )
    assert "xnnpack=false" in str(caught.value.remedy)
