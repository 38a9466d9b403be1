"""Reports of several boards, side by side."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgecv.bench.fleet import COLUMNS, SCHEMA, Fleet, Member, gather, markdown, read_fleet, rows
from edgecv.bench.report import (
    ColdStart,
    Energy,
    Failure,
    Latency,
    Memory,
    Reason,
    Report,
    Result,
    Subject,
    Validity,
)
from edgecv.errors import EdgecvError, UsageError
from edgecv.schema import to_json


def result(**other: Any) -> Result:
    said: dict[str, Any] = {
        "scenario": "single",
        "variant": "fp32",
        "backend": "onnxruntime",
        "engine": "onnxruntime 1.20",
        "threads": 4,
        "processes": 5,
        "images": 3,
        "duration_s": 5.0,
        "cold_start_ms": ColdStart(n=0),
        "latency_ms": {"total": Latency(n=9, p50=12.346)},
        "throughput": 81.04,
        "memory_bytes": Memory(peak_rss=100 * 2**20),
        "energy": Energy(tier=1, source="meter", gross_j=0.01234),
        "validity": Validity(status="valid"),
    }
    return Result(**said | other)


def report(*results: Result, board: str | None = "Pi 5", **other: Any) -> Report:
    return Report(
        schema="edgecv.bench/2",
        created="2026-01-01T00:00:00Z",
        model=Subject(name="digits"),
        environment={"board": board, "cpu": "Cortex-A76"},
        results=results,
        **other,
    )


def fleet() -> Fleet:
    hot = Reason(code="throttled", status="invalid", message="84 °C")
    doubtful = result(validity=Validity(status="invalid", reasons=(hot,)))
    failed = Failure(cell="int8", error="no engine")
    return gather(
        "2026-01-01T00:00:00Z",
        {
            "pi": report(result(), doubtful),
            "down": EdgecvError("no route", remedy="switch it on"),
            "old": report(board=None, failures=(failed,)),
        },
    )


def test_each_result_failed_cell_and_failed_host_has_a_row_in_the_order_given() -> None:
    first, second, down, old = rows(fleet())
    assert first[:6] == ("pi", "Pi 5", "Cortex-A76", "single", "fp32", "4")
    assert first[6:] == ("12.35", "-", "81.0", "100", "0.0123", "valid")
    assert second[-1] == "invalid: throttled"
    assert down[0] == "down"
    assert "no route" in down[-1]
    assert "switch it on" in down[-1]
    assert old[:3] == ("old", "-", "Cortex-A76")
    assert old[-1] == "failed: int8: no engine"
    assert {len(row) for row in rows(fleet())} == {len(COLUMNS)}


def test_what_was_not_measured_is_a_dash_and_zero_is_a_number() -> None:
    bare = result(
        latency_ms={},
        throughput=None,
        memory_bytes=Memory(),
        energy=Energy(tier=5, source="work"),
    )
    zero = result(throughput=0.0)
    unmeasured, stalled = rows(gather("now", {"pi": report(bare, zero)}))
    assert unmeasured[6:11] == ("-",) * 5
    assert stalled[8] == "0.0"


def test_bars_and_line_breaks_of_errors_do_not_break_the_markdown_table() -> None:
    text = markdown(gather("now", {"pi": EdgecvError("a|b\nc")}))
    assert len(text.splitlines()) == 3
    assert r"failed: a\|b c |" in text


def test_a_fleet_comes_back_from_its_json() -> None:
    assert read_fleet(to_json(fleet()), "fleet.json") == fleet()


def test_a_fault_is_named_by_host_and_field() -> None:
    raw = json.loads(to_json(fleet()))
    raw["hosts"]["pi"]["report"]["results"][0]["threads"] = 0
    with pytest.raises(UsageError, match=r"pi.*results\[0\]\.threads.*at least 1"):
        read_fleet(json.dumps(raw).encode(), "fleet.json")
    with pytest.raises(UsageError, match=r"edgecv\.bench\.fleet/1"):
        read_fleet(json.dumps({**raw, "schema": "x"}).encode(), "fleet.json")
    assert raw["schema"] == SCHEMA


def test_a_member_has_a_report_or_an_error() -> None:
    with pytest.raises(UsageError, match="either"):
        Member()
    with pytest.raises(UsageError, match="either"):
        Member(report=report(), error="x")
