"""Whole conversions of models that other libraries define: all formats, with parity."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import edgecv
from edgecv.bundle import open_bundle
from edgecv.converters.conversion import convert
from edgecv.converters.decision import Rules
from edgecv.converters.graphs_only import convert_graphs
from edgecv.converters.order import Order
from edgecv.converters.report.document import parse
from edgecv.converters.source import Request

FLOATS = Rules(("fp32",), fused=False)


def needs(library: str) -> None:
    """Skip where a library is not installed; importing it is for the source to do."""
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")


def converted(tmp_path: Path, spec: str, input_hw: tuple[int, int] | None) -> Path:
    return convert(
        Order(request=Request(spec, input_hw), output=tmp_path / "z.edgecv", rules=FLOATS)
    ).path


def check(bundle: Path) -> None:
    with open_bundle(bundle) as opened:
        manifest = opened.manifest
        ladder = parse(bytes(opened.attachment("conversion") or b""))
    assert {v.backend for v in manifest.variants} == {"onnxruntime", "openvino", "litert"}
    assert {row.step for row in ladder.parity} == {"openvino, plain", "tflite, plain"}
    assert min(row.cosine or 0 for row in ladder.parity) > 0.9999
    for variant in manifest.variants:
        with edgecv.load(bundle, variant=variant.id) as model:
            model(np.full((90, 120, 3), 99, np.uint8))


def test_a_timm_classifier(tmp_path: Path) -> None:
    needs("timm")
    check(converted(tmp_path, "timm:mobilenetv3_small_050", None))


def test_an_ultralytics_detector_from_its_yaml(tmp_path: Path) -> None:
    needs("ultralytics")
    bundle = converted(tmp_path, "yolo11n.yaml", (160, 160))
    check(bundle)
    with open_bundle(bundle) as opened:
        assert opened.manifest.head.name == "yolo"
        assert len(opened.manifest.labels) == 80


@pytest.mark.parametrize("spec", ["yolo11n-seg.yaml", "yolo11n-pose.yaml"])
def test_segmentation_and_pose_graphs(tmp_path: Path, spec: str) -> None:
    needs("ultralytics")
    made = convert_graphs(Order(request=Request(spec, (160, 160)), output=tmp_path / "graphs"))
    assert set(made.files) == {"onnx", "openvino", "tflite"}
    assert min(row["cosine"] for row in made.document["parity"]) > 0.9999
