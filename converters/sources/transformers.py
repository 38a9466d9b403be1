"""A local folder with a Hugging Face model: ``hf:FOLDER``, holding config.json and its weights.

Image classification, detection of the RT-DETR and D-FINE kind, semantic segmentation of the
SegFormer kind, and depth of the Depth Anything kind. Nothing is downloaded and no code of the
folder is run; how pixels are prepared is read from its preprocessor_config.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv import plugins
from edgecv.converters import torchvision_operators
from edgecv.converters.callables import file_sha256
from edgecv.converters.image_processor import pixel_hints
from edgecv.converters.module_source import module_source, require_torch
from edgecv.converters.quiet import quiet
from edgecv.converters.source import Request, Source
from edgecv.errors import DependencyMissingError, SourceError
from edgecv.hints import Hints

if TYPE_CHECKING:
    from torch import Tensor, nn

RANK = 5
PREFIX = "hf:"
_KINDS = {
    "ForImageClassification": ("AutoModelForImageClassification", "classify", ("logits",)),
    "ForObjectDetection": ("AutoModelForObjectDetection", "detect", ("logits", "pred_boxes")),
    "ForSemanticSegmentation": ("AutoModelForSemanticSegmentation", "semantic", ("logits",)),
    "ForDepthEstimation": ("AutoModelForDepthEstimation", "depth", ("predicted_depth",)),
}
_QUERY_DETECTORS = ("rt_detr", "rt_detr_v2", "d_fine", "deimv2")
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")


def accepts(request: Request) -> bool:
    """Accept texts that begin with ``hf:``."""
    return isinstance(request.spec, str) and request.spec.startswith(PREFIX)


def open_source(request: Request) -> Source:
    """Open the folder; the module takes one image and returns logits, and boxes of a detector.

    Raises:
        SourceError: no such folder, another kind of model, or weights that are not complete.
        DependencyMissingError: transformers is not installed.
    """
    folder = Path(request.text.removeprefix(PREFIX)).expanduser()
    config = _json(folder / "config.json", request.text)
    architecture, kind = _kind(config, request.text)
    class_name, task, outputs = _KINDS[kind]
    require_torch(request.text)
    model = _load(folder, class_name, request.text)
    processor = next((folder / n for n in _PROCESSORS if (folder / n).is_file()), None)
    settings = {} if processor is None else _json(processor, request.text)
    pixels, size = pixel_hints(settings.get("image_processor", settings))
    used = [path for path in sorted(folder.iterdir()) if path.suffix in (".json", ".safetensors")]
    name = folder.resolve().name
    queries = config.get("model_type") in _QUERY_DETECTORS
    notes = () if processor else ("no preprocessor_config.json: pixels are not described",)
    return module_source(
        _images_only(model, outputs, queries),
        request,
        kind="transformers",
        name=name,
        hints=Hints(
            origin="Hugging Face config",
            name=name,
            task=task,
            labels=_labels(config),
            description=f"{architecture} ({config.get('model_type')})",
            **_head(task, queries, config),
            **pixels,
        ),
        input_hw=size or _config_size(config),
        output_names=outputs,
        files={path.name: file_sha256(path) for path in used},
        notes=notes,
    )


def _json(path: Path, where: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SourceError(
            f"there is no {path.name} in this folder",
            where=where,
            expected="a folder that save_pretrained wrote",
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{path.name} cannot be read: {error}", where=where) from None
    if not isinstance(data, dict):
        raise SourceError(f"{path.name} is no JSON object", where=where)
    return data


def _kind(config: dict[str, Any], where: str) -> tuple[str, str]:
    listed = config.get("architectures") or [""]
    architecture = str(listed[0])
    for ending in _KINDS:
        if architecture.endswith(ending):
            return architecture, ending
    raise SourceError(
        "cannot be converted",
        where=f"{where}: config.json: architectures",
        expected="a class whose name ends with " + ", ".join(_KINDS),
        got=repr(architecture),
    )


def _load(folder: Path, class_name: str, where: str) -> nn.Module:
    try:
        with quiet():
            torchvision_operators.declare_missing()
            import transformers

            factory = getattr(transformers, class_name)
    except (ImportError, RuntimeError) as error:
        raise DependencyMissingError(
            f"transformers cannot be imported: {error}",
            where=where,
            remedy="pip install 'edgecv[convert]'",
        ) from None
    if not list(folder.glob("*.safetensors")):
        raise SourceError(
            "no weights in this folder",
            where=where,
            expected="model.safetensors",
            remedy="save the model anew with save_pretrained: it writes safetensors",
        )
    try:
        with quiet():
            model, report = factory.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise SourceError(
            f"transformers cannot open it: {type(error).__name__}: {text}", where=where
        ) from error
    lacking = [
        key for key in sorted(report["missing_keys"]) if not key.endswith("num_batches_tracked")
    ]
    if lacking:
        # They would be random.
        raise SourceError(
            "weights are missing",
            where=where,
            got=f"{len(lacking)}: {', '.join(lacking[:8])}{', ...' if len(lacking) > 8 else ''}",
        )
    return model


def _images_only(model: nn.Module, outputs: tuple[str, ...], queries: bool) -> nn.Module:
    """Wrap a model so that it takes an image alone and returns the named tensors."""
    import torch

    class ImageModel(torch.nn.Module):  # type: ignore[misc]  # torch's types are not read
        """Takes [1, C, H, W]; returns the named outputs in order."""

        unordered_rows = queries

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Tensor) -> tuple[Tensor, ...]:
            """Return the named outputs."""
            found = self.model(pixel_values=image)
            return tuple(found[name] for name in outputs)

    return ImageModel()


def _head(task: str, queries: bool, config: dict[str, Any]) -> dict[str, Any]:
    if task == "classify":
        return {"head": "softmax", "head_options": {"logits": True}}
    if task == "semantic":
        return {"head": "semantic", "head_options": {"layout": "NCHW"}}
    if task == "depth":
        # Depth Anything's config says it; of the others these two put out metres.
        metric = config.get("depth_estimation_type") == "metric"
        metric = metric or config.get("model_type") in ("zoedepth", "glpn")
        return {"head": "depth", "head_options": {"kind": "metric" if metric else "inverse"}}
    if queries and "detr" in plugins.names("heads"):
        return {"head": "detr"}
    return {}


def _labels(config: dict[str, Any]) -> tuple[str, ...] | None:
    """Read ``id2label``, whose keys are class ids as text; None where they have gaps."""
    try:
        by_id = {int(key): str(value) for key, value in dict(config["id2label"]).items()}
        return tuple(by_id[i] for i in range(len(by_id))) or None
    except (KeyError, TypeError, ValueError):
        return None


def _config_size(config: dict[str, Any]) -> tuple[int, int] | None:
    size = config.get("image_size")
    if isinstance(size, list) and len(size) == 2:
        return int(size[0]), int(size[1])
    return (size, size) if isinstance(size, int) else None
