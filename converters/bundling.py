"""Put what is to be shipped into a bundle: variants, golden samples, card and report."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import edgecv
from edgecv import codecs, head_arrays, host
from edgecv.bench.interleaved import Timing
from edgecv.bundle_writer import file_entry, write_bundle
from edgecv.card import Card, Measurement, Provenance
from edgecv.converters.trial import Trial
from edgecv.describe import Description
from edgecv.evaluation import Evaluation
from edgecv.manifest import FileEntry, Golden, Manifest, Tolerance, Variant
from edgecv.model import Model
from edgecv.types import Image

ATTACHMENT = "conversion"
_MEMBER = "report/conversion.json"
_FLOOR = Tolerance(score=0.005, box_px=0.5, area=0.02)
# What replays elsewhere may differ by this many times what was seen to differ here.
_SLACK = 3.0


@dataclass(frozen=True, slots=True)
class Shipment:
    """What goes into the bundle.

    Attributes:
        name: of the model.
        version: of the model, the maker's own.
        license: SPDX identifier or name.
        description: how the model is fed and read, and what is said about it.
        trials: the shipped ones, best first.
        card: trial id -> evaluation on the images that the card is measured on.
        timings: (trial id, threads) -> timing of the shipped files side by side.
        golden: images whose results are recorded.
        sources: name -> sha256 of the source files.
        versions: library -> version.
        calibration_sha256: hash of the calibration set.
        document: the whole conversion, for the report.
    """

    name: str
    version: str
    license: str
    description: Description
    trials: Sequence[Trial]
    card: Mapping[str, Evaluation]
    timings: Mapping[tuple[str, int], Timing]
    golden: Sequence[Path]
    sources: Mapping[str, str]
    versions: Mapping[str, str]
    calibration_sha256: str | None
    document: Mapping[str, Any]


def write(shipment: Shipment, output: Path, *, overwrite: bool) -> Path:
    """Write the bundle, whole or not at all.

    Raises:
        BundleError: it cannot be written.
    """
    members: dict[str, Path | bytes] = {}
    variants = [_variant(trial, members) for trial in shipment.trials]
    goldens = _goldens(shipment, members)
    report = (json.dumps(shipment.document, indent=1, allow_nan=False) + "\n").encode()
    members[_MEMBER] = report
    said = shipment.description.hints
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    manifest = Manifest(
        name=shipment.name,
        version=shipment.version,
        task=shipment.description.task,
        labels=shipment.description.labels,
        input=shipment.description.input,
        head=head_arrays.store(shipment.description.head, members),
        variants=tuple(variants),
        golden=tuple(goldens),
        attachments={ATTACHMENT: file_entry(_MEMBER, report)},
        provenance=Provenance(
            created=now.isoformat(),
            tool=f"edgecv {edgecv.__version__}",
            sources=dict(shipment.sources),
            calibration_sha256=shipment.calibration_sha256,
            versions=dict(shipment.versions),
        ),
        card=Card(
            description=said.description or "",
            license=shipment.license,
            measurements=tuple(_measurements(shipment)),
        ),
    )
    return write_bundle(output, manifest, members, overwrite=overwrite)


def _variant(trial: Trial, members: dict[str, Path | bytes]) -> Variant:
    """List a trial's files; what another variant already brings is stored once.

    A graph and its weights find each other by their names, so they are shared together or not.
    """
    assert trial.candidate is not None
    assert trial.artifact is not None
    known = {file_entry("", path).sha256: member for member, path in members.items()}
    files = [
        (path, file_entry(f"models/{trial.id}{path.suffix}", path)) for path in trial.artifact.files
    ]
    shared = [known.get(entry.sha256) for _, entry in files]
    entries: list[FileEntry] = []
    for (path, entry), member in zip(files, shared, strict=True):
        if all(shared) and member is not None:
            entry = entry.replace(path=member)
        members[entry.path] = path
        entries.append(entry)
    return trial.candidate.variant.replace(files=tuple(entries))


def _goldens(shipment: Shipment, members: dict[str, Path | bytes]) -> list[Golden]:
    samples: list[Golden] = []
    models: dict[str, tuple[Model, Model]] = {}
    try:
        for trial in shipment.trials:
            assert trial.candidate is not None
            models[trial.id] = (trial.candidate.open(), trial.candidate.open(threads=1))
        pictures = [codecs.read(path) for path in shipment.golden]
        tolerances = {name: _tolerance(pair, pictures) for name, pair in models.items()}
        for i, (path, pixels) in enumerate(zip(shipment.golden, pictures, strict=True)):
            member = f"golden/{i:03d}{path.suffix.lower()}"
            encoded = path.read_bytes()
            members[member] = encoded
            samples.append(
                Golden(
                    image=file_entry(member, encoded),
                    expected={
                        name: model(pixels).value.to_json(model.labels)
                        for name, (model, _) in models.items()
                    },
                    tolerances=tolerances,
                )
            )
    finally:
        for pair in models.values():
            for model in pair:
                model.close()
    return samples


def _tolerance(models: tuple[Model, Model], pictures: Sequence[Image]) -> Tolerance:
    """Derive how far a replay may be off from what harmless changes do here.

    Two are tried: another number of threads, and pixels of which a fifth is one level off, as
    resizing differs between processors.
    """
    model, other = models
    random = np.random.default_rng(0)
    score = box_px = area = 0.0
    for pixels in pictures:
        expected = model(pixels).value
        noise = (random.random(pixels.shape) < 0.2).astype(np.uint8)
        noisy = np.where(pixels < 255, pixels + noise, pixels)
        for found in (other(pixels).value, model(noisy).value):
            difference = found.difference(expected)
            score, box_px = max(score, difference.score), max(box_px, difference.box_px)
            area = max(area, difference.area)
    return Tolerance(
        score=round(_FLOOR.score + _SLACK * score, 4),
        box_px=round(_FLOOR.box_px + _SLACK * box_px, 2),
        area=round(_FLOOR.area + _SLACK * area, 4),
    )


def _measurements(shipment: Shipment) -> list[Measurement]:
    found: list[Measurement] = []
    cpu = host.cpu_model() or "unknown"
    for trial in shipment.trials:
        evaluation = shipment.card.get(trial.id)
        if evaluation is not None:
            found += _accuracy(trial, evaluation)
        if trial.drop is not None and trial.evaluation is not None:
            found.append(
                Measurement(
                    metric="drop_points",
                    value=round(trial.drop.value_points, 4),
                    ci95=_rounded(trial.drop.ci95),
                    variant=trial.id,
                    precision=trial.candidate.variant.precision if trial.candidate else None,
                    data=_data(trial.evaluation),
                    conditions={"against": "the float source in ONNX Runtime, or its own engine"},
                )
            )
        if trial.artifact is not None:
            found.append(
                Measurement(
                    metric="size_bytes", value=float(trial.artifact.size_bytes), variant=trial.id
                )
            )
        for (name, threads), timing in shipment.timings.items():
            if name == trial.id:
                found.append(
                    Measurement(
                        metric="latency_ms",
                        value=round(timing.p50_ms, 3),
                        ci95=_rounded(timing.ci95),
                        variant=trial.id,
                        data="pixels in memory to result",
                        conditions={
                            "threads": threads,
                            "cpu": cpu,
                            "samples": timing.samples,
                            "precision": timing.precision,
                        },
                    )
                )
    return found


def _accuracy(trial: Trial, evaluation: Evaluation) -> list[Measurement]:
    precision = trial.candidate.variant.precision if trial.candidate else None
    return [
        Measurement(
            metric=name,
            value=None if value is None else round(value, 6),
            reason=None if value is not None else evaluation.reasons.get(name, "not measured"),
            ci95=_rounded(evaluation.ci95[name]),
            variant=trial.id,
            precision=precision,
            data=_data(evaluation),
        )
        for name, value in list(evaluation.metrics.items())[:3]
    ]


def _data(evaluation: Evaluation) -> str:
    return f"{evaluation.data}, split {evaluation.split}, {evaluation.images} images"


def _rounded(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if interval is None else (round(interval[0], 6), round(interval[1], 6))
