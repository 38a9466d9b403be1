"""The record of a conversion, and what is made of it: tables, charts, the page."""

from __future__ import annotations

import base64
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from edgecv import codecs
from edgecv.bundle import open_bundle
from edgecv.converters.report import charts, columns, disagreements, document, markdown, page
from edgecv.errors import BundleError, DependencyMissingError, IntegrityError, UsageError
from edgecv.page import check_target, write
from edgecv.results.detections import Detections
from tests.conversion import ladders
from tests.conversion.ladders import HOSTILE, encode

DELETE = object()


def conversion(name: str = "yolox") -> document.Conversion:
    return document.parse(encode(ladders.ALL[name]()))


def changed(path: str, value: Any) -> bytes:
    """Return the example with one field replaced; DELETE removes it."""
    said = ladders.yolox()
    *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    place: Any = said
    for step in steps:
        place = place[step]
    if value is DELETE:
        del place[last]
    else:
        place[last] = value
    return encode(said)


@pytest.mark.parametrize("name", sorted(set(ladders.ALL) - {"hostile"}))
def test_a_record_reads_what_it_writes(name: str) -> None:
    read = conversion(name)
    assert document.parse(read.to_json()) == read
    assert json.loads(read.to_json()) == ladders.ALL[name]()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", "edgecv.conversion/2", "c.json: schema: written by another edgecv"),
        ("schema", "coco", "c.json: schema: not the record of a conversion: expected"),
        ("schema", DELETE, "c.json: schema: not the record of a conversion"),
        ("name", "", "c.json: name: expected a length of at least 1"),
        ("colour", 1, "c.json: colour: unknown field"),
        ("host/cpu", DELETE, "c.json: host: expected the key 'cpu'"),
        ("host/cores", "2", "c.json: host: expected of 'cores' an integer"),
        ("host/board", 5, "c.json: host: expected of 'board' a string"),
        ("source/files/yolox_nano.onnx", "0", "c.json: source.files.yolox_nano.onnx: expected a m"),
        ("data/gate/images", -1, "c.json: data.gate.images: expected at least 0"),
        ("reference/ci95", [0.4, 0.3], "c.json: reference.ci95: expected the lower end first"),
        ("reference/ci95", [0.4], "c.json: reference.ci95: expected a list of 2"),
        ("rungs/1/metric", "0.1", "c.json: rungs[1].metric: expected a number; got '0.1'"),
        ("rungs/1/latency_ms", 0, "c.json: rungs[1].latency_ms: expected more than 0"),
        ("rungs/1/agreement", 1.01, "c.json: rungs[1].agreement: expected at most 1"),
        ("rungs/1/graph", "whole", "c.json: rungs[1].graph: expected one of plain, fused"),
        ("rungs/1/shipped", 1, "c.json: rungs[1].shipped: expected true or false"),
        ("rungs/1/reason", "", "c.json: rungs[1].reason: what is not shipped needs a reason"),
        ("rungs/11/reason", "", "c.json: rungs[11].reason: a null value needs a reason"),
        ("rungs/1/variant", "onnxruntime-fp32", "c.json: rungs[1].variant: another rung has this"),
        ("parity/0/max_abs", None, "c.json: parity[0].max_abs: expected a number"),
        ("sensitivity/0/float", "yes", "c.json: sensitivity[0].float: expected true or false"),
        ("sensitivity", None, "c.json: sensitivity_reason: a null value needs a reason"),
        ("notes", "a", "c.json: notes: expected a list"),
    ],
)
def test_a_wrong_field_is_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        document.parse(changed(path, value), "c.json")
    assert str(caught.value).startswith(message), str(caught.value)


def test_what_is_no_record() -> None:
    for data in (b"", b"[]", b'{"schema": 1, "schema": 2}', b'{"schema": NaN}', b"\xff"):
        with pytest.raises(BundleError):
            document.parse(data)
    with pytest.raises(BundleError, match="too large"):
        document.parse(b" " * (document.MAX_BYTES + 1))


def test_a_record_that_its_reader_would_refuse_is_not_written() -> None:
    wrong = conversion().replace(sensitivity=None)
    with pytest.raises(BundleError, match="sensitivity_reason: a null value needs a reason"):
        wrong.to_json()


def test_where_a_record_is_found(tmp_path: Path) -> None:
    wanted = conversion()
    for name in ("b.edgecv", "folder"):
        path = ladders.bundle(tmp_path / name, ladders.yolox())
        assert document.read(path) == wanted
    alone = tmp_path / "ladder.txt"
    alone.write_bytes(b"\n" + wanted.to_json())
    assert document.read(alone) == wanted
    with pytest.raises(UsageError, match="no such file"):
        document.read(tmp_path / "nothing")
    packed = ladders.bundle(tmp_path / "packed.edgecv")
    with pytest.raises(UsageError, match="packed, not converted: there is no ladder in it"):
        document.read(packed)
    alone.write_bytes(b"\x08TFL3")
    with pytest.raises(UsageError, match="expected a bundle, or the JSON that edgecv convert"):
        document.read(alone)
    broken = ladders.bundle(tmp_path / "broken.edgecv", changed("metric", 1))
    with pytest.raises(BundleError, match=r"broken.edgecv: report/conversion.json: metric: "):
        document.read(broken)


def test_the_summary_says_what_was_measured_on_what() -> None:
    lines = columns.summary(conversion())
    assert lines == [
        "yolox_nano (detect): map 0.343 (0.301 to 0.389) in float on coco128 val, 28 images; "
        "reference onnxruntime-fp32 on onnxruntime",
        "5 of 13 rung(s) shipped, 0.5 points of drop allowed; the fastest of them: "
        "openvino-int8-float9, 10.8 ms, 1.98x as fast as the reference",
        "latency: p50 from pixels in memory to the result, one thread, on Intel(R) Xeon(R) "
        "Platinum 8481C (2 cores)",
    ]
    assert (
        "top1 was not measured: no labelled images" in columns.summary(conversion("classifier"))[0]
    )
    assert columns.summary(conversion("nothing_shipped"))[1].startswith("0 of 13 rung(s) shipped")
    unmeasured = document.parse(changed("reference/value", None))
    assert "could not be measured on coco128 val" in columns.summary(unmeasured)[0]
    card = dict(columns.images(conversion()))
    assert any("the same that decided what is shipped" in text for text in card.values())


def test_cells() -> None:
    rungs = {rung.variant: rung for rung in conversion().rungs}
    said = {column.title: column.cell for column in columns.columns(conversion())}
    assert next(iter(said)) == "variant"
    assert list(said)[-1] == "reason"
    bad, missing = rungs["onnxruntime-int8-minmax"], rungs["litert-int8-whole"]
    assert said["drop, points"](bad) == "24.80 (24.20 to 25.50)"
    assert said["reason"](bad) == "drop 24.80 points, 0.50 allowed; scores saturate in output"
    assert [said[name](missing) for name in ("map", "drop, points", "ms", "speed-up")] == ["-"] * 4
    assert said["agreement"](missing) == "0.0 %"
    assert said["recipe"](rungs["litert-fp16"]) == "fp16, ran in fp32"
    assert said["recipe"](rungs["openvino-bf16-fused"]) == "bf16, fused"
    assert [columns.milliseconds(ms) for ms in (0.4211, 9.99, 12.34, 1234.5)] == [
        "0.42", "9.99", "12.3", "1234",
    ]  # fmt: skip
    assert columns.points(-0.001) == "0.00"
    titles = [column.title for column in columns.columns(conversion("classifier"))]
    assert columns.AGREEMENT not in titles


def test_the_pareto_front() -> None:
    front = columns.pareto(conversion().rungs)
    assert [rung.variant for rung in front] == [
        "litert-int8", "openvino-int8-float9", "openvino-bf16-fused", "openvino-fp32",
    ]  # fmt: skip
    rungs = list(conversion("sixty").rungs)
    front = columns.pareto(rungs)
    for rung in rungs:
        beaten = any(
            other.metric >= rung.metric
            and other.latency_ms <= rung.latency_ms
            and (other.metric, other.latency_ms) != (rung.metric, rung.latency_ms)
            for other in rungs
        )
        assert (rung in front) != beaten
    assert columns.pareto(conversion("classifier").rungs) == []


def test_markdown() -> None:
    lines = markdown.to_markdown(conversion()).splitlines()
    assert len(lines) == 2 + 13
    assert lines[0].startswith("| backend | variant | map | drop, points | ms | speed-up |")
    assert lines[1].count("---:") == 6
    assert lines[2].startswith("| onnxruntime | onnxruntime-fp32 | 0.343 | 0.00 (-0.60 to 0.70) |")
    assert lines[2].endswith("| fp32 | yes | the reference |")
    assert lines[3].split(" | ")[-2] == "no"
    plain = re.compile(r"(?<!\\)\|")
    for line in markdown.to_markdown(conversion("hostile")).splitlines():
        assert len(plain.findall(line)) == len(plain.findall(lines[0]))
        assert "<" not in line
        assert line.isprintable()


class Elements(HTMLParser):
    """Collects elements and text; checks that tags are balanced."""

    EMPTY = frozenset({"meta", "img", "br", "link", "input", "base", "source", "embed", "area"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.data: dict[str, str] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.data[self.open[-1]] = self.data.get(self.open[-1], "") + data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.found if name == tag]


def svgs(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


@pytest.mark.parametrize("name", ladders.ALL)
def test_the_page_is_one_file_that_runs_nothing(name: str, tmp_path: Path) -> None:
    path = ladders.bundle(tmp_path / "b.edgecv", ladders.ALL[name](), labels=[HOSTILE] * 3)
    text = page.make(path, document.read(path))
    text.encode()
    read = Elements(text)
    assert read.all("script") == [{"type": "application/json", "id": "conversion"}]
    assert json.loads(read.data["script"]) == ladders.ALL[name]()
    names = {tag for tag, _ in read.found}
    assert not names & {"link", "iframe", "object", "embed", "base", "form", "a"}
    for _, attrs in read.found:
        assert not any(key.startswith("on") for key in attrs)
        for key in ("src", "href", "srcset"):
            assert (attrs.get(key) or "#").startswith(("#", "data:image/jpeg;base64,"))
    assert "url(" not in read.data["style"]
    assert "@import" not in read.data["style"]
    policy = [meta for meta in read.all("meta") if "content" in meta and "http-equiv" in meta]
    assert "default-src 'none'" in str(policy)
    assert any(meta.get("name") == "viewport" for meta in read.all("meta"))
    ids = [attrs["id"] for _, attrs in read.found if "id" in attrs]
    assert len(ids) == len(set(ids))
    tables = [attrs for attrs in read.all("div") if attrs.get("class") == "scroll"]
    assert len(tables) == len(read.all("table"))
    if name == "hostile":
        assert 'alert("x")' in read.text, "it is shown as text"
        assert "\x1b" not in text


def test_the_page_says_it_all(tmp_path: Path) -> None:
    path = ladders.bundle(tmp_path / "b.edgecv", ladders.yolox())
    read = Elements(page.make(path, document.read(path)))
    for text in (
        "net.onnx (onnx)", "map 0.343 (0.301 to 0.389)", "5 of 13 rung(s) shipped",
        "5 calibration images were too small", "Not drawn: 2 of 13", "24.80 (24.20 to 25.50)",
        "class scores share an output scale with pixel coordinates", "the 30 worst of 62",
        "128.4", "coco128 train, 100 images", "AVX-512", "2026.4.1", "a" * 64,
        "1 of 2 without a disagreement", "golden/001.jpg",
        "onnxruntime-fp32: 3 found, 1 here alone: bus 0.62",
        "openvino-int8-float9: 3 found, 1 here alone: person 0.41",
    ):  # fmt: skip
        assert text in read.text, text
    assert read.text.count("✓ shipped") == 5
    alone = Elements(page.make(tmp_path / "ladder.json", conversion())).text
    assert "made of the bundle, it shows its golden samples" in alone


def test_a_page_with_little_in_it() -> None:
    text = Elements(page.render(conversion("classifier"))).text
    assert "No rung has both a metric and a latency" in text
    assert "Not measured: no calibration images" in text
    assert "No step was compared" in text
    nothing = conversion().replace(rungs=(), sensitivity=())
    text = Elements(page.render(nothing)).text
    assert "Nothing was tried" in text
    assert "No layer was measured" in text


def test_the_scatter_marks_what_is_shipped() -> None:
    text = charts.scatter(conversion())
    root = ElementTree.fromstring(text)
    title, description = root[0], root[1]
    assert title.text == "map against latency of 11 rung(s)"
    assert "litert-int8 0.336 at 7.90 ms" in str(description.text)
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    words = [element.text for element in root.iter() if element.tag.endswith("text")]
    for word in ("openvino-int8-float9", "onnxruntime-fp32", "float reference", "0.5 points below",
                 "Pareto front", "litert", "map", "↓ 0.231", "↓ 0.095"):  # fmt: skip
        assert word in words, word
    assert "onnxruntime-int8-float6" not in words, "only what is shipped is named"
    uses = [e.get("style") or "" for e in root.iter() if e.tag.endswith("use")]
    filled = [style for style in uses if re.search(r"fill: var\(--series-(\d)\).*\1", style)]
    hollow = [style for style in uses if "fill: var(--paper)" in style]
    assert len(filled) == 5 + 3, "what is shipped, and the legend"
    assert len(hollow) == 6
    assert "#0b0c" not in text


def test_charts_of_every_kind_are_sound() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    had_pyplot = "matplotlib.pyplot" in sys.modules
    for name in ("sixty", "hostile", "nothing_shipped"):
        for narrow in (False, True):
            assert ElementTree.fromstring(charts.scatter(conversion(name), narrow=narrow)).attrib
    one = conversion().replace(rungs=conversion().rungs[:1])
    assert "1 rung(s)" in charts.scatter(one)
    level = one.replace(reference=one.reference.replace(value=None))
    assert "float reference" not in charts.scatter(level)
    slow = one.rungs[0].replace(latency_ms=900.0, variant="slow")
    assert ElementTree.fromstring(charts.scatter(one.replace(rungs=(*one.rungs, slow)))).attrib
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot


def test_bars() -> None:
    layers = conversion().sensitivity or ()
    for narrow in (False, True):
        root = ElementTree.fromstring(charts.bars(layers[::-1], narrow=narrow))
        words = [element.text or "" for element in root.iter() if element.tag.endswith("text")]
        names = [word for word in words if "conv" in word]
        assert len(names) == charts.MOST_LAYERS
        assert names[0].endswith("dark2.0.conv0/Conv")
        styles = [e.get("style") or "" for e in root.iter() if e.tag.endswith("path")]
        assert sum("fill: var(--accent)" in style for style in styles) == 9
        assert sum("fill: var(--series-1)" in style for style in styles) == 21
    broken = [layers[0].replace(damage=1e9), *layers[1:20]]
    drawn = charts.bars(broken)
    assert "1e+09 →" in drawn, "what is off the scale says so, and leaves the others visible"
    assert "0.30" in drawn
    zero = [layers[0].replace(damage=0.0, layer="$\\frac{$")]
    assert "$\\frac{$" in charts.bars(zero)


def pixels(uri: str) -> Any:
    return codecs.decode(base64.b64decode(uri.partition(",")[2]))


def found(path: Path) -> disagreements.Disagreements:
    with open_bundle(path) as bundle:
        return disagreements.find(bundle, conversion())


def test_disagreements_are_drawn_in_colour(tmp_path: Path) -> None:
    said = found(ladders.bundle(tmp_path / "b.edgecv", ladders.yolox()))
    assert (said.left, said.right) == ("onnxruntime-fp32", "openvino-int8-float9")
    assert (said.images, said.agreed, said.notes) == (2, 1, ())
    (pair,) = said.pairs
    assert pair.image == "golden/001.jpg"
    assert pair.apart == pytest.approx(0.62 + 0.41)
    left, right = pixels(pair.left.uri), pixels(pair.right.uri)
    assert left.shape == right.shape == (341, 640, 3)
    assert pair.left.size_hw == (341, 640)
    vivid = [np.ptp(image.astype(int), axis=2) > 80 for image in (left, right)]
    scale = 640 / 900
    bus, ghost = (520, 260, 800, 440), (640, 30, 760, 130)
    for colours, (x1, _, x2, y2) in zip(vivid, (bus, ghost), strict=True):
        rows, columns_ = np.nonzero(colours)
        assert len(rows) > 300
        assert columns_.min() == pytest.approx(x1 * scale, abs=6)
        assert columns_.max() == pytest.approx(x2 * scale, abs=6)
        assert rows.max() == pytest.approx(y2 * scale, abs=6)


def test_pairs_are_formed_one_to_one_within_a_class() -> None:
    def boxes(*rows: tuple[float, ...]) -> Detections:
        table = np.array(rows, np.float32).reshape(-1, 6)
        return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int32))

    a = boxes((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 9, 0.8, 0), (50, 0, 60, 10, 0.7, 1))
    b = boxes((0, 0, 10, 10, 0.6, 0), (50, 0, 60, 10, 0.5, 2))
    only_a, only_b = disagreements.alone(a, b)
    assert only_a.tolist() == [False, True, True]
    assert only_b.tolist() == [False, True]
    only_a, only_b = disagreements.alone(a, boxes())
    assert only_a.all()
    assert len(only_b) == 0
    assert a.difference(b).unmatched.__len__() == 3, "as the results themselves compare"


def test_disagreements_of_a_classifier(tmp_path: Path) -> None:
    def classes(*rows: tuple[int, float]) -> dict[str, Any]:
        return {"classes": [{"class_id": i, "score": s, "label": "x"} for i, s in rows]}

    same, other = classes((0, 0.9), (1, 0.1)), classes((1, 0.6), (0, 0.4))
    expected = [
        {"onnxruntime-fp32": same, "openvino-bf16": classes((0, 0.8), (1, 0.2))},
        {"onnxruntime-fp32": same, "openvino-bf16": other},
    ]
    path = ladders.bundle(tmp_path / "b.edgecv", task="classify", expected=expected)
    said = found(path)
    assert said.right == "openvino-bf16", "the int8 variant has no recorded results"
    assert said.agreed == 1
    (pair,) = said.pairs
    assert (pair.left.caption, pair.right.caption) == (
        "car 0.90, person 0.10",
        "person 0.60, car 0.40",
    )


def test_nothing_to_disagree_about(tmp_path: Path) -> None:
    path = ladders.bundle(tmp_path / "a.edgecv", expected=[])
    assert found(path).notes == ("The bundle has no golden samples.",)
    results = ladders.detections(labels=())
    path = ladders.bundle(
        tmp_path / "b.edgecv", expected=[{"a": results}], precisions=[("a", "fp32")]
    )
    assert found(path).notes == ("No variant of reduced precision is in the bundle.",)
    path = ladders.bundle(
        tmp_path / "c.edgecv", expected=[{"a": results}], precisions=[("a", "int8")]
    )
    assert found(path).notes == ("No float variant is in the bundle.",)
    path = ladders.bundle(
        tmp_path / "d.edgecv",
        expected=[{"a": results, "b": results}] * 2,
        precisions=[("a", "fp32"), ("b", "int8-weights")],
    )
    said = found(path)
    assert (said.pairs, said.agreed, said.images, said.notes) == ((), 2, 2, ())


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    path = ladders.bundle(tmp_path / "b.edgecv", images=b"no picture")
    said = found(path)
    assert said.pairs == ()
    assert "golden/001.jpg" in said.notes[0]
    odd = {"onnxruntime-fp32": {"detections": [{}]}, "openvino-bf16": {"detections": 1}}
    said = found(ladders.bundle(tmp_path / "c.edgecv", expected=[odd]))
    assert "golden/000.jpg: no result of this task can be read" in said.notes[0]
    many = [
        {
            "onnxruntime-fp32": ladders.detections((0, 0, 50, 50, 0.3 + i / 100, 0), labels="abc"),
            "openvino-bf16": ladders.detections(labels="abc"),
        }
        for i in range(disagreements.MOST_PAIRS + 3)
    ]
    said = found(ladders.bundle(tmp_path / "d.edgecv", expected=many))
    assert len(said.pairs) == disagreements.MOST_PAIRS
    apart = [pair.apart for pair in said.pairs]
    assert apart == sorted(apart, reverse=True)


def test_an_altered_picture_is_not_shown(tmp_path: Path) -> None:
    path = ladders.bundle(tmp_path / "folder", ladders.yolox())
    read = document.read(path)
    image = path / "golden/001.jpg"
    data = bytearray(image.read_bytes())
    data[-200] ^= 255
    image.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"golden/001\.jpg: wrong sha256"):
        page.make(path, read)


@pytest.mark.parametrize(
    ("module", "message"), [("jinja2", "Jinja2 is not"), ("matplotlib", "matplotlib is not")]
)
def test_a_missing_library_names_the_extra(
    module: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DependencyMissingError, match=message) as caught:
        page.render(conversion())
    assert caught.value.remedy == "pip install 'edgecv[report]'"


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "page.html"
    write(target, "one")
    with pytest.raises(UsageError, match="it exists already") as caught:
        write(target, "two")
    assert caught.value.remedy == "--force replaces it"
    write(target, "two", overwrite=True)
    assert target.read_text() == "two"

    def fail(self: Path, other: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(UsageError, match="cannot be written: No space left"):
        write(target, "three", overwrite=True)
    assert target.read_text() == "two"
    assert list(tmp_path.iterdir()) == [target]


def test_places_where_no_page_goes(tmp_path: Path) -> None:
    folder = ladders.bundle(tmp_path / "folder", ladders.yolox())
    for target, message in (
        (tmp_path, "it is a folder"),
        (tmp_path / "no" / "page.html", "its folder does not exist"),
        (folder / "page.html", "the report is made of it"),
        (folder / "manifest.json", "the report is made of it"),
    ):
        with pytest.raises(UsageError, match=message):
            check_target(target, overwrite=True, source=folder)
