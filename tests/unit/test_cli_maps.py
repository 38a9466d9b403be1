"""The commands on models that put out maps: predict, pack, verify, info."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests import models
from tests.models import command

H, W = models.SIZE_HW


def null_map(path: Path, task: str) -> Path:
    """Write a null model whose map is 1 in the right half; of an anomaly also a score."""
    ramp = np.zeros((H, W))
    ramp[:, W // 2 :] = 1
    values = ramp.ravel().tolist()
    if task == "semantic":
        outputs = [models.tensor("y", [1, H, W], "int64", values=values)]
    elif task == "depth":
        outputs = [models.tensor("y", [1, 1, H, W], values=values)]
    else:
        outputs = [
            models.tensor("anomaly_map", [1, 1, H, W], values=values),
            models.tensor("pred_score", [1], values=[0.75]),
        ]
    return models.null_model(path, outputs)


SAID = {
    "semantic": "cat 50%, dog 50%",
    "depth": "inverse depth 0 to 1, mean 0.5",
    "anomaly": "anomaly score 0.75; map 0 to 1, mean 0.5",
}
OPTIONS = {"semantic": [], "depth": ["--head", "depth"], "anomaly": []}


@pytest.mark.parametrize("task", SAID)
def test_predict_pack_and_verify(tmp_path: Path, task: str) -> None:
    model = null_map(tmp_path / "m.null.json", task)
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    photo = models.write_image(tmp_path / "a.png", hw=(40, 80))
    options = [*OPTIONS[task], "--labels", tmp_path / "labels.txt", "--resize", "stretch"]
    ran = command(
        "predict", model, photo, *options, "--save", tmp_path / "drawn", "--json", tmp_path / "j"
    )
    assert ran.status == 0, ran.err
    assert f"80x40: {SAID[task]} (" in ran.out
    line = json.loads((tmp_path / "j").read_text())
    assert line["size_hw"] == [40, 80]
    assert task in line
    assert (cv2.imread(str(tmp_path / "drawn/a.jpg")) != cv2.imread(str(photo))).any()

    bundle = tmp_path / "b.edgecv"
    ran = command("pack", model, "-o", bundle, *options, "--golden", photo)
    assert ran.status == 0, ran.err
    assert command("verify", bundle).status == 0
    # A model that says something else is found out.
    null_map(tmp_path / "m.null.json", task)
    data = json.loads(model.read_text())
    data["outputs"][0]["values"] = [1 - v for v in data["outputs"][0]["values"]]
    model.write_text(json.dumps(data))
    other = tmp_path / "other"
    assert command("pack", model, "-o", other, *options, "--golden", photo).status == 0
    manifest = json.loads((other / "manifest.json").read_text())
    first = tmp_path / "first"
    command("pack", null_map(tmp_path / "m.null.json", task), "-o", first, *options,
            "--golden", photo)  # fmt: skip
    expected = json.loads((first / "manifest.json").read_text())["golden"][0]["expected"]
    manifest["golden"][0]["expected"] = expected
    (other / "manifest.json").write_text(json.dumps(manifest))
    ran = command("verify", other)
    assert ran.status == 1
    assert "area off by 1" in " ".join(ran.out.split())


def test_one_value_for_each_place_may_mean_three_things(tmp_path: Path) -> None:
    model = null_map(tmp_path / "m.null.json", "depth")
    ran = command("predict", model, models.write_image(tmp_path / "a.png"))
    assert ran.status == 2
    assert "expected one of anomaly, depth, semantic" in ran.err


def test_labels_that_are_not_as_many_as_the_classes(tmp_path: Path) -> None:
    path = models.null_model(tmp_path / "m.null.json", [models.tensor("y", [1, 4, H, W])])
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    photo = models.write_image(tmp_path / "a.png")
    ran = command("predict", path, photo, "--labels", tmp_path / "labels.txt")
    assert ran.status == 2
    assert "2 labels do not fit the model's outputs: expected 2 classes" in ran.err
