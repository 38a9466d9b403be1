"""``edgecv eval --task track``: tracks from a file, and of a model on a sequence of images."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecv.dataset import open_dataset
from edgecv.errors import DatasetError, UsageError
from edgecv.track_evaluation import evaluate_results, evaluate_tracker
from edgecv.tracker import create_tracker
from tests import models
from tests.models import Ran, command

DIGITS = Path(__file__).parents[2] / "examples/digits"
TRUTH = "".join(f"{f},1,{10 * f},20,40,80,1,-1,-1,-1\n" for f in range(1, 11))


def evaluate(*args: object) -> Ran:
    return command("eval", "--task", "track", *args)


def sequence(folder: Path, truth: str = TRUTH, length: int = 10) -> Path:
    (folder / "gt").mkdir(parents=True)
    (folder / "gt/gt.txt").write_text(truth)
    text = f"[Sequence]\nname={folder.name}\nframeRate=10\nseqLength={length}\nimExt=.png\n"
    (folder / "seqinfo.ini").write_text(text)
    return folder


def test_a_results_file(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "S")
    results = tmp_path / "S.txt"
    results.write_text(TRUTH.replace("1,1,10", "1,2,10", 1))
    ran = evaluate("--data", folder, "--results", results)
    assert ran.status == 0
    assert "S.txt on S" in ran.out
    ran = evaluate("--data", folder, "--results", results, "--json", "-")
    data = json.loads(ran.out)
    assert data["task"] == "track"
    assert data["metrics"]["mota"] == 0.9
    assert data["metrics"]["idsw"] == 1
    assert data["metrics"]["idf1"] == 0.9
    assert data["sequences"] == {"S": data["metrics"]}
    assert (data["frames"], data["confidence"], data["problems"]) == (None, None, [])


def test_a_folder_of_sequences(tmp_path: Path) -> None:
    for name in ("A", "B"):
        sequence(tmp_path / "data" / name)
        (tmp_path / f"{name}.txt").write_text(TRUTH if name == "A" else "")
    ran = evaluate("--data", tmp_path / "data", "--results", tmp_path)
    assert ran.status == 0
    assert ran.out.split("metric")[1].split()[:3] == ["value", "A", "B"]
    assert evaluate_results(tmp_path / "data", tmp_path).metrics["recall"] == 0.5
    with pytest.raises(DatasetError, match="one file for several sequences"):
        evaluate_results(tmp_path / "data", tmp_path / "A.txt")
    nothing = evaluate_results(tmp_path / "data/B", tmp_path / "B.txt").to_json()
    assert nothing["metrics"]["motp"] is None
    assert nothing["reasons"] == dict.fromkeys(
        ("motp", "idp", "precision"), "no box of a track was found"
    )
    (tmp_path / "B.txt").unlink()
    with pytest.raises(DatasetError, match=r"B\.txt: cannot be read"):
        evaluate_results(tmp_path / "data", tmp_path)


def pan(folder: Path) -> Path:
    """Make a sequence: a window that moves over a picture of digits."""
    sample = open_dataset(DIGITS / "data.yaml").samples[0]
    picture = cv2.imread(str(sample.image))
    truth = sample.truth.in_pixels(picture.shape[:2]).xyxy
    (folder / "img1").mkdir(parents=True)
    rows = []
    for frame in range(1, 16):
        shift = 2 * (frame - 1)
        window = picture[shift : shift + 192, shift : shift + 192]
        cv2.imwrite(str(folder / f"img1/{frame:06d}.png"), window)
        for id, box in enumerate(truth - shift, 1):
            if (box > 0).all() and (box < 192).all():
                x, y, *wh = (box[0], box[1], *(box[2:] - box[:2]))
                rows.append(f"{frame},{id},{x + 1},{y + 1},{wh[0]},{wh[1]},1,-1,-1,-1\n")
    return sequence(folder, "".join(rows), 15)


def test_a_model_and_a_tracker(tmp_path: Path) -> None:
    folder = pan(tmp_path / "pan")
    saved = tmp_path / "out"
    model = [DIGITS / "digits.onnx", "--head", "yolo", "--labels", DIGITS / "labels.txt"]
    ran = evaluate(
        *model, "--trusted", "--data", folder, "--class", "*", "--tracker", "ocsort",
        "--tracker-option", "across_classes=true", "--head-option", "class_aware=false",
        "--json", "-", "--save-results", saved,
    )  # fmt: skip
    assert ran.status == 0, ran.err
    data = json.loads(ran.out)
    assert data["frames"] == 15
    assert data["confidence"] == 0.5
    assert data["tracks"].endswith("ocsort")
    assert data["metrics"]["idsw"] == 0
    assert data["metrics"]["recall"] > 0.8
    assert data["metrics"]["idf1"] > 0.8
    # What was saved is what was measured.
    again = evaluate_results(folder, saved / "pan.txt").to_json()
    assert again["metrics"] == pytest.approx(data["metrics"], abs=1e-3)


class Detector:
    """Says what is true; a model of one class."""

    labels = ("thing",)

    def __init__(self) -> None:
        self.asked: dict[str, float] = {}

    def with_options(self, **options: float) -> Detector:
        self.asked = options
        return self

    def __call__(self, image: Path) -> object:
        import edgecv
        from edgecv.codecs import read
        from edgecv.result import Result, Timings

        size = read(image).shape[:2]
        x = 10 * int(image.stem) - 1
        found = edgecv.Detections(
            np.array([[x, 19, x + 40, 99]], np.float32),
            np.array([0.9], np.float32),
            np.array([0], np.int32),
        )
        return Result(found, str(image), size, self.labels, Timings(0, 0, 0, 0, 0))


def test_a_missing_image_is_a_dropped_frame(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "S")
    (folder / "img1").mkdir()
    for frame in range(1, 11):
        if frame not in (4, 5):
            models.write_image(folder / f"img1/{frame:06d}.png")
    model, steps = Detector(), []
    report = evaluate_tracker(
        model, create_tracker, folder, progress=lambda done, total: steps.append((done, total))
    )
    assert model.asked == {"confidence": 0.1}, "ByteTrack wants boxes of low score"
    assert steps[-1] == (10, 10)
    assert [Path(problem.where).name for problem in report.problems] == ["000004.png", "000005.png"]
    assert report.frames == 8
    assert (report.metrics["fn"], report.metrics["idsw"], report.metrics["fp"]) == (2, 0, 0)
    for image in (folder / "img1").iterdir():
        image.unlink()
    with pytest.raises(DatasetError, match="no image could be read"):
        evaluate_tracker(model, create_tracker, folder)


def test_which_class_is_meant(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "S")
    model = Detector()
    model.labels = ("car", "truck")
    with pytest.raises(UsageError, match="which class is to be followed"):
        evaluate_tracker(model, create_tracker, folder)
    with pytest.raises(UsageError, match="expected one of car, truck; got 'bus'"):
        evaluate_tracker(model, create_tracker, folder, label="bus")


def test_failures(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "S")
    results = folder / "gt/gt.txt"
    assert evaluate("--data", folder).status == 2
    ran = evaluate("model.onnx", "--data", folder, "--results", results)
    assert ran.status == 2
    assert "a model and tracks" in ran.err
    ran = evaluate("--data", folder, "--results", results, "--tracker", "bytetrack")
    assert ran.status == 2
    assert "--results" in ran.err
    ran = evaluate("model.onnx", "--data", folder, "--tracker-option", "max_age=3")
    assert ran.status == 2
    assert "max_lost_s" in ran.err
    ran = command("eval", "model.onnx", "--data", folder, "--tracker", "bytetrack")
    assert ran.status == 2
    assert "--task track" in ran.err
    ran = command("eval", "--data", folder)
    assert ran.status == 2
    assert "no model" in ran.err
    assert evaluate("--data", tmp_path, "--results", tmp_path / "nope").status == 2
