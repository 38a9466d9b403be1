"""What ``edgecv tune`` found to be best: one small file for each bundle and CPU.

They lie in ``$XDG_DATA_HOME/edgecv/tuned``, by default ``~/.local/share/edgecv/tuned``, in a folder
for each bundle, named after its digest. A record counts only for the bytes, the CPU and the version
of the engine that it was measured with.
"""

# Annotations are not postponed here: `edgecv.schema` reads them.

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from edgecv.errors import EdgecvError, UsageError
from edgecv.record import Record, field
from edgecv.schema import Rule

SCHEMA: Literal["edgecv.tuned/1"] = "edgecv.tuned/1"
_MOST_BYTES = 100_000


class Choice(Record, kw_only=True):
    """The best way to run a bundle on a CPU.

    Attributes:
        schema: `SCHEMA`.
        model: name of the bundle.
        digest: `edgecv.bundle.Bundle.digest` of what was measured.
        cpu: `identity` of the CPU.
        goal: ``latency`` of one image after the other, or ``throughput`` of many.
        variant: that runs.
        engine: its backend and version.
        threads: of one inference; None is edgecv's own default.
        plan: of `edgecv.predict_all`, in words, where throughput was the goal.
        affinity: CPUs to which the process should be pinned; () is all. Never done by itself.
        measured: numbers of the choice, such as ``p50_ms``.
        created: UTC, ISO 8601.
    """

    schema: Literal["edgecv.tuned/1"]
    model: str
    digest: str
    cpu: str
    goal: Literal["latency", "throughput"]
    variant: str
    engine: str
    threads: Annotated[int, Rule(ge=1)] | None = None
    plan: str | None = None
    affinity: tuple[int, ...] = ()
    measured: dict[str, Any] = field(default_factory=dict)
    created: str = ""


def folder() -> str:
    """Return where records lie."""
    base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")  # noqa: PTH111
    return os.path.join(base, "edgecv", "tuned")  # noqa: PTH118


def identity() -> str:
    """Name this CPU by what decides speeds: model, instruction sets, and how many may be used."""
    from edgecv import host

    features = ",".join(host.cpu_features() or ())
    return f"{host.cpu_model() or 'unknown'}; {features}; {host.usable_cpus()} CPUs"


def engine_of(backend: str) -> str:
    """Name a backend with the version of its engine, as records do."""
    from edgecv.engines import load_backend

    return f"{backend} {load_backend(backend).version()}"


def find(digest: str, manifest: Any) -> tuple[Choice | None, str]:
    """Find the record of a bundle for this CPU.

    A record that is broken or out of date is not an error: it is passed over, with a note.

    Args:
        digest: of the bundle.
        manifest: of the bundle.

    Returns:
        The record and "", or None and a note; the note is "" where there is no record at all.
    """
    if not os.path.isdir(os.path.join(folder(), digest)):  # noqa: PTH112, PTH118
        return None, ""
    place = _place(digest)
    if not place.is_file():
        return None, ""
    try:
        choice = read(place)
        backend = manifest.variant(choice.variant).backend
        now = engine_of(backend)
    except (EdgecvError, OSError) as error:
        return None, f"a tuned choice is not heeded: {error}"
    if (choice.digest, choice.cpu) != (digest, identity()):
        return None, "a tuned choice is not heeded: it is of another CPU or other bytes"
    if choice.engine != now:
        return None, (
            f"a tuned choice is not heeded: it was measured with {choice.engine}, this is {now}; "
            "run edgecv tune again"
        )
    return choice, ""


def read(path: Path) -> Choice:
    """Read a record.

    Raises:
        UsageError: it is none.
    """
    from edgecv import schema

    with path.open("rb") as file:
        data = file.read(_MOST_BYTES)
    return schema.validate(
        Choice, schema.parse_object(data, str(path), UsageError), str(path), UsageError
    )


def write(choice: Choice) -> Path:
    """Keep a record, in place of an older one; return where.

    Raises:
        UsageError: it cannot be written.
    """
    from edgecv import schema

    place = _place(choice.digest)
    draft = place.with_name(f"{place.name}.{os.getpid()}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(schema.to_json(choice))
        draft.replace(place)
    except OSError as error:
        raise UsageError(
            f"the choice cannot be kept: {error.strerror}",
            where=str(place),
            remedy="set XDG_DATA_HOME to a folder that can be written",
        ) from None
    return place


def forget(digest: str) -> bool:
    """Remove the record of a bundle for this CPU; tell whether there was one."""
    place = _place(digest)
    there = place.exists()
    place.unlink(missing_ok=True)
    return there


def _place(digest: str) -> Path:
    import hashlib

    name = hashlib.sha256(identity().encode()).hexdigest()[:16]
    return Path(folder()) / digest / f"{name}.json"
