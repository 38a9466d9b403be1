"""Write down a conversion: what was tried, found and decided, as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import edgecv
from edgecv import host
from edgecv.converters.judge import Judge
from edgecv.converters.parity import Agreement, Parity
from edgecv.converters.quantizer import load_quantizer
from edgecv.converters.source import Source
from edgecv.converters.trial import Trial
from edgecv.converters.workspace import versions
from edgecv.dataset import Dataset
from edgecv.evaluation import Evaluation

if TYPE_CHECKING:
    from edgecv.converters.order import Order

SCHEMA = "edgecv.conversion/1"
_TOOLS = (
    "numpy", "opencv-python-headless", "torch", "onnx", "onnxscript", "onnxslim", "onnxruntime",
    "onnx2tf", "openvino", "nncf", "ai-edge-litert", "ai-edge-quantizer", "litert-torch",
)  # fmt: skip


def document(
    *,
    order: Order,
    source: Source,
    judge: Judge,
    proofs: Sequence[tuple[str, Parity]],
    results: Sequence[tuple[str, Agreement]],
    trials: Sequence[Trial],
    card_data: Dataset | None,
    created: str,
) -> dict[str, Any]:
    """Make the document that `edgecv.converters.report.document` reads."""
    reference = judge.reference
    assert reference is not None
    used = {tool for t in trials if t.artifact for tool in load_quantizer(t.backend).TOOLS}
    found = versions(tuple(sorted({*_TOOLS, *used})))
    return {
        "schema": SCHEMA,
        "name": judge.candidates.name,
        "task": judge.candidates.description.task,
        "metric": judge.metric,
        "max_drop": order.rules.max_drop,
        "created": created,
        "host": {
            "cpu": host.cpu_model() or "unknown",
            "cores": host.usable_cpus(),
            "threads": judge.effort.threads,
            "features": ", ".join(host.cpu_features() or ()),
        },
        "versions": {
            "edgecv": edgecv.__version__,
            **{name: version for name, version in found.items() if version is not None},
        },
        "source": {
            "text": order.request.text,
            "kind": source.kind,
            "files": dict(source.files),
        },
        "data": {
            "calibration": None
            if judge.calibration is None
            else {
                "name": judge.calibration.name,
                "images": len(judge.calibration.images),
                "sha256": judge.calibration.digest,
            },
            "gate": _data(judge.validation, reference.evaluation),
            "card": _data(card_data, None),
        },
        "reference": {
            "variant": reference.id,
            "backend": reference.backend,
            "value": _metric(reference, judge.metric),
            "ci95": _interval(reference, judge.metric),
        },
        "rungs": [_rung(trial, judge) for trial in trials],
        "parity": [
            *(_parity(step, row) for step, result in proofs for row in result.outputs),
            *(row for name, result in results for row in _results(name, result)),
        ],
        "sensitivity": _sensitivity(judge, trials),
        "sensitivity_reason": None
        if judge.damages
        else "not needed: no rung left single layers in float"
        if judge.damages is None
        else "there is no ONNX graph to measure it on, or nothing to calibrate with",
        "target": order.target,
        "notes": [*order.notes, *source.notes, *_notes(judge, trials, card_data)],
    }


def _rung(trial: Trial, judge: Judge) -> dict[str, Any]:
    evaluation, timing, drop = trial.evaluation, trial.timing, trial.drop
    return {
        "variant": trial.id,
        "backend": trial.backend,
        "precision": trial.recipe.precision,
        "recipe": trial.describe(),
        "graph": trial.flavour.graph,
        "metric": _metric(trial, judge.metric),
        "ci95": _interval(trial, judge.metric),
        "drop": None if drop is None else _round(drop.value_points),
        "drop_ci95": None if drop is None else _pair(drop.ci95),
        "latency_ms": None if timing is None else _round(timing.p50_ms),
        "latency_ci95": None if timing is None else _pair(timing.ci95),
        "speedup": None if trial.speedup is None else _round(trial.speedup.value),
        "size_bytes": None if trial.artifact is None else trial.artifact.size_bytes,
        "agreement": None if trial.agreement is None else _round(trial.agreement),
        "shipped": trial.shipped,
        "reason": trial.reason,
        "flags": [
            *(flag.message for flag in trial.flags),
            *(trial.artifact.notes if trial.artifact else ()),
        ],
        "precision_actual": _actual(evaluation, timing),
    }


def _actual(evaluation: Evaluation | None, timing: Any) -> str | None:
    if evaluation is not None:
        return evaluation.precision
    found: str | None = None if timing is None else timing.precision
    return found


def _metric(trial: Trial, name: str) -> float | None:
    value = None if trial.evaluation is None else trial.evaluation.metrics[name]
    return None if value is None else _round(value)


def _interval(trial: Trial, name: str) -> list[float] | None:
    return _pair(None if trial.evaluation is None else trial.evaluation.ci95[name])


def _parity(step: str, row: Any) -> dict[str, Any]:
    return {
        "step": step,
        "output": row.name,
        "max_abs": row.max_abs,
        "cosine": row.cosine,
        "snr_db": row.snr_db,
    }


def _results(variant: str, found: Agreement) -> list[dict[str, Any]]:
    """Word the difference of decoded results as rows of the parity table."""
    facts = {
        "score": found.score,
        "box edge, px": found.box_px,
        "area": found.area,
        f"without a counterpart, of {found.found}": float(found.unmatched),
    }
    return [
        {
            "step": variant,
            "output": f"results: {name}",
            "max_abs": value,
            "cosine": None,
            "snr_db": None,
        }
        for name, value in facts.items()
    ]


def _sensitivity(judge: Judge, trials: Sequence[Trial]) -> list[dict[str, Any]] | None:
    if not judge.damages:
        return None
    kept = {name for trial in trials if trial.shipped for name in trial.recipe.float_layers}
    return [
        {
            "layer": damage.layer,
            "op": damage.op,
            "damage": _round(damage.value) if damage.value < 1e9 else 1e9,
            "float": damage.layer in kept,
        }
        for damage in judge.damages
    ]


def _data(dataset: Dataset | None, evaluation: Evaluation | None) -> Mapping[str, Any] | None:
    if dataset is None:
        return None
    images = len(dataset) if evaluation is None else evaluation.images
    return {"name": dataset.name, "split": dataset.split, "images": images}


_NOTHING_TO_LOSE = 0.01


def _notes(judge: Judge, trials: Sequence[Trial], card_data: Dataset | None) -> list[str]:
    notes = []
    skipped = () if judge.calibration is None else judge.calibration.skipped
    if skipped:
        notes.append(f"{len(skipped)} calibration images were left out, such as {skipped[0]}")
    if card_data is not None and card_data is judge.validation:
        notes.append(
            "the data have no test split: the card repeats the numbers of the images that the "
            "gate read, and they may flatter what passed it"
        )
    if judge.validation is None:
        notes.append("no data with labels: accuracy was not measured")
    elif judge.reference is not None and judge.reference.evaluation is not None:
        notes += judge.reference.evaluation.notes
        value = judge.reference.evaluation.metrics[judge.metric]
        if value is not None and value < _NOTHING_TO_LOSE:
            notes.append(
                f"the source's own {judge.metric} is {value:.3f}: nothing can be lost, so that "
                "passing the gate proves nothing; see whether labels, data and pixels are right"
            )
    if not any(trial.shipped and trial.recipe.precision != "fp32" for trial in trials):
        notes.append("no file of reduced precision was both exact and fast enough here")
    return notes


def _pair(ends: tuple[float, float] | None) -> list[float] | None:
    return None if ends is None else [_round(ends[0]), _round(ends[1])]


def _round(value: float) -> float:
    return round(float(value), 6)
