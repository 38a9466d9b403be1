"""DETR families of transformers with random weights: our results beside their own processing.

Tiny configurations, so that an export takes seconds. Random weights give all queries nearly the
same box and score: both are spread by a last layer, which is exported with the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import edgecv
from edgecv.converters import torchvision_operators
from edgecv.geometry import plan
from edgecv.heads import detr
from edgecv.hints import Hints
from edgecv.results.detections import Detections
from tests.real.pictures import structured

INPUT_HW = (96, 128)
LABELS = 5
CONFIDENCE = 0.2


@pytest.fixture(scope="module")
def transformers() -> Any:
    torchvision_operators.declare_missing()
    return pytest.importorskip("transformers", exc_type=ImportError)


def resnet(library: Any, *stages: str) -> Any:
    return library.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=list(stages),
    )


def encoder_decoder(**more: Any) -> dict[str, Any]:
    sizes = {"d_model": 32, "decoder_layers": 1, "num_labels": LABELS, **more}
    for part in ("encoder", "decoder"):
        sizes |= {f"{part}_ffn_dim": 32, f"{part}_attention_heads": 2}
    return {"encoder_layers": 1, **sizes}


def real_time(backbone: Any) -> dict[str, Any]:
    return encoder_decoder(
        backbone_config=backbone,
        encoder_hidden_dim=32,
        encoder_in_channels=[16, 24, 32],
        decoder_in_channels=[32, 32, 32],
        num_queries=30,
        num_denoising=0,
        decoder_layers=2,
    )


def rt_resnet(library: Any) -> Any:
    return library.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )


def hgnet(library: Any) -> Any:
    return library.HGNetV2Config(
        stem_channels=[3, 8, 8],
        hidden_sizes=[16, 16, 24, 32],
        depths=[1, 1, 1, 1],
        stage_in_channels=[8, 16, 16, 24],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[16, 16, 24, 32],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[1, 1, 1, 1],
        out_features=["stage2", "stage3", "stage4"],
    )


def plain(library: Any, *stages: str, **more: Any) -> dict[str, Any]:
    return encoder_decoder(
        backbone_config=resnet(library, *stages),
        backbone=None,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        num_queries=20,
        **more,
    )


# Name of the model and of its processor; its configuration; columns beyond the classes; at most so
# many detections are what the processor takes.
FAMILIES: dict[str, tuple[str, Callable[[Any], dict[str, Any]], int, int]] = {
    "RTDetr": ("RTDetr", lambda t: real_time(rt_resnet(t)), 0, 30),
    "RTDetrV2": ("RTDetr", lambda t: real_time(rt_resnet(t)), 0, 30),
    "DFine": ("RTDetr", lambda t: real_time(hgnet(t)), 0, 30),
    "Detr": ("Detr", lambda t: plain(t, "stage4"), 1, 20),
    "ConditionalDetr": ("ConditionalDetr", lambda t: plain(t, "stage4"), 0, 100),
}


class Spread(torch.nn.Module):
    """A network whose logits and boxes are spread; everything is a constant but the image."""

    def __init__(self, net: torch.nn.Module, pixels: torch.Tensor) -> None:
        super().__init__()
        self.net = net
        with torch.no_grad():
            logits, boxes = self._raw(pixels)
        self.shift = [float(x.mean()) for x in (logits, boxes)]
        # Queries that are all alike have to be told apart by force, and by rounding errors alone.
        self.gain = [1.5 / max(float(x.std()), 1e-3) for x in (logits, boxes)]
        random = torch.Generator().manual_seed(1)
        self.more = [torch.randn(x.shape, generator=random) for x in (logits, boxes)]

    def _raw(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.net(pixels)
        boxes = found.pred_boxes.clamp(1e-4, 1 - 1e-4)
        return found.logits, torch.log(boxes / (1 - boxes))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, boxes = (
            (x - shift) * gain + more
            for x, shift, gain, more in zip(
                self._raw(pixels), self.shift, self.gain, self.more, strict=True
            )
        )
        # Objects that are smaller than the image.
        smaller = torch.tensor([0, 0, -1.5, -1.5])
        return logits - 1, torch.sigmoid(boxes + smaller)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_detections_as_their_processor(
    transformers: Any, name: str, tmp_path: Path
) -> None:
    image = structured()
    processor, configure, more, most = FAMILIES[name]
    torch.manual_seed(3)
    torch.set_num_threads(2)
    config = getattr(transformers, f"{name}Config")(**configure(transformers))
    plain_net = getattr(transformers, f"{name}ForObjectDetection")(config).eval()
    net = Spread(plain_net, torch.rand(1, 3, *INPUT_HW)).eval()
    path = tmp_path / "model.onnx"
    names = ["logits", "pred_boxes"]
    torch.onnx.export(
        net,
        (torch.rand(1, 3, *INPUT_HW),),
        path,
        dynamo=False,
        opset_version=17,
        input_names=["pixel_values"],
        output_names=names,
    )
    options = {"activation": "softmax" if more else "sigmoid"}
    hints = Hints(head_options=options, labels=tuple("abcde"))
    with edgecv.load(path, hints=hints, confidence=CONFIDENCE, trusted=True) as model:
        assert (model.info.head, model.info.told_by) == ("detr", "shapes")
        found = model.with_options(max_detections=most)(image).detections
        # The same tensors for both: torch and engines pick queries of equal score in other orders.
        raw = model.infer(model.prepare(image))
    assert raw["logits"].shape[2] == LABELS + more
    compare(found, getattr(transformers, f"{processor}ImageProcessor")(), raw, image)


def rf_detr(library: Any) -> dict[str, Any]:
    backbone = library.RfDetrDinov2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=112,
        patch_size=16,
        num_windows=1,
        window_block_indexes=[0],
        out_features=["stage1", "stage2"],
    )
    return {
        "backbone_config": backbone,
        "num_labels": LABELS,
        "d_model": 32,
        "decoder_layers": 2,
        "decoder_ffn_dim": 32,
        "decoder_self_attention_heads": 2,
        "decoder_cross_attention_heads": 4,
        "num_queries": 30,
        "group_detr": 1,
        "c2f_num_blocks": 1,
        "intermediate_size": 64,
    }


# Those that no engine runs in the versions at hand; their configuration, and at most so many.
UNEXPORTED: dict[str, tuple[Callable[[Any], dict[str, Any]], int]] = {
    "DeformableDetr": (
        lambda t: plain(t, "stage2", "stage3", "stage4", num_feature_levels=3, decoder_layers=2),
        100,
    ),
    "RfDetr": (rf_detr, 30),
}


@pytest.mark.parametrize("name", UNEXPORTED)
def test_the_same_detections_from_the_tensors_of_torch(transformers: Any, name: str) -> None:
    image = structured()
    torch.manual_seed(3)
    configure, most = UNEXPORTED[name]
    config = getattr(transformers, f"{name}Config")(**configure(transformers))
    plain_net = getattr(transformers, f"{name}ForObjectDetection")(config).eval()
    pixels = torch.rand(1, 3, *INPUT_HW)
    with torch.no_grad():
        logits, boxes = Spread(plain_net, pixels)(pixels)
    raw = {"logits": logits.numpy(), "pred_boxes": boxes.numpy()}
    options = detr.Options(
        input_hw=INPUT_HW, confidence=CONFIDENCE, max_detections=most, activation="sigmoid"
    )
    found = detr.decode(raw, options).to_source(plan(image.shape[:2], INPUT_HW, "stretch"))
    compare(found, getattr(transformers, f"{name}ImageProcessor")(), raw, image)


def compare(
    found: Detections, processing: Any, raw: Mapping[str, np.ndarray], image: np.ndarray
) -> None:
    outputs = SimpleNamespace(**{key: torch.from_numpy(array) for key, array in raw.items()})
    theirs = processing.post_process_object_detection(
        outputs, threshold=CONFIDENCE, target_sizes=[image.shape[:2]]
    )[0]
    boxes = theirs["boxes"].numpy().astype(np.float32)
    # Ours are cut at the image, theirs are not.
    boxes = np.clip(boxes, 0, np.tile(image.shape[1::-1], 2)).astype(np.float32)
    expected = Detections(
        boxes,
        theirs["scores"].numpy().astype(np.float32),
        theirs["labels"].numpy().astype(np.int32),
    )
    # Enough to compare, and not all one thing.
    assert len(expected) >= 10
    assert len(set(expected.class_id.tolist())) >= 3
    assert np.ptp(expected.score) > 0.2
    assert np.ptp(expected.xyxy[:, 0]) > 50
    difference = found.difference(expected)
    assert difference.score < 1e-3
    assert difference.box_px < 0.5
    assert all(score < CONFIDENCE + 1e-3 for score in difference.unmatched)
