"""Every result type: the empty case, JSON there and back, and the comparison with itself."""

from __future__ import annotations

import json

import pytest

from edgecv import plugins
from edgecv.geometry import plan

NAMES = plugins.names("results")
FILLED = {
    "detect": {
        "detections": [
            {"xyxy": [1.0, 2.0, 30.5, 40.25], "score": 0.75, "class_id": 1, "label": "b"},
            {"xyxy": [5.0, 6.0, 7.0, 8.0], "score": 0.5, "class_id": 0, "label": "a"},
        ],
        "dropped": 3,
    },
    "classify": {
        "classes": [
            {"class_id": 1, "score": 0.75, "label": "b"},
            {"class_id": 0, "score": 0.25, "label": "a"},
        ]
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_the_empty_result(name: str) -> None:
    module = plugins.load("results", name)
    empty = module.RESULT()
    assert len(empty) == 0
    assert list(empty) == []
    assert len(empty.to_source(plan((10, 20), (32, 32), "letterbox"))) == 0
    data = json.loads(json.dumps(empty.to_json(())))
    assert len(module.RESULT.from_json(data)) == 0
    same = empty.difference(module.RESULT())
    assert (same.score, same.box_px, same.unmatched) == (0.0, 0.0, ())


@pytest.mark.parametrize("name", NAMES)
def test_json_there_and_back(name: str) -> None:
    module = plugins.load("results", name)
    given = FILLED[module.TASK]
    result = module.RESULT.from_json(given)
    assert json.loads(json.dumps(result.to_json(["a", "b"]))) == given
    same = result.difference(module.RESULT.from_json(given))
    assert (same.score, same.box_px, same.unmatched) == (0.0, 0.0, ())


@pytest.mark.parametrize("name", NAMES)
def test_a_lost_and_a_gained_finding_are_seen(name: str) -> None:
    module = plugins.load("results", name)
    given = FILLED[module.TASK]
    key = next(key for key, value in given.items() if isinstance(value, list))
    less = {**given, key: given[key][1:]}
    whole, part = module.RESULT.from_json(given), module.RESULT.from_json(less)
    for a, b in ((whole, part), (part, whole)):
        difference = a.difference(b)
        assert difference.score > 0.1 or difference.unmatched == (0.75,)


@pytest.mark.parametrize("name", NAMES)
def test_a_label_that_is_missing_is_the_number(name: str) -> None:
    module = plugins.load("results", name)
    text = json.dumps(module.RESULT.from_json(FILLED[module.TASK]).to_json(["a"]))
    assert '"label": "1"' in text
    assert '"label": "a"' in text


def test_tasks_are_distinct() -> None:
    tasks = [plugins.load("results", name).TASK for name in NAMES]
    assert len(set(tasks)) == len(tasks)
    assert set(tasks) == set(FILLED), "a new task brings its example here"
    assert set(tasks) == {plugins.load("heads", name).TASK for name in plugins.names("heads")}
