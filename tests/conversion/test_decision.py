"""Which rungs are shipped, and what is said of the others."""

from __future__ import annotations

from typing import Any, cast

import pytest

from edgecv.bench.interleaved import Ratio, Timing
from edgecv.converters.decision import Rules, decide
from edgecv.converters.flavour import Flavour
from edgecv.converters.gate import Drop
from edgecv.converters.recipe import Recipe
from edgecv.converters.trial import Trial, trial_id
from edgecv.output_check import Flag
from edgecv.types import Precision

FP32 = Recipe(precision="fp32")


def trial(
    precision: Precision,
    ms: float | None,
    drop: float | None = 0.0,
    *,
    noise: float = 0.01,
    **more: Any,
) -> Trial:
    """Make a trial; `noise` alternates between rounds, in parts of the latency."""
    recipe = Recipe(precision=precision)
    flavour = Flavour("openvino", more.pop("graph", "plain"))
    timing = None
    if ms is not None:
        rounds = tuple(ms * (1 + noise * (-1) ** i) for i in range(8))
        timing = Timing("t", ms, (ms, ms), rounds, {}, 80, precision, 1)
    made = Trial(trial_id(flavour, recipe), flavour, recipe, timing=timing, **more)
    made.candidate = more.get("candidate", cast(Any, object()))
    if drop is not None:
        made.evaluation = cast(Any, object())
        made.drop = Drop("map", drop, (drop, drop))
    return made


def shipped(*trials: Trial, **rules: Any) -> list[str]:
    decide(trials, FP32, Rules(**rules))
    return [one.id for one in trials if one.shipped]


def test_what_is_right_and_faster_is_shipped() -> None:
    float32, int8 = trial("fp32", 10.0), trial("int8", 4.0, 0.3)
    assert shipped(float32, int8) == ["openvino-fp32", "openvino-int8-minmax"]
    assert int8.reason == "within the drop, and 2.50 times as fast as openvino-fp32"


def test_what_drops_too_much_is_not() -> None:
    int8 = trial("int8", 4.0, 25.3)
    assert shipped(trial("fp32", 10.0), int8) == ["openvino-fp32"]
    assert int8.reason == "drops 25.30 points, more than the 0.5 that are allowed"


def test_the_limit_itself_is_allowed() -> None:
    assert "openvino-int8-minmax" in shipped(trial("fp32", 10.0), trial("int8", 4.0, 0.5))


def test_what_is_slower_or_as_fast_is_not() -> None:
    slower, noisy = trial("int8", 11.0), trial("int8-weights", 9.9, noise=0.2)
    assert shipped(trial("fp32", 10.0), slower, noisy) == ["openvino-fp32"]
    assert "no faster than openvino-fp32 (0.91 times)" in slower.reason
    assert "no faster" in noisy.reason


def test_a_speed_that_is_worth_nothing_is_no_reason_to_ship() -> None:
    barely = trial("int8", 9.9, noise=0.001)
    assert shipped(trial("fp32", 10.0, noise=0.001), barely) == ["openvino-fp32"]
    assert "no faster than openvino-fp32 (1.01 times)" in barely.reason


@pytest.mark.parametrize(("truth", "ships"), [(1.1, True), (0.95, False)])
def test_what_the_turns_leave_open_is_timed_longer(truth: float, ships: bool) -> None:
    float32, int8 = trial("fp32", 10.0), trial("int8", 9.7, noise=0.2)
    asked: list[list[str]] = []

    def race(slower: Trial, faster: Trial) -> Ratio:
        asked.append([slower.id, faster.id])
        return Ratio(truth, (truth - 0.01, truth + 0.01))

    decide([float32, int8], FP32, Rules(), race)
    assert asked == [["openvino-fp32", "openvino-int8-minmax"]]
    assert int8.shipped is ships
    assert f"{truth:.2f} times" in int8.reason


def test_what_cannot_be_timed_longer_stays_open() -> None:
    float32, int8 = trial("fp32", 10.0), trial("int8", 9.7, noise=0.2)
    decide([float32, int8], FP32, Rules(), lambda slower, faster: None)
    assert not int8.shipped


def test_a_race_leaves_the_common_turns_comparable() -> None:
    """The winner of a race meets the next precision by the turns that all of them had."""
    float32, bf16 = trial("fp32", 10.0), trial("bf16", 9.7, noise=0.2)
    int8 = trial("int8", 5.0)
    raced: list[str] = []

    def race(slower: Trial, faster: Trial) -> Ratio:
        raced.append(faster.id)
        return Ratio(1.1, (1.09, 1.11))

    decide([float32, bf16, int8], FP32, Rules(), race)
    assert raced == [bf16.id]
    assert int8.shipped
    assert not bf16.shipped


def test_what_is_clear_is_not_timed_again() -> None:
    def race(slower: Trial, faster: Trial) -> Ratio:
        raise AssertionError("it is clear")

    for ms in (4.0, 11.0, 9.95):
        decide([trial("fp32", 10.0), trial("int8", ms, noise=0.001)], FP32, Rules(), race)


def test_eight_bits_must_beat_sixteen() -> None:
    float32, bf16, int8 = trial("fp32", 10.0), trial("bf16", 5.0), trial("int8", 6.0)
    assert shipped(float32, bf16, int8) == ["openvino-fp32", "openvino-bf16"]
    assert "no faster than openvino-bf16" in int8.reason


def test_the_best_reduced_file_replaces_the_others() -> None:
    float32, bf16, int8 = trial("fp32", 10.0), trial("bf16", 6.0), trial("int8", 5.0)
    assert shipped(float32, bf16, int8) == ["openvino-fp32", "openvino-int8-minmax"]
    assert bf16.reason == "right, but openvino-int8-minmax is, too, and 1.20 times as fast"


def test_a_wrong_sixteen_bits_do_not_stand_in_the_way() -> None:
    bf16, int8 = trial("bf16", 1.0, 9.0), trial("int8", 5.0)
    assert "openvino-int8-minmax" in shipped(trial("fp32", 10.0), bf16, int8)


def test_of_two_graphs_the_faster_one() -> None:
    plain, fused = trial("fp32", 10.0), trial("fp32", 9.0, graph="fused")
    assert shipped(plain, fused) == ["openvino-fp32-fused"]
    assert plain.reason == "right, but openvino-fp32-fused is, too, and faster"


def test_fp32_that_was_not_asked_for_is_shipped_only_where_nothing_else_is() -> None:
    precisions: Any = ("int8",)
    assert shipped(trial("fp32", 10.0), trial("int8", 4.0), precisions=precisions) == [
        "openvino-int8-minmax"
    ]
    assert shipped(trial("fp32", 10.0), trial("int8", 40.0), precisions=precisions) == [
        "openvino-fp32"
    ]


def test_flags_refuse_whatever_the_numbers_say() -> None:
    flag = Flag("shared-scale", "refuse", "scores share a scale with pixels")
    int8 = trial("int8", 1.0, 0.0, flags=(flag,))
    assert shipped(trial("fp32", 10.0), int8) == ["openvino-fp32"]
    assert int8.reason == flag.message
    warned = trial("int8", 1.0, 0.0, flags=(Flag("saturated", "warn", "some are cut off"),))
    assert "openvino-int8-minmax" in shipped(trial("fp32", 10.0), warned)


def test_the_user_may_ask_for_it_by_name() -> None:
    int8 = trial("int8", 11.0, 0.2)
    asked = shipped(trial("fp32", 10.0), int8, ship=("openvino-int8-minmax",))
    assert "openvino-int8-minmax" in asked
    assert int8.reason.startswith("asked for by name, though within the drop, but no faster")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"ms": None}, "not timed"),
        ({"ms": 1.0, "drop": None}, "its accuracy was not measured"),
    ],
)
def test_what_was_not_measured_is_not_shipped(more: dict[str, Any], reason: str) -> None:
    int8 = trial("int8", **more)
    assert shipped(trial("fp32", 10.0), int8) == ["openvino-fp32"]
    assert reason in int8.reason


def test_what_could_not_be_made_says_so() -> None:
    int8 = trial("int8", None, None, reason="not made: no such operator")
    int8.candidate = None
    assert shipped(trial("fp32", 10.0), int8, ship=(int8.id,)) == ["openvino-fp32"]
    assert int8.reason == "not made: no such operator"


def test_nothing_at_all() -> None:
    assert shipped() == []
