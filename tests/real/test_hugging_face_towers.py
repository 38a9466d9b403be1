"""Embeddings and zero-shot classes agree with Hugging Face's own models on the same pixels.

Weights are random and the models tiny; needs ``transformers``, and downloads nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edgecv
from edgecv.bundle import open_bundle
from edgecv.converters import convert, torchvision_operators
from edgecv.converters.source import Request, open_source
from edgecv.converters.steps.torch_onnx import export_onnx
from edgecv.converters.zero_shot import TEMPLATES
from edgecv.errors import SourceError, UsageError
from edgecv.hints import Hints
from edgecv.packing import pack
from tests import models
from tests.real import towers

LABELS = ("cat", "red dog", "car", "tree")
FAMILIES = ("clip", "siglip")


@pytest.fixture(scope="module", autouse=True)
def importable() -> None:
    pytest.importorskip("transformers", exc_type=ImportError)
    torchvision_operators.declare_missing()


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("towers") / request.param
    towers.save(place, request.param)
    (place.parent / "labels.txt").write_text("\n".join(LABELS) + "\n")
    return place


def images() -> list[Any]:
    """Draw images that look nothing like each other, of the size of the input."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (3, 4, 4, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    fine = rng.integers(0, 256, (2, towers.SIDE, towers.SIDE, 3), np.uint8)
    return [*coarse, *fine, np.zeros((towers.SIDE, towers.SIDE, 3), np.uint8)]


def pixel_values(image: Any) -> torch.Tensor:
    rgb = image[..., ::-1].astype(np.float32) / 255
    scaled = (rgb - np.float32([0.5, 0.4, 0.3])) / np.float32([0.2, 0.25, 0.3])
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)[None]))


def theirs(folder: Path, image: Any) -> Any:
    """Ask the library's whole model, both towers in one call, for the probabilities."""
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    template = TEMPLATES[folder.name][0]
    texts = [template.replace("{}", label) for label in LABELS]
    if folder.name == "clip":
        tokens = dict(tokenizer(texts, padding=True, return_tensors="pt"))
    else:
        tokens = dict(tokenizer(texts, padding="max_length", max_length=12, return_tensors="pt"))
        tokens.pop("attention_mask")
    tokens.pop("token_type_ids", None)
    with torch.no_grad():
        logits = model(pixel_values=pixel_values(image), **tokens).logits_per_image[0]
    return (logits.softmax(0) if folder.name == "clip" else logits.sigmoid()).numpy()


def test_zero_shot_classes(folder: Path, tmp_path: Path) -> None:
    spec = f"zero-shot:{folder}?labels={folder.parent / 'labels.txt'}"
    bundle = convert(spec, tmp_path / "z.edgecv", to=("onnx",), precision=("fp32",)).path
    with open_bundle(bundle) as opened:
        manifest = opened.manifest
        assert (manifest.task, manifest.head.name) == ("classify", "zero_shot")
        assert manifest.labels == LABELS
        assert set(manifest.head.arrays) == {"class_embeddings"}
        # No text tower: about half of the parameters stay behind.
        assert sum(f.bytes for f in manifest.variants[0].files) < 200_000
    seen = []
    with edgecv.load(bundle) as model:
        for image in images():
            found = dict(model(image).classes)
            mine = np.array([found[i] for i in range(len(LABELS))])
            expected = theirs(folder, image)
            np.testing.assert_allclose(mine, expected, atol=1e-3)
            seen.append(expected)
    # The comparison means something only if the images get different answers.
    assert np.ptp(seen, axis=0).max() > 0.1


def test_several_templates_are_averaged(folder: Path) -> None:
    labels = folder.parent / "labels.txt"

    digests = set()

    def vectors(*templates: str) -> Any:
        more = "".join(f"&template={t}" for t in templates)
        source = open_source(Request(f"zero-shot:{folder}?labels={labels}{more}"))
        assert source.hints.head_options is not None
        digests.add(source.digest)
        return source.hints.head_options["class_embeddings"]

    a, b, both = vectors("a {}"), vectors("photo of {}"), vectors("a {}", "photo of {}")
    assert not np.allclose(a, b, atol=0.05)
    expected = (a + b) / np.linalg.norm(a + b, axis=1, keepdims=True)
    np.testing.assert_allclose(both, expected, atol=1e-5)
    # A conversion that goes on from earlier work must not take one for another.
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ("", SourceError, r"expected zero-shot:FOLDER\?labels=FILE"),
        ("?label=x", SourceError, r"expected zero-shot:FOLDER\?labels=FILE"),
        ("?labels=nowhere", SourceError, "the labels cannot be read: No such file"),
        ("?labels={}&template=a", UsageError, "template: expected {} in it; got 'a'"),
    ],
)
def test_refusals(folder: Path, query: str, error: type[Exception], message: str) -> None:
    query = query.replace("={}", f"={folder.parent / 'labels.txt'}", 1)
    with pytest.raises(error, match=message):
        open_source(Request(f"zero-shot:{folder}{query}"))


def test_labels_that_cannot_be_meant(folder: Path, tmp_path: Path) -> None:
    for text, got in (("", "none"), ("a\nb\na\n", "'a' twice")):
        (tmp_path / "l.txt").write_text(text)
        with pytest.raises(UsageError, match=f"a name for each class, once; got {got}"):
            open_source(Request(f"zero-shot:{folder}?labels={tmp_path / 'l.txt'}"))


def dinov2() -> Any:
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(1)
    net = Dinov2Model(
        Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32,
                     patch_size=8)
    ).eval()  # fmt: skip
    with torch.no_grad():
        for value in net.parameters():
            if value.dim() > 1:
                value.copy_(torch.randn_like(value) * 0.3)
            elif value.dim() == 1:
                value.add_(torch.randn_like(value) * 0.1)
    return net


def check_direction(vector: Any, expected: Any) -> None:
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert vector @ expected / np.linalg.norm(expected) >= 0.9999


def test_a_dinov2_folder(tmp_path: Path) -> None:
    net = dinov2()
    net.save_pretrained(tmp_path / "dino")
    (tmp_path / "dino" / "preprocessor_config.json").write_text(json.dumps(towers.SETTINGS))
    path = convert(
        f"hf:{tmp_path / 'dino'}", tmp_path / "d.edgecv", to=("onnx",), precision=("fp32",)
    ).path
    with edgecv.load(path) as model:
        assert (model.task, model.head) == ("embed", "embed")
        for image in images():
            with torch.no_grad():
                expected = net(pixel_values=pixel_values(image)).pooler_output[0].numpy()
            check_direction(model(image).embedding.vector, expected)


def test_two_towers_are_no_embedding_of_an_image(folder: Path) -> None:
    with pytest.raises(SourceError, match="cannot be converted") as caught:
        open_source(Request(f"hf:{folder}"))
    assert "zero-shot:FOLDER?labels=FILE" in str(caught.value.remedy)


@pytest.mark.parametrize("pooling", ["pooler", "cls", "mean"])
def test_dinov2_embeddings(tmp_path: Path, pooling: str) -> None:
    net = dinov2()

    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            found = self.net(pixel_values=image)
            return found.last_hidden_state, found.pooler_output

    from edgecv.converters.module_source import module_source

    source = module_source(
        Tower(), Request(Tower(), (32, 32)), kind="module", name="dino",
        output_names=("last_hidden_state", "pooler_output"),
    )  # fmt: skip
    file = export_onnx(source, tmp_path).path
    said = {
        "pooler": {},
        "cls": {"output": "last_hidden_state"},
        "mean": {"output": "last_hidden_state", "pooling": "mean", "skip_tokens": 1},
    }[pooling]
    hints = Hints(
        # Not named: the names of the outputs say that it embeds.
        head=None if pooling == "pooler" else "embed",
        head_options=said, resize="stretch", color="rgb",
        mean=(127.5, 102, 76.5), std=(51, 63.75, 76.5),
    )  # fmt: skip
    path = pack([file], tmp_path / "d.edgecv", hints=hints, trusted=True,
                golden=[models.write_image(tmp_path / "g.png")])  # fmt: skip
    vectors = []
    with edgecv.load(path) as model:
        assert model.task == "embed"
        for image in images():
            with torch.no_grad():
                found = net(pixel_values=pixel_values(image))
            tokens = found.last_hidden_state[0]
            expected = {"pooler": found.pooler_output[0], "cls": tokens[0],
                        "mean": tokens[1:].mean(0)}[pooling].numpy()  # fmt: skip
            vector = model(image).embedding.vector
            vectors.append(vector)
            check_direction(vector, expected)
    # Random weights must not put every image in one direction.
    assert np.min(np.array(vectors) @ np.array(vectors).T) < 0.95
    assert models.command("verify", path).status == 0
