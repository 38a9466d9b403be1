"""A local CLIP or SigLIP folder and a list of classes: ``zero-shot:FOLDER?labels=FILE``.

``&template=a photo of a {}.`` may be given, and repeated; without it the family's own template is
used. The text tower stays behind: see `edgecv.converters.zero_shot`.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

from edgecv import npy
from edgecv.converters.hugging_face import NO_PROCESSOR, config_size, processor_hints, used_files
from edgecv.converters.module_source import module_source, require_torch
from edgecv.converters.source import Request, Source
from edgecv.converters.zero_shot import OUTPUT, open_zero_shot
from edgecv.errors import SourceError
from edgecv.hints import Hints

RANK = 5
PREFIX = "zero-shot:"


def accepts(request: Request) -> bool:
    """Accept texts that begin with ``zero-shot:``."""
    return isinstance(request.spec, str) and request.spec.startswith(PREFIX)


def open_source(request: Request) -> Source:
    """Compute the vectors of the classes; the module is the image tower.

    Raises:
        SourceError: no such folder or file, or another kind of model.
        UsageError: labels or templates that cannot be meant.
        DependencyMissingError: transformers is not installed.
    """
    text, _, query = request.text.removeprefix(PREFIX).partition("?")
    options = parse_qs(query, keep_blank_values=True)
    if not text or set(options) - {"labels", "template"} or len(options.get("labels", ())) != 1:
        raise SourceError(
            "cannot be read",
            where=request.text,
            expected="zero-shot:FOLDER?labels=FILE, or with &template=TEXT behind",
        )
    require_torch(request.text)
    folder = Path(text).expanduser()
    labels = _lines(Path(options["labels"][0]).expanduser(), request.text)
    found = open_zero_shot(folder, labels, options.get("template", ()), where=request.text)
    pixels, size = processor_hints(folder, request.text)
    name = folder.resolve().name
    family = found.config["model_type"]
    source = module_source(
        found.tower,
        request,
        kind="zero_shot",
        name=name,
        hints=Hints(
            origin="Hugging Face config",
            name=name,
            task="classify",
            head="zero_shot",
            head_options=found.head_options,
            labels=found.labels,
            description=f"image tower of {family}, classes described in words",
            **pixels,
        ),
        input_hw=size or config_size(found.config.get("vision_config") or {}),
        output_names=(OUTPUT,),
        files=used_files(folder),
        notes=() if pixels else (NO_PROCESSOR,),
    )
    # The classes decide the results as much as the tower does.
    digest = hashlib.sha256(f"{source.digest} {found.labels}".encode())
    digest.update(npy.encode(found.head_options["class_embeddings"]))
    return replace(source, digest=digest.hexdigest())


def _lines(path: Path, where: str) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SourceError(
            f"the labels cannot be read: {reason}", where=f"{where}: {path}"
        ) from None
    return [line for line in lines if line.strip()]
