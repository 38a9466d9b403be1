"""One folder per class."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecv.dataset import open_dataset
from edgecv.errors import DatasetError


def write(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def ids(dataset):
    return [(s.image.name, s.truth.class_id) for s in dataset.samples]


def test_folder_named_by_label_text(tmp_path):
    root = write(tmp_path, "tench, Tinca tinca/1.JPEG", "crane/2.jpg")
    dataset = open_dataset(root, labels=("background", "tench, Tinca tinca", "cock", "crane"))
    assert dataset.task == "classify"
    assert dataset.split == "all"
    assert ids(dataset) == [("2.jpg", 3), ("1.JPEG", 1)]


def test_folder_named_by_number(tmp_path):
    root = write(tmp_path, "10/a.jpg", "2/b.jpg")
    assert ids(open_dataset(root)) == [("a.jpg", 10), ("b.jpg", 2)]
    assert open_dataset(root).labels == ()
    assert ids(open_dataset(root, labels=[str(i) for i in range(12)])) == [
        ("a.jpg", 10),
        ("b.jpg", 2),
    ]


def test_text_comes_before_number(tmp_path):
    root = write(tmp_path, "1/a.jpg", "0/b.jpg")
    assert ids(open_dataset(root, labels=("1", "0"))) == [("b.jpg", 1), ("a.jpg", 0)]


def test_without_labels_sorted_names_are_the_classes(tmp_path):
    dataset = open_dataset(write(tmp_path, "dog/a.jpg", "cat/b.jpg"))
    assert dataset.labels == ("cat", "dog")
    assert ids(dataset) == [("b.jpg", 0), ("a.jpg", 1)]


@pytest.mark.parametrize("folder", ["val", "valid", "validation"])
def test_splits(tmp_path, folder):
    root = write(tmp_path, "train/cat/a.jpg", f"{folder}/cat/b.jpg", f"{folder}/dog/c.jpg")
    dataset = open_dataset(root)
    assert dataset.split == "val"
    assert ids(dataset) == [("b.jpg", 0), ("c.jpg", 1)]
    with pytest.raises(DatasetError, match="no split 'test': expected one of train"):
        open_dataset(root, "test")


def test_a_class_may_be_called_train(tmp_path):
    assert ids(open_dataset(write(tmp_path, "train/a.jpg", "bus/b.jpg"))) == [
        ("b.jpg", 0),
        ("a.jpg", 1),
    ]


def test_unknown_folders_are_listed(tmp_path):
    root = write(tmp_path, *(f"class{n}/a.jpg" for n in range(7)))
    with pytest.raises(DatasetError, match=r"'class0', .*'class4' and 2 more"):
        open_dataset(root, labels=("cat", "dog"))


def test_number_beyond_the_labels(tmp_path):
    with pytest.raises(DatasetError, match="numbers below 2; got '2'"):
        open_dataset(write(tmp_path, "2/a.jpg"), labels=("cat", "dog"))


def test_label_of_two_classes_needs_the_number(tmp_path):
    root = write(tmp_path, "crane/a.jpg")
    with pytest.raises(DatasetError, match="several classes have this folder's label"):
        open_dataset(root, labels=("crane", "ox", "crane"))


def test_left_out_files_are_reported(tmp_path):
    root = write(tmp_path, "cat/a.jpg", "cat/notes.txt", "dog/readme.md", "stray.png")
    problems = open_dataset(root, format="class_folders").problems
    assert [(Path(p.where).name, p.image) for p in problems] == [
        ("dog", False),
        ("stray.png", True),
    ]


def test_other_layouts_are_not_class_folders(tmp_path):
    with pytest.raises(DatasetError, match="no data set that is known"):
        open_dataset(write(tmp_path, "images/val/a.jpg", "labels/val/a.txt", "images/b.jpg"))
