"""``edgecv eval``: figures, the report and its streams; the measuring is tested elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import models
from tests.models import Ran, command


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """A folder of class folders: of four images the model says ``b``, which is right for three."""
    root = tmp_path / "data"
    for i, name in enumerate(("b/1.png", "b/2.png", "b/3.jpg", "a/4.png")):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        models.write_image(file, i)
    return root


@pytest.fixture
def base(tmp_path: Path) -> list[object]:
    model = models.null_classifier(tmp_path / "[x].null.json")
    labels = tmp_path / "l.txt"
    labels.write_text("a\nb\nc\n")
    return [model, "--trusted", "--head", "softmax", "--labels", labels, "--bootstrap", "50"]


def evaluate(*args: object) -> Ran:
    return command("eval", *args)


def test_a_table_for_people(base: list[object], classes: Path) -> None:
    ran = evaluate(*base, "--data", classes)
    assert ran.status == 0
    assert "4 images" in ran.out
    assert "[x].null.json" in ran.out
    assert "top1" in ran.out
    assert "0.750" in ran.out


def test_json_alone_on_standard_output(base: list[object], classes: Path) -> None:
    (classes / "a" / "broken.png").write_text("nothing")
    ran = evaluate(*base, "--data", classes, "--json", "-")
    assert ran.status == 0
    data = json.loads(ran.out)
    assert list(data)[:8] == [
        "task", "images", "skipped", "variant", "backend", "precision", "metrics", "ci95",
    ]  # fmt: skip
    assert (data["task"], data["images"], data["skipped"]) == ("classify", 4, 1)
    assert data["metrics"]["top1"] == 0.75
    low, high = data["ci95"]["top1"]
    assert low <= 0.75 <= high
    assert set(data["ci95"]) == set(data["metrics"])


def test_skipped_images_are_shown_and_json_goes_to_a_file(
    base: list[object], classes: Path, tmp_path: Path
) -> None:
    (classes / "a" / "broken[b].png").write_text("nothing")
    target = tmp_path / "report.json"
    ran = evaluate(*base, "--data", classes, "--json", target, "--bootstrap", "0")
    assert ran.status == 0
    assert "1 images skipped" in ran.out
    assert "broken[b].png" in ran.out
    assert json.loads(target.read_text())["skipped"] == 1


def test_failures(base: list[object], classes: Path, tmp_path: Path) -> None:
    assert evaluate(*base, "--data", tmp_path / "nope").status == 2
    assert evaluate(*base, "--data", classes, "--format", "nope").status == 2
    (tmp_path / "empty").mkdir()
    ran = evaluate(*base, "--data", tmp_path / "empty")
    assert ran.status in (1, 2)
    assert ran.err.lstrip().startswith("error: ")
    ran = evaluate(*base, "--data", classes, "--conf", "0.5")
    assert ran.status == 2
    assert "option confidence: unknown option" in ran.err
    assert ran.out == ""


def test_a_pose_model_on_pose_data(tmp_path: Path) -> None:
    """Of two images the model's one answer is right for the first."""
    row = [16, 16, 80, 48, 0.9, 0, 24, 24, 0.9, 72, 40, 0.9]
    output = models.tensor("y", [1, 1, 12], values=row)
    model = models.null_model(tmp_path / "p.null.json", [output])
    data = tmp_path / "data"
    for name, points in (("a", ".25 .375 2 .75 .625 2"), ("b", ".75 .375 2 .25 .625 2")):
        for folder in ("images/val", "labels/val"):
            (data / folder).mkdir(parents=True, exist_ok=True)
        models.write_image(data / f"images/val/{name}.png", 1, models.SIZE_HW)
        (data / f"labels/val/{name}.txt").write_text(f"0 .5 .5 .6667 .5 {points}\n")
    (data / "data.yaml").write_text("val: images/val\nnames: [one]\nkpt_shape: [2, 3]\n")
    ran = evaluate(
        model, "--trusted", "--head", "yolo_pose", "--head-option", "kpt_shape=[2,3]",
        "--data", data, "--bootstrap", "50", "--json", "-",
    )  # fmt: skip
    assert (ran.status, ran.err.count("error")) == (0, 0)
    report = json.loads(ran.out)
    assert report["task"] == "pose"
    # One of two objects is found, by the first of two detections of one score: precision is 1 up
    # to a recall of a half, which 51 of 101 points reach.
    assert report["metrics"]["oks_map"] == pytest.approx(51 / 101)
    assert report["ci95"]["oks_map"][0] < report["metrics"]["oks_map"]
    assert report["per_class"][0]["truths"] == 2
