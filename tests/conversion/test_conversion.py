"""Whole conversions: what is bundled, what is said, what is refused, what is found again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecv
from edgecv.bench import work
from edgecv.bundle import open_bundle
from edgecv.converters import convert as convert_api
from edgecv.converters import decision, ladder
from edgecv.converters.conversion import Conversion, convert
from edgecv.converters.decision import Rules
from edgecv.converters.judge import Effort
from edgecv.converters.order import Order
from edgecv.converters.report.document import parse
from edgecv.converters.source import Request
from edgecv.errors import (
    ConversionError,
    DatasetError,
    EdgecvError,
    SourceError,
    UsageError,
)
from edgecv.hints import Hints
from edgecv.verification import verify
from tests import models

DIGITS = Path(__file__).resolve().parents[2] / "examples/digits"
LABELS = tuple((DIGITS / "labels.txt").read_text().split())
QUICK = Effort(limit=12, bootstrap=50, rounds=2, turn_s=0.02)


def order(tmp_path: Path, **changes: Any) -> Order:
    given = Order(
        request=Request(str(DIGITS / "digits.onnx")),
        output=tmp_path / "digits.edgecv",
        formats=("onnx",),
        rules=Rules(("fp32", "int8"), max_drop=5.0),
        effort=QUICK,
        hints=Hints(origin="option", head="yolo", labels=LABELS),
        data=DIGITS / "data.yaml",
        calibration_limit=16,
    )
    return replace(given, **changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Conversion, list[str]]:
    """Digits in all three formats."""
    said: list[str] = []
    folder = tmp_path_factory.mktemp("made")
    return convert(order(folder, formats=("onnx", "openvino", "tflite")), said.append), said


def test_the_bundle_is_whole_and_gives_its_recorded_results(
    made: tuple[Conversion, list[str]],
) -> None:
    report = verify(made[0].path)
    assert report.ok
    assert report.golden == 4
    assert {check.status for check in report.checks} == {"ok"}
    assert len(report.checks) == 4 * sum(trial.shipped for trial in made[0].trials)


def test_the_work_is_the_same_in_every_format(made: tuple[Conversion, list[str]]) -> None:
    with open_bundle(made[0].path) as bundle:
        found = {v.id: work.of_source(bundle.source(v)) for v in bundle.manifest.variants}
        precisions = {v.id: v.precision for v in bundle.manifest.variants}
    assert len({w.macs for w in found.values()}) == 1, found
    assert None not in {w.bytes_moved for w in found.values()}, found
    by_precision: dict[str, list[int]] = {}
    for name, one in found.items():
        by_precision.setdefault(precisions[name], []).append(one.bytes_moved or 0)
    assert max(by_precision["int8"]) < 0.5 * min(by_precision["fp32"]), found


def test_every_format_has_a_variant_and_the_fastest_is_first(
    made: tuple[Conversion, list[str]],
) -> None:
    with open_bundle(made[0].path) as bundle:
        manifest = bundle.manifest
        assert bundle.attachment("conversion") is not None
    assert {v.backend for v in manifest.variants} == {"onnxruntime", "openvino", "litert"}
    assert {v.precision for v in manifest.variants} >= {"fp32", "int8"}
    latency = {
        m.variant: m.value
        for m in manifest.card.measurements
        if m.metric == "latency_ms" and m.conditions["threads"] == 1
    }
    assert list(latency) == [v.id for v in manifest.variants]
    assert list(latency.values()) == sorted(latency.values())  # type: ignore[type-var]
    assert manifest.provenance.calibration_sha256 is not None
    assert set(manifest.provenance.sources) == {"digits.onnx"}


def test_the_card_was_measured_on_the_bytes_in_the_bundle(
    made: tuple[Conversion, list[str]],
) -> None:
    with open_bundle(made[0].path) as bundle:
        manifest = bundle.manifest
    for variant in manifest.variants:
        card = {m.metric: m for m in manifest.card.measurements if m.variant == variant.id}
        assert card["map"].value == pytest.approx(0.79, abs=0.1)
        assert card["map"].ci95 is not None
        assert "val" in card["map"].data
        assert card["size_bytes"].value == sum(entry.bytes for entry in variant.files)
        assert abs(card["drop_points"].value or 0) <= 5
        with edgecv.load(made[0].path, variant=variant.id) as model:
            assert len(model(DIGITS / "val/images/val_000.jpg").value)
            assert model.info.precision == variant.precision


def test_the_ladder_tells_of_every_rung(made: tuple[Conversion, list[str]]) -> None:
    with open_bundle(made[0].path) as bundle:
        ladder = parse(bytes(bundle.attachment("conversion") or b""))
    assert ladder.reference.variant == "onnx-fp32"
    assert {rung.precision for rung in ladder.rungs} == {"fp32", "int8"}
    shipped = {rung.variant for rung in ladder.rungs if rung.shipped}
    with open_bundle(made[0].path) as bundle:
        assert shipped == {v.id for v in bundle.manifest.variants}
    assert all(rung.reason for rung in ladder.rungs)
    # Boxes and scores share one tensor here: the rung that ignores it is there, and is not shipped.
    whole = [r for r in ladder.rungs if r.precision == "int8" and "tail" not in r.variant]
    assert whole
    assert all("under one scale" in r.reason and not r.shipped for r in whole)
    # The fused ONNX file; the plain and the fused IR and TFLite files.
    raw = [row for row in ladder.parity if not row.output.startswith("results")]
    assert len({row.step for row in raw}) == 5
    assert max(row.max_abs for row in raw) < 0.01
    # What they find, decoded, is compared as well.
    decoded = [row for row in ladder.parity if row not in raw]
    assert {row.step for row in decoded} == {
        *("onnx-fp32-fused", "openvino-fp32", "openvino-fp32-fused"),
        *("tflite-fp32", "tflite-fp32-fused"),
    }
    alone = [row for row in decoded if "without a counterpart" in row.output]
    assert len(alone) == 5
    assert all(row.max_abs == 0 and not row.output.endswith(" of 0") for row in alone)
    assert max(row.max_abs for row in decoded) < 0.01
    assert ladder.data.calibration is not None
    assert ladder.data.calibration.images == 16
    assert any("no test split" in note for note in ladder.notes)
    assert json.dumps(made[0].document)


def test_the_work_folder_is_removed(made: tuple[Conversion, list[str]]) -> None:
    assert [path.name for path in made[0].path.parent.iterdir()] == ["digits.edgecv"]


def test_an_interrupted_conversion_goes_on(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("onnx-int8-") and "agreement" in line:
            raise StopError

    with pytest.raises(StopError):
        convert(order(tmp_path), stop)
    assert not (tmp_path / "digits.edgecv").exists()
    work = tmp_path / ".digits.edgecv.work"
    assert f"kept in {work}" in (work / "log.txt").read_text()
    assert "quantize_onnxruntime" in (work / "log.txt").read_text()
    said: list[str] = []
    convert(order(tmp_path), said.append)
    kept = {line.split(":")[0] for line in said if line.endswith("kept from before")}
    assert kept >= {"onnx_normalize", "quantize_onnxruntime"}
    assert (tmp_path / "digits.edgecv").is_file()
    assert not work.exists()


def test_what_drops_too_much_is_not_shipped_unless_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (ladder, decision):
        monkeypatch.setattr(module, "passes", lambda drop, limit: False)
    impossible = Rules(("fp32", "int8"), max_drop=0.0, fused=False)
    found = convert(order(tmp_path, rules=impossible, keep_work=True))
    assert [trial.id for trial in found.trials if trial.shipped] == ["onnx-fp32"]
    judged = [t for t in found.trials if t.drop is not None and t.recipe.precision == "int8"]
    assert judged
    assert all("more than the 0 that are allowed" in trial.reason for trial in judged)
    # Each rung leaves more layers in float than the one before.
    counts = [len(trial.recipe.float_layers) for trial in judged]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0] == 0
    named = replace(impossible, ship=(judged[0].id,))
    again = convert(order(tmp_path, rules=named, overwrite=True))
    assert judged[0].id in [trial.id for trial in again.trials if trial.shipped]


def test_without_data_only_floats_are_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no data to prove int8 with"):
        convert(order(tmp_path, data=None))
    found = convert(order(tmp_path, data=None, rules=Rules(("fp32",), fused=False)))
    assert [trial.id for trial in found.trials if trial.shipped] == ["onnx-fp32"]
    assert found.document["reference"]["value"] is None
    assert "accuracy was not measured" in " ".join(found.document["notes"])


def test_a_gate_that_nothing_can_fail_is_said(tmp_path: Path) -> None:
    root = copied_data(tmp_path)
    for path in (root / "val/labels").iterdir():
        path.write_text("0 0.01 0.01 0.01 0.01\n")
    rules = Rules(("fp32",), fused=False)
    made = convert(order(tmp_path, data=root / "data.yaml", rules=rules))
    (note,) = [note for note in made.document["notes"] if "proves nothing" in note]
    assert note.startswith("the source's own map is 0.000: nothing can be lost")


def test_the_card_is_measured_on_the_test_split_where_there_is_one(tmp_path: Path) -> None:
    root = copied_data(tmp_path, test="test/images")
    for kind in ("images", "labels"):
        (root / "test" / kind).mkdir(parents=True)
        for path in sorted((root / "val" / kind).iterdir())[:20]:
            path.rename(root / "test" / kind / path.name)
    rules = Rules(("fp32",), fused=False)
    made = convert(order(tmp_path, data=root / "data.yaml", rules=rules))
    data = made.document["data"]
    assert (data["gate"]["split"], data["card"]["split"]) == ("val", "test")
    assert not any("no test split" in note for note in made.document["notes"])
    assert not any("proves nothing" in note for note in made.document["notes"])
    with open_bundle(made.path) as bundle:
        card = bundle.manifest.card.measurements
    told = {m.metric: m.data for m in card if m.data}
    assert "split test, 12 images" in told["map"]
    assert "split val, 12 images" in told["drop_points"]
    gate = made.trials[0].evaluation
    assert gate is not None
    assert next(m.value for m in card if m.metric == "map") != gate.metrics["map"]


def test_a_torch_module_from_python(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 8, 3, 2)
            self.out = torch.nn.Linear(8, 3)

        def forward(self, x: Any) -> Any:
            return self.out(torch.relu(self.conv(x)).mean((2, 3)))

    found = convert_api(
        Net(), tmp_path / "net.edgecv", to=["onnx"], precision=["fp32"], input_hw=(32, 32),
        head="softmax", labels=["a", "b", "c"], mean=(0.0,), std=(255.0,),
    )  # fmt: skip
    with edgecv.load(found.path) as model:
        assert len(model(np.zeros((32, 32, 3), np.uint8)).value)


def corrupt(tmp_path: Path) -> Order:
    path = tmp_path / "broken.onnx"
    path.write_bytes((DIGITS / "digits.onnx").read_bytes()[:100_000])
    return order(tmp_path, request=Request(str(path)))


def missing_operator(tmp_path: Path) -> Order:
    import onnx

    model = onnx.load(str(DIGITS / "digits.onnx"))
    node = next(n for n in model.graph.node if n.op_type == "Sigmoid")
    node.op_type, node.domain = "Sparkle", "com.nobody"
    model.opset_import.append(onnx.helper.make_opsetid("com.nobody", 1))
    onnx.save(model, str(tmp_path / "strange.onnx"))
    return order(tmp_path, request=Request(str(tmp_path / "strange.onnx")))


def dynamic_shape(tmp_path: Path) -> Order:
    import onnx

    model = onnx.load(str(DIGITS / "digits.onnx"))
    for axis in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        axis.ClearField("dim_value")
        axis.dim_param = "side"
    onnx.save(model, str(tmp_path / "free.onnx"))
    return order(tmp_path, request=Request(str(tmp_path / "free.onnx")))


def wrong_yaml(tmp_path: Path) -> Order:
    path = tmp_path / "data.yaml"
    path.write_text("path: .\nval: nowhere\nnames: {0: a}\n")
    return order(tmp_path, data=path)


def copied_data(tmp_path: Path, **splits: str) -> Path:
    root = tmp_path / "data"
    shutil.copytree(DIGITS / "val", root / "val")
    shutil.copytree(DIGITS / "calib", root / "calib")
    lines = {"path": ".", "train": "calib/images", "val": "val/images", **splits}
    text = "".join(f"{key}: {value}\n" for key, value in lines.items())
    names = "".join(f"  {i}: '{i}'\n" for i in range(10))
    (root / "data.yaml").write_text(f"{text}names:\n{names}")
    return root


def no_labels(tmp_path: Path) -> Order:
    root = copied_data(tmp_path)
    for label in (root / "val/labels").iterdir():
        label.write_text("")
    return order(tmp_path, data=root / "data.yaml")


def too_few_images(tmp_path: Path) -> Order:
    root = copied_data(tmp_path)
    for image in sorted((root / "calib/images").iterdir())[3:]:
        image.unlink()
    return order(tmp_path, data=root / "data.yaml")


def overlapping(tmp_path: Path) -> Order:
    root = copied_data(tmp_path)
    image = next((root / "val/images").iterdir())
    shutil.copy(image, root / "calib/images/again.jpg")
    return order(tmp_path, data=root / "data.yaml", calibration_limit=None)


def exists(tmp_path: Path) -> Order:
    (tmp_path / "digits.edgecv").write_bytes(b"mine")
    return order(tmp_path)


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (corrupt, SourceError, "broken.onnx"),
        (missing_operator, SourceError, "Sparkle"),
        (dynamic_shape, EdgecvError, "--input"),
        (wrong_yaml, DatasetError, "nowhere"),
        (no_labels, DatasetError, "has a label"),
        (too_few_images, ConversionError, "too few images"),
        (overlapping, ConversionError, "again.jpg"),
        (exists, UsageError, "exists already"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_input_is_named_and_nothing_is_half_written(
    tmp_path: Path, bad: Any, error: type[EdgecvError], words: str
) -> None:
    given = bad(tmp_path)
    before = given.output.read_bytes() if given.output.exists() else None
    with pytest.raises(error) as caught:
        convert(given)
    assert words in str(caught.value)
    after = given.output.read_bytes() if given.output.exists() else None
    assert after == before


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from edgecv.converters.steps import onnx_normalize

    def full(*args: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(onnx_normalize, "normalize", full)
    with pytest.raises(ConversionError, match="no space left") as caught:
        convert(order(tmp_path))
    assert "--work" in str(caught.value)
    assert not (tmp_path / "digits.edgecv").exists()


def test_a_source_in_an_engines_own_format_stays_there(tmp_path: Path) -> None:
    xml = models.openvino_detector(tmp_path)
    given = order(
        tmp_path,
        request=Request(str(xml)),
        formats=("tflite",),
        data=None,
        rules=Rules(("fp32",)),
        hints=Hints(origin="option", head="yolo", labels=models.LABELS),
    )
    with pytest.raises(UsageError, match="cannot be made of this source"):
        convert(given)
    found = convert(replace(given, formats=("openvino",)))
    assert [trial.id for trial in found.trials if trial.shipped] == ["openvino-fp32"]
