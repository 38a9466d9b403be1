"""Comparing speeds side by side."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecv.bench.interleaved import Competitor, Timing, ratio, take_turns
from edgecv.errors import InferenceError, UsageError
from edgecv.hints import Hints
from edgecv.packing import pack
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
