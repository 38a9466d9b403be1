"""Saved reports: read strictly, as the published schema says."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecv.bench.report import Report
from edgecv.bench.saved import parse, read
from edgecv.errors import BenchReportError, EdgecvError
from edgecv.schema import to_json
from scripts import schemas
from tests import bench_reports

SMALL: dict[str, Any] = bench_reports.report(
    bench_reports.result("int8", joules=0.1, accuracy=0.2, samples=20, reasons=[bench_reports.BUSY])
).to_dict()
DELETE = object()


def changed(path: str, value: Any) -> bytes:
    said = copy.deepcopy(SMALL)
    *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    place: Any = said
    for step in steps:
        place = place[step]
    if value is DELETE:
        del place[last]
    else:
        place[last] = value
    return json.dumps(said).encode()


@pytest.mark.parametrize("name", bench_reports.ALL)
def test_a_report_reads_what_it_writes(name: str, tmp_path: Path) -> None:
    report = bench_reports.ALL[name]()
    path = tmp_path / "r.json"
    path.write_bytes(to_json(report))
    assert read(path) == report
    assert schemas.accepts(Report, path.read_bytes())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", "edgecv.bench/1", "r.json: schema: written by an older edgecv: expected "
         "edgecv.bench/2; got edgecv.bench/1"),
        ("schema", "edgecv.bench/3", "r.json: schema: written by a newer edgecv"),
        ("schema", "edgecv.conversion/1", "r.json: schema: not the report of a benchmark"),
        ("schema", 2, "not the report of a benchmark"),
        ("schema", DELETE, "not the report of a benchmark: expected edgecv.bench/2"),
        ("results/0/threads", 0, "r.json: results[0].threads: expected at least 1; got 0"),
        ("results/0/latency_ms/total/p50", "3", "results[0].latency_ms.total.p50: expected a num"),
        ("results/0/energy/tier", 6, "results[0].energy.tier: expected one of 1, 2, 3, 4, 5"),
        ("results/0/validity/status", "fine", "results[0].validity.status: expected one of valid"),
        ("results/0/validity", DELETE, "results[0].validity: missing field"),
        ("results/0/colour", 1, "results[0].colour: unknown field"),
        ("model/sha256", "ab", "model.sha256: "),
    ],
)  # fmt: skip
def test_what_breaks_the_schema_is_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(BenchReportError) as caught:
        parse(changed(path, value), "r.json")
    assert message in caught.value.message
    if isinstance(value, str) and value.startswith("edgecv.bench/"):
        assert caught.value.remedy is not None


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(EdgecvError, match=r"none.json: cannot be read"):
        read(tmp_path / "none.json")
    with pytest.raises(EdgecvError, match="cannot be read"):
        read(tmp_path)
    with pytest.raises(EdgecvError, match="not valid JSON"):
        parse(b"{")


PLACES = [
    *SMALL,
    *(f"results/0/{name}" for name in SMALL["results"][0]),
    "results/0/latency_ms/total",
    "results/0/latency_ms/total/n",
    "results/0/latency_ms/total/ci95",
    "results/0/energy/work",
    "results/0/validity/reasons/0/code",
    "results/0/timeline/0/at_s",
    "results/0/memory_bytes/phases/load",
]


@settings(max_examples=60)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=6),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
        ),
        max_leaves=6,
    ),
    st.sampled_from(PLACES),
)  # fmt: skip
def test_pydantic_accepts_and_refuses_the_same(value: Any, path: str) -> None:
    data = changed(path, value)
    try:
        report = parse(data)
    except BenchReportError:
        assert not schemas.accepts(Report, data)
    else:
        assert schemas.accepts(Report, data)
        assert parse(to_json(report)) == report
