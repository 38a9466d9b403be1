"""Calibration images: which are found, which are left out, and what they become."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecv.converters.calibration import CalibrationSet, calibration_set
from edgecv.errors import ConversionError, DatasetError, ImageError, UsageError
from edgecv.manifest import Input
from edgecv.preprocess import Preprocessor
from edgecv.types import Quantization, TensorSpec
from tests import models

ROOT = Path(__file__).parents[2]
SPEC = Input(size_hw=(32, 48), resize="letterbox", mean=(10, 20, 30), std=(2, 3, 4))


def fill(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    hw = (40, 60)
    return [models.write_image(folder / f"{i:03}.png", i, hw) for i in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path / "pictures", 12)
    return tmp_path / "pictures"


def test_a_plain_folder(folder: Path) -> None:
    (folder / "notes.txt").write_text("no image")
    found = calibration_set(folder)
    assert [path.name for path in found.images] == [f"{i:03}.png" for i in range(12)]
    assert found.name == "pictures"
    assert found.skipped == ()
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in found.images]
    assert found.hashes == tuple(hashes)


def test_the_digest_is_of_the_bytes_alone(folder: Path, tmp_path: Path) -> None:
    first = calibration_set(folder)
    other = tmp_path / "elsewhere"
    other.mkdir()
    for i, path in enumerate(first.images):
        (other / f"{99 - i}.png").write_bytes(path.read_bytes())
    assert calibration_set(other).digest == first.digest
    (other / "99.png").unlink()
    assert calibration_set(other).digest != first.digest


def write_yaml(folder: Path, **fields: str) -> Path:
    lines = [f"{key}: {value}" for key, value in {"nc": "3", **fields}.items()]
    file = folder / "data.yaml"
    file.write_text("\n".join(lines))
    return file


def test_a_data_yaml_needs_no_labels(tmp_path: Path) -> None:
    fill(tmp_path / "images/train", 9)
    fill(tmp_path / "images/val", 10)
    file = write_yaml(tmp_path, train="images/train", val="images/val")
    found = calibration_set(file)
    assert len(found) == 9
    assert found.name == f"{tmp_path.name} train"
    assert calibration_set(tmp_path).digest == found.digest
    assert len(calibration_set(file, split="val")) == 10
    with pytest.raises(DatasetError, match="no split 'test'"):
        calibration_set(file, split="test")


def test_a_list_that_names_missing_images(tmp_path: Path) -> None:
    images = fill(tmp_path / "images", 9)
    lines = [str(path) for path in [*images, tmp_path / "images/gone.png"]]
    (tmp_path / "train.txt").write_text("\n".join(lines))
    found = calibration_set(write_yaml(tmp_path, train="train.txt"))
    assert len(found) == 9
    assert len(found.skipped) == 1
    assert "gone.png" in found.skipped[0]


def test_class_folders_and_the_example(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        fill(tmp_path / "train" / name, 5)
        fill(tmp_path / "val" / name, 6)
    assert len(calibration_set(tmp_path)) == 10
    assert len(calibration_set(ROOT / "examples/digits/data.yaml")) == 48


def test_what_cannot_be_read_is_named_and_replaced(folder: Path) -> None:
    (folder / "000.png").write_bytes(b"not a picture")
    (folder / "007.png").write_bytes((folder / "007.png").read_bytes()[:200])
    found = calibration_set(folder)
    assert len(found) == 10
    assert len(found.skipped) == 2
    assert all("0" in text and ".png" in text for text in found.skipped)
    limited = calibration_set(folder, limit=10)
    assert len(limited) == 10
    assert limited.digest == found.digest


def test_too_few(tmp_path: Path) -> None:
    images = fill(tmp_path / "few", 8)
    assert len(calibration_set(tmp_path / "few")) == 8
    images[0].write_bytes(b"x")
    with pytest.raises(ConversionError, match="too few images") as caught:
        calibration_set(tmp_path / "few")
    assert caught.value.expected == "at least 8, better 100 or more"
    assert "7 that can be read; 1 left out" in str(caught.value.got)
    assert "000.png" in str(caught.value.got)
    with pytest.raises(ConversionError, match="too few"):
        calibration_set(tmp_path / "few", limit=3)
    with pytest.raises(DatasetError, match="no such file"):
        calibration_set(tmp_path / "nowhere")


def test_a_limit_is_spread_evenly_and_seeded(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    picked = [int(path.stem) for path in calibration_set(tmp_path, limit=8).images]
    assert set(np.diff(picked)) == {5}
    again = [int(path.stem) for path in calibration_set(tmp_path, limit=8).images]
    assert again == picked
    begins = {calibration_set(tmp_path, limit=8, seed=seed).images[0] for seed in range(8)}
    assert len(begins) > 1


def test_a_subset(folder: Path) -> None:
    found = calibration_set(folder)
    part = found.subset(4)
    assert part.images == found.images[::3]
    assert part.hashes == found.hashes[::3]
    assert part.digest != found.digest
    assert "4 of 12" in part.name
    assert found.subset(12) is found


def tensor(dtype: str = "float32", quantization: Quantization | None = None) -> TensorSpec:
    return TensorSpec("images", (None, 3, 32, 48), dtype, quantization)


@pytest.mark.parametrize(
    "spec",
    [tensor(), tensor("int8", Quantization(0.9, -3))],
    ids=["float", "int8"],
)
def test_feeds_are_what_the_runtime_prepares(folder: Path, spec: TensorSpec) -> None:
    found = calibration_set(folder)
    feeds = found.feeds(SPEC, spec, "NCHW")
    assert len(feeds) == 12
    held = list(feeds)  # each is a copy, so that all can be kept
    preprocessor = Preprocessor(SPEC, spec, "NCHW")
    for path, feed in zip(found.images, held, strict=True):
        expected, _ = preprocessor.prepare(cv2.imread(str(path)))
        assert list(feed) == ["images"]
        assert feed["images"].dtype == np.dtype(spec.dtype)
        np.testing.assert_array_equal(feed["images"], expected)
    assert not np.array_equal(held[0]["images"], held[1]["images"])
    for again, feed in zip(feeds, held, strict=True):
        np.testing.assert_array_equal(again["images"], feed["images"])


def test_feeds_of_a_graph_that_does_the_pixel_work(folder: Path) -> None:
    raw = TensorSpec("x", (1, 32, 48, 3), "uint8")
    found = calibration_set(folder)
    feeds = found.feeds(SPEC, raw, "NHWC", ("color", "normalize"))
    first = next(iter(feeds))["x"]
    assert first.shape == (1, 32, 48, 3)
    image = cv2.resize(cv2.imread(str(found.images[0])), (48, 32))
    np.testing.assert_array_equal(first[0], image)


def test_the_digest_of_feeds_tells_how_they_are_prepared(folder: Path) -> None:
    found = calibration_set(folder)
    digests = {
        found.feeds(SPEC, tensor(), "NCHW").digest,
        found.feeds(SPEC.replace(mean=(0, 0, 0)), tensor(), "NCHW").digest,
        found.feeds(SPEC, tensor("uint8"), "NCHW", ("normalize",)).digest,
        found.feeds(SPEC, tensor(), "NCHW", ("color",)).digest,
        found.subset(9).feeds(SPEC, tensor(), "NCHW").digest,
    }
    assert len(digests) == 5
    assert calibration_set(folder).feeds(SPEC, tensor(), "NCHW").digest in digests


def test_feeds_that_cannot_be(folder: Path) -> None:
    found = calibration_set(folder)
    with pytest.raises(UsageError, match="does not fit"):
        found.feeds(SPEC, TensorSpec("x", (1, 3, 9, 9), "float32"), "NCHW")
    feeds = found.feeds(SPEC, tensor(), "NCHW")
    found.images[3].unlink()
    with pytest.raises(ImageError, match=r"003\.png"):
        list(feeds)


def test_a_set_is_a_plain_value() -> None:
    one = CalibrationSet((Path("a"),), ("00",), "n")
    assert one == CalibrationSet((Path("a"),), ("00",), "n")
