"""Make a bundle from model files that need no conversion."""

from __future__ import annotations

import datetime
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import edgecv
from edgecv import head_arrays
from edgecv.bundle_writer import file_entry, write_bundle
from edgecv.card import Card, Provenance
from edgecv.describe import Description, describe, tensors
from edgecv.engines import backends_for, choose_backend, find_model_file, gather, load_backend
from edgecv.errors import ModelLoadError, UsageError
from edgecv.hints import Hints
from edgecv.interchange import unpacked
from edgecv.manifest import Golden, Manifest, Tolerance, Variant
from edgecv.model import Model
from edgecv.model_info import model_info
from edgecv.record import Record
from edgecv.types import ModelSource, Session, SessionOptions

# Between CPUs the same float file differs through cv2.resize (1 level on x86 against Arm);
# reduced precisions also differ by the instructions that the CPU has.
_TOLERANCE = {"fp32": Tolerance(score=0.02, box_px=2.0)}
_REDUCED = Tolerance(score=0.1, box_px=6.0, area=0.2)


@dataclass
class _Draft:
    """One variant in the making."""

    variant_id: str
    path: Path
    backend: str
    source: ModelSource
    session: Session
    found: Description
    members: dict[str, Path] = field(default_factory=dict)


def pack(
    paths: Sequence[Path],
    output: Path,
    *,
    hints: Hints | None = None,
    backends: Sequence[str] = (),
    golden: Sequence[Path] = (),
    version: str = "1",
    trusted: bool = False,
    overwrite: bool = False,
    note: Callable[[str], None] | None = None,
) -> Path:
    """Write a bundle from model files; several files make several variants.

    Each file becomes a variant for every installed backend that opens it; variants share the file.
    Where one backend opens a file and another refuses it, the bundle has no variant for that other,
    and `note` is told. Every variant must be fed and read in the same way.

    Args:
        paths: model files, folders with one model, or other tools' archives of one, in the order of
            preference.
        output: ``NAME.edgecv`` for an archive, any other name for a folder.
        hints: what the user says about the models.
        backends: only for these; () means every installed one.
        golden: images whose results are recorded, for every variant.
        version: of the model, the maker's own.
        trusted: do not open the files in a child process first.
        overwrite: replace an existing archive.
        note: called with what the user should know.

    Returns:
        The path written.

    Raises:
        UsageError: files that cannot be told, or that contradict each other.
        BackendError: an engine that was asked for is missing, or refuses a file; or all refuse it.
    """
    with unpacked([Path(path) for path in paths]) as files:
        said = hints or Hints(origin="option")
        return _pack(files, output, said, backends, golden, version, trusted, overwrite, note)


def _pack(
    paths: Sequence[Path],
    output: Path,
    said: Hints,
    backends: Sequence[str],
    golden: Sequence[Path],
    version: str,
    trusted: bool,
    overwrite: bool,
    note: Callable[[str], None] | None,
) -> Path:
    drafts: list[_Draft] = []
    try:
        for path in map(find_model_file, paths):
            refusals: dict[str, ModelLoadError] = {}
            fitting = _backends(path, backends)
            for backend in fitting:
                taken = [draft.variant_id for draft in drafts]
                try:
                    drafts.append(_open(path, backend, said, trusted, taken))
                except ModelLoadError as refusal:
                    refusals[backend] = refusal
                    if backends or len(refusals) == len(fitting):
                        raise next(iter(refusals.values())) from None
            for backend, error in refusals.items():
                if note:
                    note(f"no variant for {backend}: {error.message}")
        if not drafts:
            raise UsageError("no model file was given")
        first = drafts[0].found
        for draft in drafts[1:]:
            _check_same(drafts[0], draft)
        contents = _place(drafts)
        samples, images = _replay(drafts, golden)
        manifest = Manifest(
            name=said.name or first.hints.name or drafts[0].path.stem,
            version=version,
            task=first.task,
            labels=first.labels,
            input=first.input,
            head=head_arrays.store(first.head, contents),
            variants=tuple(_variant(draft) for draft in drafts),
            golden=tuple(samples),
            provenance=_provenance(drafts),
            card=Card(description=first.hints.description or "", license=first.hints.license or ""),
        )
    finally:
        for draft in drafts:
            draft.session.close()
    return write_bundle(output, manifest, {**contents, **images}, overwrite=overwrite)


def _backends(path: Path, wanted: Sequence[str]) -> list[str]:
    fitting = backends_for(path)
    if wanted:
        chosen = [choose_backend(path, name) for name in wanted if name in fitting]
        return chosen or [choose_backend(path, wanted[0])]
    # The first of them, or the error which says that there is none.
    choose_backend(path)
    return [name for name in fitting if load_backend(name).version()]


def _open(path: Path, backend: str, hints: Hints, trusted: bool, taken: Sequence[str]) -> _Draft:
    if not trusted:
        from edgecv.probe import probe

        probe(path, backend)
    source = gather(path, backend)
    session = load_backend(backend).open_session(source, SessionOptions())
    try:
        found = describe(path, session.inputs, session.outputs, session.metadata, hints)
    except BaseException:
        session.close()
        raise
    stem = f"{backend}-{session.info.precision or 'fp32'}"
    names = [stem, *(f"{stem}-{i}" for i in range(2, len(taken) + 3))]
    free = next(name for name in names if name not in taken)
    return _Draft(free, path, backend, source, session, found)


def _check_same(first: _Draft, other: _Draft) -> None:
    """Check that two variants are fed and read alike; a bundle describes it once."""
    for name in ("task", "labels", "input", "head"):
        a, b = getattr(first.found, name), getattr(other.found, name)
        if a != b:
            ours, theirs = _differing(a, b)
            raise UsageError(
                f"the model files differ in their {name}",
                where=f"{other.path} ({other.backend})",
                expected=f"as in {first.path.name} ({first.backend}): {ours}",
                got=theirs,
                remedy="say it with the options, or pack them into two bundles",
            )


def _differing(a: Any, b: Any) -> tuple[str, str]:
    """Word two unequal values; of two records only the fields in which they differ."""
    if not isinstance(a, Record):
        return reprlib.repr(a), reprlib.repr(b)
    pairs = [(name, x, getattr(b, name)) for name, x in a.to_fields().items()]
    unequal = [(name, x, y) for name, x, y in pairs if x != y]
    return (
        ", ".join(f"{name} {x}" for name, x, _ in unequal),
        ", ".join(f"{name} {y}" for name, _, y in unequal),
    )


def _place(drafts: Sequence[_Draft]) -> dict[str, Path | bytes]:
    """Give every file a member name; one file that serves two variants is stored once."""
    placed: dict[str, Path | bytes] = {}
    # Names that differ in case only are one file on some systems.
    taken: dict[str, tuple[str, Path]] = {}
    for draft in drafts:
        folder = "models"
        files = {path.name: path for path in draft.source.parts.values() if isinstance(path, Path)}
        if any(taken.get(item[0].casefold(), item) != item for item in files.items()):
            folder = f"models/{draft.variant_id}"
        else:
            taken |= {name.casefold(): (name, path) for name, path in files.items()}
        draft.members = {f"{folder}/{name}": path for name, path in files.items()}
        placed |= draft.members
    return placed


def _variant(draft: _Draft) -> Variant:
    session = draft.session
    return Variant(
        id=draft.variant_id,
        backend=draft.backend,
        precision=session.info.precision or "fp32",
        files=tuple(file_entry(member, path) for member, path in draft.members.items()),
        inputs=tensors(session.inputs),
        outputs=tensors(session.outputs),
        layout=draft.found.layout,
    )


def _replay(
    drafts: Sequence[_Draft], images: Sequence[Path]
) -> tuple[list[Golden], dict[str, bytes]]:
    """Run every variant on the golden images and record what it says."""
    from edgecv import codecs

    models = {draft.variant_id: _model(draft) for draft in drafts}
    samples: list[Golden] = []
    members: dict[str, bytes] = {}
    for i, path in enumerate(images):
        pixels = codecs.read(path)
        member = f"golden/{i:03d}{path.suffix.lower()}"
        members[member] = path.read_bytes()
        samples.append(
            Golden(
                image=file_entry(member, members[member]),
                expected={
                    name: model(pixels).value.to_json(model.labels)
                    for name, model in models.items()
                },
                tolerances={
                    name: _TOLERANCE.get(model.info.precision or "fp32", _REDUCED)
                    for name, model in models.items()
                },
            )
        )
    return samples, members


def _model(draft: _Draft) -> Model:
    info = partial(
        model_info,
        model_bytes=draft.source.size_bytes,
        name=draft.path.stem,
        task=draft.found.task,
        head=draft.found.head.name,
        told_by=draft.found.told_by,
        variant=draft.variant_id,
        chosen_by="caller",
        skipped=(),
        input=draft.found.input,
    )
    found = draft.found
    return Model(draft.session, found.head, found.labels, found.input, info, layout=found.layout)


def _provenance(drafts: Sequence[_Draft]) -> Provenance:
    sources = {
        member: file_entry(member, path).sha256
        for draft in drafts
        for member, path in draft.members.items()
    }
    engines = [load_backend(name) for name in sorted({draft.backend for draft in drafts})]
    versions = {engine.ENGINE: engine.version() or "" for engine in engines}
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return Provenance(
        created=now.isoformat(),
        tool=f"edgecv {edgecv.__version__}",
        sources=sources,
        versions=versions,
    )
