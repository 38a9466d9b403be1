"""Classifiers of Ultralytics with random weights: our results beside its own predictor's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edgecv
from edgecv.converters import torchvision_operators
from edgecv.manifest import Input
from edgecv.preprocess import Preprocessor
from edgecv.types import TensorSpec
from tests.real.pictures import structured

SIDE = 96


@pytest.fixture(scope="module")
def ultralytics() -> Any:
    torchvision_operators.declare_missing()
    return pytest.importorskip("ultralytics", exc_type=ImportError)


def let_signals_pass(net: torch.nn.Module, pixels: torch.Tensor) -> None:
    """Let batch norm see the image, and spread the 1000 logits, which random weights make alike."""
    for layer in net.eval().modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.train()
            layer.momentum = 1.0
    with torch.no_grad():
        net(pixels)
    net.eval()
    last = [layer for layer in net.modules() if isinstance(layer, torch.nn.Linear)][-1]
    seen: list[torch.Tensor] = []
    hook = last.register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.no_grad():
        net(pixels)
        hook.remove()
        factor = 2.0 / seen[0].std(dim=1).mean()
        last.weight.mul_(factor)
        last.bias.mul_(factor)


@pytest.mark.parametrize("name", ["yolov8n-cls", "yolo11n-cls", "yolo26n-cls"])
def test_probabilities_are_those_of_ultralytics(
    ultralytics: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    image = structured()
    model = ultralytics.YOLO(f"{name}.yaml", verbose=False)
    said = Input(size_hw=(SIDE, SIDE), resize="crop", std=(255.0, 255.0, 255.0))
    spec = TensorSpec("x", (1, 3, SIDE, SIDE), "float32")
    pixels = torch.from_numpy(Preprocessor(said, spec, "NCHW").prepare(image)[0].copy())
    # Two images, since statistics of one that is down to a pixel do not exist.
    let_signals_pass(model.model, torch.cat([pixels, pixels.flip(3)]))
    model.ckpt_path = str(tmp_path / name)
    path = model.export(format="onnx", imgsz=SIDE, verbose=False)
    theirs = ultralytics.YOLO(path, task="classify").predict(image, imgsz=SIDE, verbose=False)[0]
    expected = theirs.probs.data.numpy()
    with edgecv.load(path) as opened:
        assert opened.task == "classify"
        found = opened.with_options(top_k=1000)(image).classes
    assert len(found) == 1000
    # Neither all alike nor all but one nothing.
    assert 0.01 < expected.max() < 0.9
    assert np.count_nonzero(expected > 1e-3) > 50
    probabilities = np.zeros(1000, np.float32)
    probabilities[found.class_id] = found.score
    assert np.abs(probabilities - expected).max() < 1e-3
    assert found.class_id[0] == expected.argmax()
