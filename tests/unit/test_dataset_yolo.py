"""YOLO labels under a data.yaml."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecv.dataset import Dataset, open_dataset
from edgecv.errors import DatasetError
from edgecv.truth import BoxTruth

YAML = "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / "data.yaml"


def boxes(dataset: Dataset, n: int = 0) -> BoxTruth:
    truth = dataset.samples[n].truth
    assert isinstance(truth, BoxTruth)
    return truth


def open_one(root: Path, label: str, yaml: str = YAML) -> Dataset:
    return open_dataset(
        write(root, {"data.yaml": yaml, "images/val/a.png": "", "labels/val/a.txt": label})
    )


def test_reads_boxes_in_parts_of_the_image(tmp_path):
    dataset = open_one(tmp_path, "1 0.5 0.5 0.2 0.4\n0 0.1 0.1 0.2 0.2\n")
    truth = boxes(dataset)
    assert dataset.labels == ("cat", "dog")
    assert dataset.task == "detect"
    assert dataset.samples[0].image == tmp_path / "images/val/a.png"
    np.testing.assert_array_equal(truth.class_id, [1, 0])
    pixels = truth.in_pixels((100, 200))
    np.testing.assert_allclose(pixels.xyxy, [[80, 30, 120, 70], [0, 0, 40, 20]], atol=1e-4)
    assert pixels.in_pixels((7, 7)) is pixels
    assert not dataset.problems


def test_image_without_label_is_background(tmp_path):
    write(tmp_path, {"images/val/b.png": ""})
    dataset = open_one(tmp_path, "0 0.5 0.5 0.2 0.4")
    assert [len(boxes(dataset, n)) for n in range(2)] == [1, 0]
    assert boxes(dataset, 1).in_pixels((5, 5)).xyxy.shape == (0, 4)


def test_empty_label_file_is_background(tmp_path):
    assert len(boxes(open_one(tmp_path, "\n\n"))) == 0


def test_label_without_image_is_reported_as_a_lost_image(tmp_path):
    write(tmp_path, {"labels/val/gone.txt": "0 .5 .5 .1 .1", "labels/val/classes.txt": "cat"})
    dataset = open_one(tmp_path, "0 0.5 0.5 0.2 0.4")
    assert len(dataset) == 1
    assert [(Path(p.where).name, p.image) for p in dataset.problems] == [("gone.txt", True)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.5 0.5 0.2", "neither box nor polygon"),
        ("0 0.5 0.5 0.2 0.2 0.9", "neither box nor polygon"),
        ("0", "neither box nor polygon"),
        ("cat 0.5 0.5 0.2 0.2", "not all values are numbers"),
        ("2 0.5 0.5 0.2 0.2", "class 2 of 2"),
        ("-1 0.5 0.5 0.2 0.2", "class -1 of 2"),
        ("0.5 0.5 0.5 0.2 0.2", "class 0.5 of 2"),
        ("nan 0.5 0.5 0.2 0.2", "class nan of 2"),
        ("0 nan 0.5 0.2 0.2", "outside 0 to 1"),
        ("0 inf 0.5 0.2 0.2", "outside 0 to 1"),
        ("0 320 240 20 20", "outside 0 to 1"),
        ("0 0.5 0.5 -0.2 0.2", "outside 0 to 1"),
        ("0 0.5 0.5 0 0.2", "without area"),
        ("0 .1 .1 .1 .5 .1 .9", "without area"),
    ],
)
def test_broken_lines_are_left_out_and_named(tmp_path, line, reason):
    dataset = open_one(tmp_path, f"1 0.5 0.5 0.2 0.4\n{line}\n")
    assert len(boxes(dataset)) == 1
    (problem,) = dataset.problems
    assert problem.where.endswith("a.txt:2")
    assert reason in problem.what
    assert not problem.image


def test_polygon_becomes_its_box(tmp_path):
    truth = boxes(open_one(tmp_path, "0 0.1 0.2 0.5 0.3 0.4 0.9"))
    np.testing.assert_allclose(truth.xyxy, [[0.1, 0.2, 0.5, 0.9]])


def test_keypoints_after_the_box_are_passed_over(tmp_path):
    line = "0 0.5 0.5 0.2 0.4 " + "0.3 0.3 2 " * 3
    truth = boxes(open_one(tmp_path, line, YAML + "kpt_shape: [3, 3]\n"))
    np.testing.assert_allclose(truth.xyxy, [[0.4, 0.3, 0.6, 0.7]], atol=1e-6)


def test_labels_key_names_another_folder(tmp_path):
    write(tmp_path, {"other/val/a.txt": "1 0.1 0.2 0.5 0.3 0.4 0.9"})
    dataset = open_one(tmp_path, "0 0.5 0.5 0.2 0.4", YAML + "labels: other\n")
    assert boxes(dataset).class_id.tolist() == [1]


def test_labels_key_may_name_the_folder_itself(tmp_path):
    write(tmp_path, {"flat/a.txt": "1 0.5 0.5 0.5 0.3"})
    dataset = open_one(tmp_path, "0 0.5 0.5 0.2 0.4", YAML + "labels: flat\n")
    assert boxes(dataset).class_id.tolist() == [1]


def test_last_images_folder_of_the_path_counts(tmp_path):
    root = tmp_path / "images" / "set"
    root.mkdir(parents=True)
    assert len(boxes(open_one(root, "0 0.5 0.5 0.2 0.4"))) == 1


def test_list_of_folders_and_lists_of_images(tmp_path):
    label = "0 0.5 0.5 0.2 0.4"
    yaml = "val: [images/x, list.txt]\nnames: [cat]\n"
    file = write(
        tmp_path,
        {
            "data.yaml": yaml,
            "images/x/a.jpg": "",
            "images/x/deep/b.jpg": "",
            "images/x/.hidden.jpg": "",
            "images/x/notes.md": "",
            "images/y/c.jpg": "",
            "labels/y/c.txt": label,
            "labels/y/unlisted.txt": label,
            "list.txt": "./images/y/c.jpg\nimages/x/a.jpg\n\nimages/y/gone.jpg\n",
        },
    )
    dataset = open_dataset(file)
    assert [s.image.name for s in dataset.samples] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [Path(p.where).name for p in dataset.problems] == ["gone.jpg"]
    assert dataset.problems[0].image


def test_folder_with_a_data_yaml_is_a_data_set(tmp_path):
    open_one(tmp_path, "0 0.5 0.5 0.2 0.4")
    assert open_dataset(tmp_path).name == tmp_path.name


def test_names_as_a_list_nc_alone_and_words_that_yaml_reads_as_values(tmp_path):
    yaml = "val: images/val\ntest: null\nnames: [no, 1.0]\nnc: 2\n"
    assert open_one(tmp_path, "1 .5 .5 .2 .4", yaml).labels == ("no", "1.0")
    dataset = open_one(tmp_path, "2 .5 .5 .2 .4", "val: images/val\nnc: 3\n")
    assert dataset.labels == ()
    assert boxes(dataset).class_id.tolist() == [2]


def test_roboflow_paths_one_folder_too_high(tmp_path):
    yaml = "val: ../valid/images\nnames: [cat]\n"
    file = write(
        tmp_path / "export",
        {"data.yaml": yaml, "valid/images/a.jpg": "", "valid/labels/a.txt": "0 .5 .5 .2 .2"},
    )
    assert len(open_dataset(file)) == 1


def test_split_under_another_name(tmp_path):
    yaml = YAML.replace("val: images/val", "valid: images/val")
    assert len(open_one(tmp_path, "0 .5 .5 .2 .2", yaml)) == 1


@pytest.mark.parametrize(
    ("yaml", "where", "message"),
    [
        ("[1, 2", "data.yaml", "not valid YAML"),
        ("a: " + "[" * 3000, "data.yaml", "not valid YAML"),
        ("just text", "data.yaml", "expected a mapping"),
        ("!!python/object/apply:os.system [x]", "data.yaml", "expected a mapping"),
        ("val: images/val\n", "data.yaml", "expected names"),
        ("val: images/val\nnames: cat\n", "names", "a list of names"),
        ("val: images/val\nnames: [[cat]]\n", "names", "a list of names"),
        ("val: images/val\nnames: {0: cat, 2: dog}\n", "names", "without a gap"),
        ("val: images/val\nnames: [cat]\nnc: 2\n", "data.yaml", "disagree"),
        ("val: images/val\nnames: [cat]\nnc: [2]\n", "nc", "a number of classes"),
        ("train: images/val\nnames: [cat]\n", "data.yaml", "no split 'val'"),
        ("val: images/none\nnames: [cat]\n", "val", "no such folder"),
        ("val: {a: b}\nnames: [cat]\n", "val", "expected a folder"),
        ("path: [x]\nval: images/val\nnames: [cat]\n", "path", "expected a folder"),
        ("val: images/val\nlabels: {}\nnames: [cat]\n", "labels", "expected a folder"),
        ("val: images/val\nlabels: gone\nnames: [cat]\n", "data.yaml", "no image has a label"),
        ("val: images/val\nmasks: m\nnames: [cat]\n", "masks", "class maps"),
    ],
)
def test_broken_yaml_names_file_and_field(tmp_path, yaml, where, message):
    with pytest.raises(DatasetError, match=message) as caught:
        open_one(tmp_path, "0 0.5 0.5 0.2 0.4", yaml)
    assert caught.value.where is not None
    assert caught.value.where.endswith(where)


def test_alias_bombs_cost_nothing(tmp_path):
    levels = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    merges = ["m0: &m0 {k: v}"] + [
        f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}" for n in range(1, 30)
    ]
    yaml = "\n".join([*levels, *merges, "val: images/val", "names: *a59"])
    with pytest.raises(DatasetError, match="a list of names"):
        open_one(tmp_path, "0 0.5 0.5 0.2 0.4", yaml)


def test_huge_yaml_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="too large"):
        open_one(tmp_path, "", "# " + "x" * (5 << 20))


def test_no_image_at_all(tmp_path):
    (tmp_path / "images/val").mkdir(parents=True)
    with pytest.raises(DatasetError, match="no image to measure"):
        open_dataset(write(tmp_path, {"data.yaml": YAML}))
