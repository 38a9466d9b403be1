"""Arrays of a head: packed as files of the bundle, checked when it is opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecv
from edgecv import npy
from edgecv.bundle import open_bundle
from edgecv.bundle_writer import file_entry, write_bundle
from edgecv.errors import (
    BundleError,
    EdgecvError,
    HeadError,
    IntegrityError,
    ManifestError,
    UsageError,
)
from edgecv.hints import Hints
from edgecv.manifest import HeadSpec, parse
from edgecv.packing import pack
from tests import models
from tests.models import command

CLASSES = np.eye(3, dtype=np.float32)
LABELS = ("r", "g", "b")


@pytest.fixture
def tower(tmp_path: Path) -> Path:
    """An image tower with a vector of three numbers: the mean of each channel."""
    return models.onnx_classifier(tmp_path / "tower.onnx")


def hints(classes: Any = CLASSES, **options: Any) -> Hints:
    return Hints(
        head="zero_shot",
        head_options={"class_embeddings": classes, "logit_scale": 10.0, **options},
        labels=LABELS,
        mean=(0.0,),
        std=(255.0,),
    )


@pytest.mark.parametrize("name", ["b.edgecv", "b"])
def test_a_packed_model_is_the_bare_model(tmp_path: Path, tower: Path, name: str) -> None:
    image = models.write_image(tmp_path / "i.png", color=(0, 128, 255))
    path = pack([tower], tmp_path / name, hints=hints(), golden=[image], trusted=True)
    with edgecv.load(path) as packed, edgecv.load(tower, hints=hints(), trusted=True) as bare:
        assert packed.options == bare.options
        a, b = packed(image), bare(image)
        assert a.value.to_json(LABELS) == b.value.to_json(LABELS)
        assert a.to_json()["classes"][0]["label"] == "r"
    with open_bundle(path) as bundle:
        entry = bundle.manifest.head.arrays["class_embeddings"]
        assert entry in bundle.manifest.files()
        assert entry.path == "head/class_embeddings.npy"
        assert bytes(bundle.read(entry)) == npy.encode(CLASSES)
        assert bundle.manifest.head.options == {"logit_scale": 10.0}
        assert parse(bundle.manifest.to_json()) == bundle.manifest
    assert command("verify", path).status == 0


def test_other_classes_may_be_given_at_any_time(tmp_path: Path, tower: Path) -> None:
    path = pack([tower], tmp_path / "b.edgecv", hints=hints(), trusted=True)
    red = models.image(color=(0, 0, 255))
    with edgecv.load(path) as model:
        other = model.with_options(class_embeddings=CLASSES[::-1].copy())
        assert [m(red).classes.class_id[0] for m in (model, other)] == [0, 2]
        assert model.with_options(top_k=np.int64(1))(red).classes.class_id.tolist() == [0]
        with pytest.raises(HeadError, match="rows of length 1"):
            model.with_options(class_embeddings=CLASSES * 2)


def test_the_command_line_takes_arrays(tmp_path: Path, tower: Path) -> None:
    np.save(tmp_path / "c.npy", CLASSES)
    (tmp_path / "l.txt").write_text("\n".join(LABELS))
    image = models.write_image(tmp_path / "i.png", color=(255, 0, 0))
    words = [
        "--head", "zero_shot", "--head-array", f"class_embeddings={tmp_path / 'c.npy'}",
        "--labels", tmp_path / "l.txt", "--trusted",
    ]  # fmt: skip
    out = tmp_path / "z.edgecv"
    assert command("pack", tower, "-o", out, *words).status == 0
    for model, more in ((out, []), (tower, words)):
        ran = command("predict", model, image, "--json", "-", *more)
        assert ran.lines[0]["classes"][0]["label"] == "b", ran.err
    ran = command("pack", tower, "-o", out, "--force", *words[:2], "--head-array", "nothing")
    assert (ran.status, "expected KEY=FILE.npy" in ran.err) == (2, True)
    ran = command("pack", tower, "-o", out, "--force", *words[:2], "--head-array", "a=nowhere.npy")
    assert (ran.status, "cannot be read: No such file" in ran.err) == (2, True)
    ran = command("predict", tower, image, "--head", "zero_shot", "--trusted")
    assert (ran.status, "--head-array class_embeddings=FILE.npy" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (hints(np.ones((3, 2), np.float32)), "rows of length 1"),
        (hints(np.eye(4, dtype=np.float32)), "a vector of 4 numbers"),
        (hints(CLASSES[:2]), "3 labels do not fit the model's outputs: expected 2; got 3"),
        (hints([[1.0, 0.0, 0.0]]), "wrong type: expected an array"),
        (hints(confidence=CLASSES), "unknown option"),
        (hints(logit_bias=CLASSES), "wrong type: expected a number"),
    ],
)
def test_what_does_not_fit_is_not_packed(
    tmp_path: Path, tower: Path, said: Hints, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        pack([tower], tmp_path / "b", hints=said, trusted=True)
    assert not (tmp_path / "b").exists()


def forged(tmp_path: Path, tower: Path, content: bytes, option: str = "class_embeddings") -> Path:
    """Make a bundle whose hashes are right, with any bytes as the array."""
    good = pack([tower], tmp_path / "good", hints=hints(), trusted=True)
    with open_bundle(good) as bundle:
        manifest = bundle.manifest
    entry = file_entry("head/x.npy", content)
    head = HeadSpec(name="zero_shot", arrays={option: entry})
    members = {"models/tower.onnx": tower.read_bytes(), entry.path: content}
    return write_bundle(tmp_path / "bad.edgecv", manifest.replace(head=head), members)


def test_a_forged_bundle_of_the_right_kind_opens(tmp_path: Path, tower: Path) -> None:
    with edgecv.load(forged(tmp_path, tower, npy.encode(CLASSES))) as model:
        assert model.options.class_embeddings is not None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x04.", "head/x.npy: not an .npy file"),
        (npy.encode(CLASSES)[:-4], "head/x.npy: cut short"),
        (npy.encode(CLASSES * np.float32(np.nan)), "9 that are not"),
        (npy.encode(CLASSES[0]), r"class_embeddings: expected shape \(C, D\); got \(3,\)"),
        (npy.encode(np.eye(5)), r"a vector of 5 numbers, .*; got y \[1, 3\]"),
        (npy.encode(CLASSES[:2]), "3 labels do not fit the model's outputs"),
        (npy.encode(CLASSES * 2), "rows of length 1; got 2"),
    ],
)
def test_a_hostile_array_is_refused_when_the_bundle_is_opened(
    tmp_path: Path, tower: Path, content: bytes, message: str
) -> None:
    path = forged(tmp_path, tower, content)
    with pytest.raises(BundleError, match=message):
        edgecv.load(path)


def test_an_array_for_an_option_that_takes_none(tmp_path: Path, tower: Path) -> None:
    path = forged(tmp_path, tower, npy.encode(CLASSES), "logit_bias")
    with pytest.raises(ManifestError, match=r"option logit_bias: .*expected a number"):
        edgecv.load(path)


def test_a_changed_array_is_seen(tmp_path: Path, tower: Path) -> None:
    path = pack([tower], tmp_path / "b", hints=hints(), trusted=True)
    file = path / "head/class_embeddings.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"class_embeddings\.npy: wrong sha256"):
        edgecv.load(path)


def test_an_option_is_said_once(tmp_path: Path, tower: Path) -> None:
    path = pack([tower], tmp_path / "b", hints=hints(), trusted=True)
    data = json.loads((path / "manifest.json").read_text())
    data["head"]["options"]["class_embeddings"] = []
    with pytest.raises(EdgecvError, match=r"head\.options\.class_embeddings: said twice"):
        parse(json.dumps(data).encode())
    data["head"]["arrays"] = {"a b": data["head"]["arrays"]["class_embeddings"]}
    with pytest.raises(ManifestError, match=r"head\.arrays: expected of each name a match"):
        parse(json.dumps(data).encode())
