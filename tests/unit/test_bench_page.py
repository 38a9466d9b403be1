"""Tables and the page of a benchmark: complete, safe, and fit for a phone."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgecv.bench import front, tables, words
from edgecv.bench.comparison import compare
from edgecv.bench.html import render
from edgecv.bench.report import Report
from edgecv.errors import DependencyMissingError
from tests import bench_reports
from tests.bench_reports import THROTTLED, report, result

# 15 pixels of the frame are its scroll bar.
PROBE = """
<iframe id="frame" src="page.html" style="width: 375px; height: 800px; border: 0"></iframe>
<p id="out"></p>
<script>
frame.onload = () => {
  const page = frame.contentDocument, view = frame.contentWindow, root = page.documentElement;
  const size = text => {
    const to = text.getScreenCTM();
    return parseFloat(view.getComputedStyle(text).fontSize) * Math.hypot(to.a, to.b);
  };
  const texts = [...page.querySelectorAll(".narrow svg text")];
  out.textContent = [
    "beyond", root.scrollWidth - root.clientWidth + Math.max(0, root.clientWidth - 360),
    "small", texts.filter(text => size(text) < 9).length,
    "fetched", view.performance.getEntriesByType("resource").length,
    "charts", texts.length && page.querySelectorAll("svg").length,
  ].join(" ");
};
</script>
"""
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


class Page(HTMLParser):
    """A page taken apart: tags, attributes, texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """The page of each sample, compared with itself."""
    made = {}
    for name, build in bench_reports.ALL.items():
        said = build()
        made[name] = render(said, compare(said, said))
    return made


def test_the_page_says_validity_first(pages: dict[str, str]) -> None:
    text = Page(pages["full"]).text
    order = ["How far this can be believed", "1 ✗ failed", "the engine died: SIGILL",
             THROTTLED.message, "Results", "Compared with a saved run", "Latency", "Stages",
             "Accuracy, latency, energy", "Memory", "Temperature and frequency",
             "tier 1, meter", "What it was measured on", "The report itself"]  # fmt: skip
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "needs 662 samples, has 500" in text
    assert "540 million MACs; 21.5 million bytes moved; no instructions: no counter here" in text
    assert text.count(words.WORK) == 1
    assert "- (not installed)" in text  # a null of the environment, with its reason


@pytest.mark.parametrize("name", bench_reports.ALL)
def test_the_page_is_self_contained_and_accessible(name: str, pages: dict[str, str]) -> None:
    page = Page(pages[name])
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "form")
        for attribute, value in attributes.items():
            assert not attribute.startswith("on")
            if attribute in ("src", "href", "data", "action"):
                assert (value or "").startswith(("#", "data:")), (tag, attribute, value)
    assert "http://" not in pages[name].replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in pages[name]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        if tag == "svg":
            assert attributes["role"] == "img"
            for named in (attributes["aria-labelledby"] or "").split():
                assert named in ids
    assert ("lang", "en") in [item for tag, a in page.tags if tag == "html" for item in a.items()]


@pytest.mark.parametrize("name", bench_reports.ALL)
def test_the_report_is_in_the_page(name: str, pages: dict[str, str]) -> None:
    said = bench_reports.ALL[name]().to_dict()
    inside = re.search(r'<script type="application/json" id="report">(.*?)</script>', pages[name])
    assert inside is not None
    assert json.loads(inside[1]) == said
    link = re.search(r'href="data:application/json;base64,([^"]+)"', pages[name])
    assert link is not None
    assert json.loads(base64.b64decode(link[1])) == said


def test_hostile_names_stay_text(pages: dict[str, str]) -> None:
    page = Page(pages["hostile"])
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not any(tag == "img" for tag, _ in page.tags)
    assert "</script><script>alert(1)</script>" in page.text
    assert "\x1b" not in pages["hostile"]
    assert "\u202e" not in pages["hostile"]


def test_empty_parts_are_said(pages: dict[str, str]) -> None:
    text = Page(pages["nothing"]).text
    for said in ("1 ✗ failed", "no such file", "No cell has a result", "No cell is in both",
                 "No result has a distribution", "Neither was read over the run"):  # fmt: skip
        assert said in text
    bare = Page(render(report(result(timeline=())))).text
    assert "no result that is not invalid has an accuracy" in bare
    assert "Nothing was measured." in Page(render(report())).text


def test_the_front_is_what_nothing_beats() -> None:
    found = front.find(bench_reports.full())
    best = [(p.result.variant, p.result.backend) for p in found.points if p.best]
    assert best == [("int8", "openvino"), ("int8-float9", "openvino"), ("fp32", "openvino")]
    assert found.scenario == "single"
    assert not any(p.result.validity.status == "invalid" for p in found.points)
    # The slower one stays where it takes less energy; joules of two tiers do not meet.
    fast, slow = (
        result("a", 10, accuracy=0.5, joules=0.3),
        result("b", 20, accuracy=0.5, joules=0.2),
    )
    assert all(point.best for point in front.find(report(fast, slow)).points)
    other = result("b", 20, accuracy=0.5, joules=0.2, tier=3)
    mixed = front.find(report(fast, other))
    assert [point.best for point in mixed.points] == [True, False]
    assert "energy takes no part" in mixed.notes[0]


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_without_the_extra_it_is_named(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DependencyMissingError, match=r"pip install 'edgecv\[report\]'"):
        render(report(result()))


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown_has_reasons_as_footnotes() -> None:
    text = tables.to_markdown(bench_reports.full())
    lines = text.splitlines()
    assert lines[2].startswith("1 failed, 1 invalid, 1 suspect, 7 valid")
    head = cells(lines[4])
    assert {"p50 ms", "results/s", "peak MiB", "gross J"} <= set(head)
    rows = [dict(zip(head, cells(line), strict=True)) for line in lines[6:15]]
    note = re.fullmatch(r"- \\\[(\d+)\\\]", rows[8]["p90 ms"])
    assert note is not None
    assert f"{note[1]}. needs 64 samples, has 50" in lines
    assert rows[0]["gross J"] == "0.31 (0.301 to 0.319), tier 1"
    assert "the engine died: SIGILL" in text
    assert f"{words.WORK}:" in lines
    said = "540 million MACs; 21.5 million bytes moved; no instructions: no counter here"
    told = [line for line in lines if line.endswith(said)]
    assert len(told) == len(set(told)) == 6  # pairs of variant and engine
    assert f"- int8 · openvino: {said}" in told
    hostile = tables.to_markdown(bench_reports.hostile(), compare(*[bench_reports.hostile()] * 2))
    assert "<script>" not in hostile
    assert len({len(cells(line)) for line in hostile.splitlines()[4:7]}) == 1
    assert "No cell was measured." in tables.to_markdown(bench_reports.nothing())


def test_csv_has_units_and_reasons() -> None:
    rows = list(csv.DictReader(io.StringIO(tables.to_csv(bench_reports.full()))))
    assert [row["status"] for row in rows].count("failed") == 1
    server = next(row for row in rows if row["scenario"] == "server")
    assert server["total_p90_ms"] == ""
    assert "latency_ms.total.p90: needs 64 samples, has 50" in server["missing"]
    assert "energy.gross_j: no meter and no counter" in server["missing"]
    assert float(rows[0]["gross_j"]) == 0.31
    assert [rows[0][name] for name in ("macs", "bytes_moved", "instructions")] == [
        "540000000", "21500000", "",
    ]  # fmt: skip
    assert "energy.work.instructions: no counter here" in rows[0]["missing"]
    assert float(rows[0]["total_p50_ms"]) == words.total(bench_reports.full().results[0]).p50
    (hostile, failed) = csv.DictReader(io.StringIO(tables.to_csv(bench_reports.hostile())))
    assert hostile["backend"] == "'=cmd()"
    assert failed["status"] == "failed"
    assert len(list(csv.reader(io.StringIO(tables.to_csv(bench_reports.nothing()))))) == 2


@pytest.mark.parametrize("said", [bench_reports.full, bench_reports.hostile])
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_phone_shows_it_without_scrolling_sideways(said: type[Report], tmp_path: Path) -> None:
    """A frame of 360 pixels, as a window of the browser cannot be that narrow."""
    path = tmp_path / "page.html"
    found = said()
    path.write_text(render(found, compare(found, found)), encoding="utf-8")
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE, encoding="utf-8")
    assert BROWSER is not None
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
         f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--v=0",
         "--virtual-time-budget=10000", "--dump-dom", probe.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    drawn = render(found, compare(found, found)).count("<svg")
    assert drawn > 0
    assert f"beyond 0 small 0 fetched 0 charts {drawn}" in done.stdout, done.stdout[:400]
    assert "CONSOLE" not in done.stderr
