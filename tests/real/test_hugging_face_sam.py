"""Promptable masks agree with Hugging Face's SAM on the same prompts, in both export layouts.

Weights are random, drawn anew because a SAM as initialised puts out 1e-21; needs ``transformers``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from edgecv.converters import torchvision_operators
from edgecv.geometry import plan
from edgecv.prompting import Prompted, Segmenter, load_segmenter

SIDE, PATCH = 128, 16
LOW = SIDE // 4
HW = (75, 120)
LAYOUTS = ("sam", "hugging-face", "hugging-face-boxes")


@pytest.fixture(scope="module")
def net() -> Any:
    pytest.importorskip("transformers", exc_type=ImportError)
    torchvision_operators.declare_missing()
    from transformers import SamConfig, SamModel

    torch.manual_seed(5)
    config = SamConfig(
        vision_config={
            "hidden_size": 32, "output_channels": 32, "num_hidden_layers": 2, "image_size": SIDE,
            "num_attention_heads": 2, "patch_size": PATCH, "mlp_dim": 64, "window_size": 4,
            "global_attn_indexes": [1], "num_pos_feats": 16,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": SIDE, "patch_size": PATCH},
        mask_decoder_config={
            "hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32,
        },
    )  # fmt: skip
    config._attn_implementation = "eager"
    model = SamModel(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() > 1:
                fan_in = value[0].numel() if "embed" not in name else 1
                value.copy_(torch.randn_like(value) / fan_in**0.5)
            elif "norm" not in name:
                value.copy_(torch.randn_like(value) * 0.2)
    return model


class Encoder(torch.nn.Module):
    def __init__(self, net: Any, positions: bool) -> None:
        super().__init__()
        self.net, self.positions = net, positions

    def forward(self, pixel_values: torch.Tensor) -> Any:
        found = self.net.vision_encoder(pixel_values).last_hidden_state
        if not self.positions:
            return found
        return found, self.net.get_image_wide_positional_embeddings()


class HuggingFaceDecoder(torch.nn.Module):
    """As exports of transformers have it: positions from the encoder, masks at low resolution."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, points: Any, labels: Any, embedding: Any, positions: Any) -> Any:
        sparse, dense = self.net.prompt_encoder(points, labels, None, None)
        masks, scores = self.net.mask_decoder(embedding, positions, sparse, dense, True)
        return scores, masks


class BoxDecoder(HuggingFaceDecoder):
    def forward(self, boxes: Any, embedding: Any, positions: Any) -> Any:
        sparse, dense = self.net.prompt_encoder(None, None, boxes, None)
        masks, scores = self.net.mask_decoder(embedding, positions, sparse, dense, True)
        return scores, masks


class SamDecoder(torch.nn.Module):
    """As the public Segment Anything export has it: corners are points, masks at source size."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, embedding: Any, coords: Any, labels: Any, mask: Any, has_mask: Any, size: Any
    ) -> Any:
        part = self.net.prompt_encoder
        spots = part.shared_embedding((coords + 0.5)[:, None], (SIDE, SIDE))
        kind = labels[:, None, :, None]
        spots = torch.where(kind == -1, part.not_a_point_embed.weight[None, None], spots)
        for i in range(4):
            spots = spots + part.point_embed[i].weight[None, None] * (kind == i)
        none = part.no_mask_embed.weight.reshape(1, -1, 1, 1)
        dense = has_mask * part.mask_embed(mask) + (1 - has_mask) * none
        positions = self.net.get_image_wide_positional_embeddings()
        one, one_score = self.net.mask_decoder(embedding, positions, spots, dense, False)
        more, more_score = self.net.mask_decoder(embedding, positions, spots, dense, True)
        low = torch.cat([one, more], dim=2)[:, 0]
        scores = torch.cat([one_score, more_score], dim=2)[:, 0]
        longest = size.max()
        large = interpolate(low, (SIDE, SIDE), mode="bilinear", align_corners=False)
        inner = torch.floor(size * SIDE / longest + 0.5).to(torch.int64)
        large = large[..., : inner[0], : inner[1]]
        whole = size.to(torch.int64)
        full = interpolate(large, (whole[0], whole[1]), mode="bilinear", align_corners=False)
        return full, scores, low


def export(module: Any, given: Any, path: Path, inputs: list[str], outputs: list[str]) -> Path:
    free = {
        name: {axis: "n"}
        for name, axis in (("point_coords", 1), ("point_labels", 1), ("input_points", 2),
                           ("input_labels", 2))
        if name in inputs
    }  # fmt: skip
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, given, str(path), dynamo=False, opset_version=18, input_names=inputs,
            output_names=outputs, dynamic_axes=free,
        )  # fmt: skip
    return path


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def segmenter(
    net: Any, layout: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Segmenter]:
    folder = tmp_path_factory.mktemp(layout)
    image = torch.rand(1, 3, SIDE, SIDE)
    embedding = torch.rand(1, 32, SIDE // PATCH, SIDE // PATCH)
    points, labels = torch.tensor([[[9.0, 8.0], [3.0, 5.0]]]), torch.tensor([[1.0, -1.0]])
    if layout == "sam":
        encoder = export(Encoder(net, False), image, folder / "e.onnx", ["x"], ["embedding"])
        given = (embedding, points, labels, torch.rand(1, 1, LOW, LOW), torch.ones(1),
                 torch.tensor([75.0, 120.0]))  # fmt: skip
        names = ["image_embeddings", "point_coords", "point_labels", "mask_input",
                 "has_mask_input", "orig_im_size"]  # fmt: skip
        outputs = ["masks", "iou_predictions", "low_res_masks"]
        decoder = export(SamDecoder(net), given, folder / "d.onnx", names, outputs)
    else:
        carried = ["image_embeddings", "image_positional_embeddings"]
        encoder = export(Encoder(net, True), image, folder / "e.onnx", ["pixel_values"], carried)
        outputs = ["iou_scores", "pred_masks"]
        if layout == "hugging-face":
            given = (points[None], torch.tensor([[[1, 0]]]), embedding, embedding)
            names = ["input_points", "input_labels", *carried]
            decoder = export(HuggingFaceDecoder(net), given, folder / "d.onnx", names, outputs)
        else:
            box = torch.tensor([[[3.0, 4.0, 50.0, 60.0]]])
            names = ["input_boxes", *carried]
            decoder = export(
                BoxDecoder(net), (box, embedding, embedding), folder / "d.onnx", names, outputs
            )
    with load_segmenter(encoder, decoder, threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def picture() -> Any:
    rng = np.random.default_rng(2)
    blocks = rng.integers(0, 256, (5, 8, 3), np.uint8).repeat(15, 0).repeat(15, 1)
    return np.clip(blocks + rng.normal(0, 9, blocks.shape), 0, 255).astype(np.uint8)


def normalised(picture: Any) -> torch.Tensor:
    """Prepare an image as the library documents it: RGB, normalised, then a border of zeros."""
    size = [int(side * SIDE / max(HW) + 0.5) for side in HW]
    # By OpenCV: other libraries' resizes differ by a level, and the comparison is on equal pixels.
    resized = torch.from_numpy(cv2.resize(picture, size[::-1])[..., ::-1].copy())
    resized = resized.permute(2, 0, 1)[None].float()
    mean = torch.tensor([123.675, 116.28, 103.53]).reshape(1, 3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).reshape(1, 3, 1, 1)
    out = torch.zeros(1, 3, SIDE, SIDE)
    out[..., : size[0], : size[1]] = (resized - mean) / std
    return out


def theirs(net: Any, picture: Any, **prompts: Any) -> tuple[Any, Any, Any]:
    """Ask the library: masks at source size, scores, logits."""
    with torch.no_grad():
        found = net(pixel_values=normalised(picture), **prompts)
        large = interpolate(found.pred_masks[0], (SIDE, SIDE), mode="bilinear")
        rows, columns = (int(side * SIDE / max(HW) + 0.5) for side in HW)
        full = interpolate(large[..., :rows, :columns], HW, mode="bilinear")
    return (full[0] > 0).numpy(), found.iou_scores[0, 0].numpy(), found.pred_masks[0, 0].numpy()


def to_input(places: list[list[float]]) -> torch.Tensor:
    """Bring continuous source coordinates to pixel indices of the input."""
    fit = plan(HW, (SIDE, SIDE), "letterbox-topleft")
    flat = np.array(places, np.float32).reshape(-1, 2)
    return torch.from_numpy(fit.points_to_input(flat) - 0.5)


def check(found: Prompted, expected: tuple[Any, Any, Any]) -> None:
    masks, scores, logits = expected
    order = np.argsort(-scores, kind="stable")[: len(found)]
    np.testing.assert_allclose(found.score, scores[order], atol=1e-3)
    np.testing.assert_allclose(found.logits, logits[order], atol=1e-4 * np.abs(logits).max())
    # Neither nothing nor everything: the comparison would prove nothing.
    assert any(0.05 < masks[j].mean() < 0.95 for j in order)
    for i, j in enumerate(order):
        mine = found.masks.full(i)
        assert (mine & masks[j]).sum() / (mine | masks[j]).sum() >= 0.99


POINTS = ([[60.0, 30.0]], [[20.5, 60.25], [100.0, 20.0], [70.0, 70.0]])
LABELS = ([1], [1, 0, 1])


@pytest.mark.parametrize(("points", "labels"), list(zip(POINTS, LABELS, strict=True)))
def test_points(
    net: Any, segmenter: Segmenter, layout: str, picture: Any, points: Any, labels: Any
) -> None:
    if layout == "hugging-face-boxes":
        pytest.skip("takes no points")
    expected = theirs(
        net, picture, input_points=to_input(points)[None, None],
        input_labels=torch.tensor(labels)[None, None],
    )  # fmt: skip
    session = segmenter.set_image(picture)
    check(session.predict(points, labels), expected)
    # The image stays encoded: another prompt, and then the first again, say the same.
    other = session.predict([[5, 5]])
    again = session.predict(points, labels)
    check(again, expected)
    assert np.abs(other.logits - again.logits).max() > 0.01


def test_boxes(net: Any, segmenter: Segmenter, layout: str, picture: Any) -> None:
    if layout == "hugging-face":
        pytest.skip("takes no boxes")
    boxes = [[10.0, 5.0, 60.0, 50.0], [70.0, 20.0, 118.0, 74.0]]
    session = segmenter.set_image(picture)
    each = [theirs(net, picture, input_boxes=to_input([box]).reshape(1, 1, 4)) for box in boxes]
    for box, expected in zip(boxes, each, strict=True):
        check(session.predict(boxes=box), expected)
    together = session.predict(boxes=boxes)
    assert len(together) == 2
    best = [max(scores) for _, scores, _ in each]
    np.testing.assert_allclose(together.score, best, atol=1e-3)


def test_a_point_and_a_box_and_an_earlier_mask(
    net: Any, segmenter: Segmenter, layout: str, picture: Any
) -> None:
    if layout != "sam":
        pytest.skip("takes one kind of prompt")
    session = segmenter.set_image(picture)
    box, point = [10.0, 5.0, 90.0, 70.0], [40.0, 30.0]
    first = session.predict(points=[point])
    mask = first.logits[0]
    prompts = {
        "input_points": to_input([point])[None, None],
        "input_labels": torch.tensor([[[1]]]),
        "input_boxes": to_input([box]).reshape(1, 1, 4),
        "input_masks": torch.from_numpy(mask)[None, None],
    }
    expected = theirs(net, picture, **prompts)
    check(session.predict([point], boxes=box, mask=mask), expected)
    one = theirs(net, picture, multimask_output=False, **prompts)
    check(session.predict([point], boxes=box, mask=mask, multimask=False), one)
