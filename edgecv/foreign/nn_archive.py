"""Luxonis NN Archive: a ``.tar.xz`` with a model and a ``config.json`` that describes it.

Source: Luxonis' documentation of the NN Archive (config version 1.0). The archive says how pixels
are normalised and ordered and what the classes are called; it does not say how an image is fitted
into the input. Its YOLO parsers read the raw maps of each stride, not the joined tensor of other
exports, so a detector is written without a head, as the format foresees for outputs that its own
parsers do not read.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from edgecv.errors import ModelLoadError, UsageError
from edgecv.foreign import Export
from edgecv.hints import Hints

if TYPE_CHECKING:
    import tarfile

ORIGIN = "NN Archive"
SUFFIXES = (".onnx", ".xml", ".tflite")
ARCHIVES = (".tar.xz",)

_CONFIG = "config.json"
_VERSION = "1.0"
_MAX_CONFIG_BYTES, _MAX_BYTES, _MAX_MEMBERS = 2**22, 2**31, 64
_CLASSIFIER, _SEGMENTER = "ClassificationParser", "SegmentationParser"
_HEADS = {_CLASSIFIER: ("classify", "softmax"), _SEGMENTER: ("semantic", "semantic")}
_PRECISIONS = {"fp32": "float32", "fp16": "float16", "int8": "int8"}


def read(path: Path, metadata: Mapping[str, str]) -> Hints | None:
    """Read the ``config.json`` beside a model that came from an NN Archive.

    Args:
        path: the model file.
        metadata: not used.

    Returns:
        Statements, or None where no such file lies there, or it is about another model.

    Raises:
        ModelLoadError: it is there, and broken.
    """
    del metadata
    beside = path.parent / _CONFIG
    if not beside.is_file() or beside.stat().st_size > _MAX_CONFIG_BYTES:
        return None
    try:
        config = json.loads(beside.read_bytes())
    except (ValueError, RecursionError):
        return None  # many tools have a config.json
    if not isinstance(config, dict) or not {"config_version", "model"} <= config.keys():
        return None
    try:
        model = config["model"]
        about = model["metadata"]
        if PurePosixPath(about["path"]).name != path.name:
            return None
        return Hints(
            origin=ORIGIN,
            name=str(about["name"]),
            **_pixels(model["inputs"]),
            **_head(model.get("heads") or []),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ModelLoadError(
            f"not a description of a model: {error!r}", where=str(beside)
        ) from None


def _pixels(inputs: list[Any]) -> dict[str, Any]:
    images = [one for one in inputs if one.get("input_type") == "image"]
    if len(images) != 1:
        return {}
    block = images[0].get("preprocessing") or {}
    kind = str(block.get("dai_type") or "")
    said: dict[str, Any] = {}
    if kind[:3] in ("RGB", "BGR"):
        said["color"] = kind[:3].lower()
    elif kind.startswith("GRAY"):
        said["color"] = "grey"
    elif block.get("reverse_channels") is not None:
        said["color"] = "rgb" if block["reverse_channels"] else "bgr"
    for key, name in (("mean", "mean"), ("scale", "std")):
        if block.get(key) is not None:
            said[name] = tuple(float(value) for value in block[key])
    return said


def _head(heads: list[Any]) -> dict[str, Any]:
    if len(heads) != 1:
        return {}
    facts = heads[0].get("metadata") or {}
    said: dict[str, Any] = {}
    if facts.get("classes"):
        said["labels"] = tuple(str(name) for name in facts["classes"])
    options: dict[str, Any] = {}
    task, head = _HEADS.get(str(heads[0].get("parser")), (None, None))
    if head == "softmax":
        options["logits"] = not facts["is_softmax"]
    for key, option in (("conf_threshold", "confidence"), ("iou_threshold", "iou")):
        if head is None and facts.get(key) is not None:
            options[option] = float(facts[key])
    if head is None and facts.get("max_det") is not None:
        options["max_detections"] = int(facts["max_det"])
    return {**said, "task": task, "head": head, "head_options": options}


def unpack(path: Path, folder: Path) -> Path:
    """Write an archive's model and description into a folder; return the model file.

    Raises:
        ModelLoadError: it is no such archive, or holds what none may hold.
    """
    import tarfile

    try:
        with tarfile.open(path, "r:xz") as archive:
            names = _extract(archive, folder)
        config = json.loads((folder / _CONFIG).read_bytes())
        name = PurePosixPath(str(config["model"]["metadata"]["path"])).name
    except (tarfile.TarError, OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ModelLoadError(f"not an NN Archive: {error}", where=str(path)) from None
    if name not in names or not name.endswith(SUFFIXES):
        raise ModelLoadError(
            "the archive's model cannot be run here",
            where=f"{path}: {_CONFIG}: model.metadata.path",
            expected=f"one of its files, ending in {', '.join(SUFFIXES)}",
            got=repr(name),
            remedy="archives compiled for a device hold no file that a CPU runs",
        )
    return folder / name


def _extract(archive: tarfile.TarFile, folder: Path) -> set[str]:
    """Copy plain files out of an archive, under their last names only, within limits."""
    names: set[str] = set()
    total = 0
    for count, member in enumerate(archive):
        if count >= _MAX_MEMBERS:
            raise ValueError(f"more than {_MAX_MEMBERS} members")
        if member.isdir():
            continue
        name = PurePosixPath(member.name).name
        total += member.size
        if not member.isfile() or name in ("", ".", "..") or name in names or total > _MAX_BYTES:
            raise ValueError(f"member {member.name!r}: no plain file, twice, or too large")
        names.add(name)
        source = archive.extractfile(member)
        assert source is not None
        with (folder / name).open("xb") as target:
            while block := source.read(2**20):
                target.write(block)
    return names


def write(export: Export, folder: Path) -> Path:
    """Write an archive named after the model."""
    config = json.dumps(describe(export), indent=2).encode()
    stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in export.name).strip(".")
    import tarfile

    target = folder / f"{stem or 'model'}.tar.xz"
    with tarfile.open(target, "w:xz") as archive:
        for name, data in {_CONFIG: config, **export.files}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return target


def describe(export: Export) -> dict[str, Any]:
    """Make ``config.json``.

    Raises:
        UsageError: the arithmetic has no name in the format.
    """
    spec = export.input
    if export.precision not in _PRECISIONS:
        raise UsageError(
            "NN Archive has no word for this precision",
            where=export.name,
            expected=f"one of {', '.join(_PRECISIONS)}",
            got=export.precision,
        )
    planar = export.layout == "NCHW"
    channels = 1 if spec.color == "grey" else 3
    kind = {"rgb": "RGB888", "bgr": "BGR888", "grey": "GRAY8"}[spec.color]
    image = export.inputs[0]
    size = (spec.size_hw[0], spec.size_hw[1])
    shape = [1, channels, *size] if planar else [1, *size, channels]
    return {
        "config_version": _VERSION,
        "model": {
            "metadata": {
                "name": export.name,
                "path": export.main,
                "precision": _PRECISIONS[export.precision],
            },
            "inputs": [
                {
                    "name": image.name,
                    "dtype": image.dtype,
                    "input_type": "image",
                    "shape": shape,
                    "layout": export.layout,
                    "preprocessing": {
                        "mean": list(spec.mean[:channels]),
                        "scale": list(spec.std[:channels]),
                        "dai_type": kind + ("" if spec.color == "grey" else "p" if planar else "i"),
                    },
                }
            ],
            "outputs": [{"name": spec.name, "dtype": spec.dtype} for spec in export.outputs],
            "heads": _heads(export),
        },
    }


def _heads(export: Export) -> list[dict[str, Any]] | None:
    parsers = {head: parser for parser, (_, head) in _HEADS.items()}
    parser = parsers.get(export.head.name)
    if parser is None:
        return None
    facts: dict[str, Any] = {"classes": list(export.labels), "n_classes": len(export.labels)}
    facts["is_softmax"] = not export.head.options.get("logits", False)
    names = [spec.name for spec in export.outputs]
    return [{"name": export.head.name, "parser": parser, "metadata": facts, "outputs": names}]
