"""Hugging Face folders as sources: tiny models, and how the image processor's settings are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from edgecv.converters import torchvision_operators
from edgecv.converters.image_processor import pixel_hints
from edgecv.converters.source import Request, Source, open_source
from edgecv.converters.steps.torch_onnx import export_onnx
from edgecv.errors import DependencyMissingError, SourceError


def opened(folder: Path, **options: Any) -> Source:
    return open_source(Request(f"hf:{folder}", **options))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torchvision_operators.declare_missing()
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("hf") / "tiny-resnet"
    labels = {0: "cat", 1: "dog", 2: "owl"}
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], id2label=labels)
    ResNetForImageClassification(config).save_pretrained(folder)
    settings = {"do_resize": True, "size": {"shortest_edge": 40}, "do_center_crop": True,
                "crop_size": {"height": 32, "width": 32}, "do_normalize": True,
                "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2]}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def test_a_classifier(classifier: Path, tmp_path: Path) -> None:
    source = opened(classifier)
    assert (source.kind, source.name, source.input_hw) == ("transformers", "tiny-resnet", (32, 32))
    hints = source.hints
    assert (hints.task, hints.head, hints.labels) == ("classify", "softmax", ("cat", "dog", "owl"))
    assert (hints.resize, hints.crop_ratio, hints.color) == ("crop", 0.8, "rgb")
    assert hints.mean == pytest.approx((127.5, 102, 76.5))
    assert hints.std == pytest.approx((51, 51, 51))
    assert "model.safetensors" in source.files
    assert source.output_names == ("logits",)
    assert opened(classifier).digest == source.digest
    export_onnx(source, tmp_path)


def test_a_query_detector(tmp_path: Path) -> None:
    torchvision_operators.declare_missing()
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

    torch.manual_seed(0)
    backbone = RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    net = RTDetrForObjectDetection(
        RTDetrConfig(
            backbone_config=backbone, encoder_hidden_dim=32, encoder_in_channels=[16, 24, 32],
            encoder_ffn_dim=32, encoder_attention_heads=2, d_model=32, num_queries=12,
            decoder_in_channels=[32, 32, 32], decoder_layers=1, decoder_ffn_dim=32,
            decoder_attention_heads=2, decoder_n_points=2, num_denoising=0,
            id2label={0: "a", 1: "b", 2: "c"},
        )
    )  # fmt: skip
    with torch.no_grad():
        # New heads are zero, and all queries tie; a backbone with new statistics fades out.
        for name, value in net.named_parameters():
            if "class" in name or "score" in name:
                torch.nn.init.normal_(value)
        for part in net.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.momentum = 1.0
            elif hasattr(part, "running_var"):
                part.running_var.fill_(0.1)
        net.train()(pixel_values=torch.rand(8, 3, 64, 64))
    net.save_pretrained(tmp_path / "net")
    settings = {"size": {"height": 64, "width": 64}, "do_normalize": False, "resample": 2}
    (tmp_path / "net/preprocessor_config.json").write_text(json.dumps(settings))
    source = opened(tmp_path / "net")
    assert source.hints.task == "detect"
    assert source.hints.mean == (0, 0, 0)
    assert source.hints.std == pytest.approx((255, 255, 255))
    assert source.module is not None
    assert source.module.unordered_rows
    shapes = [tuple(found.shape) for found in source.module(torch.rand(1, 3, 64, 64))]
    assert shapes == [(1, 12, 3), (1, 12, 4)]
    assert source.output_names == ("logits", "pred_boxes")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["BertForMaskedLM"]}, "expected a class whose name ends with"),
        ({"architectures": None}, "architectures"),
        ({"hidden_sizes": [8, 24]}, "transformers cannot open it|weights are missing"),
        ({"depths": [1, 2]}, "weights are missing: got .*resnet"),
    ],
)
def test_folders_that_do_not_fit(
    classifier: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = tmp_path / "changed"
    folder.mkdir()
    for file in classifier.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError, match=message):
        opened(folder)


def test_folders_that_are_not_there_or_empty(classifier: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no config\.json"):
        opened(tmp_path)
    (tmp_path / "config.json").write_bytes((classifier / "config.json").read_bytes())
    with pytest.raises(SourceError, match="no weights in this folder"):
        opened(tmp_path)
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(SourceError, match=r"config\.json cannot be read"):
        opened(tmp_path)


def test_transformers_that_cannot_be_imported(
    classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(DependencyMissingError, match="transformers cannot be imported"):
        opened(classifier)


@pytest.mark.parametrize(
    ("settings", "size", "expected"),
    [
        ({}, None, {}),
        ({"size": 224}, (224, 224), {"resize": "stretch", "color": "rgb"}),
        ({"size": {"height": 48, "width": 64}}, (48, 64), {"resize": "stretch"}),
        ({"size": {"shortest_edge": 800, "longest_edge": 1333}}, None, {"color": "rgb"}),
        ({"size": {"shortest_edge": 256}, "crop_size": 224, "do_center_crop": True}, (224, 224),
         {"resize": "crop", "crop_ratio": 0.875}),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.9}, (224, 224),
         {"resize": "crop", "crop_ratio": 0.9}),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.9}, (384, 384), {"resize": "stretch"}),
        ({"size": 64, "do_flip_channel_order": True}, (64, 64), {"color": "bgr"}),
        ({"size": 64, "resample": 0}, (64, 64), {"interpolation": "nearest"}),
        ({"size": 64, "resample": 3}, (64, 64), {"interpolation": "cubic-antialias"}),
        ({"size": 64, "do_normalize": False}, (64, 64), {"mean": (0, 0, 0), "std": (255,) * 3}),
        ({"size": 64, "do_normalize": False, "do_rescale": False}, (64, 64), {"std": (1, 1, 1)}),
        ({"size": 64, "do_rescale": False, "image_mean": 127.5, "image_std": [127.5]}, (64, 64),
         {"mean": (127.5,) * 3, "std": (127.5,) * 3}),
    ],
)  # fmt: skip
def test_settings_of_image_processors(
    settings: dict[str, Any], size: tuple[int, int] | None, expected: dict[str, Any]
) -> None:
    hints, found = pixel_hints(settings)
    assert found == size
    for name, value in expected.items():
        wanted = pytest.approx(value) if isinstance(value, tuple) else value
        assert hints[name] == wanted, name


def test_class_maps_and_depth_have_their_heads(tmp_path: Path) -> None:
    torchvision_operators.declare_missing()
    import transformers

    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16, 16, 24], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 3],
        decoder_hidden_size=16, id2label={0: "road", 1: "sky"},
    )  # fmt: skip
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(tmp_path / "segformer")
    hints = opened(tmp_path / "segformer", input_hw=(64, 64)).hints
    assert (hints.task, hints.head, hints.head_options) == (
        "semantic",
        "semantic",
        {"layout": "NCHW"},
    )
    assert hints.labels == ("road", "sky")
    config = transformers.GLPNConfig(
        num_encoder_blocks=4, depths=[1] * 4, hidden_sizes=[8] * 4, num_attention_heads=[1] * 4,
        decoder_hidden_size=8,
    )  # fmt: skip
    transformers.GLPNForDepthEstimation(config).save_pretrained(tmp_path / "glpn")
    hints = opened(tmp_path / "glpn", input_hw=(64, 64)).hints
    assert (hints.task, hints.head, hints.head_options) == ("depth", "depth", {"kind": "metric"})
