"""Read a local folder that Hugging Face's ``save_pretrained`` wrote; download nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv.converters import torchvision_operators
from edgecv.converters.callables import file_sha256
from edgecv.converters.image_processor import pixel_hints
from edgecv.converters.quiet import quiet
from edgecv.errors import DependencyMissingError, SourceError

if TYPE_CHECKING:
    from torch import nn

NO_PROCESSOR = "no preprocessor_config.json: pixels are not described"
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")


def read_json(path: Path, where: str) -> dict[str, Any]:
    """Read one of the folder's JSON files.

    Raises:
        SourceError: it is not there, or holds no object.
    """
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


def transformers_class(name: str, where: str) -> Any:
    """Import a class of transformers.

    Raises:
        DependencyMissingError: transformers is not installed, or cannot be imported.
    """
    try:
        with quiet():
            torchvision_operators.declare_missing()
            import transformers

            return getattr(transformers, name)
    except (ImportError, RuntimeError) as error:
        raise DependencyMissingError(
            f"transformers cannot be imported: {error}",
            where=where,
            remedy="pip install 'edgecv[convert]'",
        ) from None


def load_model(folder: Path, class_name: str, where: str) -> nn.Module:
    """Load a model with all of its weights; no code of the folder is run.

    Args:
        folder: with config.json and safetensors.
        class_name: of transformers, such as ``AutoModel``.
        where: how errors name the source.

    Raises:
        SourceError: weights are missing, or transformers cannot open it.
        DependencyMissingError: transformers is not installed.
    """
    factory = transformers_class(class_name, where)
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


def processor_hints(folder: Path, where: str) -> tuple[dict[str, Any], tuple[int, int] | None]:
    """Read how pixels are prepared, as `edgecv.converters.image_processor.pixel_hints` returns it.

    Both are empty where the folder has no image processor.
    """
    path = next((folder / name for name in _PROCESSORS if (folder / name).is_file()), None)
    settings = {} if path is None else read_json(path, where)
    return pixel_hints(settings.get("image_processor", settings))


def used_files(folder: Path) -> dict[str, str]:
    """Hash what decides the model: name -> sha256 of its settings and weights."""
    used = [path for path in sorted(folder.iterdir()) if path.suffix in (".json", ".safetensors")]
    return {path.name: file_sha256(path) for path in used}


def config_size(config: dict[str, Any]) -> tuple[int, int] | None:
    """Return (height, width) of the images that a configuration is for, if it says so."""
    size = config.get("image_size")
    if isinstance(size, list) and len(size) == 2:
        return int(size[0]), int(size[1])
    return (size, size) if isinstance(size, int) else None
