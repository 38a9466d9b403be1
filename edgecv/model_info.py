"""What runs, and how it was chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgecv.manifest import Input
from edgecv.record import Record
from edgecv.types import Session

if TYPE_CHECKING:
    from edgecv.plan import Plan


class ModelInfo(Record):
    """What runs, and how it was chosen.

    Attributes:
        name: of the model.
        task: such as ``detect``.
        head: which head decodes.
        told_by: who named it: ``manifest``, ``option``, a kind of metadata, or ``shapes``.
        variant: id of the variant that runs; for a bare file the backend's name.
        chosen_by: why this variant: ``caller``, ``tuned`` (see `edgecv.tuned`), or ``order`` of the
            manifest.
        skipped: variants that come earlier in the manifest but cannot run here, with the reason.
        backend: its plug-in.
        engine: name and version of the library.
        device: what computes.
        precision: read back from the engine; None where it does not tell.
        threads: of one inference.
        streams: inferences that the engine works on at the same time; None where each thread that
            calls computes by itself.
        plan: that `edgecv.predict_all` uses without trying others, where `edgecv tune` recorded one
            for throughput; else None.
        input: how pixels are prepared.
        inputs: the engine's input tensors, as text.
        outputs: the engine's output tensors, as text.
        model_bytes: size of the variant's files.
        fingerprint: sha256 over what decides the results but for the head: the model files (of a
            bundle those of all variants) and how pixels are prepared.
        notes: facts that a user should see.
    """

    name: str
    task: str
    head: str
    told_by: str
    variant: str
    chosen_by: str
    skipped: tuple[str, ...]
    backend: str
    engine: str
    device: str
    precision: str | None
    threads: int
    input: Input
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    model_bytes: int
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    streams: int | None = 1
    plan: Plan | None = None

    def to_json(self) -> dict[str, Any]:
        """Make the object that ``edgecv info --json`` prints."""
        return self.to_dict()


def model_info(
    session: Session,
    *,
    model_bytes: int,
    notes: tuple[str, ...] = (),
    fingerprint: Callable[[], str] = str,
    **facts: Any,
) -> ModelInfo:
    """Join what the caller knows with what the session reads back."""
    read_back = session.info
    return ModelInfo(
        **facts,
        backend=read_back.backend,
        engine=read_back.engine,
        device=read_back.device,
        precision=read_back.precision,
        threads=read_back.threads,
        streams=read_back.streams,
        inputs=tuple(map(str, session.inputs)),
        outputs=tuple(map(str, session.outputs)),
        model_bytes=model_bytes,
        notes=(*notes, *read_back.notes),
        fingerprint=fingerprint(),
    )
