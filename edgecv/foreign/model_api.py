"""OpenVINO Model API: ``model_info`` in an IR's rt_info, or in an ONNX file's properties.

Source: Model API's documentation, "Model configuration", and its released wrappers' default values.
Lists are joined by spaces, so a space inside a label becomes an underscore. Model API takes BGR
images and turns them over where ``reverse_input_channels`` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecv.errors import ModelLoadError
from edgecv.foreign import Export, cannot_say, write_files
from edgecv.hints import Hints
from edgecv.onnx_metadata import with_metadata

ORIGIN = "Model API metadata"
SUFFIXES = (".onnx", ".xml")

_SECTION = "model_info"
# In Model API all YOLO wrappers but YOLOX read [B, 4 + classes, A]; "YOLO" itself means the region
# layers of YOLOv3, but Ultralytics' exports call themselves so, whatever they are.
_HEADS = {
    "yolov5": "yolo",
    "yolov8": "yolo",
    "yolo11": "yolo",
    "yolox": "yolox",
    "ssd": "ssd",
    "classification": "softmax",
    "segmentation": "semantic",
}
_WRAPPERS = {
    "yolo": "YOLO11",
    "yolox": "YOLOX",
    "ssd": "SSD",
    "softmax": "Classification",
    "semantic": "Segmentation",
}
_YOLO = {"resize_type": "fit_to_window_letterbox", "pad_value": "114", "scale_values": "255.0",
         "reverse_input_channels": "True", "iou_threshold": "0.7",
         "confidence_threshold": "0.25"}  # fmt: skip
# What the wrappers assume where the file says nothing.
_DEFAULTS: dict[str, dict[str, str]] = {
    "yolo": _YOLO,
    "yolox": {"resize_type": "fit_to_window", "pad_value": "114", "iou_threshold": "0.65",
              "confidence_threshold": "0.5"},
}  # fmt: skip
_RESIZES = {
    "standard": "stretch",
    "fit_to_window": "letterbox-topleft",
    "fit_to_window_letterbox": "letterbox",
    "crop": "crop",
}


def read(path: Path, metadata: Mapping[str, str]) -> Hints | None:
    """Read what Model API would.

    Args:
        path: the model file.
        metadata: key-value pairs inside the file, as the engine reports them.

    Returns:
        Statements, or None where there is no ``model_info``, or Ultralytics wrote it.

    Raises:
        ModelLoadError: a value that cannot be what its key says.
    """
    # OpenVINO keeps an ONNX file's properties in this section.
    found = {key.removeprefix("framework/"): value for key, value in metadata.items()}
    said = {
        key.removeprefix(_SECTION)[1:]: value
        for key, value in found.items()
        if key.startswith((f"{_SECTION}/", f"{_SECTION} "))
    }
    kind = said.get("model_type", "").lower()
    # Ultralytics' own metadata says more, and says it right.
    if not kind or (kind == "yolo" and (path.parent / "metadata.yaml").is_file()):
        return None
    head = _HEADS.get(kind)
    given = {**_DEFAULTS.get(head or "", {"resize_type": "standard", "pad_value": "0"}), **said}
    options: dict[str, Any] = {}
    for key, option in (("confidence_threshold", "confidence"), ("iou_threshold", "iou")):
        if key in given and head not in ("softmax", "semantic"):
            options[option] = _numbers(given, key, path)[0]
    resize = given["resize_type"]
    if resize not in _RESIZES:
        raise _wrong(path, "resize_type", f"one of {', '.join(_RESIZES)}", resize)
    return Hints(
        origin=ORIGIN,
        name=path.stem,
        head=head,
        head_options=options,
        labels=tuple(given["labels"].split()) if given.get("labels") else None,
        resize=_RESIZES[resize],
        rounding="floor" if resize == "fit_to_window" else "round",
        crop_ratio=1.0 if resize == "crop" else None,
        pad_value=int(_numbers(given, "pad_value", path)[0]),
        color="rgb"
        if given.get("reverse_input_channels", "").lower() in ("true", "yes")
        else "bgr",
        mean=_numbers(given, "mean_values", path) or (0.0,),
        std=_numbers(given, "scale_values", path) or (1.0,),
    )


def _numbers(said: Mapping[str, str], key: str, path: Path) -> tuple[float, ...]:
    text = said.get(key, "")
    try:
        return tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        raise _wrong(path, key, "numbers joined by spaces", text) from None


def _wrong(path: Path, key: str, expected: str, got: str) -> ModelLoadError:
    return ModelLoadError("", where=f"{path}: model_info/{key}", expected=expected, got=got[:80])


def write(export: Export, folder: Path) -> Path:
    """Write the model with its ``model_info``.

    Raises:
        UsageError: Model API has no wrapper for the head.
    """
    pairs = describe(export)
    data = export.files[export.main]
    if export.main.endswith(".onnx"):
        keyed = {f"{_SECTION} {key}": value for key, value in pairs.items()}
        written = with_metadata(data, keyed, lambda key: key.startswith(f"{_SECTION} "))
    else:
        written = _with_rt_info(data, pairs, export.main)
    return write_files(export, folder, {export.main: written})


def describe(export: Export) -> dict[str, str]:
    """Say in Model API's words how a model is fed and read."""
    head, spec = export.head, export.input
    if head.name not in _WRAPPERS:
        expected = f"one of {', '.join(_WRAPPERS)}"
        raise cannot_say(export, "Model API has no wrapper for this head", expected, head.name)
    pairs = {
        "model_type": _WRAPPERS[head.name],
        "layout": f"{export.inputs[0].name}:{export.layout}",
        "resize_type": next(key for key, value in _RESIZES.items() if value == spec.resize),
        "pad_value": str(spec.pad_value),
        "reverse_input_channels": str(spec.color == "rgb"),
        "mean_values": " ".join(map(str, spec.mean)),
        "scale_values": " ".join(map(str, spec.std)),
    }
    if export.labels:
        pairs["labels"] = " ".join("_".join(label.split()) or "_" for label in export.labels)
    for key, option in (("confidence_threshold", "confidence"), ("iou_threshold", "iou")):
        if option in head.options:
            pairs[key] = str(head.options[option])
    return pairs


def _with_rt_info(data: bytes, pairs: Mapping[str, str], name: str) -> bytes:
    """Set ``rt_info/model_info`` of an OpenVINO IR."""
    import xml.etree.ElementTree as ET

    try:
        root = ET.fromstring(data)
    except ET.ParseError as error:
        raise ModelLoadError(f"not XML: {error}", where=name) from None
    info = root.find("rt_info")
    if info is None:
        info = ET.SubElement(root, "rt_info")
    for old in info.findall(_SECTION):
        info.remove(old)
    section = ET.SubElement(info, _SECTION)
    for key, value in pairs.items():
        ET.SubElement(section, key, {"value": value})
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written
