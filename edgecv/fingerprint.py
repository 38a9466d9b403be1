"""One number that stands for all that decides a model's results, but for the head."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from edgecv.manifest import Input, Manifest
from edgecv.types import ModelSource


def of(model: ModelSource | Manifest, spec: Input) -> str:
    """Hash the model files and how pixels are prepared, whatever reads the results.

    Args:
        model: the files of a bare model, or a manifest, which knows the hashes of all its variants.
        spec: how pixels are prepared.

    Returns:
        64 hex digits.
    """
    if isinstance(model, Manifest):
        hashes = {entry.sha256 for variant in model.variants for entry in variant.files}
    else:
        hashes = set(map(_file_hash, model.parts.values()))
    said = {"files": sorted(hashes), "input": spec.to_dict()}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _file_hash(part: Path | memoryview) -> str:
    if isinstance(part, memoryview):
        return hashlib.sha256(part).hexdigest()
    with part.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
