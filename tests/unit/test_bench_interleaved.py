"""Comparing speeds side by side."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgecv.bench import interleaved, turns
from edgecv.bench.dialogue import Dialogue
from edgecv.bench.interleaved import Competitor, Timing, ratio, take_turns
from edgecv.errors import InferenceError, UsageError
from edgecv.hints import Hints
from edgecv.packing import pack
from edgecv.plan import Plan
from tests import models


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("turns")
    source = models.onnx_detector(made / "detector.onnx")
    return pack([source], made / "m", hints=Hints(head="yolo", labels=models.LABELS), trusted=True)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "a.png"
    cv2.imwrite(str(path), np.full((20, 30, 3), 90, np.uint8))
    return path


def timing(name: str, rounds: tuple[float, ...]) -> Timing:
    return Timing(name, 1.0, (1.0, 1.0), rounds, {}, 3, "fp32", 1)


def test_every_model_gets_its_turns(bundle: Path, image: Path) -> None:
    said: list[str] = []
    pair = [
        Competitor("a", bundle, {"threads": 1, "backend": "onnxruntime"}),
        Competitor("b", bundle, {"threads": 1, "backend": "openvino"}),
    ]
    found = take_turns(pair, [image], rounds=3, turn_s=0.01, warmup_s=0, progress=said.append)
    assert list(found) == ["a", "b"]
    for one in found.values():
        assert len(one.rounds_ms) == 3
        assert one.samples >= 9
        assert one.ci95[0] <= one.p50_ms <= one.ci95[1]
        assert set(one.stages_ms) == {"preprocess", "infer", "postprocess"}
        assert sum(one.stages_ms.values()) <= one.p50_ms * 3
        assert (one.precision, one.threads) == ("fp32", 1)
    assert said[:2] == ["loading a", "loading b"]


def test_the_ratio_is_taken_within_a_round() -> None:
    # The machine slows down threefold in between; the ratio does not notice.
    slow = timing("slow", (2.0, 2.2, 6.0, 6.6))
    fast = timing("fast", (1.0, 1.1, 3.0, 3.3))
    found = ratio(slow, fast)
    assert found.value == pytest.approx(2)
    assert found.ci95 == pytest.approx((2, 2))


def test_equal_models_are_not_told_apart() -> None:
    random = np.random.default_rng(1)
    a, b = (timing(n, tuple(random.normal(5, 0.5, 12))) for n in "ab")
    low, high = ratio(a, b).ci95
    assert low < 1 < high


@pytest.mark.parametrize("rounds", [0, 1])
def test_nothing_to_compare(bundle: Path, image: Path, rounds: int) -> None:
    one = Competitor("a", bundle, {})
    with pytest.raises(UsageError, match="unique names"):
        take_turns([one, one] if rounds else [one], [image], rounds=rounds)


def test_a_model_that_cannot_be_opened_is_named(tmp_path: Path, image: Path) -> None:
    broken = tmp_path / "broken.edgecv"
    broken.write_bytes(b"nothing")
    with pytest.raises(InferenceError, match="bad"):
        take_turns([Competitor("bad", broken, {})], [image], rounds=1)


@pytest.mark.parametrize("together", [True, False])
def test_one_that_fails_leaves_and_the_others_go_on(
    bundle: Path, image: Path, tmp_path: Path, together: bool
) -> None:
    broken = tmp_path / "broken.edgecv"
    broken.write_bytes(b"nothing")
    some = [
        Competitor("bad", broken, {}),
        Competitor("good", bundle, {"threads": 1, "backend": "onnxruntime"}),
    ]
    failed: dict[str, InferenceError] = {}
    found = take_turns(
        some, [image], rounds=2, turn_s=0.01, warmup_s=0, together=together,
        failed=failed.__setitem__,
    )  # fmt: skip
    assert list(found) == ["good"]
    assert len(found["good"].rounds_ms) == 2
    assert (found["good"].peak_rss_bytes or 0) > 2**20
    assert list(failed) == ["bad"]
    assert failed["bad"].where == "bad"


def test_apart_only_one_process_is_there_at_a_time(
    bundle: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, most = 0, 0
    start, close = Dialogue.__init__, Dialogue.close
    # The processes themselves: a number of `id` is given out again.
    closed: set[Dialogue] = set()

    def started(self: Dialogue, *args: Any, **more: Any) -> None:
        nonlocal there, most
        there += 1
        most = max(most, there)
        start(self, *args, **more)

    def ended(self: Dialogue) -> None:
        nonlocal there
        close(self)
        there -= self not in closed
        closed.add(self)

    monkeypatch.setattr(Dialogue, "__init__", started)
    monkeypatch.setattr(Dialogue, "close", ended)
    some = [Competitor(n, bundle, {"threads": 1, "backend": "onnxruntime"}) for n in "ab"]
    for together, expected in ((False, 1), (True, 2)):
        most = 0
        found = take_turns(some, [image], rounds=2, turn_s=0.01, warmup_s=0, together=together)
        assert (most, there) == (expected, 0)
        assert [len(one.rounds_ms) for one in found.values()] == [2, 2]


def test_many_images_at_once_take_turns_with_their_plan(bundle: Path, image: Path) -> None:
    load = {"threads": 1, "streams": 2, "backend": "openvino"}
    one = Competitor("a", bundle, load, plan=Plan(3, 1, 2))
    found = take_turns([one], [image], rounds=2, turn_s=0, warmup_s=0)["a"]
    assert len(found.rounds_ms) == 2
    # At least twice as many images as workers in each.
    assert found.samples >= 12
    assert found.threads == 1
    assert found.p50_ms > 0


def test_few_of_many_large_images_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = [0]

    def pixels(_: Path) -> np.ndarray[Any, Any]:
        read[0] += 1
        return np.zeros((1024, 1024, 3), np.uint8)

    paths = [tmp_path / f"{i}.jpg" for i in range(500)]
    assert len(turns.some(paths, pixels)) == read[0] == 22
    assert len(turns.some(paths, lambda _: b"x")) == 32
    monkeypatch.setattr(turns, "MOST_BYTES", 1)
    assert len(turns.some(paths, pixels)) == 1


def test_a_race_ends_in_time(bundle: Path, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = "import sys, time\nfor _ in sys.stdin:\n    time.sleep({})\n    print({!r}, flush=True)"
    facts = '{"done": 1, "precision": null, "threads": 1, "total_ms": [1], "images": 1, '
    facts += '"stages_ms": {}, "peak_rss_bytes": null}'
    failed: dict[str, InferenceError] = {}
    pair = [Competitor(name, bundle, {}) for name in "ab"]
    for pause, within_s, finished in ((0.1, 2.0, True), (60, 0.3, False)):
        monkeypatch.setattr(interleaved, "_WORKER", slow.format(pause, facts))
        found = take_turns(pair, [image], rounds=1000, within_s=within_s, failed=failed.__setitem__)
        assert bool(found) == finished
        assert failed == {}
        assert len({len(one.rounds_ms) for one in found.values()}) == finished


def test_a_process_that_does_not_answer_is_given_up(
    bundle: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interleaved, "_WORKER", "import time; time.sleep(60)")
    with pytest.raises(InferenceError, match="a: no answer within 0 s"):
        take_turns([Competitor("a", bundle, {})], [image], rounds=1, timeout_s=0.2)


def test_a_dialogue_has_the_environment_that_it_is_given() -> None:
    program = (
        "import json, os, sys\n"
        "for line in sys.stdin: print('chatter'); print(json.dumps({'done': dict(os.environ)}))\n"
    )
    command = [sys.executable, "-u", "-c", program]
    with Dialogue(command, "it", environment={"ONLY": "this"}) as asked:
        asked.send({})
        said = asked.answer()["done"]
    assert said["ONLY"] == "this"
    assert "PATH" not in said


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_everybody_goes_first_and_follows_from_both_sides(count: int) -> None:
    names = list("abcde"[:count])
    orders = [interleaved.order_of(names, turn) for turn in range(2 * count)]
    assert all(sorted(order) == names for order in orders)
    assert {order[0] for order in orders} == set(names)
    followed = {pair for order in orders for pair in itertools.pairwise(order)}
    assert followed == {(b, a) for a, b in followed}
    assert interleaved.order_of(names, 0) == names
