"""Maps of random networks against what their own libraries make of the same pixels.

Weights are random: which pixel means what is tested. Needs ``transformers`` and ``ultralytics``;
nothing is downloaded.
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
from edgecv.converters import torchvision_operators
from edgecv.converters.source import Request, open_source
from edgecv.converters.steps.torch_onnx import export_onnx
from edgecv.types import Array, Image


@pytest.fixture(scope="module", autouse=True)
def importable() -> None:
    torchvision_operators.declare_missing()
    torch.set_num_threads(1)


def picture(hw: tuple[int, int] = (90, 140)) -> Image:
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (5, 7, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, hw[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def run(folder: Path, work: Path) -> tuple[Any, torch.Tensor]:
    """Export a Hugging Face folder; return our result, and the pixels that went in."""
    source = open_source(Request(f"hf:{folder}", (64, 96)))
    path = export_onnx(source, work).path
    hints = source.hints.replace(task=None)
    with edgecv.load(path, hints=hints, backend="onnxruntime", trusted=True) as model:
        image = picture()
        pixels = torch.from_numpy(model.prepare(image))
        return model(image), pixels


def save(model: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    settings = {
        "size": {"height": 64, "width": 96},
        "resample": 2,
        "do_normalize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


def test_segformer(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16, 16, 24], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 3],
        decoder_hidden_size=16, num_labels=7,
    )  # fmt: skip
    model = transformers.SegformerForSemanticSegmentation(config).eval()
    save(model, tmp_path / "segformer")
    result, pixels = run(tmp_path / "segformer", tmp_path)
    with torch.no_grad():
        outputs = model(pixel_values=pixels)
    processor = transformers.SegformerImageProcessor
    try:
        post = processor().post_process_semantic_segmentation(outputs, [(90, 140)])[0].numpy()
    except (ImportError, RuntimeError):  # torchvision, without its compiled part
        logits = torch.nn.functional.interpolate(
            outputs.logits, (90, 140), mode="bilinear", align_corners=False
        )
        post = logits.argmax(1)[0].numpy()
    found = result.semantic
    assert len(found.areas()) >= 2, "a map of one class proves nothing"
    assert outputs.logits.shape[-2:] == (16, 24)
    assert (found.class_id == post).mean() >= 0.999


def depth_anything(transformers: Any) -> Any:
    """Build a tiny one, with weights large enough that the map is not flat."""
    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(
        hidden_size=24, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=8,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, patch_size=8, reassemble_hidden_size=24,
        neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=16, head_hidden_size=8,
        depth_estimation_type="metric", max_depth=20,
    )  # fmt: skip
    model = transformers.DepthAnythingForDepthEstimation(config).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            torch.nn.init.kaiming_normal_(module.weight)
    return model


def test_depth_anything(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    model = depth_anything(transformers)
    save(model, tmp_path / "depth")
    result, pixels = run(tmp_path / "depth", tmp_path)
    with torch.no_grad():
        depth = model(pixel_values=pixels).predicted_depth
    expected = torch.nn.functional.interpolate(
        depth[None], (90, 140), mode="bilinear", align_corners=False
    )[0, 0].numpy()
    found = result.depth
    assert found.kind == "metric"
    assert np.ptp(expected) > 1e-3 * np.abs(expected).max(), "a flat map proves nothing"
    np.testing.assert_allclose(found.depth, expected, rtol=1e-3)


def settled(name: str) -> Any:
    """Build a network of Ultralytics whose outputs depend on the image."""
    ultralytics = pytest.importorskip("ultralytics", exc_type=ImportError)
    torch.manual_seed(0)
    yolo = ultralytics.YOLO(f"{name}.yaml", verbose=False)
    for module in yolo.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (8, 6, 8, 3)).astype(np.uint8)
    images = [cv2.resize(c, (160, 128), interpolation=cv2.INTER_CUBIC) for c in coarse]
    batch = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2) / 255).float()
    yolo.model.train()
    with torch.no_grad():
        yolo.model(batch)
    yolo.model.eval()
    return yolo


@pytest.mark.parametrize("task", ["semantic", "depth"])
def test_ultralytics(tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = {"semantic": "yolo26n-sem", "depth": "yolo26n-depth"}[task]
    path = settled(name).export(format="onnx", imgsz=(128, 160), verbose=False)
    import ultralytics

    image = picture((213, 320))
    theirs = ultralytics.YOLO(path, task=task)(image, imgsz=(128, 160), verbose=False)[0]
    with edgecv.load(path, trusted=True) as model:
        ours = model(image)
        assert (model.task, model.info.told_by) == (task, "Ultralytics metadata")
        inner = model.infer(model.prepare(image))["output0"]
    if task == "semantic":
        expected: Array = theirs.semantic_mask.data.cpu().numpy()
        # It takes the border off and then the pixel to the left of the nearest place's centre.
        cut = torch.from_numpy(inner[:, 11:117].astype(np.float32))
        nearest = torch.nn.functional.interpolate(cut[None], (213, 320), mode="nearest")
        np.testing.assert_array_equal(nearest[0, 0].numpy(), expected)
        found = ours.semantic
        assert len(found.areas()) >= 3
        # We take the nearest, at most a pixel away.
        around = np.ones((3, 3), np.uint8)
        for class_id in found.areas():
            near = cv2.dilate((expected == class_id).astype(np.uint8), around)
            assert near[found.mask(class_id)].all()
    else:
        expected = theirs.depth.data.cpu().numpy()
        # It stretches the map from the edge pixels' centres; we do from edge to edge.
        corners = torch.nn.functional.interpolate(
            torch.from_numpy(inner), (213, 320), mode="bilinear", align_corners=True
        )
        np.testing.assert_allclose(corners[0, 0].numpy(), expected, rtol=1e-3)
        assert ours.depth.kind == "metric"
        assert ours.depth.depth.shape == expected.shape


def test_a_random_segformer_is_one_bundle_for_three_engines(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16, 16, 24], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 3],
        decoder_hidden_size=16, num_labels=3,
    )  # fmt: skip
    save(transformers.SegformerForSemanticSegmentation(config).eval(), tmp_path / "segformer")
    from edgecv.converters.conversion import convert
    from edgecv.converters.decision import Rules
    from edgecv.converters.order import Order

    bundle = convert(
        Order(
            request=Request(f"hf:{tmp_path / 'segformer'}", (64, 96)),
            output=tmp_path / "s.edgecv",
            rules=Rules(("fp32",), fused=False),
        )
    ).path
    maps = []
    for backend in ("onnxruntime", "openvino", "litert"):
        with edgecv.load(bundle, backend=backend) as model:
            maps.append(model(picture()).semantic)
    assert maps[1].difference(maps[0]).area < 0.01
    assert maps[2].difference(maps[0]).area < 0.01
