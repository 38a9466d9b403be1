"""Ultralytics and timm as sources, with the packages that a user would have installed.

Weights are random: the families' graphs are what is tested. Needs ``ultralytics`` and ``timm``, and
what they need to build models; nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from edgecv.converters import torchvision_operators
from edgecv.converters.source import Request, Source, open_source
from edgecv.converters.steps.torch_onnx import export_onnx
from edgecv.errors import SourceError, UntrustedPickleError
from edgecv.foreign import ultralytics as metadata_reader

SIDE = 96
CELLS = 12 * 12 + 6 * 6 + 3 * 3
YOLOS = [
    # name, task, shapes of the outputs, end to end
    ("yolov5nu", "detect", [(1, 84, CELLS)], False),
    ("yolov8n", "detect", [(1, 84, CELLS)], False),
    ("yolov9t", "detect", [(1, 84, CELLS)], False),
    ("yolov10n", "detect", [(1, CELLS, 6)], True),
    ("yolo11n", "detect", [(1, 84, CELLS)], False),
    ("yolo12n", "detect", [(1, 84, CELLS)], False),
    ("yolo26n", "detect", [(1, CELLS, 6)], True),
    ("yolov8n-seg", "segment", [(1, 116, CELLS), (1, 32, 24, 24)], False),
    ("yolo11n-seg", "segment", [(1, 116, CELLS), (1, 32, 24, 24)], False),
    ("yolo26n-seg", "segment", [(1, CELLS, 38), (1, 32, 24, 24)], True),
    ("yolov8n-pose", "pose", [(1, 56, CELLS)], False),
    ("yolo11n-pose", "pose", [(1, 135, CELLS)], False),
    ("yolo26n-pose", "pose", [(1, CELLS, 57)], True),
    ("yolov8n-obb", "obb", [(1, 85, CELLS)], False),
    ("yolo11n-obb", "obb", [(1, 85, CELLS)], False),
    ("yolo26n-obb", "obb", [(1, CELLS, 7)], True),
    ("yolo26n-sem", "semantic", [(1, SIDE, SIDE)], False),
    ("yolo26n-depth", "depth", [(1, 1, SIDE, SIDE)], False),
    ("yolov8n-cls", "classify", [(1, 1000)], False),
    ("yolo11n-cls", "classify", [(1, 1000)], False),
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def importable() -> None:
    torchvision_operators.declare_missing()


@pytest.fixture(scope="module")
def ultralytics() -> Any:
    return pytest.importorskip("ultralytics", exc_type=ImportError)


@pytest.fixture(scope="module")
def timm() -> Any:
    return pytest.importorskip("timm", exc_type=ImportError)


def opened(spec: Any, **options: Any) -> Source:
    return open_source(Request(spec, **options))


@pytest.mark.parametrize(("name", "task", "shapes", "end2end"), YOLOS, ids=lambda v: str(v)[:14])
def test_ultralytics_families(
    ultralytics: Any,
    tmp_path: Path,
    name: str,
    task: str,
    shapes: list[tuple[int, ...]],
    end2end: bool,
) -> None:
    source = opened(f"{name}.yaml", input_hw=(SIDE, SIDE))
    assert (source.kind, source.name) == ("ultralytics", name)
    assert any("random weights" in note for note in source.notes)
    artifact = export_onnx(source, tmp_path)  # compares with torch
    assert artifact.notes == ()
    model = onnx.load(artifact.path)
    found = [
        tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in model.graph.output
    ]
    assert found == shapes
    assert [value.name for value in model.graph.output] == ["output0", "output1"][: len(shapes)]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    props = {entry.key: entry.value for entry in model.metadata_props}
    hints = metadata_reader.read(artifact.path, props)
    assert hints is not None
    assert (hints.task, hints.size_hw) == (task, (SIDE, SIDE))
    classes = {"yolov8n-pose": 1, "yolo26n-sem": 19, "yolo26n-depth": 0}.get(name, 80)
    classes = shapes[0][1] if task == "classify" else classes
    assert len(hints.labels or ()) == classes
    assert props["end2end"] == str(end2end)
    assert hints.replace(name=name) == source.hints
    if task == "detect":
        assert hints.head == ("end2end" if end2end else "yolo")
    if task == "pose":
        assert props["kpt_shape"] == "[17, 3]"


def test_ultralytics_pickles_need_trust(ultralytics: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    ultralytics.YOLO("yolo11n.yaml", verbose=False).save(path)
    with pytest.raises(UntrustedPickleError, match=r"ultralytics\.nn\.tasks\.DetectionModel"):
        opened(path, input_hw=(64, 64))
    source = opened(path, input_hw=(64, 64), trust_pickle=True)
    assert (source.kind, source.name) == ("ultralytics", "mine")
    assert list(source.files) == ["mine.pt"]
    assert opened(path, input_hw=(64, 64), trust_pickle=True).digest == source.digest
    assert export_onnx(source, tmp_path).path.name == "mine.onnx"


def test_ultralytics_refusals(ultralytics: Any, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="multiples of 32"):
        opened("yolo11n.yaml", input_hw=(100, 96))
    with pytest.raises(SourceError, match="Ultralytics cannot open it"):
        opened("yolo99z.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("backbone: 3\nhead: 4\n")
    with pytest.raises(SourceError, match="Ultralytics cannot open it"):
        opened(broken)


def test_ultralytics_default_sizes(ultralytics: Any) -> None:
    assert opened("yolov8n-cls.yaml").input_hw == (224, 224)


@pytest.mark.parametrize(
    "name", ["mobilenetv3_small_050", "resnet18", "vit_tiny_patch16_224", "convnext_atto"]
)
def test_timm_families(timm: Any, tmp_path: Path, name: str) -> None:
    source = opened(f"timm:{name}", input_hw=(64, 64))
    assert source.input_hw == (64, 64)
    hints = source.hints
    assert (hints.task, hints.head, hints.resize) == ("classify", "softmax", "crop")
    assert hints.labels is not None
    assert len(hints.labels) == 1000
    assert hints.mean is not None
    config = timm.data.resolve_model_data_config(timm.create_model(name))
    np.testing.assert_allclose(hints.mean, 255 * np.array(config["mean"]))
    assert hints.crop_ratio == config["crop_pct"]
    assert opened(f"timm:{name}", input_hw=(64, 64)).digest == source.digest
    assert export_onnx(source, tmp_path).notes == ()


def test_timm_checkpoints(timm: Any, tmp_path: Path) -> None:
    net = timm.create_model("resnet18", pretrained=False, num_classes=4).eval()
    path = tmp_path / "trained.pt"
    torch.save({"state_dict": net.state_dict()}, path)
    spec = f"timm:resnet18?checkpoint={path}"
    source = opened(f"{spec}&num_classes=4", input_hw=(64, 64))
    assert source.hints.labels is None
    assert list(source.files) == ["trained.pt"]
    image = torch.rand(1, 3, 64, 64)
    assert source.module is not None
    with torch.no_grad():
        assert torch.allclose(source.module(image), net(image), atol=1e-5)
    with pytest.raises(SourceError, match=r"of another shape: fc\.weight"):
        opened(spec, input_hw=(64, 64))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("timm:resnet_nope", "knows no such model"),
        ("timm:", "expected timm:NAME"),
        ("timm:resnet18?size=3", "expected timm:NAME"),
        ("timm:resnet18?num_classes=x", "expected timm:NAME"),
        ("timm:resnet18?checkpoint=nowhere.pt", "no such checkpoint"),
    ],
)
def test_timm_refusals(timm: Any, spec: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        opened(spec)
