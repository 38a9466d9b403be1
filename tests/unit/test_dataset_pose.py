"""Pose data: YOLO labels with keypoints, and COCO's keypoints JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgecv.dataset import open_dataset
from edgecv.errors import DatasetError
from edgecv.truth import BoxTruth, PoseTruth


def yolo(root, label, shape="[2, 3]"):
    for name, text in {
        "data.yaml": f"path: .\nval: images/val\nnames: [person, dog]\nkpt_shape: {shape}\n",
        "images/val/a.png": "",
        "images/val/b.png": "",
        "labels/val/a.txt": label,
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / "data.yaml"


def test_yolo_keypoints_in_parts_of_the_image(tmp_path):
    label = "1 .5 .5 .2 .4 .45 .5 2 .55 .6 0\n0 .1 .1 .2 .2\n"
    dataset = open_dataset(yolo(tmp_path, label), task="pose")
    assert (dataset.task, dataset.problems) == ("pose", ())
    truth = dataset.samples[0].truth.in_pixels((100, 200))
    assert isinstance(truth, PoseTruth)
    np.testing.assert_allclose(truth.xyxy[0], [80, 30, 120, 70], atol=1e-4)
    expected = [[[90, 50, 2], [110, 60, 0]], [[0, 0, 0], [0, 0, 0]]]
    np.testing.assert_allclose(truth.keypoints, expected, atol=1e-4)
    assert truth.labelled.tolist() == [True, False]
    assert truth.with_classes(np.array([5, 6])).class_id.tolist() == [6, 5]
    assert truth.in_pixels((1, 1)) is truth
    empty = dataset.samples[1].truth
    assert (len(empty), empty.keypoints.shape) == (0, (0, 2, 3))


def test_yolo_keypoints_without_visibility(tmp_path):
    data = yolo(tmp_path, "0 .5 .5 .2 .4 .45 .5 0 0", "[2, 2]")
    truth = open_dataset(data, task="pose").samples[0].truth
    np.testing.assert_allclose(truth.keypoints, [[[0.45, 0.5, 2], [0, 0, 0]]], atol=1e-6)


def test_yolo_pose_data_are_boxes_as_well(tmp_path):
    data = yolo(tmp_path, "0 .5 .5 .2 .4 .45 .5 2 .55 .6 0")
    truth = open_dataset(data).samples[0].truth
    assert (type(truth), len(truth)) == (BoxTruth, 1)


def test_broken_yolo_keypoints_lose_their_line_only(tmp_path):
    good = "0 .5 .5 .2 .4 .45 .5 2 .55 .6 0\n"
    broken = ("0 .5 .5 .2 .4 .1", "0 .5 .5 .2 .4 .45 nan 2 .55 .6 0", "0 .1 .1 .2 .1 .2 .2")
    dataset = open_dataset(yolo(tmp_path, good + "\n".join(broken)), task="pose")
    assert len(dataset.samples[0].truth) == 1
    assert [p.where.rpartition(":")[2] for p in dataset.problems] == ["2", "3", "4"]


@pytest.mark.parametrize("shape", ["~", "[17, 4]", "[0, 3]", "17", "[a, 3]"])
def test_yolo_data_without_keypoints(tmp_path, shape):
    with pytest.raises(DatasetError, match=r"kpt_shape: .*no keypoints"):
        open_dataset(yolo(tmp_path, "0 .5 .5 .2 .4", shape), task="pose")


def coco(root, *annotations):
    content = {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}],
        "categories": [{"id": 1, "name": "person", "keypoints": ["nose", "tail"]}],
        "annotations": list(annotations),
    }
    file = root / "annotations" / "person_keypoints_val2017.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content))
    (root / "val2017").mkdir(exist_ok=True)
    for name in "ab":
        (root / "val2017" / f"{name}.jpg").touch()
    return file


def person(**more):
    return {"image_id": 7, "category_id": 1, "bbox": [10, 20, 30, 40], "area": 600, **more}


def test_coco_keypoints(tmp_path):
    coco(tmp_path, person(keypoints=[12, 24, 2, 0, 0, 0]), person(iscrowd=1))
    dataset = open_dataset(tmp_path, "val", task="pose")
    truth = dataset.samples[0].truth
    assert isinstance(truth, PoseTruth)
    assert truth.keypoints.tolist() == [[[12, 24, 2], [0, 0, 0]], [[0, 0, 0]] * 2]
    assert truth.area[0] == 600
    assert truth.crowd.tolist() == [False, True]
    assert len(dataset.samples[1].truth) == 0
    assert dataset.problems == ()


def test_broken_coco_keypoints_lose_their_object_only(tmp_path):
    good = person(keypoints=[12, 24, 2, 0, 0, 0])
    broken = [person(keypoints=k) for k in ([1, 2, 3], [1, 2, 3, 4, 5, "x"], "keypoints")]
    dataset = open_dataset(coco(tmp_path, good, *broken), task="pose")
    assert len(dataset.samples[0].truth) == 1
    assert [p.what.startswith(("no keypoints of 6", "keypoints of")) for p in dataset.problems] == [
        True
    ] * 3


def test_coco_data_without_keypoints(tmp_path):
    with pytest.raises(DatasetError, match="the data have no keypoints"):
        open_dataset(coco(tmp_path, person()), task="pose")
