"""A local folder with a Hugging Face model: ``hf:FOLDER``, holding config.json and its weights.

Image classification, detection of the RT-DETR and D-FINE kind, semantic segmentation of the
SegFormer kind, depth of the Depth Anything kind, and embeddings (DINOv2 and other models with a
pooled output). Nothing is downloaded and no code of the folder is run; how pixels are prepared is
read from its preprocessor_config.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv import plugins
from edgecv.converters.hugging_face import (
    NO_PROCESSOR,
    config_size,
    load_model,
    processor_hints,
    read_json,
    used_files,
)
from edgecv.converters.module_source import module_source, require_torch
from edgecv.converters.source import Request, Source
from edgecv.errors import SourceError
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
    "Model": ("AutoModel", "embed", ("pooler_output",)),
}
_QUERY_DETECTORS = ("rt_detr", "rt_detr_v2", "d_fine", "deimv2")


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
    config = read_json(folder / "config.json", request.text)
    architecture, kind = _kind(config, request.text)
    class_name, task, outputs = _KINDS[kind]
    require_torch(request.text)
    model = load_model(folder, class_name, request.text)
    pixels, size = processor_hints(folder, request.text)
    name = folder.resolve().name
    queries = config.get("model_type") in _QUERY_DETECTORS
    notes = () if pixels else (NO_PROCESSOR,)
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
        input_hw=size or config_size(config),
        output_names=outputs,
        files=used_files(folder),
        notes=notes,
    )


def _kind(config: dict[str, Any], where: str) -> tuple[str, str]:
    listed = config.get("architectures") or [""]
    architecture = str(listed[0])
    for ending in _KINDS:
        # Of bare models those with channels of their own take an image, and an image alone.
        if architecture.endswith(ending) and (ending != "Model" or "num_channels" in config):
            return architecture, ending
    raise SourceError(
        "cannot be converted",
        where=f"{where}: config.json: architectures",
        expected="a class whose name ends with " + ", ".join(_KINDS),
        got=repr(architecture),
        remedy="its image tower can, with classes: zero-shot:FOLDER?labels=FILE"
        if "text_config" in config
        else None,
    )


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
    if task == "embed":
        return {"head": "embed"}
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
