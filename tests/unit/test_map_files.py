"""Class maps as files: what is stored comes out, and what is no map is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from edgecv.dataset import open_dataset
from edgecv.errors import DatasetError, ImageError
from edgecv.evaluation import evaluate
from edgecv.map_files import encode_map, read_map
from edgecv.map_truth import SemanticTruth
from edgecv.result import Result, Timings
from edgecv.results.semantic import SemanticMap

IDS = np.arange(48, dtype=np.uint8).reshape(6, 8) % 13


@pytest.mark.parametrize("name", ["a.png", "a.bmp"])
def test_grey_levels(tmp_path, name):
    Pillow.fromarray(IDS).save(tmp_path / name)
    np.testing.assert_array_equal(read_map(tmp_path / name), IDS)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_palette_is_for_people(tmp_path, bits):
    """Pascal VOC's SegmentationClass: colours, whose indices are the class ids."""
    image = Pillow.fromarray(IDS).convert("P")
    image.putdata(IDS.ravel().tolist())
    image.putpalette([value for i in range(256) for value in (255 - i, i // 2, 7)])
    image.save(tmp_path / "a.png", bits=bits, transparency=3)
    np.testing.assert_array_equal(read_map(tmp_path / "a.png"), IDS)


def test_one_bit(tmp_path):
    Pillow.fromarray(IDS > 5).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_map(tmp_path / "a.png"), IDS > 5)


def test_16_bits_there_and_back():
    values = np.array([[0, 255, 256, 65535]])
    np.testing.assert_array_equal(read_map(encode_map(values)), values)


def test_a_picture_is_no_map(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ImageError, match=r"a\.png: not a map: expected one number for each pixel"):
        read_map(tmp_path / "a.png")


@pytest.mark.parametrize("keep", [0, 20, 60, -8])
def test_damaged_files(tmp_path, keep):
    (tmp_path / "a.png").write_bytes(encode_map(IDS)[:keep])
    with pytest.raises(ImageError, match=r"a\.png"):
        read_map(tmp_path / "a.png")


def test_truths_are_checked():
    truth = SemanticTruth(encode_map(np.array([[0, 3, 255]])), 3)
    with pytest.raises(ImageError, match="expected 0 to 2, or 255 for no class; got 3"):
        truth.read((1, 3))
    truth = SemanticTruth(encode_map(np.array([[0, 2, 255]])), 3)
    with pytest.raises(ImageError, match="another size than its image: expected 5 x 4; got 3 x 1"):
        truth.read((4, 5))
    assert truth.read((1, 3)).tolist() == [[0, 2, -1]]
    mapped = truth.with_classes(np.array([5, 6, 7], np.int32))
    assert mapped.read((1, 3)).tolist() == [[5, 7, -1]]
    again = mapped.with_classes(np.arange(9, dtype=np.int32)[::-1].copy())
    assert again.class_id.tolist() == [3, 2, 1]


def data(root: Path, key: str = "masks: masks/val") -> Path:
    for folder in ("images/val", "masks/val"):
        (root / folder).mkdir(parents=True)
    for i, name in enumerate("abcd"):
        cv2.imwrite(str(root / f"images/val/{name}.png"), np.full((2, 4, 3), i, np.uint8))
    cv2.imwrite(str(root / "masks/val/a.png"), np.array([[0, 0, 1, 1]] * 2, np.uint8))
    cv2.imwrite(str(root / "masks/val/b.png"), np.array([[1, 255, 1, 1]] * 2, np.uint8))
    cv2.imwrite(str(root / "masks/val/c.png"), np.zeros((3, 3), np.uint8))
    file = root / "data.yaml"
    file.write_text(f"path: .\nval: images/val\n{key}\nnames: [floor, wall]\n")
    return file


@pytest.mark.parametrize("key", ["masks: masks/val", "masks: masks", "masks_dir: masks"])
def test_a_data_yaml_with_class_maps(tmp_path, key):
    dataset = open_dataset(data(tmp_path, key), task="semantic")
    assert [sample.image.name for sample in dataset.samples] == ["a.png", "b.png", "c.png"]
    assert dataset.labels == ("floor", "wall")
    (problem,) = dataset.problems
    assert problem.image
    assert problem.what.startswith("no class map in")


def test_a_data_yaml_without_class_maps(tmp_path):
    with pytest.raises(DatasetError, match="expected a key masks or masks_dir"):
        open_dataset(data(tmp_path, "labels: labels"), task="semantic")


class Wall:
    """A model that sees wall everywhere, but in image a."""

    task, labels = "semantic", ("floor", "wall")

    class info:  # noqa: N801  # stands for a record
        variant, backend, precision, notes = "v", "null", "fp32", ()

    class options:  # noqa: N801
        pass

    def with_options(self, **options):
        assert not options
        return self

    def __call__(self, image):
        ids = np.zeros if image.name == "a.png" else np.ones
        value = SemanticMap(ids((2, 4), np.int16))
        return Result(value, str(image), (2, 4), self.labels, Timings(0, 0, 0, 0, 0))


def test_evaluation_skips_truths_that_do_not_fit(tmp_path):
    found = evaluate(Wall(), open_dataset(data(tmp_path), task="semantic"), bootstrap=0)
    assert (found.images, found.skipped) == (2, 2)
    # floor: 4 right of 8 found and 4 true; wall: 6 right of 6 found and 10 true.
    assert found.metrics["miou"] == pytest.approx((4 / 8 + 6 / 10) / 2)
    assert any("another size than its image" in p.what for p in found.problems)
