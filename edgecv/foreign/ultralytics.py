"""Metadata of Ultralytics' exports: ONNX properties, metadata.yaml, a zip behind a TFLite file.

Source: the documented export metadata: ``description author date version license stride task batch
imgsz names args channels head`` and, where they apply, ``kpt_shape end2end``. In ONNX every value
is the ``str()`` of a Python object.
"""

from __future__ import annotations

import ast
import json
import reprlib
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecv.errors import DependencyMissingError, ModelLoadError
from edgecv.foreign import Export, cannot_say, with_zip, write_files
from edgecv.hints import Hints
from edgecv.onnx_metadata import with_metadata

ORIGIN = "Ultralytics metadata"
SUFFIXES = (".onnx", ".xml", ".tflite")

# Thousands of class names take less.
_MAX_BYTES = 2**20
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ZIP_FAULTS = (zipfile.BadZipFile, zlib.error, NotImplementedError)

_FREE, _FINAL = {"layout": "anchor-free"}, {"layout": "end2end"}
_HEADS: Mapping[str, tuple[tuple[str, Mapping[str, Any]], tuple[str, Mapping[str, Any]]]] = {
    "detect": (("yolo", {}), ("end2end", {})),
    "segment": (("yolo_seg", _FREE), ("yolo_seg", _FINAL)),
    "obb": (("yolo_obb", _FREE), ("yolo_obb", _FINAL)),
    "pose": (("yolo_pose", _FREE), ("yolo_pose", _FINAL)),
}
"""Task -> head and its options without and with suppression inside."""


def read(path: Path, metadata: Mapping[str, str]) -> Hints | None:
    """Read what an Ultralytics export says about itself.

    Args:
        path: the model file.
        metadata: key-value pairs inside the file, as the engine reports them.

    Returns:
        Statements, or None where this is no Ultralytics export.

    Raises:
        ModelLoadError: the metadata is there but broken.
        DependencyMissingError: metadata.yaml needs PyYAML, which is not installed.
    """
    raw, zipped_text = _find(path, metadata)
    if raw is None:
        return None
    task = _text(raw.get("task")) or ""
    is_detr = "rtdetr" in f"{raw.get('head')} {_text(raw.get('description'))}".lower()
    args = raw.get("args") if isinstance(raw.get("args"), dict) else {}
    options: dict[str, Any] = {}
    head: str | None = None
    if task in _HEADS:
        end2end = raw.get("end2end") is True or (args or {}).get("nms") is True
        head, said = ("detr", {}) if is_detr else _HEADS[task][end2end]
        options.update(said)
        if task == "pose" and "kpt_shape" in raw:
            options["kpt_shape"] = _keypoints(raw["kpt_shape"], path)
        if zipped_text and not is_detr:
            # Older TFLite exports divide boxes by the input size.
            options["normalized"] = True
    elif task == "classify":
        head = "softmax"
        options["logits"] = False
    elif task == "semantic":
        head = "semantic"
    elif task == "depth":
        head = "depth"
        options["kind"] = "metric"
    pixels: dict[str, Any] = {"color": "rgb", "mean": (0.0, 0.0, 0.0), "std": (255.0,) * 3}
    if task == "classify":
        pixels |= {"resize": "crop", "crop_ratio": 1.0}
    elif task == "depth":
        # As its own predictions are, observed to the bit with version 8.4.190.
        pixels |= {"resize": "stretch", "interpolation": "linear"}
    elif is_detr:
        # The only family that is trained on stretched images.
        pixels |= {"resize": "stretch"}
    else:
        pixels |= {"resize": "letterbox", "rounding": "round", "pad_value": 114}
    return Hints(
        origin=ORIGIN,
        name=path.stem,
        task=task or None,
        head=head,
        head_options=options,
        labels=None if task == "depth" else _labels(raw.get("names"), path),
        size_hw=_size(raw.get("imgsz"), path),
        description=_text(raw.get("description")),
        license=_text(raw.get("license")),
        **pixels,
    )


def _find(path: Path, metadata: Mapping[str, str]) -> tuple[dict[str, Any] | None, bool]:
    """Return the metadata as Python values, and whether it is the old text behind a TFLite file."""
    # OpenVINO keeps an ONNX file's properties, in files converted from it too, in this section.
    metadata = {key.removeprefix("framework/"): value for key, value in metadata.items()}
    if {"task", "names", "stride"} <= metadata.keys():
        return {key: _literal(value) for key, value in metadata.items()}, False
    if path.suffix == ".xml":
        beside = path.parent / "metadata.yaml"
        return (_yaml(beside), False) if beside.is_file() else (None, False)
    if path.suffix == ".tflite" and zipfile.is_zipfile(path):
        return _zipped(path)
    return None, False


def _literal(value: str) -> Any:
    """Undo ``str()``; what is not a Python literal is a string."""
    if len(value) > _MAX_BYTES:
        return value
    try:
        with warnings.catch_warnings():
            # Python's compiler warns of odd escapes; a library does not print.
            warnings.simplefilter("ignore")
            return ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return value


def _yaml(path: Path) -> dict[str, Any] | None:
    if path.stat().st_size > _MAX_BYTES:
        raise ModelLoadError("too large", where=str(path), expected=f"at most {_MAX_BYTES} bytes")
    try:
        import yaml
    except ImportError:
        raise DependencyMissingError(
            "PyYAML is needed to read it",
            where=str(path),
            remedy="pip install 'edgecv[openvino]'",
        ) from None
    try:
        # Plain text and lists only: no merge keys, which can grow without bound, and no types.
        data = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ModelLoadError(f"not valid YAML: {reason}", where=str(path)) from None
    except OSError as error:
        raise ModelLoadError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if not isinstance(data, dict) or not {"task", "names"} <= data.keys():
        return None
    args = data.get("args")
    if isinstance(args, dict):
        data["args"] = {key: _scalar(value) for key, value in args.items()}
    return {key: _scalar(value) for key, value in data.items()}


def _scalar(value: Any) -> Any:
    """Give YAML's plain text the types that matter here: truth and whole numbers."""
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    return int(value) if value.isdecimal() and len(value) < 10 else value


def _zipped(path: Path) -> tuple[dict[str, Any] | None, bool]:
    """Read ``metadata.json`` (newer) or the only text member (older) behind a TFLite file."""
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist()[:16]:
                if info.file_size > _MAX_BYTES or info.compress_type not in _COMPRESSIONS:
                    continue
                text = archive.read(info).decode("utf-8", "replace")
                newer = info.filename.endswith(".json")
                data = json.loads(text) if newer else _literal(text)
                if isinstance(data, dict) and {"task", "names"} <= data.keys():
                    return data, not newer
    except (*_ZIP_FAULTS, ValueError, OSError, RuntimeError, EOFError) as error:
        raise ModelLoadError(
            f"the metadata behind the model is broken: {error}", where=str(path)
        ) from None
    return None, False


def _labels(names: Any, path: Path) -> tuple[str, ...] | None:
    """Read ``names``: a list, or a dictionary by class id (JSON makes its keys strings)."""
    if names is None:
        return None
    if isinstance(names, list | tuple):
        names = dict(enumerate(names))
    try:
        by_id = {int(key): _name(value) for key, value in names.items()}
        return tuple(by_id[i] for i in range(len(by_id)))
    except (AttributeError, TypeError, ValueError, KeyError, OverflowError):
        raise ModelLoadError(
            "class names cannot be used",
            where=f"{path}: names",
            expected="a list, or a dictionary from 0 to the last class without a gap",
            got=reprlib.repr(names)[:80],
        ) from None


def _size(value: Any, path: Path) -> tuple[int, int] | None:
    """Read ``imgsz``: one side, or [height, width]."""
    if value is None:
        return None
    sides = (value, value) if isinstance(value, int) else value
    try:
        height, width = (int(side) for side in sides)
    except (TypeError, ValueError, OverflowError):
        raise ModelLoadError(
            "cannot be used",
            where=f"{path}: imgsz",
            expected="[height, width]",
            got=reprlib.repr(value)[:80],
        ) from None
    return height, width


def _keypoints(value: Any, path: Path) -> list[int]:
    """Read ``kpt_shape``: keypoints of an object, and numbers of each."""
    try:
        count, numbers = (int(n) for n in value)
    except (TypeError, ValueError, OverflowError):
        count, numbers = 0, 0
    if count < 1 or numbers not in (2, 3):
        raise ModelLoadError(
            "cannot be used",
            where=f"{path}: kpt_shape",
            expected="[keypoints, 2 or 3]",
            got=reprlib.repr(value)[:80],
        )
    return [count, numbers]


def _name(value: Any) -> str:
    """Return a class name; numbers and words that YAML takes for others are names, too."""
    if not isinstance(value, str | int | float):
        raise ValueError("not a name")
    return str(value)


def _text(value: Any) -> str | None:
    """Return a text; a list or dictionary is none, and may be huge when it is written out."""
    return str(value) if isinstance(value, str | int | float) else None


_TASKS = {
    "yolo": "detect",
    "end2end": "detect",
    "yolo_seg": "segment",
    "yolo_obb": "obb",
    "yolo_pose": "pose",
    "softmax": "classify",
    "semantic": "semantic",
    "depth": "depth",
}
_STRIDE = 32
_OWN_KEYS = frozenset(
    {"description", "author", "date", "version", "license", "docs", "stride", "task", "head",
     "batch", "imgsz", "names", "args", "channels", "end2end", "kpt_shape", "kpt_names"}
)  # fmt: skip


def write(export: Export, folder: Path) -> Path:
    """Write the model as an Ultralytics export says what it is.

    ONNX files get properties, an IR gets ``metadata.yaml``, TFLite files a zip with
    ``metadata.json`` behind them, or, where boxes are fractions of the input, the older text.

    Raises:
        UsageError: Ultralytics has no task for the head.
    """
    facts = describe(export)
    data = export.files[export.main]
    suffix = Path(export.main).suffix
    if suffix == ".onnx":
        texts = {key: str(value) for key, value in facts.items()}
        changed = {export.main: with_metadata(data, texts, _OWN_KEYS.__contains__)}
    elif suffix == ".xml":
        # JSON is YAML, too, and needs no library; keys of a mapping are read as text either way.
        changed = {"metadata.yaml": json.dumps(facts, indent=2).encode()}
    else:
        older = bool(export.head.options.get("normalized"))
        name, text = ("metadata.txt", str(facts)) if older else ("metadata.json", json.dumps(facts))
        changed = {export.main: with_zip(data, name, text)}
    return write_files(export, folder, changed)


def describe(export: Export) -> dict[str, Any]:
    """Say in Ultralytics' words how a model is fed and read."""
    task = _TASKS.get(export.head.name)
    if task is None:
        expected = f"one of {', '.join(_TASKS)}"
        raise cannot_say(export, "Ultralytics has no such head", expected, export.head.name)
    facts: dict[str, Any] = {
        "description": export.description or export.name,
        "version": export.version,
        "license": export.license,
        "stride": _STRIDE,
        "task": task,
        "batch": 1,
        "imgsz": list(export.input.size_hw),
        "names": dict(enumerate(export.labels)),
        "args": {"nms": False},
        "channels": 1 if export.input.color == "grey" else 3,
    }
    if task in _HEADS:
        layout = export.head.options.get("layout", "auto")
        if task != "detect" and layout not in ("anchor-free", "end2end"):
            expected = "the head option layout: anchor-free or end2end"
            raise cannot_say(export, "Ultralytics says how rows are laid out", expected, layout)
        facts["end2end"] = "end2end" in (export.head.name, layout)
    if task == "pose":
        facts["kpt_shape"] = list(export.head.options.get("kpt_shape", (17, 3)))
    return facts
