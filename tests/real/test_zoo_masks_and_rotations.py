"""Segmentation and oriented boxes against Ultralytics' own results, on the same files and pixels.

Weights are random; the last layers are scaled so that scores, boxes and masks spread. Both sides
run the same ONNX file, so that what is compared is the decoding. Ultralytics makes its masks with
``retina_masks``: at source resolution, as edgecv does; its default draws them at input resolution.
It cuts a mask at its box by the index of a pixel, where edgecv goes by its centre, so a row of
pixels at the edge of the box is left out of the comparison.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import edgecv
from edgecv import boxes
from edgecv.converters import torchvision_operators
from edgecv.masks import Masks
from edgecv.results.detections import Detections

SIDE = 320
SPREAD = {"cv2": (0, 1), "cv3": (-3, 0.5), "cv4": (0, 1)}


@pytest.fixture(scope="module")
def ultralytics(tmp_path_factory: pytest.TempPathFactory) -> Any:
    torchvision_operators.declare_missing()
    library = pytest.importorskip("ultralytics", exc_type=ImportError)
    import torchvision
    from ultralytics.utils import nms

    with pytest.MonkeyPatch.context() as patch:
        # torchvision's compiled part does not work beside every torch; the library has its own.
        patch.setattr(torchvision.ops, "nms", nms.TorchNMS.nms)
        patch.chdir(tmp_path_factory.mktemp("zoo"))
        yield library


@pytest.fixture(scope="module")
def picture(real_dir: Path) -> np.ndarray:
    folder = real_dir / "data/coco128/images/val2017"
    # No border: Ultralytics cuts it off before it interpolates, at whole cells of the prototypes.
    return cv2.resize(cv2.imread(str(sorted(folder.glob("*.jpg"))[3])), (2 * SIDE, 2 * SIDE))


def spread(net: torch.nn.Module, picture: np.ndarray) -> None:
    """Scale the last layers of random weights to outputs of a chosen mean and deviation."""
    seen: dict[torch.nn.Module, torch.Tensor] = {}
    head = net.model[-1]
    layers = []
    for prefix in ("", "one2one_"):
        for name, aim in SPREAD.items():
            for part in getattr(head, prefix + name, None) or []:
                layers.append((part[-1], name, aim))
                part[-1].register_forward_hook(lambda m, _, out: seen.__setitem__(m, out))
    image = torch.from_numpy(cv2.resize(picture, (SIDE, SIDE))[None, :, :, ::-1].copy())
    image = image.permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        net.train()(torch.cat([image, image.flip(3), image / 2]))
        net.eval()(image)
        for layer, name, (mean, deviation) in layers:
            if layer not in seen:
                continue
            out = seen[layer]
            factor = deviation / out.std(dim=(0, 2, 3)).clamp(min=1e-6)
            shift = torch.full_like(factor, float(mean))
            if name == "cv2":
                # Distances of a few cells: of 16 bins the first weigh most; v26 has no bins.
                shift = -0.4 * torch.arange(len(factor)).remainder(16) if len(factor) > 4 else 3.0
                factor = factor if len(factor) > 4 else factor / 2
            layer.weight.mul_(factor[:, None, None, None])
            layer.bias.copy_((layer.bias - out.mean(dim=(0, 2, 3))) * factor + shift)


def both(library: Any, name: str, picture: np.ndarray, most: int) -> tuple[Detections, Any]:
    """Run one file on both sides; no option says what it is."""
    model = library.YOLO(f"{name}.yaml", verbose=False)
    model.model.pt_path = model.ckpt_path = str(Path.cwd() / f"{name}.pt")
    spread(model.model, picture)
    file = model.export(format="onnx", imgsz=SIDE, simplify=False, device="cpu", verbose=False)
    with edgecv.load(file, confidence=0.25, iou=0.45, max_detections=most) as ours:
        assert ours.info.told_by == "Ultralytics metadata"
        found = ours(picture).detections
        task = ours.task
    theirs = library.YOLO(file, task=task).predict(
        picture,
        conf=0.25,
        iou=0.45,
        max_det=most,
        imgsz=SIDE,
        rect=False,
        retina_masks=True,
        verbose=False,
    )[0]
    return found, theirs


@pytest.mark.parametrize("name", ["yolov8n-seg", "yolo11n-seg", "yolo26n-seg"])
def test_masks(ultralytics: Any, picture: np.ndarray, name: str) -> None:
    found, theirs = both(ultralytics, name, picture, 300)
    masks = found.instance_masks
    # Ultralytics leaves out what has no pixel.
    keep = masks.area() > 0
    found, masks = found[keep], masks[keep]
    their_masks = Masks.from_full(theirs.masks.data.numpy().astype(bool))
    their_boxes, their_scores = theirs.boxes.xyxy.numpy(), theirs.boxes.conf.numpy()
    assert len(found) >= 10
    assert len(np.unique(found.class_id)) >= 3
    unpaired, ious = 0, []
    for i in range(len(found)):
        apart = np.abs(their_boxes - found.xyxy[i]).max(axis=1)
        fits = (apart < 0.5) & (np.abs(their_scores - found.score[i]) < 1e-3)
        fits &= theirs.boxes.cls.numpy() == found.class_id[i]
        if not fits.any():
            unpaired += 1
            continue
        inside = np.zeros(masks.size_hw, bool)
        x1, y1, x2, y2 = found.xyxy[i]
        inside[int(y1) + 1 : int(y2) - 1, int(x1) + 1 : int(x2) - 1] = True
        mine = masks.full(i) & inside
        overlaps = []
        for j in np.flatnonzero(fits):
            other = their_masks.full(j) & inside
            either = np.count_nonzero(mine | other)
            overlaps.append(np.count_nonzero(mine & other) / either if either else 1.0)
        ious.append(max(overlaps))
    assert len(found) == len(their_boxes)
    assert unpaired == 0
    assert min(ious) >= 0.99


@pytest.mark.parametrize("name", ["yolov8n-obb", "yolo11n-obb", "yolo26n-obb"])
def test_oriented_boxes(ultralytics: Any, picture: np.ndarray, name: str) -> None:
    found, theirs = both(ultralytics, name, picture, 300)
    assert found.xywhr is not None
    ours = boxes.corners_of_rotated(found.xywhr)
    corners = boxes.corners_of_rotated(theirs.obb.xywhr.numpy())
    scores = theirs.obb.conf.numpy()
    assert len(found) >= 10
    assert len(found) == len(corners)
    assert np.ptp(found.xywhr[:, 4]) > 0.5
    free = np.ones(len(corners), bool)
    for i in range(len(found)):
        turns = [np.abs(np.roll(corners, k, axis=1) - ours[i]).max(axis=(1, 2)) for k in range(4)]
        fits = free & (np.min(turns, axis=0) < 0.5) & (np.abs(scores - found.score[i]) < 1e-3)
        fits &= theirs.obb.cls.numpy() == found.class_id[i]
        assert fits.any(), (found.score[i], found.xywhr[i])
        free[np.flatnonzero(fits)[0]] = False
