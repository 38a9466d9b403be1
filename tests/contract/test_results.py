"""Every result type: the empty case, JSON there and back, and the comparison with itself."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from edgecv import plugins
from edgecv.geometry import plan
from edgecv.masks import Masks

NAMES = plugins.names("results")


def _mask(x1: int, y1: int, x2: int, y2: int) -> dict[str, Any]:
    full = np.zeros((1, 8, 10), bool)
    full[0, y1:y2, x1:x2] = True
    return Masks.from_full(full).to_json(0)


_SUMMARY = {
    "size_hw": [8, 10],
    "low": -1.5,
    "high": 4.25,
    "mean": 0.5,
    "grid": {
        "size_hw": [2, 3],
        "low": -1.0,
        "high": 2.0,
        "data": base64.b64encode(np.array([0, 9, 8, 7, 65535, 6], "<u2").tobytes()).decode(),
    },
}

FILLED = {
    "detect": {
        "detections": [
            {"xyxy": [1.0, 2.0, 30.5, 40.25], "score": 0.75, "class_id": 1, "label": "b"},
            {"xyxy": [5.0, 6.0, 7.0, 8.0], "score": 0.5, "class_id": 0, "label": "a"},
        ],
        "dropped": 3,
    },
    "segment": {
        "detections": [
            {
                "xyxy": [1.0, 2.0, 3.0, 4.0],
                "score": 0.75,
                "class_id": 1,
                "label": "b",
                "mask": _mask(1, 2, 3, 4),
            },
            {
                "xyxy": [3.0, 1.0, 6.0, 5.0],
                "score": 0.5,
                "class_id": 0,
                "label": "a",
                "mask": _mask(3, 1, 6, 5),
            },
        ],
        "dropped": 0,
    },
    "pose": {
        "detections": [
            {
                "xyxy": [1.0, 2.0, 30.5, 40.25],
                "score": 0.75,
                "class_id": 1,
                "label": "b",
                "keypoints": [[3.0, 4.5, 0.75], [-1.0, 9.0, 0.0]],
            },
            {
                "xyxy": [5.0, 6.0, 7.0, 8.0],
                "score": 0.5,
                "class_id": 0,
                "label": "a",
                "keypoints": [[5.0, 6.0, 1.0], [7.0, 8.0, 1.0]],
            },
        ],
        "dropped": 0,
    },
    "obb": {
        "detections": [
            {
                "xyxy": [1.0, 2.0, 30.5, 40.25],
                "score": 0.75,
                "class_id": 1,
                "label": "b",
                "xywhr": [15.0, 20.0, 30.0, 10.0, 0.5],
            },
            {
                "xyxy": [5.0, 6.0, 7.0, 8.0],
                "score": 0.5,
                "class_id": 0,
                "label": "a",
                "xywhr": [6.0, 7.0, 2.0, 2.0, 0.0],
            },
        ],
        "dropped": 0,
    },
    "semantic": {
        "semantic": [
            {"class_id": 0, "label": "a", "pixels": 12, "mask": _mask(0, 0, 3, 4)},
            {"class_id": 1, "label": "b", "pixels": 20, "mask": _mask(3, 1, 8, 5)},
        ],
        "size_hw": [8, 10],
    },
    "depth": {"depth": {"kind": "metric", **_SUMMARY}},
    "anomaly": {
        "anomaly": {
            "score": 0.75,
            "threshold": 0.5,
            "anomalous": True,
            "mask": _mask(3, 1, 8, 5),
            **_SUMMARY,
        }
    },
    "classify": {
        "classes": [
            {"class_id": 1, "score": 0.75, "label": "b"},
            {"class_id": 0, "score": 0.25, "label": "a"},
        ]
    },
    "embed": {"embedding": [0.6, -0.8, 0.0]},
}


@pytest.mark.parametrize("name", NAMES)
def test_the_empty_result(name: str) -> None:
    module = plugins.load("results", name)
    empty = module.RESULT()
    assert len(empty) == 0
    if hasattr(empty, "__iter__"):
        assert list(empty) == []
    assert len(empty.to_source(plan((10, 20), (32, 32), "letterbox"))) == 0
    data = json.loads(json.dumps(empty.to_json(())))
    assert len(module.RESULT.from_json(data)) == 0
    same = empty.difference(module.RESULT())
    assert (same.score, same.box_px, same.unmatched, same.area) == (0.0, 0.0, (), 0.0)


TASKS = [(name, task) for name in NAMES for task in plugins.load("results", name).TASKS]


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_json_there_and_back(name: str, task: str) -> None:
    module = plugins.load("results", name)
    given = FILLED[task]
    result = module.RESULT.from_json(given)
    assert json.loads(json.dumps(result.to_json(["a", "b"]))) == given
    same = result.difference(module.RESULT.from_json(given))
    assert (same.score, same.box_px, same.unmatched, same.area) == (0.0, 0.0, (), 0.0)


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_a_lost_and_a_gained_finding_are_seen(name: str, task: str) -> None:
    module = plugins.load("results", name)
    given = FILLED[task]
    key = next(iter(given))
    if isinstance(given[key], list):
        less = {**given, key: given[key][1:]}
    else:
        other = {"size_hw": [1, 1], "low": 0.0, "high": 0.0, "data": "AAA="}
        less = {key: {**given[key], "grid": other, "score": 0.25, "mask": _mask(0, 5, 9, 8)}}
    whole, part = module.RESULT.from_json(given), module.RESULT.from_json(less)
    for a, b in ((whole, part), (part, whole)):
        difference = a.difference(b)
        if task in ("semantic", "depth", "anomaly"):
            assert difference.area > 0.1
        else:
            assert difference.score > 0.1 or difference.unmatched == (0.75,)


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_a_label_that_is_missing_is_the_number(name: str, task: str) -> None:
    module = plugins.load("results", name)
    if '"label"' not in json.dumps(FILLED[task]):
        return
    text = json.dumps(module.RESULT.from_json(FILLED[task]).to_json(["a"]))
    if '"label"' not in json.dumps(FILLED[task]):
        assert '"label"' not in text  # it has no classes
        return
    assert '"label": "1"' in text
    assert '"label": "a"' in text


def test_tasks_are_distinct() -> None:
    tasks = [task for _, task in TASKS]
    assert len(set(tasks)) == len(tasks)
    assert set(tasks) == set(FILLED), "a new task brings its example here"
    assert set(tasks) >= {plugins.load("heads", name).TASK for name in plugins.names("heads")}
