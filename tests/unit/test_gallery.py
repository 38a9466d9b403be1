"""Galleries: exact search, changes, files, and the model that they belong to."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgecv
from edgecv import gallery as module
from edgecv import npy
from edgecv.bundle_writer import write_archive
from edgecv.errors import ArchiveError, EdgecvError, GalleryError, UsageError
from edgecv.gallery import Gallery
from edgecv.hints import Hints
from edgecv.packing import pack
from edgecv.results.embedding import Embedding
from tests import models
from tests.models import command

KEY = "0" * 64
HINTS = Hints(head="embed", mean=(0.0,), std=(255.0,))


def filled(*items: tuple[str, list[float]]) -> Gallery:
    made = Gallery(2, KEY, "net")
    for name, vector in items:
        made.add(name, np.array(vector))
    return made


def found(gallery: Gallery, vector: list[float], **options: Any) -> list[tuple[str, float]]:
    matches = gallery.search(np.array(vector, np.float32), **options)
    return [(match.name, round(match.score, 6)) for match in matches]


FOUR = (("a", [2, 0]), ("b", [0, 5]), ("a", [3, 4]), ("c", [-1, 0]))


def test_golden_search() -> None:
    gallery = filled(*FOUR)
    assert found(gallery, [10, 0]) == [("a", 1.0), ("b", 0.0), ("c", -1.0)]
    # Of several vectors of one name the nearest counts.
    assert found(gallery, [0, 1], top_k=2) == [("b", 1.0), ("a", 0.8)]
    assert found(gallery, [0, 1], threshold=0.8) == [("b", 1.0), ("a", 0.8)]
    assert found(gallery, [0, 1], threshold=0.81) == [("b", 1.0)]
    assert found(gallery, [0, 1], top_k=0) == []
    embedding = Embedding(np.array([0, 9], np.float32))
    assert gallery.search(embedding, 1)[0].name == "b"


def test_equal_scores_come_in_the_order_of_adding() -> None:
    gallery = filled(("z", [1, 0]), ("b", [1, 0]), ("a", [2, 0]), ("b", [1, 0]))
    assert [name for name, _ in found(gallery, [1, 0], top_k=2)] == ["z", "b"]


def test_the_empty_gallery(tmp_path: Path) -> None:
    empty = filled()
    assert (len(empty), list(empty), empty.names, found(empty, [1, 0])) == (0, [], (), [])
    assert empty.remove("a") == 0
    back = Gallery.load(empty.save(tmp_path / "e.gallery"))
    assert (len(back), back.dimension, found(back, [1, 0])) == (0, 2, [])
    back.add("a", np.array([1.0, 0]))
    assert found(back, [1, 0]) == [("a", 1.0)]


def test_names_are_removed_with_all_their_vectors() -> None:
    gallery = filled(*FOUR)
    assert gallery.remove("a") == 2
    assert gallery.names == ("b", "c")
    assert found(gallery, [1, 0]) == [("b", 0.0), ("c", -1.0)]
    gallery.add("a", np.array([1, 0]))
    assert found(gallery, [1, 0], top_k=1) == [("a", 1.0)]
    assert [name for name, _ in gallery] == ["b", "c", "a"]


@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.integers(1, 9))
def test_the_search_is_exact(seed: int, count: int, top_k: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, 6))
    names = [f"n{i}" for i in rng.integers(0, 20, count)]
    gallery = Gallery(6, KEY)
    for name, vector in zip(names, vectors, strict=True):
        gallery.add(name, vector)
    query = rng.normal(size=6)
    best: dict[str, float] = {}
    for name, vector in zip(names, vectors, strict=True):
        cosine = vector @ query / np.linalg.norm(vector) / np.linalg.norm(query)
        best[name] = max(best.get(name, -2), cosine)
    expected = sorted(best.values(), reverse=True)[:top_k]
    matches = gallery.search(query, top_k)
    np.testing.assert_allclose([m.score for m in matches], expected, atol=1e-6)
    assert all(best[m.name] == pytest.approx(m.score, abs=1e-6) for m in matches)


@pytest.mark.parametrize(
    ("name", "vector", "message"),
    [
        ("a", [1, 2, 3], r"expected \(2,\) numbers; got \(3,\)"),
        ("a", [[1, 2]], r"expected \(2,\) numbers; got \(1, 2\)"),
        ("a", ["1", "2"], r"expected \(2,\) numbers"),
        ("a", [np.nan, 1], "not finite"),
        ("a", [0, 0], "a vector of zeros has no direction"),
        ("", [1, 2], "expected 1 to 1024 characters; got ''"),
        ("x" * 1025, [1, 2], "expected 1 to 1024 characters"),
        ("\udcff", [1, 2], "not text that can be written"),
    ],
)
def test_what_cannot_be_added(name: str, vector: Any, message: str) -> None:
    gallery = filled()
    with pytest.raises(UsageError, match=message):
        gallery.add(name, np.array(vector))
    assert len(gallery) == 0


def test_what_cannot_be_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = filled(*FOUR)
    assert found(gallery, [0, 0]) == []
    with pytest.raises(UsageError, match="threshold from -1 to 1; got 5, 2"):
        gallery.search(np.ones(2), threshold=2)
    monkeypatch.setattr(module, "MAX_VECTORS", 4)
    with pytest.raises(GalleryError, match="full: expected at most 4 vectors"):
        gallery.add("d", np.ones(2))


def test_saved_and_loaded(tmp_path: Path) -> None:
    gallery = filled(*FOUR, ("Zoë\n", [1, 1]))
    path = gallery.save(tmp_path / "deep" / "g.gallery")
    back = Gallery.load(path)
    assert (back.dimension, back.model_key, back.model_name) == (2, KEY, "net")
    assert [name for name, _ in back] == [name for name, _ in gallery]
    assert found(back, [3, 1]) == found(gallery, [3, 1])
    # Any program can read it, and equal galleries are equal files.
    with zipfile.ZipFile(path) as archive:
        assert np.load(io.BytesIO(archive.read("vectors.npy")), allow_pickle=False).shape == (5, 2)
        assert json.loads(archive.read("gallery.json"))["names"][-1] == "Zoë\n"
    before = path.read_bytes()
    back.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["g.gallery"]


def test_a_save_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(*FOUR).save(tmp_path / "g.gallery")
    before = path.read_bytes()

    def broken(draft: Path, members: Any) -> None:
        draft.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_archive", broken)
    with pytest.raises(EdgecvError, match="No space left"):
        filled().save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["g.gallery"]


ABOUT = {"schema_version": 1, "dimension": 2, "model_name": "n", "model_key": KEY, "names": ["a"]}
ROW = npy.encode(np.array([[1, 0]]))


@pytest.mark.parametrize(
    ("about", "vectors", "message"),
    [
        ({**ABOUT, "names": []}, ROW, r"expected shape \(0, 2\); got \(1, 2\)"),
        ({**ABOUT, "dimension": 3}, ROW, r"expected shape \(1, 3\); got \(1, 2\)"),
        ({**ABOUT, "dimension": 0}, ROW, "dimension: expected at least 1"),
        ({**ABOUT, "names": [""]}, ROW, r"names\[0\]: expected a length of at least 1"),
        ({**ABOUT, "model_key": "x"}, ROW, "model_key: expected a match"),
        ({**ABOUT, "schema_version": 2}, ROW, "schema_version: expected 1; got 2"),
        ({**ABOUT, "more": 1}, ROW, "more: unknown field"),
        ([], ROW, "expected a JSON object"),
        (ABOUT, npy.encode(np.array([[3, 0]])), "not of length 1"),
        (ABOUT, npy.encode(np.array([[np.nan, 0]])), "not finite"),
        (ABOUT, b"\x80\x04.", r"vectors\.npy: not an \.npy file"),
    ],
)
def test_hostile_files(tmp_path: Path, about: Any, vectors: bytes, message: str) -> None:
    path = tmp_path / "bad.gallery"
    write_archive(path, {"gallery.json": json.dumps(about).encode(), "vectors.npy": vectors})
    with pytest.raises(GalleryError, match=message):
        Gallery.load(path)


def test_files_that_are_no_gallery(tmp_path: Path) -> None:
    path = tmp_path / "x.gallery"
    with pytest.raises(UsageError, match="no such file"):
        Gallery.load(path)
    path.write_bytes(b"\x80\x04.")
    with pytest.raises(ArchiveError, match="not a readable archive"):
        Gallery.load(path)
    path.unlink()
    write_archive(path, {"a.npy": ROW})
    with pytest.raises(GalleryError, match=r"expected gallery\.json and vectors\.npy; got a\.npy"):
        Gallery.load(path)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A model whose vector is the mean of each channel, R, G, B."""
    return models.onnx_classifier(tmp_path / "net.onnx")


COLORS = {"red": (0, 0, 255), "green": (0, 255, 0), "blue": (255, 0, 0), "pink": (150, 100, 255)}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, color in COLORS.items():
        models.write_image(folder / f"{name}.png", color=color)
    return folder


def test_it_belongs_to_its_model(tmp_path: Path, net: Path) -> None:
    path = pack([net], tmp_path / "n.edgecv", hints=HINTS, trusted=True)
    red = models.image(color=COLORS["red"])
    with edgecv.load(path, variant="onnxruntime-fp32") as model:
        gallery = Gallery.of(model)
        assert (gallery.dimension, gallery.model_name) == (3, "net")
        gallery.add_image("red", model, red)
        assert gallery.search_image(model, red)[0].score == pytest.approx(1)
        # How the vector is scaled does not matter; which one is read does.
        gallery.check(model.with_options(normalize=False))
        with pytest.raises(UsageError, match="another model, or read in another way"):
            gallery.check(model.with_options(pooling="mean"))
    with edgecv.load(path, backend="openvino") as other_variant:
        gallery.check(other_variant)
    with edgecv.load(net, hints=HINTS, trusted=True) as bare:
        gallery.check(bare)
    for changed in (HINTS.replace(std=(127.5,)), HINTS.replace(color="bgr")):
        made_by = pytest.raises(UsageError, match=r"made by another model, .*; got \w{12} of net")
        with edgecv.load(net, hints=changed, trusted=True) as other, made_by:
            gallery.check(other)
    classifies = pytest.raises(UsageError, match="does not embed: expected a model of task embed")
    with edgecv.load(net, head="softmax", trusted=True) as classifier, classifies:
        Gallery.of(classifier)


def test_the_commands(tmp_path: Path, net: Path, pictures: Path) -> None:
    bundle = pack([net], tmp_path / "n.edgecv", hints=HINTS, trusted=True)
    target = tmp_path / "c.gallery"
    ran = command("gallery", "build", bundle, pictures, "-o", target)
    assert (ran.status, ran.out) == (0, f"{target}: 4 vectors of 4 names\n")
    ran = command("gallery", "build", bundle, pictures, "-o", target)
    assert (ran.status, "--force replaces it" in ran.err) == (2, True)
    query = models.write_image(tmp_path / "q.png", color=(10, 10, 200))
    ran = command("gallery", "search", bundle, target, query, "--top", "2", "--json", "-")
    names = [match["name"] for match in ran.lines[0]["matches"]]
    assert (ran.status, names) == (0, ["red", "pink"])
    ran = command("gallery", "search", bundle, target, query, "--threshold", "0.9")
    assert ran.out == f"{query}: red 0.998\n"
    black = models.write_image(tmp_path / "black.png", color=(0, 0, 0))
    ran = command("gallery", "search", bundle, target, black)
    assert ran.out == f"{black}: nothing near enough\n"
    (pictures / "broken.png").write_bytes(b"x")
    models.write_image(pictures / "black.png", color=(0, 0, 0))
    ran = command(
        "gallery", "build", bundle, pictures, "-o", target, "--force", "--name-by", "folder"
    )
    assert (ran.status, ran.out) == (1, f"{target}: 4 vectors of 1 names\n")
    assert "broken.png" in ran.err
    assert "black.png: vector of 'pictures': a vector of zeros has no direction" in ran.err
    other = pack([net], tmp_path / "o.edgecv", hints=HINTS.replace(std=(1.0,)), trusted=True)
    ran = command("gallery", "search", other, target, query)
    assert (ran.status, "made by another model" in ran.err) == (2, True)
    assert command("predict", bundle, query).out.count("a vector of 3 numbers") == 1
