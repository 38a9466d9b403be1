"""A timm classifier: ``timm:NAME``, with ``?checkpoint=FILE`` for weights from a local file.

Nothing is downloaded: without a checkpoint the weights are random, which is good for trying a
conversion and for measuring speed. ``num_classes=N`` makes the classifier of another size:
``timm:NAME?checkpoint=FILE&num_classes=5``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from edgecv.converters import torchvision_operators, weights
from edgecv.converters.callables import file_sha256
from edgecv.converters.module_source import (
    module_source,
    require_torch,
    seeded,
    settle_batch_norm,
)
from edgecv.converters.quiet import quiet
from edgecv.converters.source import Request, Source
from edgecv.errors import DependencyMissingError, SourceError
from edgecv.hints import Hints

RANK = 5
PREFIX = "timm:"
_OPTIONS = ("checkpoint", "num_classes")
_RANDOM = "random weights: no checkpoint was given"
_INTERPOLATIONS = {
    "bicubic": "cubic-antialias",
    "bilinear": "linear-antialias",
    "random": "linear-antialias",  # one of the two above at each image of the training
    "nearest": "nearest",
}
_RESIZES = {"center": "crop", "squash": "stretch"}


def accepts(request: Request) -> bool:
    """Accept texts that begin with ``timm:``."""
    return isinstance(request.spec, str) and request.spec.startswith(PREFIX)


def open_source(request: Request) -> Source:
    """Build the model and load the checkpoint.

    Raises:
        SourceError: timm knows no such model, or the checkpoint does not fit it.
        UntrustedPickleError: the checkpoint holds more than weights.
        DependencyMissingError: timm is not installed.
    """
    require_torch(request.text)
    name, options = _parse(request.text)
    timm = _import(request.text)
    model = _create(timm, name, options, request)
    files: dict[str, str] = {}
    notes: tuple[str, ...] = (_RANDOM,)
    config = dict(timm.data.resolve_model_data_config(model))
    if "checkpoint" not in options:
        with seeded():
            size = request.input_hw or config["input_size"][1:]
            settle_batch_norm(model, config["input_size"][0], size)
    else:
        path = Path(options["checkpoint"])
        if not path.is_file():
            raise SourceError("no such checkpoint", where=request.text, got=str(path))
        found = weights.read(path, request.trust_pickle)
        state = found.state if found.module is None else found.module.state_dict()
        weights.load_into(model, state or {}, str(path))
        files, notes = {path.name: file_sha256(path)}, found.notes
    return module_source(
        model,
        request,
        kind="timm",
        name=name,
        hints=_hints(timm, model, name, config, "num_classes" in options),
        input_hw=(int(config["input_size"][1]), int(config["input_size"][2])),
        files=files,
        notes=notes,
    )


def _parse(spec: str) -> tuple[str, dict[str, str]]:
    name, _, query = spec.removeprefix(PREFIX).partition("?")
    options = {key: unquote(values[-1]) for key, values in parse_qs(query, True).items()}
    unknown = [key for key in options if key not in _OPTIONS]
    count = options.get("num_classes", "1")
    if not name or unknown or not (count.isdecimal() and int(count) > 0):
        raise SourceError(
            "cannot be read",
            where=spec,
            expected="timm:NAME, timm:NAME?checkpoint=FILE or timm:NAME?num_classes=N",
        )
    return name, options


def _import(where: str) -> Any:
    try:
        with quiet():
            torchvision_operators.declare_missing()
            import timm
            import timm.data
    except (ImportError, RuntimeError) as error:
        raise DependencyMissingError(
            f"timm cannot be imported: {error}", where=where, remedy="pip install timm torchvision"
        ) from None
    return timm


def _create(timm: Any, name: str, options: dict[str, str], request: Request) -> Any:
    extra = {"num_classes": int(options["num_classes"])} if "num_classes" in options else {}
    with quiet():
        if not timm.is_model(name):
            similar = timm.list_models(f"*{name.partition('.')[0]}*")[:8]
            raise SourceError(
                "timm knows no such model",
                where=request.text,
                expected=f"such as {', '.join(similar)}" if similar else None,
                got=repr(name),
            )
        # Vision transformers have a fixed image size; other families do not take the argument.
        sizes = [{"img_size": request.input_hw}] if request.input_hw else []
        for size in (*sizes, {}):
            try:
                with seeded():
                    return timm.create_model(name, pretrained=False, **extra, **size)
            except TypeError as error:
                reason = f"{type(error).__name__}: {error}"
            except Exception as error:
                raise SourceError(
                    f"timm cannot build it: {type(error).__name__}: {error}", where=request.text
                ) from error
    raise SourceError(f"timm cannot build it: {reason}", where=request.text)


def _hints(timm: Any, model: Any, name: str, config: dict[str, Any], own_classes: bool) -> Hints:
    mean, std = (tuple(255.0 * float(v) for v in config[key]) for key in ("mean", "std"))
    crop = config.get("crop_mode") or "center"
    return Hints(
        origin="timm",
        name=name,
        task="classify",
        head="softmax",
        head_options={"logits": True, "num_classes": int(model.num_classes)},
        labels=None if own_classes else _labels(timm, model),
        resize=_RESIZES.get(crop),
        crop_ratio=float(config.get("crop_pct") or 1.0) if crop == "center" else None,
        interpolation=_INTERPOLATIONS.get(str(config.get("interpolation")), "area"),
        color="rgb",
        mean=mean,
        std=std,
        license=(getattr(model, "pretrained_cfg", None) or {}).get("license"),
    )


def _labels(timm: Any, model: Any) -> tuple[str, ...] | None:
    """Return ImageNet's names where the number of classes says that they are meant."""
    try:
        subset = timm.data.infer_imagenet_subset(model)
        if subset is None:
            return None
        info = timm.data.ImageNetInfo(subset)
        return tuple(info.index_to_description(i) for i in range(info.num_classes()))
    except (AttributeError, AssertionError, KeyError, OSError, ValueError):
        return None  # an older timm, without the names
