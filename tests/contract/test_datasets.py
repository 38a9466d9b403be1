"""What every format in ``datasets/`` and every metric in ``metrics/`` owes its callers."""

from __future__ import annotations

import inspect
import json
import random
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecv import plugins
from edgecv.dataset import Dataset, open_dataset
from edgecv.errors import DatasetError, EdgecvError
from edgecv.metric import Scores

FORMATS = plugins.names("datasets")
METRICS = plugins.names("metrics")


def picture(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.zeros((8, 16, 3), np.uint8))


def text(file: Path, content: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


def yolo(root: Path) -> tuple[Path, Path | None]:
    picture(root / "images/val/a.png")
    text(root / "labels/val/a.txt", "0 0.5 0.5 0.5 0.5\n")
    file = text(root / "data.yaml", "path: .\nval: images/val\nnames: {0: cat, 1: dog}\nnc: 2\n")
    return file, file


def coco(root: Path) -> tuple[Path, Path | None]:
    picture(root / "images/a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 16}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    }
    file = text(root / "instances.json", json.dumps(content))
    return file, file


def voc(root: Path) -> tuple[Path, Path | None]:
    picture(root / "JPEGImages/a.png")
    box = "<xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax>"
    file = text(
        root / "Annotations/a.xml",
        "<?xml version='1.0'?><annotation><size><width>16</width><height>8</height></size>"
        f"<object><name>cat</name><bndbox>{box}</bndbox></object></annotation>",
    )
    return root, file


def class_folders(root: Path) -> tuple[Path, Path | None]:
    picture(root / "cat/a.png")
    picture(root / "dog/b.png")
    return root, None


def mvtec(root: Path) -> tuple[Path, Path | None]:
    picture(root / "test/good/a.png")
    picture(root / "test/hole/b.png")
    picture(root / "ground_truth/other/b.png")
    return root, None


EXAMPLES = {"mvtec": mvtec, "yolo": yolo, "coco": coco, "voc": voc, "class_folders": class_folders}


def test_every_format_has_an_example():
    assert set(EXAMPLES) == set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_offers_what_a_reader_is(name):
    module = plugins.load("datasets", name)
    assert module.__doc__
    assert set(module.TASKS) <= set(METRICS)
    arguments = inspect.signature(module.open_dataset).parameters
    assert list(arguments) == ["path", "split", "task", "labels", "images"]


@pytest.mark.parametrize("name", FORMATS)
def test_recognises_its_own_and_no_other(name, tmp_path):
    path, _ = EXAMPLES[name](tmp_path / name)
    fits = [other for other in FORMATS if plugins.load("datasets", other).recognise(path)]
    assert fits == [name]
    assert isinstance(open_dataset(path), Dataset)


@pytest.mark.parametrize("name", FORMATS)
def test_recognises_neither_an_empty_folder_nor_a_picture(name, tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    recognise = plugins.load("datasets", name).recognise
    assert not recognise(tmp_path / "a.png")
    assert not recognise(tmp_path / "empty")
    assert not recognise(tmp_path / "missing")


@pytest.mark.parametrize("name", FORMATS)
def test_truths_fit_the_metric_of_the_task(name, tmp_path):
    dataset = open_dataset(EXAMPLES[name](tmp_path)[0], format=name)
    metric = plugins.load("metrics", dataset.task)
    assert dataset.samples
    assert all(isinstance(sample.truth, metric.TRUTH) for sample in dataset.samples)
    assert all(sample.image.is_file() for sample in dataset.samples)
    table = np.array([7, 8, 9], np.int32)
    for sample in dataset.samples:
        moved = sample.truth.in_pixels((8, 16)).with_classes(table)
        assert name == "mvtec" or np.all(np.asarray(moved.class_id) >= 7)


@pytest.mark.parametrize("name", FORMATS)
def test_same_every_time(name, tmp_path):
    path, _ = EXAMPLES[name](tmp_path)
    first, second = open_dataset(path), open_dataset(path)
    assert [s.image for s in first.samples] == [s.image for s in second.samples]
    assert first.labels == second.labels


@pytest.mark.parametrize("name", FORMATS)
def test_refuses_a_task_it_has_no_truths_for(name, tmp_path):
    with pytest.raises(DatasetError, match="holds no truths for this task"):
        open_dataset(EXAMPLES[name](tmp_path)[0], task="guess")


@pytest.mark.parametrize("name", FORMATS)
def test_mutated_annotations_raise_nothing_of_their_own(name, tmp_path):
    path, file = EXAMPLES[name](tmp_path)
    if file is None:
        pytest.skip("this format has no annotation file")
    original = file.read_bytes()
    draw = random.Random(20)
    refused = 0
    for _ in range(300):
        data = bytearray(original)
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(data))
            kind = draw.randrange(4)
            if kind == 0:
                data[at] = draw.randrange(256)
            elif kind == 1:
                del data[at : at + draw.randint(1, 8)]
            elif kind == 2:
                data[at:at] = data[max(0, at - 9) : at] * draw.randint(1, 3)
            else:
                data[at:at] = draw.choice([b"1e999", b"-1", b"null", b"[", b"\0", b"<!DOCTYPE a>"])
            data = data or bytearray(b" ")
        file.write_bytes(data)
        try:
            open_dataset(path, format=name)
        except EdgecvError:
            refused += 1
    assert 0 < refused < 300


def test_missing_path_and_unknown_format(tmp_path):
    with pytest.raises(DatasetError, match="no such file or folder"):
        open_dataset(tmp_path / "none")
    with pytest.raises(EdgecvError, match="no such plug-in in datasets"):
        open_dataset(tmp_path, format="none")


def test_two_formats_in_one_folder_are_not_guessed(tmp_path):
    yolo(tmp_path)
    voc(tmp_path)
    with pytest.raises(DatasetError, match=r"several formats .* got voc, yolo"):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path, format="voc").labels == ("cat",)


@pytest.mark.parametrize("name", METRICS)
def test_metric_of_no_image_is_unknown_with_a_reason(name):
    module = plugins.load("metrics", name)
    scores = module.create().compute(10)
    assert isinstance(scores, Scores)
    assert list(scores.metrics) == list(scores.ci95) == list(module.NAMES)
    assert set(scores.metrics.values()) == {None}
    assert set(scores.reasons) == set(module.NAMES)
