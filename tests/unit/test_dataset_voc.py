"""Pascal VOC XML."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecv.dataset import open_dataset
from edgecv.errors import DatasetError


def thing(name: str, box: tuple[object, ...], difficult: int = 0) -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inner = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        f"<bndbox>{inner}</bndbox></object>"
    )


def document(*things: str, size: str = "<width>64</width><height>48</height>") -> str:
    return f"<annotation><size>{size}</size>{''.join(things)}</annotation>"


def write(root: Path, files: dict[str, str | bytes], splits: dict[str, str] | None = None) -> Path:
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for stem, text in files.items():
        data = text if isinstance(text, bytes) else text.encode()
        (root / "Annotations" / f"{stem}.xml").write_bytes(data)
        (root / "JPEGImages" / f"{stem}.jpg").touch()
    for split, lines in (splits or {}).items():
        file = root / "ImageSets" / "Main" / f"{split}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(lines)
    return root


def test_reads_boxes_difficult_and_size(tmp_path):
    text = document(thing("dog", (1, 2, 30, 40)), thing("cat", (5, 6, 7.5, 8), 1))
    root = write(tmp_path, {"a": text, "b": document()}, {"val": "a\nb\n", "train": "b"})
    dataset = open_dataset(root)
    assert dataset.labels == ("cat", "dog")
    assert dataset.samples[0].size_hw == (48, 64)
    truth = dataset.samples[0].truth
    np.testing.assert_array_equal(truth.xyxy, [[1, 2, 30, 40], [5, 6, 7.5, 8]])
    assert truth.class_id.tolist() == [1, 0]
    assert truth.crowd.tolist() == [False, True]
    assert len(dataset.samples[1].truth) == 0


def test_classes_are_the_same_for_every_split(tmp_path):
    files = {"a": document(thing("dog", (1, 2, 3, 4))), "b": document(thing("ant", (1, 2, 3, 4)))}
    root = write(tmp_path, files, {"val": "a", "train": "b 1"})
    assert open_dataset(root, "val").labels == open_dataset(root, "train").labels == ("ant", "dog")


def test_labels_give_the_order(tmp_path):
    root = write(tmp_path, {"a": document(thing("dog", (1, 2, 3, 4)))}, {"val": "a"})
    dataset = open_dataset(root, labels=("x", "dog"))
    assert dataset.samples[0].truth.class_id.tolist() == [1]
    with pytest.raises(DatasetError, match="no class of the labels: expected one of x; got 'dog'"):
        open_dataset(root, labels=("x",))


def test_without_image_sets_everything_is_read(tmp_path):
    dataset = open_dataset(write(tmp_path, {"a": document(), "b": document()}))
    assert (len(dataset), dataset.split) == (2, "all")


def test_missing_split_lists_those_there(tmp_path):
    root = write(tmp_path, {"a": document()}, {"train": "a"})
    with pytest.raises(DatasetError, match="no split 'val': expected one of train"):
        open_dataset(root)


def test_one_sub_folder_may_hold_it_all(tmp_path):
    write(tmp_path / "VOC2007", {"a": document()})
    assert open_dataset(tmp_path).root == tmp_path / "VOC2007"


def test_missing_files_are_lost_images(tmp_path):
    root = write(tmp_path, {"a": document(), "b": document()}, {"val": "a\nb\nc\nd\n"})
    (root / "JPEGImages/b.jpg").unlink()
    (root / "JPEGImages/c.jpg").touch()
    dataset = open_dataset(root)
    assert len(dataset) == 1
    assert [(p.what, p.image) for p in dataset.problems] == [
        ("no such image", True),
        ("no annotation of this image", True),
        ("no such image", True),
    ]


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((5, 5, 5, 9), "without area"),
        ((5, 5, 4, 9), "without area"),
        (("", 5, 6, 9), "four numbers"),
        (("x", 5, 6, 9), "four numbers"),
        (("nan", 5, 6, 9), "four numbers"),
        ((1, 5, "1e400", 9), "four numbers"),
    ],
)
def test_unusable_boxes_are_left_out_and_named(tmp_path, box, reason):
    text = document(thing("dog", (1, 2, 3, 4)), thing("dog", box))
    dataset = open_dataset(write(tmp_path, {"a": text}))
    assert len(dataset.samples[0].truth) == 1
    (problem,) = dataset.problems
    assert "object[1]" in problem.where
    assert reason in problem.what


def test_size_of_zero_is_no_size(tmp_path):
    text = document(size="<width>0</width><height>0</height>")
    assert open_dataset(write(tmp_path, {"a": text})).samples[0].size_hw is None


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]><annotation>&b;</annotation>'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (BOMB.encode(), "a document type"),
        (BOMB.lower().encode(), "a document type"),
        (BOMB.encode("utf-16"), "not valid XML"),
        (b'<?xml version="1.0" encoding="cp037"?>' + BOMB.encode("cp037"), "not valid XML"),
        (b"<annotation>", "not valid XML"),
        (b"", "not valid XML"),
        (b"\xff\xd8\xff\xe0" * 10, "not valid XML"),
    ],
)
def test_hostile_documents_are_refused(tmp_path, data, message):
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset(write(tmp_path, {"a": data}))
    assert str(caught.value.where).endswith("a.xml")
