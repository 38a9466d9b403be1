"""The benchmark of edgecv beside its peers: the protocol, agreement, ratios, what is missing."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import peer_environments
import peer_model
import pytest
from peer_figures import agreement, ratio, summary, table
from peer_turns import Seat, cold_starts, take_turns
from peers import Run, both_agree, said

from edgecv.hints import Hints
from edgecv.packing import pack
from tests import models

ROWS = [[10.0, 20.0, 50.0, 60.0, 0.9, 1], [100.0, 20.0, 150.0, 60.0, 0.5, 2]]


@pytest.fixture(scope="module")
def seats(tmp_path_factory: pytest.TempPathFactory) -> list[Seat]:
    """The two peers that run in this interpreter, on a small detector."""
    folder = tmp_path_factory.mktemp("peers")
    onnx = models.onnx_detector(folder / "d.onnx")
    bundle = pack([onnx], folder / "b", hints=Hints(head="yolo"), trusted=True)
    images = [
        str(models.write_image(folder / f"{i}.png", 100 + i, hw)) for i, hw in enumerate(SIZES)
    ]
    request = {
        "engine": "onnxruntime", "images": images, "side": 64, "threads": 1, "operators": [],
        "cpus": sorted(os.sched_getaffinity(0)), "confidence": 0.1, "iou": 0.5, "precision": "fp32",
    }  # fmt: skip
    return [
        Seat("edgecv", Path(sys.executable), request | {"peer": "edgecv", "model": str(bundle)},
             dict(os.environ)),
        Seat("hand-written", Path(sys.executable),
             request | {"peer": "hand-written", "model": str(onnx)}, dict(os.environ)),
    ]  # fmt: skip


SIZES = ((48, 64), (90, 61), (200, 300))


def test_peers_take_turns_and_find_the_same(seats: list[Seat]) -> None:
    images = seats[0].request["images"]
    found = take_turns(seats, images, images * 2, rounds=2)
    assert not found.absent
    assert list(found.rounds) == ["edgecv", "hand-written"]
    for peer in found.rounds:
        assert len(found.rounds[peer]["latency_ms"]) == 2
        assert len(found.rounds[peer]["images_per_s"]) == 2
        assert found.rounds[peer]["peak_rss_run_mb"][0] > 10
        assert found.said[peer]["versions"]["numpy"] == np.__version__
        assert found.said[peer]["facts"]["threads"] == 1
        assert found.said[peer]["cpus_used"] > 0
    same = both_agree(found.results["edgecv"], found.results["hand-written"])
    assert same["agrees"]
    assert same["boxes"] == same["boxes_of_the_loop"] >= len(SIZES)
    assert same["alone"] == same["list"]["alone"] == 0
    assert same["box_px"] < 0.01


def test_cold_starts(seats: list[Seat]) -> None:
    found = cold_starts(seats, 1)
    for figures in found.values():
        assert figures["cold_start_ms"][0] > 10
        assert figures["peak_rss_mb"][0] > 10


def test_a_peer_that_fails_is_left_out_with_its_reason(seats: list[Seat]) -> None:
    images = seats[0].request["images"][:1]
    broken = Seat("broken", Path(sys.executable), seats[1].request | {"model": "none.onnx"}, {})
    nowhere = Seat("nowhere", Path("/nonexistent/python"), seats[1].request, {})
    found = take_turns([broken, nowhere, seats[1]], images, images, rounds=1)
    assert set(found.absent) == {"broken", "nowhere"}
    assert "none.onnx" in found.absent["broken"]
    assert "No such file" in found.absent["nowhere"]
    assert list(found.rounds) == ["hand-written"]


def moved(rows: list[list[float]], box: int, **by: float) -> list[list[float]]:
    out = [list(row) for row in rows]
    out[box][0] += by.get("left", 0)
    out[box][4] += by.get("score", 0)
    return out


def test_the_same_work() -> None:
    same = agreement([ROWS, []], [ROWS, []])
    assert same["agrees"]
    assert (same["boxes"], same["boxes_of_the_loop"], same["alone"]) == (2, 2, 0)
    assert agreement([moved(ROWS, 0, left=0.9)], [ROWS])["agrees"]


@pytest.mark.parametrize(
    "theirs",
    [
        pytest.param(moved(ROWS, 0, left=1.5), id="an edge elsewhere"),
        pytest.param(moved(ROWS, 1, score=0.01), id="another score"),
        pytest.param(ROWS[:1], id="a box less"),
        pytest.param([], id="none"),
    ],
)
def test_other_work(theirs: list[list[float]]) -> None:
    assert not agreement([theirs], [ROWS])["agrees"]


def test_one_box_of_many_may_be_at_the_threshold() -> None:
    many = [[100.0 * i, 0.0, 100.0 * i + 50, 50.0, 0.9, 0] for i in range(50)]
    assert agreement([many[:-1]], [many])["agrees"]
    assert not agreement([many[:-3]], [many])["agrees"]


def test_results_of_a_list_count_too() -> None:
    loop = {"one": [ROWS], "all": [ROWS]}
    assert both_agree({"one": [ROWS], "all": [ROWS]}, loop)["agrees"]
    assert not both_agree({"one": [ROWS], "all": [[]]}, loop)["agrees"]


def test_ratios_are_taken_within_a_round() -> None:
    found = ratio([1.0, 3.0, 30.0, 2.0], [2.0, 6.0, 60.0, 4.0])
    assert found == {"value": 0.5, "ci95": [0.5, 0.5]}
    assert ratio([1.0], [4.0]) == {"value": 0.25, "ci95": None}


def test_no_ratio_without_the_same_work() -> None:
    rounds = {
        "edgecv": {"latency_ms": [1.0, 2.0, 3.0], "installed_mb": [100.0]},
        "same": {"latency_ms": [2.0, 4.0, 6.0], "installed_mb": [50.0]},
        "other": {"latency_ms": [2.0, 4.0, 6.0]},
        "absent": {},
    }
    agreements = {peer: {"agrees": peer != "other"} for peer in rounds if peer != "absent"}
    found = summary(rounds, agreements)
    assert found["same"]["figures"]["latency_ms"] == 4
    assert found["same"]["edgecv_over_it"]["latency_ms"]["value"] == 0.5
    assert found["same"]["edgecv_over_it"]["installed_mb"] == {"value": 2.0, "ci95": None}
    assert found["edgecv"]["edgecv_over_it"]["latency_ms"] is None
    assert found["other"]["figures"]["latency_ms"] == 4
    assert found["other"]["edgecv_over_it"]["latency_ms"] is None
    assert set(found["absent"]["figures"].values()) == {None}
    text = table({"peers": found}, "engine")
    assert "| 2.00 | 4.00: 0.50 (0.50 to 0.50) | 4.00 | - |" in text


def test_threshold_and_images_are_chosen_together() -> None:
    # At about 0.5 three of them have 20 boxes; there is a gap between 0.5 and 0.45.
    usual = np.concatenate([np.linspace(0.9, 0.5, 20), np.linspace(0.45, 0.4, 300)])
    scores = [np.full(300, 0.95), usual, usual - 0.0001, np.full(9, 0.1), usual]
    confidence, chosen = peer_model.choose(scores, 3)
    assert chosen == [1, 2, 4]
    assert confidence == pytest.approx(0.475, abs=1e-3)
    with pytest.raises(ValueError, match="3 of 5 images have 5 to 50 boxes"):
        peer_model.choose(scores, 4)


def test_what_is_installed(tmp_path: Path) -> None:
    place = tmp_path / "x" / "lib" / "python3.11" / "site-packages"
    for name, size in {
        "numpy/a.so": 1000, "numpy-2.0.dist-info/RECORD": 100, "numpy/__pycache__/a.pyc": 5000,
        "pip/a.py": 7000, "pip-23.2.dist-info/RECORD": 7000, "setuptools/a.py": 7000,
        "distutils-precedence.pth": 7000, "six.py": 10,
    }.items():  # fmt: skip
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(b"x" * size)
    (place / "numpy" / "link").symlink_to(place / "numpy" / "a.so")
    assert peer_environments.installed_bytes(tmp_path, "x") == 1110


def test_why_an_environment_is_not_there(tmp_path: Path) -> None:
    missing = peer_environments.missing
    assert "--make" in str(missing(tmp_path, "edgecv-openvino", {}))
    assert missing(tmp_path, "edgecv-openvino", {"edgecv-openvino": "pip failed"}) == "pip failed"
    python = peer_environments.python_of(tmp_path, "edgecv-openvino")
    python.parent.mkdir(parents=True)
    python.touch()
    assert missing(tmp_path, "edgecv-openvino", {}) is None


def test_peers_without_environments_are_null_with_a_reason(tmp_path: Path) -> None:
    args = Namespace(environments=tmp_path, cpus=None, side=64, list=1, rounds=1, starts=1)
    run = Run(
        args, [tmp_path / "a.jpg"], {"ultralytics-onnxruntime": "pip failed: no such version"}
    )
    peers: dict[str, Any] = run.group("onnxruntime", "fp32")["peers"]
    assert set(peers) == {"edgecv", "hand-written", "model-api", "ultralytics"}
    for found in peers.values():
        assert found["missing"]
        assert set(found["figures"].values()) == {None}
        assert found["agreement"] is None
    assert peers["ultralytics"]["missing"] == "pip failed: no such version"
    assert "no YOLO wrapper" in peers["model-api"]["missing"]
    assert said(peers["edgecv"]).startswith("not measured")
