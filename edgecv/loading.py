"""Open a bundle or a bare model file as a `Model`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv import host, plugins
from edgecv.bundle import is_bundle, open_bundle
from edgecv.engines import choose_backend, find_model_file, gather, load_backend
from edgecv.errors import InferenceError, ManifestError, UsageError
from edgecv.manifest import Input, Manifest, Variant
from edgecv.model import Model
from edgecv.types import ModelSource, Session, SessionOptions, TensorSpec
from edgecv.variants import UPGRADE, choose_variant, tuned_choice

if TYPE_CHECKING:
    from edgecv.hints import Hints
    from edgecv.model_info import ModelInfo


def load(
    path: str | os.PathLike[str],
    *,
    variant: str | None = None,
    backend: str | None = None,
    threads: int | None = None,
    streams: int | None = None,
    precision: str | None = None,
    confidence: float | None = None,
    iou: float | None = None,
    max_detections: int | None = None,
    head: str | None = None,
    labels: Sequence[str] | None = None,
    hints: Hints | None = None,
    trusted: bool = False,
    tuned: bool = True,
) -> Model:
    """Open a bundle, or a bare model file, ready to run.

    Args:
        path: a bundle (folder or ``.edgecv``), a model file, or a folder with one model.
        variant: id of the bundle's variant; None takes the one that `edgecv tune` recorded for this
            CPU and these bytes, with its threads, streams and plan, else the first whose engine is
            installed.
        backend: run with this one; in a bundle, the first variant that is for it.
        threads: of one inference; None means the CPUs that this process may use.
        streams: inferences that callers will make at the same time; None means one. Where they are
            set and threads are not, the streams share the CPUs. Where either is set, nothing but
            the variant is taken from what was tuned.
        precision: of float arithmetic; None keeps what the variant records, or fp32.
        confidence: threshold of the head; None keeps its own.
        iou: threshold of suppression; None keeps the head's own.
        max_detections: bound on the results of an image; None keeps the head's own.
        head: for a bare file: the head that decodes it.
        labels: for a bare file: class names by class id.
        hints: for a bare file: everything else that can be said about it, such as how its pixels
            are prepared; it wins over what the file says about itself.
        trusted: open a bare file at once. By default it is first opened in a child process, since
            engines do crash on hostile or broken files.
        tuned: heed what `edgecv tune` recorded, where neither variant nor backend is named.

    Raises:
        UsageError: options that do not fit, or a head that cannot be told.
        BundleError: the bundle is broken, unsafe or altered.
        BackendError: the engine is missing, or refuses the model.
    """
    try:
        where = Path(os.fsdecode(path))
        there = where.exists()
    except (TypeError, ValueError, OSError) as error:
        raise UsageError(f"not a path: {error}", where="path", got=repr(path)[:80]) from None
    free = threads is None and streams is None
    if threads is None and isinstance(streams, int) and streams > 1:
        threads = max(1, host.usable_cpus() // streams)
    options = SessionOptions(threads=threads, streams=1 if streams is None else streams)
    if isinstance(labels, str):
        raise UsageError("", where="labels", expected="a list of names", got=repr(labels)[:80])
    if not there:
        raise UsageError("no such file or folder", where=str(where))
    if is_bundle(where):
        silent = head is None and labels is None and hints is None
        said = () if silent else tuple(_said(head, labels, hints).given())
        if said:
            raise UsageError(
                f"a bundle says itself how it is fed and read: {', '.join(said)}",
                where=str(where),
                remedy="pack the model file anew with these options",
            )
        model = _load_bundle(where, variant, backend, options, precision, tuned, free)
    else:
        if variant is not None:
            raise UsageError("a bare model file has no variants", where=str(where))
        options = options.replace(precision=precision or "fp32")
        told = _said(head, labels, hints)
        model = _load_file(find_model_file(where), backend, options, told, trusted)
    given = {"confidence": confidence, "iou": iou, "max_detections": max_detections}
    try:
        return model.with_options(**given)
    except UsageError:
        model.close()
        raise


def _said(head: str | None, labels: Sequence[str] | None, hints: Hints | None) -> Hints:
    """Join the options with further hints."""
    from edgecv.hints import Hints

    named = None if labels is None else tuple(labels)
    return Hints(origin="option", head=head, labels=named).over(hints)


def _load_file(
    path: Path, backend: str | None, options: SessionOptions, hints: Hints, trusted: bool
) -> Model:
    from edgecv.describe import describe

    name = choose_backend(path, backend)
    source = gather(path, name)
    if not trusted:
        from edgecv.probe import probe

        probe(path, name)
    session = load_backend(name).open_session(source, options)
    try:
        found = describe(path, session.inputs, session.outputs, session.metadata, hints)
        info = partial(
            _tell,
            model_bytes=source.size_bytes,
            name=found.hints.name or path.stem,
            task=found.task,
            head=found.head.name,
            told_by=found.told_by,
            variant=name,
            chosen_by="caller" if backend else "order",
            skipped=(),
            input=found.input,
            notes=found.notes,
            fingerprint=partial(_fingerprint, source, found.input),
        )
        return Model(
            session,
            found.head,
            found.labels,
            found.input,
            info,
            layout=found.layout,
            reopen=partial(_reopen, name, lambda: source, options),
        )
    except BaseException:
        session.close()
        raise


def _load_bundle(
    path: Path,
    variant_id: str | None,
    backend: str | None,
    options: SessionOptions,
    precision: str | None,
    tuned: bool,
    free: bool,
) -> Model:
    """Open a bundle.

    Args:
        path: of the bundle.
        variant_id: the caller's.
        backend: the caller's.
        options: with the caller's threads and streams, or the defaults.
        precision: the caller's.
        tuned: heed what was recorded.
        free: the caller said nothing of threads and streams.
    """
    bundle = open_bundle(path, verify=False)
    try:
        manifest = bundle.manifest
        _check_head(manifest, f"{path}: manifest.json")
        asked = variant_id is not None or backend is not None
        choice, notes = (None, ()) if asked or not tuned else tuned_choice(bundle)
        plan = None
        if choice is not None:
            variant_id = choice.variant
            if free:
                recorded = choice.plan
                options = options.replace(threads=recorded.threads, streams=recorded.streams)
                plan = recorded if choice.goal == "throughput" else None
        variant, skipped = choose_variant(manifest, variant_id, backend)
        options = options.replace(
            precision=precision or variant.precision,
            extra=variant.engine_options,
        )
        source = bundle.source(variant)
        bundle.verify()
        session = load_backend(variant.backend).open_session(source, options)
        try:
            _check_tensors(session, variant, f"{path}: variant {variant.id}")
            head = manifest.head
            if head.arrays:
                from edgecv import head_arrays

                head = head_arrays.read(bundle, session.outputs)
            info = partial(
                _tell,
                model_bytes=source.size_bytes,
                name=manifest.name,
                task=manifest.task,
                head=manifest.head.name,
                told_by="manifest",
                variant=variant.id,
                chosen_by="caller" if asked else "order" if choice is None else "tuned",
                skipped=skipped,
                notes=notes,
                input=manifest.input,
                plan=plan,
                fingerprint=partial(_fingerprint, manifest, manifest.input),
            )
            return Model(
                session,
                head,
                manifest.labels,
                manifest.input,
                info,
                layout=variant.layout,
                in_graph=variant.in_graph,
                bundle=bundle,
                reopen=partial(_reopen, variant.backend, partial(bundle.source, variant), options),
                plan=plan,
            )
        except BaseException:
            session.close()
            raise
    except BaseException:
        bundle.close()
        raise


def _reopen(
    backend: str,
    source: Callable[[], ModelSource],
    options: SessionOptions,
    threads: int,
    streams: int,
) -> Session:
    """Open the same files with the same options but for threads and streams."""
    changed = options.replace(threads=threads, streams=streams)
    return load_backend(backend).open_session(source(), changed)


def _check_head(manifest: Manifest, where: str) -> None:
    """Check that this edgecv has the head which a manifest names, with its options, for its task.

    Raises:
        ManifestError: it has not.
    """
    name, known = manifest.head.name, plugins.names("heads")
    if name not in known:
        raise ManifestError(
            "this edgecv has no such head",
            where=f"{where}: head.name",
            expected=f"one of {', '.join(known)}",
            got=repr(name),
            remedy=UPGRADE,
        )
    from edgecv.head import load_head

    head = load_head(name)
    if manifest.task != head.TASK:
        raise ManifestError(
            f"the head {name} does another task",
            where=f"{where}: task",
            expected=head.TASK,
            got=repr(manifest.task),
        )
    if not manifest.head.options:
        return
    from edgecv.head_check import check_options

    try:
        check_options(head, name, manifest.head.options)
    except UsageError as error:
        raise ManifestError(
            error.what, where=f"{where}: {error.where}", expected=error.expected, got=error.got
        ) from None


def _check_tensors(session: Session, variant: Variant, where: str) -> None:
    """Check that the engine reports the tensors which the manifest records."""
    for kind, recorded, found in (
        ("inputs", variant.inputs, session.inputs),
        ("outputs", variant.outputs, session.outputs),
    ):
        expected = tuple(tensor.to_spec() for tensor in recorded)
        if len(expected) != len(found) or not all(map(_like, expected, found)):
            raise InferenceError(
                "the engine reports other tensors than the manifest",
                where=f"{where}: {kind}",
                expected="; ".join(map(str, expected)),
                got="; ".join(map(str, found)),
            )


def _like(recorded: TensorSpec, found: TensorSpec) -> bool:
    """Tell whether two tensors have one name and dtype, and shapes that can be the same."""
    if (recorded.name, recorded.dtype) != (found.name, found.dtype):
        return False
    pairs = list(zip_longest(recorded.shape, found.shape, fillvalue=-1))
    return all(a == b or None in (a, b) for a, b in pairs)


def _tell(session: Session, **facts: Any) -> ModelInfo:
    from edgecv.model_info import model_info  # late: only `Model.info` asks

    return model_info(session, **facts)


def _fingerprint(model: ModelSource | Manifest, spec: Input) -> str:
    from edgecv import fingerprint  # late: only galleries ask

    return fingerprint.of(model, spec)
