"""Exchange models with other tools: open what they ship, and tell them what a bundle knows."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgecv import plugins
from edgecv.bundle import Bundle, open_bundle
from edgecv.engines import load_backend
from edgecv.errors import UsageError
from edgecv.foreign import Export
from edgecv.head import load_head
from edgecv.hints import Hints
from edgecv.manifest import HeadSpec, Input, Variant
from edgecv.record import Record
from edgecv.types import ModelSource, SessionOptions
from edgecv.variants import choose_variant

_PIXELS = ("resize", "rounding", "crop_ratio", "pad_value", "interpolation", "color", "mean", "std")
# These go with some ways of resizing only.
_ONLY_WITH = {
    "rounding": ("letterbox", "letterbox-topleft"),
    "pad_value": ("letterbox", "letterbox-topleft"),
    "crop_ratio": ("crop",),
}


class Exported(Record):
    """What was written for another tool.

    Attributes:
        path: the model file or archive to be handed on.
        files: everything that was written.
        variant: the bundle's variant that it is.
        lost: what the format does not say, or says differently; read back from what was written.
    """

    path: Path
    files: tuple[Path, ...]
    variant: str
    lost: tuple[str, ...]


@contextmanager
def unpacked(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Put model files in the place of other tools' archives, as long as the block lasts.

    Raises:
        ModelLoadError: an archive is broken, or holds no model that runs here.
    """
    with tempfile.TemporaryDirectory(prefix="edgecv-") as scratch:
        found = []
        for i, path in enumerate(paths):
            module = _archive_format(path)
            if module is not None and path.is_file():
                folder = Path(scratch) / str(i)
                folder.mkdir()
                path = module.unpack(path, folder)
            found.append(path)
        yield found


def _archive_format(path: Path) -> Any:
    for name in plugins.names("foreign"):
        module = plugins.load("foreign", name)
        if path.name.lower().endswith(getattr(module, "ARCHIVES", ())) and hasattr(
            module, "unpack"
        ):
            return module
    return None


def writers() -> tuple[str, ...]:
    """List the formats that can be written."""
    return tuple(
        n for n in plugins.names("foreign") if hasattr(plugins.load("foreign", n), "write")
    )


def export_metadata(
    path: Path, format: str, output: Path, *, variant: str | None = None
) -> Exported:
    """Write one variant of a bundle with the metadata that another tool reads.

    What was written is read back and compared with the manifest.

    Args:
        path: a bundle.
        format: a plug-in in ``foreign/`` that writes.
        output: a folder that does not exist yet.
        variant: id of the variant; None takes the first whose file the format can describe.

    Raises:
        UsageError: no such format, no fitting variant, something that the format has no word for,
            or a folder that exists.
        BundleError: the bundle is broken.
    """
    if format not in writers():
        raise UsageError(
            "this format cannot be written",
            where="format",
            expected=f"one of {', '.join(writers())}",
            got=repr(format),
        )
    if output.exists():
        raise UsageError("exists already", where=str(output), remedy="name a new folder")
    module = plugins.load("foreign", format)
    draft = output.with_name(f".{output.name}-{os.urandom(6).hex()}")
    try:
        with open_bundle(path) as bundle:
            main, chosen, lost = _write_first(bundle, module, variant, draft)
        names = sorted(item.relative_to(draft) for item in draft.rglob("*") if item.is_file())
        draft.replace(output)
    except OSError as error:
        raise UsageError(
            f"cannot be written: {error.strerror or error}", where=str(output)
        ) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    files = tuple(output / name for name in names)
    return Exported(output / main.relative_to(draft), files, chosen.id, lost)


def _write_first(
    bundle: Bundle, module: Any, wanted: str | None, draft: Path
) -> tuple[Path, Variant, tuple[str, ...]]:
    """Write the first variant that the format can describe: main file, variant, what is lost."""
    manifest = bundle.manifest
    suffixes: tuple[str, ...] = module.SUFFIXES
    variants = manifest.variants if wanted is None else (choose_variant(manifest, wanted)[0],)
    fitting = [v for v in variants if v.files[0].path.lower().endswith(suffixes)]
    if not fitting:
        raise UsageError(
            f"no variant of a kind that {module.ORIGIN} describes",
            where=manifest.name,
            expected=f"a file ending in {' or '.join(suffixes)}",
            got=", ".join(v.files[0].path.rsplit("/", 1)[-1] for v in variants),
        )
    wrong: dict[str, str] = {}
    for variant in fitting:
        export = _export(bundle, variant)
        draft.mkdir(parents=True)
        main: Path = module.write(export, draft)
        said = _read_back(module, variant, main)
        contradictions = ", ".join(_contradictions(export, said))
        if not contradictions:
            return main, variant, tuple(_unsaid(export, said))
        wrong[variant.id] = contradictions
        shutil.rmtree(draft)
    raise UsageError(
        f"{module.ORIGIN} would have images prepared in another way than the model needs",
        where=manifest.name,
        got="; ".join(f"{name}: {why}" for name, why in wrong.items()),
        remedy="export a variant without pixel work in its graph, or to another format",
    )


def _export(bundle: Bundle, variant: Variant) -> Export:
    manifest = bundle.manifest
    options = load_head(manifest.head.name).Options(**manifest.head.options).to_dict()
    options.pop("input_hw", None)
    return Export(
        name=manifest.name,
        version=manifest.version,
        description=manifest.card.description,
        license=manifest.card.license,
        task=manifest.task,
        labels=manifest.labels,
        input=effective_input(manifest.input, variant),
        head=HeadSpec(name=manifest.head.name, options=options),
        layout=variant.layout,
        precision=variant.precision,
        inputs=tuple(tensor.to_spec() for tensor in variant.inputs),
        outputs=tuple(tensor.to_spec() for tensor in variant.outputs),
        files={e.path.rsplit("/", 1)[-1]: bundle.read(e) for e in variant.files},
    )


def effective_input(spec: Input, variant: Variant) -> Input:
    """Say how pixels are prepared outside of a variant's graph."""
    if "color" in variant.in_graph:
        spec = spec.replace(color="bgr", mean=spec.mean[::-1], std=spec.std[::-1])
    if "normalize" in variant.in_graph:
        spec = spec.replace(mean=(0.0,) * 3, std=(1.0,) * 3)
    return spec


def _read_back(module: Any, variant: Variant, main: Path) -> Hints:
    """Read what was written as a stranger would."""
    with unpacked([main]) as (path,):
        backend = load_backend(variant.backend)
        source = ModelSource.from_paths(path, *backend.companions(path))
        session = backend.open_session(source, SessionOptions(threads=1))
        try:
            said: Hints | None = module.read(path, session.metadata)
        finally:
            session.close()
    return said or Hints()


def _pixels(spec: Input) -> dict[str, Any]:
    """Return what matters about an input, but its size, which the file itself fixes."""
    return {
        key: getattr(spec, key)
        for key in _PIXELS
        if spec.resize in _ONLY_WITH.get(key, (spec.resize,))
    }


def _contradictions(export: Export, said: Hints) -> Iterator[str]:
    """List what would make another tool feed the model wrongly."""
    for key, value in _pixels(export.input).items():
        got = getattr(said, key)
        if got is None:
            continue
        if key in ("mean", "std"):
            got = tuple(got) * (3 if len(got) == 1 else 1)
            if len(got) == 3 and max(abs(a - b) for a, b in zip(value, got, strict=True)) <= 1e-3:
                continue
        if got != value:
            yield f"{key} {_short(value)} became {_short(got)}"


def _unsaid(export: Export, said: Hints) -> Iterator[str]:
    """List what a reader of the written file will not know."""
    if export.labels and said.labels != export.labels:
        yield "labels" if said.labels is None else f"labels, which became {_short(said.labels)}"
    if said.head != export.head.name:
        yield f"head {export.head.name}"
    for key, value in _pixels(export.input).items():
        usual = Input.record_defaults.get(key) if key in ("rounding", "interpolation") else None
        if getattr(said, key) is None and value != usual:
            yield f"{key} {_short(value)}"
    if said.head == export.head.name:
        yield from _changed_options(export.head, said)


def _changed_options(head: HeadSpec, said: Hints) -> Iterator[str]:
    """List options that would have another value."""
    kind = load_head(head.name).Options
    defaults, given = kind().to_dict(), dict(said.head_options or {})
    for key, value in head.options.items():
        told = given.get(key, defaults[key])
        if told != value and not (isinstance(told, float) and abs(told - value) < 1e-6):
            yield f"option {key} {_short(value)}, which became {_short(told)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
