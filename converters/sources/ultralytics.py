"""An Ultralytics model: a ``.pt``, or a model ``.yaml`` that is built with random weights.

It is opened by the user's own ``ultralytics``, whose licence is the user's business. A ``.pt`` is a
pickle and needs to be trusted. What it says of itself goes into the exported file as Ultralytics
documents its export metadata, so that the file is read like one of its own exports. Models with a
one-to-one head (v10, 26) are exported with it, end to end, as Ultralytics documents them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgecv.converters import pickles, torchvision_operators
from edgecv.converters.callables import file_sha256
from edgecv.converters.module_source import (
    module_source,
    require_torch,
    seeded,
    settle_batch_norm,
)
from edgecv.converters.quiet import quiet
from edgecv.converters.source import Request, Source
from edgecv.errors import DependencyMissingError, SourceError, UntrustedPickleError
from edgecv.foreign import ultralytics as metadata_reader

RANK = 30
TASKS = ("detect", "segment", "semantic", "depth", "pose", "obb", "classify")
_YAML = (".yaml", ".yml")
_BARE = re.compile(r"yolov?\d+\w*(-\w+)*\.ya?ml")
_DEFAULT_SIDE, _CLASSIFY_SIDE = 640, 224
# Documented switches of the package: do not install, do not print.
_ENVIRONMENT = {"YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false", "YOLO_OFFLINE": "true"}


def accepts(request: Request) -> bool:
    """Accept pickles that name Ultralytics' classes, model yamls, and bare names of such."""
    if not isinstance(request.spec, str | Path):
        return False
    path = request.path
    if path is None:
        return _BARE.fullmatch(request.text) is not None
    if not path.is_file():
        return False
    if path.suffix in _YAML:
        return _is_model_yaml(path)
    if pickles.kind_of(path) != "pickle":
        return False
    return any(name.startswith("ultralytics.") for name in pickles.imports_of(path))


def open_source(request: Request) -> Source:
    """Open it with the installed ``ultralytics``.

    Raises:
        UntrustedPickleError: a ``.pt``, and pickles are not trusted.
        SourceError: Ultralytics cannot open it, or its task is not one of `TASKS`.
        DependencyMissingError: ``ultralytics`` is not installed.
    """
    built = request.text.endswith(_YAML)
    if not built and not request.trust_pickle:
        raise _untrusted(Path(request.text))
    require_torch(request.text)
    yolo, version = _import(request.text)
    try:
        with quiet(), seeded():
            wrapper = yolo(request.text)
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise SourceError(
            f"Ultralytics cannot open it: {type(error).__name__}: {text}", where=request.text
        ) from error
    task = str(wrapper.task)
    if task not in TASKS:
        raise SourceError(
            "cannot be converted", where=request.text, expected=f"a task of {', '.join(TASKS)}",
            got=task,
        )  # fmt: skip
    model = wrapper.model
    input_hw = request.input_hw or _own_size(wrapper, task)
    stride = _stride(model)
    _check_size(input_hw, stride, request.text)
    if built:
        with seeded():
            settle_batch_norm(model, _channels(model), input_hw)
    metadata = _export_form(model, task, input_hw, stride, version, request)
    path = request.path
    files = {} if path is None else {path.name: file_sha256(path)}
    name = Path(request.text).stem
    hints = metadata_reader.read(Path(name), metadata)
    return module_source(
        model,
        request,
        kind="ultralytics",
        name=name,
        hints=hints,
        input_hw=input_hw,
        output_names=("output0", "output1") if task == "segment" else ("output0",),
        files=files,
        notes=("random weights: built from a yaml",) if built else (),
        metadata=metadata,
    )


def _is_model_yaml(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8")[:100_000]
    except (OSError, UnicodeDecodeError):
        return False
    return all(re.search(rf"^{key}:", text, re.MULTILINE) for key in ("backbone", "head"))


def _untrusted(path: Path) -> UntrustedPickleError:
    error = pickles.untrusted(path, "Ultralytics has no other format for its weights")
    return UntrustedPickleError(
        error.what,
        where=error.where,
        got=error.got,
        remedy="if you trained it yourself or trust whoever did, say --trust-pickle "
        "(trust_pickle=True); or export it to ONNX where it is trusted, and convert that",
    )


def _import(where: str) -> tuple[Any, str]:
    try:
        with quiet(), _environment():
            torchvision_operators.declare_missing()
            import ultralytics

            return ultralytics.YOLO, str(ultralytics.__version__)
    except (ImportError, RuntimeError) as error:
        raise DependencyMissingError(
            f"ultralytics cannot be imported: {error}",
            where=where,
            remedy="pip install ultralytics",
        ) from None


@contextmanager
def _environment() -> Iterator[None]:
    """Set the package's switches while it is imported, except those that the user has set."""
    added = {key: value for key, value in _ENVIRONMENT.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)


def _own_size(wrapper: Any, task: str) -> tuple[int, int]:
    """Read the size that it was trained with, or the documented default."""
    args = getattr(wrapper.model, "args", None)
    said = args.get("imgsz") if isinstance(args, Mapping) else getattr(args, "imgsz", None)
    side = _CLASSIFY_SIDE if task == "classify" else _DEFAULT_SIDE
    if getattr(wrapper, "ckpt", None) and isinstance(said, int):
        side = said
    return side, side


def _channels(model: Any) -> int:
    return int(model.yaml.get("channels", model.yaml.get("ch", 3)))


def _stride(model: Any) -> int:
    stride = getattr(model, "stride", None)
    return 1 if stride is None else int(max(float(s) for s in stride))


def _check_size(input_hw: tuple[int, int], stride: int, where: str) -> None:
    if any(side % stride for side in input_hw):
        raise SourceError(
            "the input size does not fit the model's stride",
            where=where,
            expected=f"multiples of {stride}",
            got="x".join(map(str, input_hw)),
        )


def _export_form(
    model: Any, task: str, input_hw: tuple[int, int], stride: int, version: str, request: Request
) -> dict[str, str]:
    """Bring a model into the form it is exported in, in place; return its export metadata.

    ``export``, ``format`` and ``dynamic`` are documented attributes of the head; ``end2end`` is one
    of the model, true where it has a one-to-one head and uses it.
    """
    import torch

    with quiet(), torch.no_grad():
        model.eval().float()
        head = model.model[-1]
        if hasattr(model, "end2end") and not model.end2end:
            with suppress(AttributeError):  # older versions do not let it be chosen
                model.end2end = True
        end2end = bool(getattr(model, "end2end", False))
        model = model.fuse()
        for name, value in (("export", True), ("format", "onnx"), ("dynamic", False)):
            setattr(head, name, value)
        # The head keeps the grid of the first image: made here, it is a constant of the graph.
        channels = _channels(model)
        try:
            model(torch.zeros(1, channels, *input_hw))
        except Exception as error:
            raise SourceError(
                f"it cannot be run: {type(error).__name__}: {error}", where=request.text
            ) from error
    if end2end:
        # Its rows are the best few, whose order may change where scores are nearly equal.
        model.unordered_rows, model.score_column = True, 4
    names = {int(key): str(value) for key, value in dict(model.names).items()}
    said: dict[str, Any] = {
        "description": f"Ultralytics {Path(request.text).stem} model",
        "author": "Ultralytics",
        "version": version,
        "license": "AGPL-3.0 License (https://ultralytics.com/license)",
        "docs": "https://docs.ultralytics.com",
        "stride": stride,
        "task": task,
        "head": type(head).__name__,
        "batch": 1,
        "imgsz": list(input_hw),
        "names": names,
        "channels": channels,
        "end2end": end2end,
        "args": {"nms": False, "dynamic": False},
    }
    if task == "pose":
        said["kpt_shape"] = list(model.kpt_shape)
        said |= {"kpt_names": model.kpt_names} if getattr(model, "kpt_names", None) else {}
    return {key: str(value) for key, value in said.items()}
