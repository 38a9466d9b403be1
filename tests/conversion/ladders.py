"""Records of conversions for tests, with numbers as they really come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgecv.bundle_writer import file_entry, write_bundle
from edgecv.manifest import Golden, HeadSpec, Input, Manifest, Tensor, Variant
from edgecv.types import Precision

REFERENCE = 0.343
FP32_MS = 21.4
HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)>\x1b[31m$\\frac{|`'


def rung(variant: str, metric: float | None, latency: float | None, **more: Any) -> dict[str, Any]:
    """Describe a rung; what follows from the two numbers is worked out."""
    backend, _, precision = variant.partition("-")
    dropped = None if metric is None else 100 * (REFERENCE - metric)
    said = {
        "variant": variant,
        "backend": backend,
        "precision": precision.split("-")[0].removesuffix("w") or "fp32",
        "recipe": precision,
        "graph": "plain",
        "metric": metric,
        "ci95": None if metric is None else [metric - 0.04, metric + 0.045],
        "drop": dropped,
        "drop_ci95": None if dropped is None else [dropped - 0.6, dropped + 0.7],
        "latency_ms": latency,
        "latency_ci95": None if latency is None else [latency * 0.98, latency * 1.03],
        "speedup": None if latency is None else FP32_MS / latency,
        "size_bytes": {"fp32": 3_660_000, "bf16": 1_840_000}.get(precision[:4], 1_050_000),
        "agreement": None if metric is None else min(1.0, metric / REFERENCE),
        "shipped": False,
        "reason": "",
        "flags": [],
        "precision_actual": None,
    }
    return {**said, **more}


def yolox() -> dict[str, Any]:
    """Return a detector's conversion: three engines, numbers that are missing, and why."""
    rungs = [
        rung("onnxruntime-fp32", 0.343, 21.4, shipped=True, reason="the reference",
             precision_actual="fp32"),
        rung("onnxruntime-int8-minmax", 0.095, 20.9, recipe="int8 minmax", precision="int8",
             reason="drop 24.80 points, 0.50 allowed", flags=["scores saturate in output"]),
        rung("onnxruntime-int8-float6", 0.338, 20.1, recipe="int8 percentile + 6 float layers",
             precision="int8", reason="drop is fine, but only 1.06x as fast as fp32"),
        rung("onnxruntime-int8-tail", 0.320, 19.4, recipe="int8 entropy + float tail",
             precision="int8", reason="drop 2.30 points, 0.50 allowed"),
        rung("openvino-fp32", 0.343, 18.8, shipped=True, reason="no drop, 1.14x",
             precision_actual="fp32"),
        rung("openvino-bf16", 0.340, 13.1, shipped=True, reason="drop 0.30 points, 1.63x",
             precision="bf16", precision_actual="bf16"),
        rung("openvino-bf16-fused", 0.340, 12.6, shipped=True, graph="fused", precision="bf16",
             recipe="bf16", reason="drop 0.30 points, 1.70x", precision_actual="bf16"),
        rung("openvino-int8-nncf", 0.231, 9.7, recipe="int8 mse + bias correction",
             precision="int8", reason="drop 11.20 points, 0.50 allowed"),
        rung("openvino-int8-float9", 0.339, 10.8, recipe="int8 mse + bias correction + 9 float "
             "layers", precision="int8", shipped=True, reason="drop 0.40 points, 1.98x"),
        rung("litert-fp32", 0.343, 24.6, reason="slower than onnxruntime-fp32"),
        rung("litert-int8", 0.336, 7.9, recipe="int8 minmax + float tail", precision="int8",
             reason="drop 0.70 points, 0.50 allowed"),
        rung("litert-int8-whole", None, None, recipe="int8 minmax", precision="int8",
             agreement=0.0, reason="refused before it was measured: class scores share an output "
             "scale with pixel coordinates", flags=["shared output scale"]),
        rung("litert-fp16", 0.343, None, precision="fp16", precision_actual="fp32",
             reason="runs in fp32 here, so that its latency says nothing"),
    ]  # fmt: skip
    layers = [
        {
            "layer": f"backbone.dark{i // 8 + 2}.{i % 8}.conv{i % 3}/Conv",
            "op": "Conv",
            "damage": round(0.42 * 0.83**i, 6),
            "float": i in (0, 1, 2, 4, 5, 6, 9, 11, 12),
        }
        for i in range(62)
    ]
    return {
        "schema": "edgecv.conversion/1",
        "name": "yolox_nano",
        "task": "detect",
        "metric": "map",
        "max_drop": 0.5,
        "created": "2026-03-02T10:11:12+00:00",
        "host": {
            "cpu": "Intel(R) Xeon(R) Platinum 8481C",
            "cores": 2,
            "threads": 2,
            "instructions": "AVX-512, VNNI, bf16",
        },
        "versions": {"onnxruntime": "1.32.0", "openvino": "2026.4.1", "ai-edge-litert": "2.3.0"},
        "source": {"text": "net.onnx", "kind": "onnx", "files": {"yolox_nano.onnx": "a" * 64}},
        "data": {
            "calibration": {"name": "coco128 train", "images": 100, "sha256": "b" * 64},
            "gate": {"name": "coco128", "split": "val", "images": 28},
            "card": {"name": "coco128", "split": "val", "images": 28},
        },
        "reference": {
            "variant": "onnxruntime-fp32",
            "backend": "onnxruntime",
            "value": REFERENCE,
            "ci95": [0.301, 0.389],
        },
        "rungs": rungs,
        "parity": [
            {"step": "onnx: simplify", "output": "output", "max_abs": 1.9e-6, "cosine": 1.0,
             "snr_db": 128.4},
            {"step": "openvino", "output": "output", "max_abs": 3.1e-5, "cosine": 0.9999999,
             "snr_db": 117.2},
            {"step": "tflite", "output": "output", "max_abs": 0.0, "cosine": 1.0, "snr_db": None},
        ],
        "sensitivity": layers,
        "sensitivity_reason": None,
        "target": "rpi4",
        "notes": ["5 calibration images were too small and were left out"],
    }  # fmt: skip


def classifier() -> dict[str, Any]:
    """Return a conversion with one rung, no labelled images and nothing shipped by the gate."""
    said = yolox()
    only = rung(
        "onnxruntime-fp32", None, 3.21, speedup=1.0, reason="no labelled images: accuracy unknown"
    )
    return {
        **said,
        "name": "mobilenet",
        "task": "classify",
        "metric": "top1",
        "data": {"calibration": None, "gate": None, "card": None},
        "reference": {**said["reference"], "value": None, "ci95": None},
        "rungs": [only],
        "parity": [],
        "sensitivity": None,
        "sensitivity_reason": "no calibration images",
        "target": None,
        "notes": [],
    }


def nothing_shipped() -> dict[str, Any]:
    """Return a conversion in which every rung failed the gate."""
    said = yolox()
    for item in said["rungs"]:
        item.update(shipped=False, reason=item["reason"] or "not asked for")
    return said


def sixty() -> dict[str, Any]:
    """Return a conversion of sixty rungs of five engines."""
    rng = np.random.default_rng(3)
    said = yolox()
    said["rungs"] = [
        rung(
            f"{backend}-int8-{i:02d}",
            round(float(REFERENCE - rng.gamma(1.2, 0.012)), 4),
            round(float(rng.uniform(0.3, 1) * FP32_MS), 2),
            recipe=f"int8 percentile + {i} float layers",
            precision="int8",
            reason=f"rung {i}",
        )
        for i in range(12)
        for backend in ("onnxruntime", "openvino", "litert", "ncnn", "tvm")
    ]
    for item in said["rungs"]:
        item["shipped"] = item["drop"] <= 0.5
    return said


def hostile() -> dict[str, Any]:
    """Return a conversion whose every word is out to break the page that shows it."""
    said = yolox()
    for item in said["rungs"]:
        item["reason"] += HOSTILE
        item["recipe"] += HOSTILE
        item["variant"] += HOSTILE
        item["backend"] += HOSTILE
        item["flags"] = [HOSTILE]
        item["precision_actual"] = HOSTILE
    for item in said["sensitivity"]:
        item["layer"] += HOSTILE
        item["op"] = HOSTILE
    for item in said["parity"]:
        item["step"] = item["output"] = HOSTILE
    for name in ("name", "task", "metric", "created"):
        said[name] = HOSTILE
    said["notes"] = [HOSTILE, "\ud800 alone, \u202e turned"]
    said["host"] |= {"cpu": HOSTILE, HOSTILE: HOSTILE}
    said["versions"] = {HOSTILE: HOSTILE}
    said["source"] = {"text": HOSTILE, "kind": HOSTILE, "files": {HOSTILE: "0" * 64}}
    said["reference"]["variant"] = said["reference"]["backend"] = HOSTILE
    for item in said["data"].values():
        item["name"] = HOSTILE
    return said


ALL = {
    "yolox": yolox,
    "classifier": classifier,
    "nothing_shipped": nothing_shipped,
    "sixty": sixty,
    "hostile": hostile,
}


def encode(said: Any) -> bytes:
    """Write a record as JSON."""
    return json.dumps(said).encode()


def street(hw: tuple[int, int] = (480, 900)) -> Any:
    """Draw a picture for golden samples: (H, W, 3) uint8 BGR, coloured blocks on a gradient."""
    height, width = hw
    ramp = np.linspace(60, 200, width)[None, :, None]
    image = (ramp * np.array([1.0, 0.9, 0.8]) * np.ones((height, 1, 1))).astype(np.uint8)
    for x1, y1, x2, y2, color in (
        (60, 200, 260, 400, (40, 60, 200)),
        (330, 120, 420, 420, (60, 160, 60)),
        (520, 260, 800, 440, (190, 90, 30)),
    ):
        cv2.rectangle(image, (x1, y1), (x2, y2), color, cv2.FILLED)
    return image


def detections(*rows: Sequence[float], labels: Sequence[str]) -> dict[str, Any]:
    """Record detections as a bundle does; a row is x1, y1, x2, y2, score, class."""
    items = [
        {"xyxy": box, "score": score, "class_id": int(class_id), "label": labels[int(class_id)]}
        for *box, score, class_id in rows
    ]
    return {"detections": items, "dropped": 0}


def bundle(
    path: Path,
    said: Any | None = None,
    *,
    expected: Sequence[dict[str, Any]] | None = None,
    labels: Sequence[str] = ("car", "person", "bus"),
    task: str = "detect",
    images: bytes | None = None,
    precisions: Sequence[tuple[str, Precision]] = (
        ("onnxruntime-fp32", "fp32"),
        ("openvino-bf16", "bf16"),
        ("openvino-int8-float9", "int8"),
    ),
) -> Path:
    """Write a bundle whose golden samples record what each variant said; no model runs.

    Args:
        path: where to.
        said: the attached record; None attaches nothing.
        expected: of each golden sample: variant -> result.
        labels: of the classes.
        task: of the model.
        images: bytes of every golden image.
        precisions: (id, precision) of the variants.
    """
    if expected is None:
        both = [(60, 200, 260, 400, 0.91, 0), (330, 120, 420, 420, 0.84, 1)]
        bus, ghost = (520, 260, 800, 440, 0.62, 2), (640, 30, 760, 130, 0.41, 1)
        expected = [
            {
                "onnxruntime-fp32": detections(*both, labels=labels),
                "openvino-int8-float9": detections(*both, labels=labels),
            },
            {
                "onnxruntime-fp32": detections(*both, bus, labels=labels),
                "openvino-bf16": detections(*both, bus, labels=labels),
                "openvino-int8-float9": detections(*both, ghost, labels=labels),
            },
        ]
    members: dict[str, Path | bytes] = {"models/net.null.json": b"{}"}
    model = file_entry("models/net.null.json", b"{}")
    picture = images or bytes(cv2.imencode(".jpg", street())[1].tobytes())
    golden = []
    for i, results in enumerate(expected):
        name = f"golden/{i:03d}.jpg"
        members[name] = picture
        golden.append(Golden(image=file_entry(name, picture), expected=results))
    attachments = {}
    if said is not None:
        data = said if isinstance(said, bytes) else encode(said)
        members["report/conversion.json"] = data
        attachments["conversion"] = file_entry("report/conversion.json", data)
    variants = tuple(
        Variant(
            id=name,
            backend="null",
            precision=precision,
            files=(model,),
            inputs=(Tensor(name="x", shape=(1, 3, 8, 8), dtype="float32"),),
            outputs=(Tensor(name="y", shape=(1, 4), dtype="float32"),),
            layout="NCHW",
        )
        for name, precision in precisions
    )
    manifest = Manifest(
        name="net",
        task=task,
        labels=tuple(labels),
        input=Input(size_hw=(8, 8), resize="stretch"),
        head=HeadSpec(name="yolox"),
        variants=variants,
        golden=tuple(golden),
        attachments=attachments,
    )
    return write_bundle(path, manifest, members)
