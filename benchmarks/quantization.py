"""Put edgecv's ladder beside the plain use of the quantizers, on the same models and data.

    python benchmarks/quantization.py [--real FOLDER] [--models digits,yolox_nano] [--out FILE]

Speed is told as a multiple of where one starts: the source in ONNX Runtime, or its plain float ONNX
where the source is torch code. Plain use means what the tools' own introductions show: one call
with the calibration images, no choice of layers or ranges. Everything is measured alike: the metric
on the validation images, and the latency of one thread from pixels to result, all files of a model
in turns.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecv import host
from edgecv.bench.interleaved import Competitor, ratio, take_turns
from edgecv.bundle import open_bundle
from edgecv.converters.artifact import Artifact
from edgecv.converters.calibration import calibration_set
from edgecv.converters.candidate import Candidates
from edgecv.converters.conversion import convert
from edgecv.converters.feeds import Feeds
from edgecv.converters.gate import paired_drop
from edgecv.converters.graphs import image_input
from edgecv.converters.order import Order
from edgecv.converters.quiet import quiet
from edgecv.converters.source import Request
from edgecv.converters.telemetry import no_telemetry
from edgecv.converters.trial import Trial
from edgecv.converters.workspace import Workspace, versions
from edgecv.dataset import open_dataset
from edgecv.errors import EdgecvError
from edgecv.evaluation import Evaluation, evaluate
from edgecv.hints import Hints

ROOT = Path(__file__).resolve().parent.parent
TOOLS = (
    "onnxruntime",
    "nncf",
    "openvino",
    "ai-edge-quantizer",
    "ai-edge-litert",
    "onnx2tf",
    "numpy",
)


@dataclass(frozen=True)
class Subject:
    """A model with its data; paths below the checkout, or below the folder of real models."""

    name: str
    source: str
    data: str
    hints: Hints
    architecture: str | None = None
    real: bool = True


SUBJECTS = (
    Subject(
        "digits", "examples/digits/digits.pt", "examples/digits/data.yaml", Hints(head="yolo"),
        "examples/digits/model.py:DigitDetector", real=False,
    ),
    Subject(
        "yolox_nano", "models/yolox-nano/yolox_nano.onnx", "data/coco128/coco128.yaml",
        Hints(head="yolox", head_options={"iou": 0.65}),
    ),
    Subject(
        "nanodet", "models/nanodet/nanodet.onnx", "data/coco128/coco128.yaml",
        Hints(head="nanodet", head_options={"iou": 0.6}),
    ),
    Subject(
        "fastestdet", "models/fastestdet/FastestDet.onnx", "data/coco128/coco128.yaml",
        Hints(head="fastestdet"),
    ),
)  # fmt: skip


def onnxruntime_static(artifact: Artifact, feeds: Feeds, folder: Path) -> Artifact:
    """quantize_static as the tool's documentation shows it, per channel, QDQ."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quant_pre_process,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped
        def __init__(self) -> None:
            self._feeds = iter(feeds)

        def get_next(self) -> Any:
            feed = next(self._feeds, None)
            return None if feed is None else dict(feed)

    prepared, out = folder / "prepared.onnx", folder / "model.onnx"
    quant_pre_process(str(artifact.path), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(out),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return Artifact("onnx", (out,), "int8", artifact.layout)


def nncf_default(artifact: Artifact, feeds: Feeds, folder: Path) -> Artifact:
    """nncf.quantize with the preset that its documentation names for such activations."""
    import nncf
    import openvino

    model = openvino.Core().read_model(str(artifact.path))
    data = [next(iter(feed.values())) for feed in feeds]
    with no_telemetry():
        quantized = nncf.quantize(
            model,
            nncf.Dataset(data),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(data),
        )
    out = folder / "model.xml"
    openvino.save_model(quantized, str(out), compress_to_fp16=False)
    return Artifact("openvino", (out, out.with_suffix(".bin")), "int8", artifact.layout)


def ai_edge_static(artifact: Artifact, feeds: Feeds, folder: Path) -> Artifact:
    """The recipe static_wi8_ai8 with the tool's own calibration."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    interpreter = Interpreter(str(artifact.path))
    (signature, names), *_ = interpreter.get_signature_list().items()
    tool = quantizer.Quantizer(str(artifact.path), recipe.static_wi8_ai8())
    samples = [{names["inputs"][0]: next(iter(feed.values()))} for feed in feeds]
    calibrated = tool.calibrate({signature: samples})
    out = folder / "model.tflite"
    tool.quantize(calibrated).export_model(str(out))
    return Artifact("tflite", (out,), "int8", artifact.layout)


Plain = Callable[[Artifact, Feeds, Path], Artifact]
PLAIN: dict[str, tuple[str, Plain]] = {
    "onnx": ("onnxruntime.quantization", onnxruntime_static),
    "openvino": ("NNCF", nncf_default),
    "tflite": ("ai-edge-quantizer", ai_edge_static),
}


def measure(subject: Subject, real: Path, work: Path) -> list[dict[str, Any]]:
    """Convert with edgecv and with each tool; measure all of it; return one row a file."""
    root = real if subject.real else ROOT
    data = root / subject.data
    made = convert(
        Order(
            request=Request(
                str(root / subject.source),
                architecture=None
                if subject.architecture is None
                else str(ROOT / subject.architecture),
                input_hw=None if subject.real else (192, 192),
            ),
            output=work / f"{subject.name}.edgecv",
            hints=subject.hints.replace(origin="option"),
            data=data,
            work=work / f"{subject.name}.work",
        ),
        progress=lambda line: print(f"  {line}", file=sys.stderr),
    )
    floats = {t.flavour.format: t for t in made.trials if t.id == f"{t.flavour.format}-fp32"}
    reference = floats["onnx"]
    assert reference.candidate is not None
    with open_bundle(reference.candidate.bundle) as bundle:
        spec = bundle.manifest.input
    with reference.candidate.open() as model:
        validation = open_dataset(data, "val", labels=model.labels)
    calibration = calibration_set(data, split="train")
    candidates = Candidates(
        Workspace(work / f"{subject.name}.plain"), subject.name, made.description
    )
    entries: list[tuple[str, str, Any, Evaluation | None, str]] = []
    start = reference.candidate
    if root.joinpath(subject.source).suffix == ".onnx":
        # What its owner runs today, before anything of ours has touched it.
        start = candidates.make("source", Artifact("onnx", (root / subject.source,)))
        with start.open() as model:
            evaluation = evaluate(model, validation)
        entries.append(("none: the source in ONNX Runtime", "fp32", start, evaluation, ""))
    for name, (tool, lower) in PLAIN.items():
        artifact = floats[name].artifact
        assert artifact is not None
        feeds = calibration.feeds(spec, image_input(artifact), artifact.layout)
        folder = Path(tempfile.mkdtemp(dir=work))
        try:
            with quiet():
                file = lower(artifact, feeds, folder)
            candidate = candidates.make(f"plain-{name}", file)
            with candidate.open() as model:
                evaluation = evaluate(model, validation)
        except (EdgecvError, Exception) as error:  # a tool that fails is a result, too
            said = " ".join(str(error).split())[:120]
            entries.append((tool, "int8", None, None, f"{type(error).__name__}: {said}"))
            continue
        entries.append((tool, "int8", candidate, evaluation, ""))
    for trial in _interesting(made.trials):
        entries.append((_title(trial), trial.recipe.precision, trial.candidate, trial.evaluation,
                        "shipped" if trial.shipped else trial.reason))  # fmt: skip
    runners = [
        Competitor(str(i), entry[2].bundle, {"threads": 1})
        for i, entry in enumerate(entries)
        if entry[2] is not None
    ]
    images = list(calibration.subset(16).images)
    timings = take_turns(runners, images, rounds=10)
    base = next(str(i) for i, entry in enumerate(entries) if entry[2] is start)
    assert reference.evaluation is not None
    rows = []
    for i, (tool, precision, candidate, evaluation, remark) in enumerate(entries):
        row: dict[str, Any] = {
            "model": subject.name, "tool": tool, "precision": precision, "metric": None,
            "drop": None, "drop_ci95": None, "latency_ms": None, "speedup": None,
            "speedup_ci95": None, "remark": remark,
        }  # fmt: skip
        if evaluation is not None:
            drop = paired_drop(reference.evaluation, evaluation)
            row |= {
                "metric": evaluation.metrics[drop.metric],
                "drop": drop.value_points,
                "drop_ci95": drop.ci95,
            }
        if candidate is not None:
            speed = ratio(timings[base], timings[str(i)])
            row |= {
                "latency_ms": timings[str(i)].p50_ms,
                "speedup": speed.value,
                "speedup_ci95": speed.ci95,
            }
        rows.append(row)
    return rows


def _interesting(trials: Sequence[Trial]) -> list[Trial]:
    """Pick the float reference, what edgecv ships, and the best int8 file of each format."""
    chosen = [t for t in trials if t.id == "onnx-fp32" or t.shipped]
    for name in PLAIN:
        int8 = [
            t
            for t in trials
            if t.flavour.format == name and t.recipe.precision == "int8" and t.drop is not None
        ]
        best = min(int8, key=lambda t: t.drop.value_points if t.drop else 0, default=None)
        if best is not None and best not in chosen:
            chosen.append(best)
    return chosen


def _title(trial: Trial) -> str:
    graph = " (fused)" if trial.flavour.graph == "fused" else ""
    return f"edgecv, {trial.backend}: {trial.describe()}{graph}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay the rows out as Markdown."""
    lines = [
        "| model | made by | metric | drop, points (95 %) | ms | x start (95 %) | |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        drop = speed = metric = latency = "-"
        if row["metric"] is not None:
            metric = f"{row['metric']:.3f}"
            low, high = row["drop_ci95"]
            drop = f"{row['drop']:+.2f} ({low:+.2f} to {high:+.2f})"
        if row["latency_ms"] is not None:
            latency = f"{row['latency_ms']:.2f}"
            low, high = row["speedup_ci95"]
            speed = f"{row['speedup']:.2f} ({low:.2f} to {high:.2f})"
        lines.append(
            f"| {row['model']} | {row['tool']} | {metric} | {drop} | {latency} | {speed} "
            f"| {row['remark']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the comparison and write results/quantization.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, default=ROOT.parent / "shared" / "real")
    parser.add_argument("--models", default=",".join(subject.name for subject in SUBJECTS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/quantization.json")
    args = parser.parse_args()
    wanted = args.models.split(",")
    facts: dict[str, Any] = {
        "cpu": host.cpu_model(),
        "features": host.cpu_features(),
        "versions": versions(TOOLS),
        "threads": 1,
        "rows": [],
    }
    with tempfile.TemporaryDirectory() as work:
        for subject in SUBJECTS:
            if subject.name not in wanted:
                continue
            print(subject.name, file=sys.stderr)
            facts["rows"] += measure(subject, args.real, Path(work))
            # After each model: the whole takes half an hour.
            args.out.write_text(json.dumps(facts, indent=1) + "\n")
            args.out.with_suffix(".md").write_text(table(facts["rows"]) + "\n")
    print(table(facts["rows"]))


if __name__ == "__main__":
    main()
