"""Comparisons of two reports: differences, noise, and what cannot be said."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecv.bench.comparison import Change, Comparison, change, compare
from edgecv.bench.figures import Figure, ranks
from edgecv.bench.gate import gate
from edgecv.bench.report import ColdStart, Energy, Failure, Report, Result
from tests.bench_reports import BUSY, ENVIRONMENT, THROTTLED, report, result


def change_of(before: Result, after: Result, figure: str) -> Change:
    (pair,) = compare(report(before), report(after)).pairs
    return next(change for change in pair.changes if change.figure == figure)


def latency_only(cell: Result) -> Result:
    return cell.replace(throughput=None, throughput_ci95=None)


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.2, "slower"), (0.8, "faster"), (1.0, "no difference")]
)
def test_a_real_difference_is_said(factor: float, verdict: str) -> None:
    before, after = result(p50_ms=20, seed=1), result(p50_ms=20 * factor, seed=2)
    for figure in ("total p50", "total p90", "total p99", "infer p50", "throughput"):
        said = change_of(before, after, figure)
        assert said.verdict == verdict, figure
        assert said.ci95 is not None
        assert said.ratio is not None
        expected = 1 / factor if figure == "throughput" else factor
        assert said.ratio == pytest.approx(expected, rel=0.03)
        assert said.ci95[0] < said.ratio < said.ci95[1]


def test_the_same_program_twice_is_rarely_called_different() -> None:
    """A/A: 3 processes that differ by 3 %; a bootstrap over them alone is too narrow."""
    rounds = 100
    wrong = {"total p50": 0, "total p90": 0, "total p99": 0}
    for seed in range(rounds):
        pair = [
            result(seed=1000 + 2 * seed + i, spread=0.03, processes=3, samples=240, stages=False)
            for i in range(2)
        ]
        for figure in wrong:
            wrong[figure] += change_of(pair[0], pair[1], figure).verdict != "no difference"
    assert all(count <= 0.05 * rounds for count in wrong.values()), wrong


def test_intervals_follow_the_formula() -> None:
    said = change(Figure("x", "ms", 10, (9, 12)), Figure("x", "ms", 20, (18, 25)))
    assert said.ratio == 2
    down = math.hypot(math.log(20 / 18), math.log(12 / 10))
    up = math.hypot(math.log(25 / 20), math.log(10 / 9))
    assert said.ci95 == pytest.approx((2 * math.exp(-down), 2 * math.exp(up)))
    assert said.verdict == "slower"


INTERVALS = st.tuples(*[st.floats(0.01, 1e4)] * 3).map(sorted)


@given(INTERVALS, INTERVALS)
def test_swapping_the_reports_turns_the_ratio_over(one: list[float], other: list[float]) -> None:
    a = Figure("x", "ms", one[1], (one[0], one[2]))
    b = Figure("x", "ms", other[1], (other[0], other[2]))
    there, back = change(a, b), change(b, a)
    assert there.ratio is not None
    assert there.ci95 is not None
    assert back.ci95 is not None
    assert there.ratio == pytest.approx(1 / (back.ratio or 0))
    assert there.ci95 == pytest.approx((1 / back.ci95[1], 1 / back.ci95[0]))
    turned = {"slower": "faster", "faster": "slower"}
    assert turned.get(there.verdict, there.verdict) == back.verdict
    # What overlaps is no difference; what is called one is one in the ratio's interval, too.
    if there.verdict != "no difference":
        assert not there.ci95[0] <= 1 <= there.ci95[1]
    else:
        assert max(one[0], other[0]) <= min(one[2], other[2])


def test_ranks_bracket_a_percentile() -> None:
    assert ranks(5, 0.5) is None
    assert ranks(6, 0.5) == (0, 5)  # the sign test: 1 - 2 / 2**6 = 96.9 %
    assert ranks(10, 0.5) == (1, 8)
    assert ranks(20, 0.99) is None
    low, high = ranks(2000, 0.9) or (0, 0)
    assert 1760 < low < 1790 < 1810 < high < 1840


def test_what_has_no_interval_cannot_be_said() -> None:
    before = result().replace(cold_start_ms=ColdStart(n=3, p50=100.0, samples=(99.0, 100.0, 101.0)))
    said = change_of(before, result(), "cold start")
    assert said.verdict == "cannot say"
    assert said.ratio == pytest.approx(1.8)
    assert said.reason == "an interval needs 6 cold starts, the report holds 3"
    assert change_of(result(), result(), "infer p90").verdict == "cannot say"
    assert "without an interval" in (change_of(result(), result(), "peak RSS").reason or "")


def test_an_invalid_result_says_nothing() -> None:
    bad = result(p50_ms=40, reasons=[THROTTLED])
    (pair,) = compare(report(result()), report(bad)).pairs
    assert (pair.before, pair.after) == ("valid", "invalid")
    assert {change.verdict for change in pair.changes} == {"cannot say"}
    assert (pair.changes[0].reason or "").startswith("invalid after: throttle bits")


def test_differences_are_named() -> None:
    other = {
        **ENVIRONMENT,
        "cpu": "Cortex-A72",
        "engines": {"onnxruntime": "1.21.0"},
        "load_average": 3,
    }
    said = compare(
        report(result(), result("a")),
        report(result(threads=2), result().replace(engine="onnxruntime 1.21.0"),
               environment=other, settings={"duration_s": 10.0}),
    )  # fmt: skip
    assert not said.same_machine
    found = {d.name: (d.before, d.after) for d in said.differences}
    assert found["environment.cpu"] == ("Cortex-A76", "Cortex-A72")
    assert found["environment.engines.onnxruntime"] == ("1.20.0", "1.21.0")
    assert found["settings.duration_s"] == ("60.0", "10.0")
    assert not any("load_average" in name or "missing" in name for name in found)
    (pair,) = said.pairs
    assert [d.name for d in pair.differences] == ["engine"]
    assert said.only_before == (("single", "a", "onnxruntime", 4, 1),)
    assert said.only_after == (("single", "int8", "onnxruntime", 2, 1),)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (1.0, 1.02, "refused: the intervals overlap"),
        (1.0, None, "refused: tier 1 before and tier 2 after"),
    ],
)
def test_energy_is_refused_unless_beyond_doubt(
    before: float, after: float | None, reason: str
) -> None:
    other = result(joules=after or 1.5, tier=1 if after else 2)
    said = change_of(result(joules=before), other, "gross energy")
    assert (said.verdict, said.ratio, said.reason) == ("cannot say", None, reason)


def test_energy_beyond_doubt_is_said() -> None:
    said = change_of(result(joules=1.0), result(joules=1.5), "gross energy")
    assert said.verdict == "more"
    assert said.ratio == pytest.approx(1.5)
    # Of the board and of the package: two quantities.
    package = result(joules=1.5)
    package = package.replace(energy=package.energy.replace(scope="package"))
    assert change_of(result(joules=1.0), package, "gross energy").verdict == "cannot say"
    # No joules: nothing to compare.
    (pair,) = compare(report(result()), report(result(joules=1))).pairs
    assert not any("energy" in change.figure for change in pair.changes)
    assert result().energy == Energy(**result().energy.to_fields())


def messages(before: Report, after: Report, tolerance: float = 0.05) -> list[str]:
    return [str(violation) for violation in gate(before, after, tolerance)]


def test_a_gate_lets_the_same_and_the_faster_through() -> None:
    before = report(result(seed=1))
    assert messages(before, report(result(seed=2))) == []
    assert messages(before, report(result(p50_ms=10, seed=2))) == []
    assert messages(before, report(result(seed=2), result("new", 900))) == []
    assert messages(before, report(result(seed=2, reasons=[BUSY]))) == []


def test_a_gate_stops_regressions_beyond_tolerance() -> None:
    before, after = report(result(seed=1)), report(result(p50_ms=26, seed=2))
    found = messages(before, after)
    assert any("total p50 got " in text and "5% allowed" in text for text in found)
    assert any("throughput got" in text for text in found)
    assert all(
        text.startswith("single: int8 on onnxruntime, 4 threads, 1 stream: ") for text in found
    )
    assert messages(before, after, tolerance=0.5) == []
    # Significant, and within the tolerance.
    slight = report(latency_only(result(p50_ms=20.6, seed=1, spread=0.001)))
    base = report(latency_only(result(p50_ms=20, seed=1, spread=0.001)))
    (pair,) = compare(base, slight).pairs
    assert next(c for c in pair.changes if c.figure == "total p50").verdict == "slower"
    assert messages(base, slight) == []
    assert messages(base, slight, tolerance=0.01) != []


def test_a_gate_stops_what_cannot_be_judged() -> None:
    good, bad = report(result()), report(result(reasons=[THROTTLED]))
    assert "the result is invalid: invalid after: throttle bits" in messages(good, bad)[0]
    assert "the baseline is invalid" in messages(bad, good)[0]
    gone = report(result("other"), failures=(Failure(cell="single: int8", error="died"),))
    assert messages(good, gone) == [
        "single: int8 on onnxruntime, 4 threads, 1 stream: missing: the baseline has it; "
        "failures: died"
    ]
    moved = report(result(), environment={**ENVIRONMENT, "cpu": "N100"})
    assert "measured on another machine" in messages(good, moved)[0]
    assert messages(report(), good) == ["the baseline holds no result"]
    blind = result(throughput=None, throughput_ci95=None, latency_ms={},
                   cold_start_ms=ColdStart(n=0))  # fmt: skip
    assert "nothing can be said" in messages(report(blind), report(blind))[0]


def test_a_comparison_is_a_record() -> None:
    said = compare(report(result()), report(result()))
    assert isinstance(said, Comparison)
    assert said.to_dict()["pairs"][0]["changes"][0]["verdict"] == "no difference"
