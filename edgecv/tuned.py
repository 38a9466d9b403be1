"""What ``edgecv tune`` found to be best: one small file for each bundle, CPU and number of CPUs.

They lie in ``$XDG_DATA_HOME/edgecv/tuned``, by default ``~/.local/share/edgecv/tuned``, in a folder
for each bundle, named after its digest. A record counts only for the bytes, the CPU, the CPUs that
the process may use and the version of the engine that it was measured with.
"""

# Annotations are not postponed here: `edgecv.schema` reads them.

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from edgecv import host
from edgecv.errors import EdgecvError, UsageError
from edgecv.manifest import Manifest
from edgecv.plan import Plan
from edgecv.record import Record, field
from edgecv.schema import Rule

SCHEMA: Literal["edgecv.tuned/2"] = "edgecv.tuned/2"
MOST_BATCH = 64
"""Images of one inference; a record with more is not one of ours."""
_MOST_BYTES = 100_000
_UNHEEDED = "a tuned choice is not heeded"
_AGAIN = "run edgecv tune again"


class Choice(Record, kw_only=True):
    """The best way to run a bundle on a CPU.

    Attributes:
        schema: `SCHEMA`.
        model: name of the bundle.
        digest: `edgecv.bundle.Bundle.digest` of what was measured.
        cpu: `identity` of the CPU and of the CPUs that the process may use.
        goal: ``latency`` of one image after the other, or ``throughput`` of many.
        variant: that runs.
        engine: its backend and version.
        plan: how the engine is opened; and with throughput as the goal, what `edgecv.predict_all`
            does with it. With latency as the goal it has one worker and one stream.
        affinity: CPUs to which the process was pinned when this was measured; () is not at all. A
            record with some is found by a process that is pinned to them, and pins nothing itself.
        measured: numbers of the choice, such as ``p50_ms``.
        created: UTC, ISO 8601.
    """

    schema: Literal["edgecv.tuned/2"]
    model: str
    digest: str
    cpu: str
    goal: Literal["latency", "throughput"]
    variant: str
    engine: str
    plan: Plan
    affinity: tuple[Annotated[int, Rule(ge=0)], ...] = ()
    measured: dict[str, Any] = field(default_factory=dict)
    created: str = ""


def folder() -> str:
    """Return where records lie."""
    return os.path.join(host.data_folder(), "tuned")  # noqa: PTH118


def identity(cpus: Collection[int] | None = None) -> str:
    """Name this CPU by what decides speeds: model, instruction sets, and which CPUs may be used.

    How many may be used is a matter of affinity and of control groups; where a CPU has cores of two
    kinds, it is also said how many of them are fast, for four fast cores are not four slow ones.

    Args:
        cpus: numbers of those that a process may run on; None takes this process's own.
    """
    allowed = host.allowed_cpus() if cpus is None else cpus
    fast = host.fast_cpus()
    kinds = f", {len(set(fast) & set(allowed))} of {len(allowed)} fast" if fast else ""
    return f"{_machine()}; {host.usable_cpus(among=allowed)} CPUs{kinds}"


def _machine() -> str:
    """Name the CPU alone, whatever of it may be used: how every `identity` of it begins."""
    return f"{host.cpu_model() or 'unknown'}; {','.join(host.cpu_features() or ())}"


def engine_of(backend: str) -> str:
    """Name a backend with the version of its engine, as records do."""
    from edgecv.engines import load_backend

    return f"{backend} {load_backend(backend).version()}"


def find(digest: str, manifest: Manifest) -> tuple[Choice | None, str]:
    """Find the record of a bundle for this CPU and the CPUs that this process may use.

    A record that is broken, absurd or out of date is not an error: it is passed over, with a note,
    and so is one for another number of CPUs.

    Args:
        digest: of the bundle.
        manifest: of the bundle.

    Returns:
        The record and "", or None and a note; the note is "" where there is no record at all.
    """
    home = os.path.join(folder(), digest)  # noqa: PTH118
    if not os.path.isdir(home):  # noqa: PTH112
        return None, ""
    here = identity()
    place = _place(digest, here)
    try:
        if not place.is_file():
            return None, _elsewhere(Path(home), here)
        choice = read(place)
        reason = _unfit(choice, digest, here, manifest)
    except EdgecvError as error:
        return None, f"{_UNHEEDED}: {error.message}; {_AGAIN}"
    except OSError as error:
        return None, f"{_UNHEEDED}: {place}: {error.strerror}; {_AGAIN}"
    return (None, f"{_UNHEEDED}: {place}: {reason}; {_AGAIN}") if reason else (choice, "")


def _unfit(choice: Choice, digest: str, here: str, manifest: Manifest) -> str:
    """Say why a record cannot be used here; "" where it can."""
    from edgecv.engines import why_not

    if (choice.digest, choice.cpu) != (digest, here):
        return f"it is of another CPU or other bytes: {choice.cpu}"
    variant = next((v for v in manifest.variants if v.id == choice.variant), None)
    if variant is None:
        return f"the bundle has no such variant: {choice.variant!r}"
    reason = why_not(variant.backend, variant.precision)
    if reason is not None:
        return f"{variant.id}: {reason}"
    now = engine_of(variant.backend)
    if choice.engine != now:
        return f"it was measured with {choice.engine}, this is {now}"
    plan, cpus = choice.plan, host.usable_cpus()
    if plan.threads is None:
        return "plan.threads: expected a number"
    # What no search tries cannot have been found by one.
    for name, value, most in (
        ("threads of all streams", plan.threads * plan.streams, cpus),
        ("workers", plan.workers, cpus + 1),
        ("batch", plan.batch, MOST_BATCH),
    ):
        if value > most:
            return f"plan: {name}: expected at most {most}; got {value}"
    return ""


def _elsewhere(home: Path, here: str) -> str:
    """Say that a bundle was tuned, though not for what may be used here; "" where it was not."""
    found = {choice.cpu for choice in _records(home).values()}
    if not found:
        return ""
    return f"tuned for {' and for '.join(sorted(found))}; this is {here}: run edgecv tune here too"


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

    place = _place(choice.digest, choice.cpu)
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


def forget(digest: str) -> int:
    """Remove the records of a bundle for this CPU, for any number of CPUs; return how many."""
    home = Path(folder()) / digest
    machine = _machine()
    mine = {path for path, c in _records(home).items() if c.cpu.startswith(f"{machine}; ")}
    there = [path for path in {*mine, _place(digest, identity())} if path.is_file()]
    for path in there:
        path.unlink()
    with suppress(OSError):  # those of other CPUs stay
        home.rmdir()
    return len(there)


def forget_pinned(digest: str, cpus: Collection[int]) -> bool:
    """Remove what was found for processes pinned to some CPUs; tell whether there was anything.

    A record that was made under such pinning, and not for it, stays.
    """
    place = _place(digest, identity(cpus))
    choice = _records(place.parent).get(place)
    if choice is None or not choice.affinity:
        return False
    place.unlink(missing_ok=True)
    return True


def _records(home: Path) -> dict[Path, Choice]:
    """Read the records of a bundle for all CPUs; what is none is left out."""
    found = {}
    for path in home.glob("*.json"):
        with suppress(EdgecvError, OSError):
            if path.is_file():
                found[path] = read(path)
    return found


def _place(digest: str, cpu: str) -> Path:
    import hashlib

    name = hashlib.sha256(cpu.encode()).hexdigest()[:16]
    return Path(folder()) / digest / f"{name}.json"
