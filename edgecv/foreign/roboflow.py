"""Roboflow's model packages: ``model_config.json`` and its companions beside the weights.

Source: the documentation of Roboflow's inference-models, "Running Models from Local Packages": the
files, and the fields of ``inference_config.json`` (``network_input``: size, colour mode, resize
mode, padding, scaling factor, normalization; ``post_processing``: whether suppression is inside).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecv.errors import ModelLoadError
from edgecv.foreign import Export, cannot_say, write_files
from edgecv.hints import Hints

ORIGIN = "Roboflow package"
SUFFIXES = (".onnx",)

_MODEL, _INFERENCE, _NAMES = "model_config.json", "inference_config.json", "class_names.txt"
_WEIGHTS = "weights.onnx"
_MAX_BYTES = 2**20
_TASKS = {
    "object-detection": "detect",
    "classification": "classify",
    "instance-segmentation": "segment",
    "keypoint-detection": "pose",
    "semantic-segmentation": "semantic",
}
_RESIZES = {"stretch": "stretch", "letterbox": "letterbox", "center-crop": "crop"}
# Architecture (its beginning) -> head of its detectors.
_DETECTORS = {
    "yolov5": "yolov5",
    "yolov7": "yolov5",
    "yolov8": "yolo",
    "yolov9": "yolo",
    "yolov11": "yolo",
    "yolov12": "yolo",
    "yolo11": "yolo",
    "yolo12": "yolo",
    "yolov10": "end2end",
    "yolo26": "end2end",
    "yolov26": "end2end",
    "rfdetr": "detr",
    "rf-detr": "detr",
}
_ARCHITECTURES = {
    "yolo": "yolov8",
    "yolov5": "yolov5",
    "end2end": "yolov10",
    "detr": "rfdetr",
    "softmax": "resnet",
}
_LOGITS = "softmax"


def read(path: Path, metadata: Mapping[str, str]) -> Hints | None:
    """Read the package that a model file lies in.

    Args:
        path: the model file.
        metadata: not used.

    Returns:
        Statements, or None where the folder is no such package.

    Raises:
        ModelLoadError: it is one, and broken, or prepares images in a way that edgecv does not.
    """
    del metadata
    model = _json(path.parent / _MODEL)
    if model is None or not {"model_architecture", "task_type"} <= model.keys():
        return None
    inference = _json(path.parent / _INFERENCE) or {}
    try:
        task = _TASKS.get(str(model["task_type"]))
        said = _pixels(model, inference, path.parent / _INFERENCE)
        head, options = _head(str(model["model_architecture"]).lower(), task, inference)
        return Hints(
            origin=ORIGIN,
            name=str(model.get("model_id") or path.parent.name),
            task=task,
            head=head,
            head_options=options,
            labels=_labels(path.parent, model),
            **said,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelLoadError(f"not a model package: {error!r}", where=str(path.parent)) from None


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    if path.stat().st_size > _MAX_BYTES:
        raise ModelLoadError("too large", where=str(path), expected=f"at most {_MAX_BYTES} bytes")
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"not valid JSON: {error}", where=str(path)) from None
    return data if isinstance(data, dict) else {}


def _pixels(model: dict[str, Any], inference: dict[str, Any], where: Path) -> dict[str, Any]:
    said: dict[str, Any] = {}
    network = inference.get("network_input")
    if network is None:
        if {"input_height", "input_width"} <= model.keys():
            said["size_hw"] = (int(model["input_height"]), int(model["input_width"]))
        return said
    steps = inference.get("image_pre_processing") or {}
    for step in ("static-crop", "contrast", "grayscale"):
        if (steps.get(step) or {}).get("enabled"):
            raise _unknown(where, f"image_pre_processing.{step}", "none of this step", "enabled")
    if network["resize_mode"] not in _RESIZES:
        expected = f"one of {', '.join(_RESIZES)}"
        raise _unknown(where, "network_input.resize_mode", expected, str(network["resize_mode"]))
    size = network.get("training_input_size")
    if size:
        said["size_hw"] = (int(size["height"]), int(size["width"]))
    factor = float(network.get("scaling_factor") or 1)
    mean, std = network.get("normalization") or ((0.0,), (1.0,))
    said |= {
        "resize": _RESIZES[network["resize_mode"]],
        "color": str(network["color_mode"]),
        # Pixels are divided by the factor first.
        "mean": tuple(float(value) * factor for value in mean),
        "std": tuple(float(value) * factor for value in std),
    }
    if network.get("padding_value") is not None:
        said["pad_value"] = int(network["padding_value"])
    return said


def _unknown(where: Path, key: str, expected: str, got: str) -> ModelLoadError:
    return ModelLoadError(
        "images would have to be prepared in a way that edgecv does not know",
        where=f"{where}: {key}",
        expected=expected,
        got=got,
    )


def _head(
    architecture: str, task: str | None, inference: dict[str, Any]
) -> tuple[str | None, dict[str, Any]]:
    after = inference.get("post_processing") or {}
    if task == "classify":
        return "softmax", {"logits": not after.get("fused", False)}
    if task != "detect":
        return None, {}  # shapes tell
    fits = [name for name in _DETECTORS if architecture.startswith(name)]
    head = _DETECTORS[max(fits, key=len)] if fits else None
    if after.get("type") == "nms" and after.get("fused"):
        return "end2end", {}
    given = after.get("nms_parameters") or inference
    options: dict[str, Any] = {}
    for option, keys in (
        ("confidence", ("confidence_threshold",)),
        ("iou", ("iou_threshold", "nms_threshold")),
        ("max_detections", ("max_detections",)),
    ):
        for key in keys:
            if given.get(key) is not None:
                options[option] = given[key]
    return head, options


def _labels(folder: Path, model: dict[str, Any]) -> tuple[str, ...] | None:
    names = model.get("class_names")
    if names is None and (folder / _NAMES).is_file():
        names = (folder / _NAMES).read_text("utf-8", "replace").splitlines()
    return None if names is None else tuple(str(name) for name in names)


def write(export: Export, folder: Path) -> Path:
    """Write a package; return its weights.

    Raises:
        UsageError: no architecture of Roboflow's reads the head, or no word says the resize.
    """
    spec, options = export.input, export.head.options
    if export.head.name not in _ARCHITECTURES:
        expected = f"one of {', '.join(_ARCHITECTURES)}"
        raise cannot_say(export, "no architecture reads this head", expected, export.head.name)
    modes = {value: key for key, value in _RESIZES.items()}
    if spec.resize not in modes or spec.color == "grey":
        expected = f"one of {', '.join(modes)}, in colour"
        raise cannot_say(export, "no word for this input", expected, f"{spec.resize}, {spec.color}")
    task = next(key for key, value in _TASKS.items() if value == export.task)
    height, width = spec.size_hw
    model = {
        "model_id": export.name,
        "model_architecture": _ARCHITECTURES[export.head.name],
        "task_type": task,
        "input_width": width,
        "input_height": height,
        "num_classes": len(export.labels),
        "class_names": list(export.labels),
        "backend": "onnx",
        "quantization": export.precision,
    }
    scale = 255 if spec.std == (255.0,) * 3 and not any(spec.mean) else 1
    network: dict[str, Any] = {
        "training_input_size": {"height": height, "width": width},
        "dynamic_spatial_size_supported": False,
        "color_mode": spec.color,
        "resize_mode": modes[spec.resize],
        "padding_value": spec.pad_value,
        "input_channels": 3,
        "scaling_factor": scale,
        "normalization": None
        if scale != 1
        else [list(map(float, spec.mean)), list(map(float, spec.std))],
    }
    inference: dict[str, Any] = {"network_input": network, "forward_pass": {"static_batch_size": 1}}
    if export.task == "classify":
        inference["post_processing"] = {
            "type": _LOGITS,
            "fused": not options.get("logits", False),
        }
    elif export.head.name != "detr":
        fused = export.head.name == "end2end"
        inference["post_processing"] = {
            "type": "nms",
            "fused": fused,
            "nms_parameters": {
                "max_detections": options["max_detections"],
                "confidence_threshold": options["confidence"],
                "iou_threshold": options["iou"],
                "class_agnostic": int(not options["class_aware"]),
            },
        }
    texts = {
        _MODEL: json.dumps(model, indent=2).encode(),
        _INFERENCE: json.dumps(inference, indent=2).encode(),
        _NAMES: "".join(f"{label}\n" for label in export.labels).encode(),
    }
    renamed = {_WEIGHTS: export.files[export.main]}
    return write_files(export.replace(files=renamed), folder, texts)
