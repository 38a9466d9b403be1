"""What a target's file says: a board or a machine, what runs on it, what it draws, how it is told.

Strict, like the manifest: an unknown field, a wrong type, or a number that is missing without a
reason is an error that names the field.
"""

# Annotations are not postponed here: `edgecv.schema` reads them.

from typing import Annotated, Any, Literal

from edgecv import schema
from edgecv.card import Identifier
from edgecv.errors import TargetError
from edgecv.record import Record, field
from edgecv.schema import Rule
from edgecv.types import Precision

Text = Annotated[str, Rule(min_length=1)]
Version = Annotated[str, Rule(pattern=r"\d+\.\d+")]
Positive = Annotated[float, Rule(gt=0)]
Celsius = Annotated[float, Rule(gt=0, le=150)]
Mebibytes = Annotated[int, Rule(ge=1)]
Architecture = Literal["aarch64", "x86_64"]


class Cpu(Record, kw_only=True):
    """The processor.

    Attributes:
        name: as its maker names it.
        architecture: as wheels name it.
        cores: that the system sees; null where the kind of machine has no fixed number.
        mhz: highest clock without overclocking; null where it is not fixed.
        features: instruction sets that every such machine has, in the words of
            `edgecv.host.cpu_features`.
        features_sometimes: that some of them have, too; nothing is planned with these.
    """

    name: Text
    architecture: Architecture
    cores: Annotated[int, Rule(ge=1)] | None = None
    mhz: Annotated[int, Rule(ge=1)] | None = None
    features: tuple[str, ...]
    features_sometimes: tuple[str, ...] = ()


class System(Record, kw_only=True):
    """An operating system that people run there.

    Attributes:
        os: its name and release.
        python: the version that comes with it, such as ``3.11``.
        glibc: version of the C library, which decides what wheels can be installed.
    """

    os: Text
    python: Version
    glibc: Version


class Engine(Record, kw_only=True):
    """What is known about an inference engine there.

    Attributes:
        runs: it can be installed and does run.
        reason: why it does not; only then.
        traps: what to look out for.
    """

    runs: bool
    reason: str | None = None
    traps: tuple[Text, ...] = ()


class Advice(Record, kw_only=True):
    """A precision that is worth trying.

    Attributes:
        precision: of the arithmetic.
        backends: with these engines; () means any.
        why: one sentence.
    """

    precision: Precision
    backends: tuple[Identifier, ...] = ()
    why: Text


class Avoid(Record, kw_only=True):
    """A precision that makes no sense there.

    Attributes:
        precision: of the arithmetic.
        backends: with these engines; () means any.
        cause: ``impossible`` is refused, ``slower`` runs without a gain, ``risky`` may run wrongly.
        why: one sentence.
    """

    precision: Precision
    backends: tuple[Identifier, ...] = ()
    cause: Literal["impossible", "slower", "risky"]
    why: Text

    def concerns(self, precision: str, backend: str) -> bool:
        """Tell whether a file of this precision, run by this engine, is meant."""
        return precision == self.precision and backend in (self.backends or (backend,))


class Watts(Record, kw_only=True):
    """Power at the board's supply input.

    Attributes:
        watts: the figure; null where nobody trustworthy measured it.
        uncertainty: half width, in watts, of the range that the sources leave open.
        basis: how the figure follows from the sources.
        sources: names or addresses.
        reason: why there is no figure; only then.
    """

    watts: Positive | None = None
    uncertainty: Positive | None = None
    basis: str | None = None
    sources: tuple[Text, ...] = ()
    reason: str | None = None


class Power(Record, kw_only=True):
    """What it draws.

    Attributes:
        idle: booted, nothing to do.
        load: every core busy.
    """

    idle: Watts
    load: Watts


class Thermal(Record, kw_only=True):
    """When heat slows it down.

    Attributes:
        throttle_start_c: degrees Celsius from which the clock is lowered.
        limit_c: degrees Celsius that are not exceeded.
        note: what else to know.
        sources: names or addresses.
        reason: why `throttle_start_c` is null; only then.
    """

    throttle_start_c: Celsius | None = None
    limit_c: Celsius | None = None
    note: str | None = None
    sources: tuple[Text, ...] = ()
    reason: str | None = None


class Probe(Record, kw_only=True):
    """How such a machine is told from others; what is given must hold, one of each list.

    Attributes:
        compatible: entries of the device tree's ``compatible``.
        models: names of the board without its revision, asked where ``compatible`` cannot be read.
        cpu_parts: Arm's part numbers of the cores.
        cpu_models: parts of the CPU's name.
        flags_any: CPU flags, one of which is there.
        flags_none: CPU flags, none of which is there.
        virtual: the CPU says that it belongs to a virtual machine.
        memory_max_mib: no such machine is known to have more; only a remark where it has a name.
    """

    compatible: tuple[Text, ...] = ()
    models: tuple[Text, ...] = ()
    cpu_parts: tuple[Annotated[str, Rule(pattern="0x[0-9a-f]{3}")], ...] = ()
    cpu_models: tuple[Text, ...] = ()
    flags_any: tuple[Text, ...] = ()
    flags_none: tuple[Text, ...] = ()
    virtual: bool | None = None
    memory_max_mib: Mebibytes | None = None


class Target(Record, kw_only=True):
    """A board, or a kind of machine.

    Attributes:
        name: that of its file, and of the command line.
        title: for people.
        cpu: the processor.
        memory_mib: sizes that are sold, smallest first; MiB.
        systems: the usual one first.
        engines: backend -> what is known about it there.
        precisions: worth trying, the best bet first.
        avoid: precisions that make no sense.
        power: what it draws.
        thermal: when heat slows it down.
        traps: what to look out for, whatever the engine.
        probe: how it is recognised.
        sources: of what is said about hardware and systems.
    """

    name: Identifier
    title: Text
    cpu: Cpu
    memory_mib: Annotated[tuple[Mebibytes, ...], Rule(min_length=1)]
    systems: Annotated[tuple[System, ...], Rule(min_length=1)]
    engines: dict[str, Engine]
    precisions: Annotated[tuple[Advice, ...], Rule(min_length=1)]
    avoid: tuple[Avoid, ...] = ()
    power: Power
    thermal: Thermal
    traps: tuple[Text, ...] = ()
    probe: Probe = field(default_factory=Probe)
    sources: Annotated[tuple[Text, ...], Rule(min_length=1)]


def validate(raw: dict[str, Any], name: str) -> Target:
    """Make a record of what a target's file holds.

    Args:
        raw: the parsed TOML.
        name: of the file, without its suffix.

    Raises:
        TargetError: the first fault found, with the path of its field.
    """
    where = f"{name}.toml"
    target = schema.validate(Target, raw, where, TargetError)
    if target.name != name:
        raise TargetError("", where=f"{where}: name", expected=repr(name), got=repr(target.name))
    for state in ("idle", "load"):
        _check_watts(getattr(target.power, state), f"{where}: power.{state}")
    thermal = target.thermal
    _check_told(
        thermal.throttle_start_c,
        thermal.sources,
        thermal.reason,
        f"{where}: thermal",
    )
    for backend, engine in target.engines.items():
        if engine.runs == bool(engine.reason):
            raise TargetError(
                "a reason belongs to an engine that does not run, and to no other",
                where=f"{where}: engines.{backend}.reason",
                got=repr(engine.reason),
            )
    meant = [item.backends for item in target.precisions] + [item.backends for item in target.avoid]
    for i, backends in enumerate(meant):
        for backend in backends:
            if backend not in target.engines:
                raise TargetError(
                    "nothing is said about this engine",
                    where=f"{where}: precisions and avoid, entry {i}: backends",
                    expected=f"one of {', '.join(target.engines)}",
                    got=repr(backend),
                )
    if list(target.memory_mib) != sorted(set(target.memory_mib)):
        raise TargetError("expected ascending sizes", where=f"{where}: memory_mib")
    return target


def _check_watts(watts: Watts, where: str) -> None:
    _check_told(watts.watts, watts.sources, watts.reason, where)
    if (watts.watts is None) != (watts.uncertainty is None):
        raise TargetError(
            "a figure has an uncertainty, and nothing else has", where=f"{where}.uncertainty"
        )
    if watts.watts is not None and not watts.basis:
        raise TargetError("how does it follow from the sources?", where=f"{where}.basis")


def _check_told(figure: float | None, sources: tuple[str, ...], reason: Any, where: str) -> None:
    """Check that a figure has a source, and that a missing one has a reason."""
    if figure is not None and not sources:
        raise TargetError("a figure needs a source", where=f"{where}.sources")
    if (figure is None) != bool(reason):
        raise TargetError(
            "a reason belongs to a figure that is missing, and to no other",
            where=f"{where}.reason",
            got=repr(reason),
        )
