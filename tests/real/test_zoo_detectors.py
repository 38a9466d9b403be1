"""Detectors of Ultralytics with random weights: our results beside those of their own predictor.

Class scores of random weights are all alike, so the last layers are scaled until they differ. Both
sides run the same exported file on the same image, from letterbox to suppression.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peer_model import spread_outputs

import edgecv
from edgecv.converters import torchvision_operators
from edgecv.head import load_head
from edgecv.manifest import Input
from edgecv.preprocess import Preprocessor
from edgecv.results.detections import Detections
from edgecv.types import TensorSpec
from tests.real.pictures import structured

SIDE = 160
CONFIDENCE, IOU = 0.3, 0.6
# Those that put out their best 300 pairs of place and class would show nothing but the best.
LOGITS = {"yolo": -3.0, "end2end": -7.0, "detr": -5.0}
FAMILIES = {
    "yolov5nu": "yolo",
    "yolov8n": "yolo",
    "yolov10n": "end2end",
    "yolo11n": "yolo",
    "yolo12n": "yolo",
    "yolo26n": "end2end",
    "rtdetr-l": "detr",
}


@pytest.fixture(scope="module")
def ultralytics() -> Any:
    torchvision_operators.declare_missing()
    return pytest.importorskip("ultralytics", exc_type=ImportError)


def export(ultralytics: Any, name: str, image: np.ndarray, folder: Path) -> Path:
    torch.manual_seed(7)
    torch.set_num_threads(2)
    make = ultralytics.RTDETR if name.startswith("rtdetr") else ultralytics.YOLO
    model = make(f"{name}.yaml")
    family = load_head(FAMILIES[name]).PIXELS
    spec = TensorSpec("x", (1, 3, SIDE, SIDE), "float32")
    said = Input(size_hw=(SIDE, SIDE), resize=family.resize, std=(255.0, 255.0, 255.0))
    pixels = torch.from_numpy(Preprocessor(said, spec, "NCHW").prepare(image)[0].copy())
    # Two images, since statistics of one that is down to a pixel do not exist.
    head = FAMILIES[name]
    two = torch.cat([pixels, pixels.flip(3)])
    spread_outputs(model.model, two, LOGITS[head], is_detr=head == "detr")
    more = {"nms": False} if FAMILIES[name] == "end2end" else {}
    model.export(format="onnx", imgsz=SIDE, opset=17, simplify=False, verbose=False, **more)
    return folder / f"{name}.onnx"


def nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Suppress as torchvision documents it; its compiled part is missing here."""
    order = scores.argsort(descending=True, stable=True).tolist()
    kept: list[int] = []
    for i in order:
        low = torch.maximum(boxes[i, :2], boxes[kept, :2])
        high = torch.minimum(boxes[i, 2:], boxes[kept, 2:])
        inner = (high - low).clamp(min=0).prod(dim=1)
        areas = (boxes[[i, *kept], 2:] - boxes[[i, *kept], :2]).prod(dim=1)
        if not (inner / (areas[0] + areas[1:] - inner) > threshold).any():
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_detections_as_their_predictor(
    ultralytics: Any,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = structured()
    monkeypatch.chdir(tmp_path)
    path = export(ultralytics, name, image, tmp_path)
    with edgecv.load(path, confidence=CONFIDENCE, iou=IOU, trusted=True) as model:
        assert (model.info.head, model.info.told_by) == (FAMILIES[name], "Ultralytics metadata")
        found = model(image).detections
    make = ultralytics.RTDETR if name.startswith("rtdetr") else ultralytics.YOLO
    import torchvision

    monkeypatch.setattr(torchvision.ops, "nms", nms)
    theirs = (
        make(str(path)).predict(image, imgsz=SIDE, conf=CONFIDENCE, iou=IOU, verbose=False)[0].boxes
    )
    expected = Detections(
        theirs.xyxy.numpy().astype(np.float32),
        theirs.conf.numpy().astype(np.float32),
        theirs.cls.numpy().astype(np.int32),
    )
    # Enough to compare, and not all one thing.
    assert len(expected) > 10
    assert len(set(expected.class_id.tolist())) > 5
    assert np.ptp(expected.score) > 0.2
    assert np.ptp(expected.xyxy[:, 0]) > 50
    difference = found.difference(expected)
    assert difference.score < 1e-3
    assert difference.box_px < 0.5
    assert all(score < CONFIDENCE + 1e-3 for score in difference.unmatched)
