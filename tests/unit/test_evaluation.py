"""Evaluation, with a model that takes its answers from the truth."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from edgecv.class_map import class_table
from edgecv.dataset import Dataset, Problem, Sample
from edgecv.errors import DatasetError, ImageError, UsageError
from edgecv.evaluation import evaluate
from edgecv.results.classes import Classes
from edgecv.results.detections import Detections
from edgecv.truth import BoxTruth, ClassTruth

SIZE = (60, 80)
HEAD = ["task", "images", "skipped", "variant", "backend", "precision", "metrics", "ci95"]


INFO = {"variant": "fp32", "backend": "null", "precision": None, "notes": ("a note",)}


@dataclass
class Fake:
    """A model whose answers are given; it reads the image's size, and knows its options."""

    answers: dict[str, Any]
    task: str = "detect"
    labels: tuple[str, ...] = ()
    options: Any = field(default_factory=lambda: SimpleNamespace(confidence=0.25, iou=0.45))
    calls: list[Any] = field(default_factory=list)
    info: Any = field(default_factory=lambda: SimpleNamespace(**INFO))

    def with_options(self, **options):
        return replace(self, options=SimpleNamespace(**{**vars(self.options), **options}))

    def __call__(self, image):
        self.calls.append(image.name)
        pixels = cv2.imread(str(image))
        if pixels is None:
            raise ImageError("not an image", where=str(image))
        return SimpleNamespace(value=self.answers[image.stem], source_hw=pixels.shape[:2])


def make_dataset(folder: Path, truths, task="detect", labels=(), **fields) -> Dataset:
    samples = []
    for name, truth in truths.items():
        file = folder / f"{name}.png"
        if truth is None:
            file.write_bytes(b"not a picture")
            truth = BoxTruth.from_rows([], [])
        else:
            cv2.imwrite(str(file), np.zeros((*SIZE, 3), np.uint8))
        samples.append(Sample(file, truth))
    return Dataset("tiny", folder, "val", task, labels, tuple(samples), **fields)


TRUTHS = {
    "a": BoxTruth.from_rows([[0, 0, 40, 40], [10, 20, 70, 58]], [0, 1]),
    "b": BoxTruth.from_rows([[5, 5, 15, 15]], [1]),
    "c": BoxTruth.from_rows([], []),
}


def answers(change=lambda xyxy: xyxy):
    return {
        name: Detections(change(truth.xyxy), np.full(len(truth), 0.9, np.float32), truth.class_id)
        for name, truth in TRUTHS.items()
    }


def test_perfect_shifted_and_empty_answers(tmp_path):
    dataset = make_dataset(tmp_path, TRUTHS)
    values = [
        evaluate(Fake(found), dataset, bootstrap=0).metrics["map"]
        for found in (
            answers(),
            answers(lambda xyxy: xyxy + np.float32(2)),
            dict.fromkeys(TRUTHS, Detections()),
        )
    ]
    assert values[0] == pytest.approx(1)
    assert 0.1 < values[1] < 0.9
    assert values[2] == 0


def test_json_has_the_fields_in_order(tmp_path):
    evaluation = evaluate(Fake(answers(), labels=("x", "y")), make_dataset(tmp_path, TRUTHS))
    data = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert list(data)[:8] == HEAD
    assert data["task"] == "detect"
    assert (data["images"], data["skipped"]) == (3, 0)
    assert (data["variant"], data["backend"], data["precision"]) == ("fp32", "null", None)
    assert list(data["metrics"])[:3] == ["map", "map50", "map75"]
    assert list(data["metrics"]) == list(data["ci95"])
    assert data["metrics"]["map"] == 1
    assert data["ci95"]["map"] == [1, 1]
    assert (data["data"], data["split"], data["bootstrap"]) == ("tiny", "val", 1000)
    assert (data["confidence"], data["iou"]) == (0.001, 0.45)
    assert [row["label"] for row in data["per_class"]] == ["x", "y"]
    assert data["notes"] == ["a note"]


def test_options_of_the_caller_win_and_the_model_keeps_its_own(tmp_path):
    model = Fake(answers())
    dataset = make_dataset(tmp_path, TRUTHS)
    evaluation = evaluate(model, dataset, confidence=0.05, iou=0.6, bootstrap=0)
    assert (evaluation.confidence, evaluation.iou) == (0.05, 0.6)
    assert vars(model.options) == {"confidence": 0.25, "iou": 0.45}


def test_broken_images_are_counted_and_named(tmp_path):
    truths = {**TRUTHS, "d": None}
    dataset = make_dataset(tmp_path, truths, problems=(Problem("e.txt", "no image", image=True),))
    evaluation = evaluate(Fake(answers()), dataset, bootstrap=0)
    assert (evaluation.images, evaluation.skipped) == (3, 2)
    assert evaluation.metrics["map"] == pytest.approx(1)
    assert "not an image" in evaluation.problems[1].what


def test_an_evaluation_keeps_what_a_pair_needs(tmp_path):
    truths = {**TRUTHS, "bb": None}
    dataset = make_dataset(tmp_path, truths)
    model = Fake(answers(lambda xyxy: xyxy + np.float32(2)))
    first = evaluate(model, dataset, bootstrap=30, seed=5)
    assert first.measured == tuple(str(tmp_path / f"{name}.png") for name in TRUTHS)
    assert first.seed == 5
    assert first.draws["map"].shape == (30,)
    again = evaluate(model, dataset, bootstrap=30, seed=5)
    assert again == first
    np.testing.assert_array_equal(again.draws["map"], first.draws["map"])
    other = evaluate(model, dataset, bootstrap=30, seed=6)
    assert not np.array_equal(other.draws["map"], first.draws["map"])
    assert evaluate(model, dataset, bootstrap=0).draws == {}
    assert not {"draws", "measured", "seed"} & first.to_json().keys()


def test_nothing_left_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match=r"no image could be measured.*not an image"):
        evaluate(Fake({}), make_dataset(tmp_path, {"a": None}))


def test_image_of_another_size_than_annotated_is_skipped(tmp_path):
    dataset = make_dataset(tmp_path, TRUTHS)
    sizes = [SIZE, (30, 40), None]
    samples = [replace(s, size_hw=size) for s, size in zip(dataset.samples, sizes, strict=True)]
    evaluation = evaluate(Fake(answers()), replace(dataset, samples=tuple(samples)), bootstrap=0)
    assert (evaluation.images, evaluation.skipped) == (2, 1)
    assert "80x60" in evaluation.problems[0].what
    assert "40x30" in evaluation.problems[0].what


def test_limit_spreads_over_the_data_and_progress_is_told(tmp_path):
    truths = {f"{n:02}": ClassTruth(n) for n in range(10)}
    model = Fake(
        {name: Classes(np.array([3], np.int32), np.ones(1, np.float32)) for name in truths},
        task="classify",
    )
    told = []
    evaluation = evaluate(
        model,
        make_dataset(tmp_path, truths, "classify"),
        limit=4,
        progress=lambda done, total: told.append((done, total)),
    )
    assert model.calls == ["00.png", "02.png", "05.png", "07.png"]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert evaluation.images == 4
    assert evaluation.metrics == {"top1": 0, "top5": None}
    assert evaluation.to_json()["reasons"].keys() == {"top5"}
    with pytest.raises(UsageError, match="limit"):
        evaluate(model, make_dataset(tmp_path, truths, "classify"), limit=0)


def test_data_of_another_task(tmp_path):
    with pytest.raises(DatasetError, match="another task than the model: expected classify"):
        evaluate(Fake({}, task="classify"), make_dataset(tmp_path, TRUTHS))


def test_task_without_a_metric(tmp_path):
    with pytest.raises(UsageError, match="no such plug-in in metrics"):
        evaluate(Fake({}, task="guess"), make_dataset(tmp_path, TRUTHS, "guess"))


def test_classes_in_another_order_are_matched_by_name(tmp_path):
    dataset = make_dataset(tmp_path, TRUTHS, labels=("cat", "traffic light"))
    table = np.array([2, 0], np.int32)
    found = {name: d.replace(class_id=table[d.class_id]) for name, d in answers().items()}
    model = Fake(found, labels=("Traffic_Light", "dog", "cat"))
    assert evaluate(model, dataset, bootstrap=0).metrics["map"] == pytest.approx(1)
    assert evaluate(model, dataset, bootstrap=0, class_map="index").metrics["map"] == 0


@pytest.mark.parametrize(
    ("data", "model", "expected"),
    [
        ((), ("a", "b"), None),
        (("0", "1"), (), None),
        (("a", "b"), ("a", "b"), None),
        (("a", "a"), ("a", "a"), None),
        (("A_ b", "c"), ("a b", "C"), None),
        (("b", "a"), ("a", "b"), [1, 0]),
        (("b",), ("a", "b"), [1]),
    ],
)
def test_class_table(data, model, expected):
    table = class_table(data, model)
    assert table.notes == ()
    assert table.ids is None if expected is None else table.ids.tolist() == expected


@pytest.mark.parametrize(
    ("data", "model", "message", "remedy"),
    [
        (("aeroplane", "dog"), ("airplane", "dog"), "got 'aeroplane'", True),
        (("a", "b", "c"), ("a", "b"), "got 'c'", False),
        (tuple("abcdefgh"), tuple("12345678"), "'e' and 3 more", True),
        (("b", "a"), ("a", "a", "b"), "same name: got 'a'", True),
        (("a", "A"), ("x", "a"), "same name: got 'a'", True),
    ],
)
def test_classes_that_do_not_fit(data, model, message, remedy):
    with pytest.raises(DatasetError, match=message) as caught:
        class_table(data, model)
    assert ("class_map='index'" in str(caught.value)) == remedy


def test_a_few_other_spellings_in_their_place_are_taken_by_number_and_noted(tmp_path):
    data = ("person", "airplane", "bus", "car", "dog")
    model = ("person", "aeroplane", "bus", "car", "dog")
    table = class_table(data, model)
    assert table.ids is None
    assert table.notes == ("classes taken by number: 1 'airplane' as 'aeroplane'",)
    evaluation = evaluate(
        Fake(answers(), labels=model), make_dataset(tmp_path, TRUTHS, labels=data), bootstrap=0
    )
    assert evaluation.notes == (*table.notes, "a note")
    for other in (
        ("person", "dog", "bus", "car", "cow"),  # a name in another place
        ("person", "aeroplane", "bus", "car", "cat"),  # too many others
        ("person", "aeroplane", "bus", "car", "dog", "cat"),  # not as many
    ):
        with pytest.raises(DatasetError, match="does not have"):
            class_table(data, other)


def test_classes_by_index():
    table = class_table(("a", "b"), ("x", "B", "z"), "index")
    assert table.ids is None
    assert table.notes == ("classes taken by number: 0 'a' as 'x'",)
    with pytest.raises(DatasetError, match="more classes than the model: expected at most 1"):
        class_table(("a", "b"), ("x",), "index")


def test_named_folders_and_a_model_without_names() -> None:
    """Folders are not numbered in silence: the score would be 0 for no fault of the model."""
    model = SimpleNamespace(task="classify", labels=(), with_options=lambda **_: None)
    named = SimpleNamespace(task="classify", labels=("cat", "dog"), name="pets")
    with pytest.raises(DatasetError, match="no class names to compare"):
        evaluate(model, named)
