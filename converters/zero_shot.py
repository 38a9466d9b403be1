"""Classes described in words, for an image tower that runs without its text tower.

The text tower of a local CLIP or SigLIP folder turns each class name, put into some templates, into
a vector; they are averaged over the templates and become an array of head ``zero_shot``. The image
tower becomes an ONNX file. Nothing is downloaded.

Sources: averaging the vectors of several templates is the "prompt ensembling" of the CLIP paper
(2021, section 3.1.4), ``a photo of a {}.`` its default template; ``This is a photo of {}.`` and
padding to the full length are what SigLIP's model card asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.converters.hugging_face import load_model, read_json, transformers_class
from edgecv.converters.quiet import quiet
from edgecv.errors import SourceError, UsageError
from edgecv.types import Float32

if TYPE_CHECKING:
    from torch import Tensor, nn

TEMPLATES = {"clip": ("a photo of a {}.",), "siglip": ("This is a photo of {}.",)}
TEMPLATES["siglip2"] = TEMPLATES["siglip"]
_BATCH = 64
OUTPUT = "image_embeds"


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """What a folder with two towers and a list of classes come to.

    Attributes:
        tower: takes an image [1, 3, H, W] and returns its vector [1, D].
        labels: class names by class id.
        head_options: of head ``zero_shot``, the vectors of the classes among them.
        config: of the folder.
    """

    tower: nn.Module
    labels: tuple[str, ...]
    head_options: dict[str, Any]
    config: dict[str, Any]


def open_zero_shot(
    folder: Path, labels: Sequence[str], templates: Sequence[str] = (), *, where: str = ""
) -> ZeroShot:
    """Load both towers, and let the text tower say what the classes are.

    Args:
        folder: that ``save_pretrained`` wrote, model and tokenizer.
        labels: class names, each in words that the text tower may know.
        templates: each with ``{}`` at the place of the name; () takes the family's own.
        where: how errors name the source; empty for the folder.

    Raises:
        SourceError: another kind of model, or no tokenizer.
        UsageError: no labels, an empty one, one that occurs twice, or a template without ``{}``.
        DependencyMissingError: transformers is not installed.
    """
    where = where or str(folder)
    config = read_json(folder / "config.json", where)
    family = str(config.get("model_type"))
    if family not in TEMPLATES:
        raise SourceError(
            "not a model with an image tower and a text tower that is known here",
            where=f"{where}: config.json: model_type",
            expected=" or ".join(TEMPLATES),
            got=repr(family),
        )
    labels, templates = _checked(labels, templates or TEMPLATES[family])
    model = load_model(folder, "AutoModel", where).eval()
    tokenizer = _tokenizer(folder, where)
    options: dict[str, Any] = {
        "class_embeddings": class_embeddings(model, tokenizer, labels, templates),
        "logit_scale": float(np.exp(_scalar(model.logit_scale))),
    }
    if family != "clip":
        options |= {"sigmoid": True, "logit_bias": _scalar(model.logit_bias)}
    return ZeroShot(image_tower(model), labels, options, config)


def class_embeddings(
    model: nn.Module, tokenizer: Any, labels: Sequence[str], templates: Sequence[str]
) -> Float32:
    """Compute the vectors of classes with a text tower.

    Args:
        model: CLIP or SigLIP of transformers, in evaluation mode.
        tokenizer: its own.
        labels: class names.
        templates: each with ``{}``; each gives a vector of length 1, and their mean counts.

    Returns:
        (C, D) float32, rows of length 1.
    """
    import torch

    family = model.config.model_type
    # CLIP pads to the longest and masks; SigLIP was trained on texts padded to the full length,
    # without a mask.
    kind = "longest" if family == "clip" else "max_length"
    longest = int(model.config.text_config.max_position_embeddings)
    texts = [template.replace("{}", label) for label in labels for template in templates]
    rows = []
    for start in range(0, len(texts), _BATCH):
        tokens = tokenizer(
            texts[start : start + _BATCH],
            padding=kind,
            truncation=True,
            max_length=longest,
            return_tensors="pt",
        )
        given = {"input_ids": tokens["input_ids"]}
        if family == "clip":
            given["attention_mask"] = tokens["attention_mask"]
        with quiet(), torch.no_grad():
            rows.append(_vectors(model.get_text_features(**given)).double().numpy())
    vectors = _unit(np.concatenate(rows)).reshape(len(labels), len(templates), -1)
    return np.asarray(_unit(vectors.mean(axis=1)), np.float32)


def image_tower(model: nn.Module) -> nn.Module:
    """Wrap a model so that it takes an image alone and returns its vector."""
    import torch

    class ImageTower(torch.nn.Module):  # type: ignore[misc]  # torch's types are not read
        """Takes [1, 3, H, W]; returns [1, D], not scaled."""

        def __init__(self) -> None:
            super().__init__()
            self.vision_model = model.vision_model
            self.projection = getattr(model, "visual_projection", torch.nn.Identity())

        def forward(self, image: Tensor) -> Tensor:
            """Return the vector."""
            pooled = self.vision_model(pixel_values=image).pooler_output
            found: Tensor = self.projection(pooled)
            return found

    return ImageTower().eval()


def _vectors(found: Any) -> Tensor:
    """Take the vectors out of what transformers returns: from 5.0 on they are inside an output."""
    vectors: Tensor = getattr(found, "pooler_output", found)
    return vectors


def _scalar(value: Tensor) -> float:
    return float(value.detach().reshape(-1)[0])


def _unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _checked(
    labels: Sequence[str], templates: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names = [label.strip() for label in labels]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or not all(names) or twice:
        got = "none" if not names else f"{twice[0]!r} twice" if twice else "an empty name"
        raise UsageError("", where="labels", expected="a name for each class, once", got=got)
    for template in templates:
        if "{}" not in template:
            raise UsageError("", where="template", expected="{} in it", got=repr(template))
    return tuple(names), tuple(templates)


def _tokenizer(folder: Path, where: str) -> Any:
    factory = transformers_class("AutoTokenizer", where)
    try:
        with quiet():
            return factory.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise SourceError(
            f"transformers cannot open the tokenizer: {type(error).__name__}: {text}",
            where=where,
            remedy="save it into the same folder with tokenizer.save_pretrained",
        ) from error
