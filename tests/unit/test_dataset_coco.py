"""COCO instances JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecv.dataset import open_dataset
from edgecv.datasets.coco import read_annotations
from edgecv.errors import DatasetError


def content() -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": "a.jpg", "height": 100, "width": 200},
            {"id": 3, "file_name": "b.jpg"},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 18, "bbox": [10, 20, 30, 40], "area": 600.5},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 9.5, 9], "iscrowd": 1},
        ],
    }


def write(root: Path, data: Any, images: str = "val2017") -> Path:
    file = root / "annotations" / "instances_val2017.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(data if isinstance(data, str) else json.dumps(data))
    (root / images).mkdir(parents=True, exist_ok=True)
    for name in ("a.jpg", "b.jpg"):
        (root / images / name).touch()
    return file


def test_reads_boxes_classes_crowds_and_areas(tmp_path):
    dataset = open_dataset(write(tmp_path, content()))
    assert dataset.labels == ("person", "dog")
    assert [s.image.name for s in dataset.samples] == ["a.jpg", "b.jpg"]
    assert [s.size_hw for s in dataset.samples] == [(100, 200), None]
    truth = dataset.samples[0].truth
    np.testing.assert_array_equal(truth.xyxy, [[10, 20, 40, 60], [0, 0, 9.5, 9]])
    assert truth.class_id.tolist() == [1, 0]
    assert truth.crowd.tolist() == [False, True]
    np.testing.assert_array_equal(truth.area, np.array([600.5, np.nan], np.float32))
    assert len(dataset.samples[1].truth) == 0
    assert dataset.problems == ()
    assert dataset.split == "all"


@pytest.mark.parametrize("images", ["val2017", "images/val2017", "images", "annotations", "."])
def test_finds_images_beside_the_annotations(tmp_path, images):
    assert len(open_dataset(write(tmp_path, content(), images))) == 2


def test_images_folder_given(tmp_path):
    file = write(tmp_path, content(), "far/away")
    assert len(open_dataset(file, images=tmp_path / "far/away")) == 2
    with pytest.raises(DatasetError, match="images are not found"):
        open_dataset(file)


def test_folder_picks_the_file_of_the_split(tmp_path):
    write(tmp_path, content())
    dataset = open_dataset(tmp_path, "val")
    assert (len(dataset), dataset.split) == (2, "val")
    with pytest.raises(DatasetError, match="no one file for split 'train'"):
        open_dataset(tmp_path, "train")


def test_missing_image_is_a_lost_image(tmp_path):
    file = write(tmp_path, content())
    (tmp_path / "val2017/b.jpg").unlink()
    dataset = open_dataset(file)
    assert len(dataset) == 1
    assert [p.image for p in dataset.problems] == [True]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image_id": 99}, "no listed image"),
        ({"image_id": None}, "no listed image"),
        ({"category_id": 99}, "no listed category"),
        ({"category_id": [1]}, "no listed category"),
        ({"bbox": [1, 2, 3]}, "four numbers"),
        ({"bbox": None}, "four numbers"),
        ({"bbox": [1, 2, "3", 4]}, "four numbers"),
        ({"bbox": [1, 2, float("nan"), 4]}, "four numbers"),
        ({"bbox": [1, 2, 10**400, 4]}, "four numbers"),
        ({"bbox": [1, 2, True, 4]}, "four numbers"),
        ({"bbox": [1, 2, 0, 4]}, "without area"),
        ({"bbox": [1, 2, 3, -4]}, "without area"),
    ],
)
def test_unusable_boxes_are_left_out_and_named(tmp_path, change, reason):
    data = content()
    data["annotations"][0].update(change)
    dataset = open_dataset(write(tmp_path, data))
    assert len(dataset.samples[0].truth) == 1
    (problem,) = dataset.problems
    assert problem.where.endswith("annotations[0]")
    assert reason in problem.what


@pytest.mark.parametrize(
    ("data", "where", "message"),
    [
        ("{", ".json", "not valid JSON"),
        ("[" * 100_000, ".json", "not valid JSON"),
        ("1" * 5000, ".json", "not valid JSON"),
        ([1], ".json", "expected an object"),
        ({}, "categories", "got nothing"),
        (content() | {"images": {}}, "images", "a list of objects"),
        (content() | {"images": [1]}, "images", "a list of objects"),
        (content() | {"annotations": None}, "annotations", "got nothing"),
        (content() | {"images": [{"id": "7", "file_name": "a"}]}, "images[0].id", "an integer"),
        (content() | {"images": [{"id": True, "file_name": "a"}]}, "images[0].id", "an integer"),
        (content() | {"images": [{"id": 7}]}, "images[0].file_name", "a text"),
        (content() | {"images": [{"id": 7, "file_name": "a\0"}]}, "file_name", "a text"),
        (content() | {"images": content()["images"] * 2}, "images[2].id", "of its own"),
        (content() | {"categories": [{"id": 1, "name": 2}]}, "categories[0].name", "a text"),
    ],
)
def test_broken_files_name_the_field(tmp_path, data, where, message):
    with pytest.raises(DatasetError, match=message) as caught:
        read_annotations(write(tmp_path, data))
    assert caught.value.where is not None
    assert caught.value.where.endswith(where)
