"""YOLO-pose of every generation against Ultralytics' own results on the same pixels.

Weights are random, but the last layers are scaled so that boxes, scores and keypoints differ from
anchor to anchor: else any decoding would agree. Needs ``ultralytics``; nothing is downloaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import edgecv
from edgecv import boxes
from edgecv.converters import torchvision_operators

SIDE = 192
CONFIDENCE, IOU = 0.35, 0.6


@pytest.fixture(scope="module")
def yolo() -> Any:
    torchvision_operators.declare_missing()
    module = pytest.importorskip("ultralytics", exc_type=ImportError)
    return module.YOLO


@pytest.fixture
def greedy_nms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for torchvision's compiled suppression, which cannot be loaded everywhere."""
    import torchvision

    def nms(xyxy: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
        left = torch.argsort(scores, descending=True, stable=True).tolist()
        kept = []
        while left:
            kept.append(left.pop(0))
            x1, y1, x2, y2 = xyxy[kept[-1]].double().tolist()
            rest = []
            for j in left:
                a1, b1, a2, b2 = xyxy[j].double().tolist()
                inner = max(0, min(x2, a2) - max(x1, a1)) * max(0, min(y2, b2) - max(y1, b1))
                union = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - inner
                if inner <= threshold * union:
                    rest.append(j)
            left = rest
        return torch.tensor(kept, dtype=torch.long)

    monkeypatch.setattr(torchvision.ops, "nms", nms)


def liven_up(model: Any, pixels: torch.Tensor) -> None:
    """Normalise all layers on these pixels, and spread what the last ones put out."""
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    with torch.no_grad():
        model(pixels)
    model.eval()
    last = {}
    for name, branch in model.model[-1].named_children():
        if isinstance(branch, torch.nn.ModuleList):
            for level in branch:
                convs = [m for m in level.modules() if isinstance(m, torch.nn.Conv2d)]
                if convs[-1].bias is not None:
                    last[convs[-1]] = name
    spread: dict[Any, float] = {}

    def measure(conv: Any, inputs: Any, output: torch.Tensor) -> None:
        spread[conv] = float((output - conv.bias.view(1, -1, 1, 1)).std())

    hooks = [conv.register_forward_hook(measure) for conv in last]
    with torch.no_grad():
        for conv in last:
            conv.weight.normal_(0, 1)
        model(pixels)
        for conv, name in last.items():
            # Scores around 0.2 with a long tail; boxes and keypoints of a few strides.
            scores = name.endswith("cv3")
            if conv in spread:
                conv.weight.mul_((0.5 if scores else 1.0) / spread[conv])
            if scores:
                conv.bias.fill_(-1.5)
            elif name.endswith("cv2"):
                # Distances to the four sides, where there is no distribution over bins: a box
                # that ends before it begins is no detection.
                conv.weight.mul_(0.25)
                conv.bias.fill_(3.0)
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize(
    ("name", "classes", "shape", "end2end"),
    [
        ("yolov8n-pose", 1, [17, 3], False),
        ("yolo11n-pose", 3, [5, 2], False),
        ("yolo11n-pose", 2, [17, 3], False),
        ("yolo26n-pose", 1, [17, 3], True),
        ("yolo26n-pose", 2, [6, 2], True),
    ],
)
def test_agrees_with_ultralytics(
    yolo: Any,
    greedy_nms: None,
    real_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    classes: int,
    shape: list[int],
    end2end: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    from ultralytics.nn.tasks import yaml_model_load

    config = {**yaml_model_load(f"{name}.yaml"), "nc": classes, "kpt_shape": shape}
    Path("own").mkdir()
    path = Path("own", f"{name}.yaml")
    path.write_text(json.dumps(config))
    wrapper = yolo(path, verbose=False)
    image = cv2.imread(str(real_dir / "data/images/squat.bmp"))
    crops = [
        cv2.resize(image[y : y + 200, x : x + 200], (SIDE, SIDE))
        for y in (0, 150, 300, 400)
        for x in (50, 150, 250)
    ]
    # What the model will see, too: features far from those it was normalised on have long tails.
    whole = np.full((SIDE, SIDE, 3), 114, np.uint8)
    whole[:, 17:174] = cv2.resize(image, (157, SIDE))
    crops += [whole] * 4
    pixels = torch.from_numpy(np.stack(crops)[..., ::-1].copy()).permute(0, 3, 1, 2) / 255
    if end2end:
        wrapper.model.end2end = True  # its one-to-one branches are those that run
    liven_up(wrapper.model, pixels)
    wrapper.save("net.pt")
    more = {"imgsz": SIDE, "verbose": False, **({"end2end": True} if end2end else {})}
    file = yolo("net.pt").export(format="onnx", simplify=False, **more)
    thresholds = {"conf": CONFIDENCE, "iou": IOU, "max_det": 300}
    result = yolo("net.pt").predict(image, rect=False, **thresholds, **more)[0]
    expected, points = result.boxes.data.numpy(), result.keypoints.data.numpy()

    with edgecv.load(file, trusted=True, threads=1, confidence=CONFIDENCE, iou=IOU) as model:
        assert (model.task, model.head) == ("pose", "yolo_pose")
        assert list(model.options.kpt_shape) == shape
        assert model.options.layout == ("end2end" if end2end else "anchor-free")
        found = model(image).detections

    # Not vacuous: several objects, of different scores, with keypoints all over the image.
    assert len(found) >= 10
    assert np.ptp(found.score) > 0.1
    assert np.ptp(found.keypoints[..., 0]) > 100
    assert (len(found), found.dropped) == (len(expected), 0)
    overlap = boxes.iou(found.xyxy, expected[:, :4].astype(np.float32))
    apart = np.abs(found.score[:, None] - expected[None, :, 4])
    pairs = np.where(found.class_id[:, None] == expected[None, :, 5], overlap - apart, -9)
    match = pairs.argmax(axis=1)
    assert sorted(match) == list(range(len(found)))
    assert np.abs(found.xyxy - expected[match, :4]).max() < 0.5
    assert np.abs(found.score - expected[match, 4]).max() < 1e-3
    # Ultralytics clips keypoints to the image.
    height, width = image.shape[:2]
    xy = np.clip(found.keypoints[..., :2], 0, [width, height])
    assert np.abs(xy - points[match][..., :2]).max() < 0.5
    if shape[1] == 3:
        assert np.abs(found.keypoints[..., 2] - points[match][..., 2]).max() < 1e-3
        assert np.ptp(found.keypoints[..., 2]) > 0.2
    else:
        assert (found.keypoints[..., 2] == 1).all()
