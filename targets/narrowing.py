"""Leave out of a conversion what makes no sense on a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgecv.engines import load_backend
from edgecv.errors import UsageError
from edgecv.record import Record
from edgecv.targets.target import Target
from edgecv.targets.wheels import table


class Narrowed(Record, kw_only=True):
    """What is left.

    Attributes:
        formats: to make.
        excluded: pairs of a format that is left and a precision that is not tried in it.
        notes: one for each thing that is left out, with the reason.
    """

    formats: tuple[str, ...]
    excluded: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def narrow(
    target: Target,
    backends: Mapping[str, str],
    formats: Sequence[str],
    precisions: Sequence[str],
) -> Narrowed:
    """Leave out formats whose engine does not run there, and precisions that are no use.

    A precision that may run wrongly is kept: the golden results tell on the board. So is fp32,
    with which everything is compared.

    Args:
        target: that is converted for.
        backends: format -> the backend that runs it.
        formats: that were asked for.
        precisions: that were asked for.

    Raises:
        UsageError: nothing is left.
    """
    kept, excluded, notes = [], [], []
    for name in formats:
        reason = _engine_misfit(target, backends[name])
        if reason is not None:
            notes.append(f"{name} is left out for {target.name}: {reason}")
            continue
        kept.append(name)
        for precision in precisions:
            why = _useless(target, backends[name], precision)
            if why is not None:
                excluded.append((name, precision))
                notes.append(f"{name} in {precision} is left out for {target.name}: {why}")
    if not kept or len(excluded) == len(kept) * len(precisions):
        raise UsageError(
            "nothing that was asked for makes sense there",
            where=f"--target {target.name}",
            got="; ".join(notes),
        )
    return Narrowed(formats=tuple(kept), excluded=tuple(excluded), notes=tuple(notes))


def _engine_misfit(target: Target, backend: str) -> str | None:
    engine = target.engines.get(backend)
    if engine is None:
        return f"nothing is known about {backend} there"
    if not engine.runs:
        return engine.reason
    project = load_backend(backend).ENGINE
    wheel, reason = table().find(project, target.cpu.architecture, target.systems[0])
    return None if wheel else f"{project} cannot be installed: {reason}"


def _useless(target: Target, backend: str, precision: str) -> str | None:
    if precision == "fp32":
        return None
    for item in target.avoid:
        if item.cause != "risky" and item.concerns(precision, backend):
            return item.why
    return load_backend(backend).lacks(precision, target.cpu.features)
