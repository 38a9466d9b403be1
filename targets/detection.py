"""Recognise a machine by what its kernel says about it.

Sources: the device tree (``model``, ``compatible``) as the kernel shows it in
``/proc/device-tree``; ``/proc/cpuinfo``, whose last lines on a Raspberry Pi repeat the model, which
helps in a container that hides the device tree; ``/proc/meminfo``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from edgecv.record import Record
from edgecv.targets.target import Target


class Facts(Record, kw_only=True):
    """What was read; None or () where it cannot be.

    Attributes:
        architecture: ``aarch64``, ``x86_64``, or ``arm`` for a 32-bit system.
        model: the board's name.
        compatible: of the device tree's root, the most exact first.
        cpu_model: the CPU's name; Arm has none.
        cpu_parts: Arm's part numbers of the cores, each once.
        flags: CPU flags.
        memory_mib: of the whole machine, rounded up to whole MiB.
    """

    architecture: str | None = None
    model: str | None = None
    compatible: tuple[str, ...] = ()
    cpu_model: str | None = None
    cpu_parts: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    memory_mib: int | None = None


class Detection(Record, kw_only=True):
    """Which target a machine is.

    Attributes:
        target: its name, or None.
        why: what spoke for it, or why there is none.
        others: target -> why it is not this one.
        facts: what was read.
    """

    target: str | None
    why: tuple[str, ...]
    others: dict[str, str]
    facts: Facts


def read_facts(root: str = "/") -> Facts:
    """Read what the kernel says.

    Args:
        root: of the file system with ``proc``.
    """
    proc = Path(root) / "proc"
    said: dict[str, list[str]] = {}
    for line in _text(proc / "cpuinfo").splitlines():
        key, _, value = line.partition(":")
        said.setdefault(key.strip(), []).append(value.strip())
    flags = (said.get("flags") or said.get("Features") or [""])[0].split()
    tree = proc / "device-tree"
    model = _text(tree / "model").strip("\0\n ") or (said.get("Model") or [""])[0]
    compatible = _text(tree / "compatible").split("\0")
    memory = None
    for line in _text(proc / "meminfo").splitlines():
        words = line.split()
        if words[:1] == ["MemTotal:"] and len(words) > 1 and words[1].isdigit():
            memory = -(-int(words[1]) // 1024)
    return Facts(
        architecture=_architecture(said, flags),
        model=model or None,
        compatible=tuple(item.strip() for item in compatible if item.strip()),
        cpu_model=next(iter(said.get("model name", ())), None),
        cpu_parts=tuple(dict.fromkeys(said.get("CPU part", ()))),
        flags=tuple(flags),
        memory_mib=memory,
    )


def _architecture(said: dict[str, list[str]], flags: list[str]) -> str | None:
    """Tell the architecture from cpuinfo: ``lm`` is x86's long mode, ``asimd`` is 64-bit Arm's."""
    if "flags" in said:
        return "x86_64" if "lm" in flags else None
    if "CPU part" in said or "Features" in said:
        return "aarch64" if "asimd" in flags else "arm"
    return None


def choose(facts: Facts, targets: Sequence[Target]) -> Detection:
    """Choose the target whose probe fits, the most telling probe first.

    A named board goes before a named CPU, that before CPU flags, and those before the architecture.
    """
    fitting: list[tuple[int, Target, tuple[str, ...]]] = []
    others: dict[str, str] = {}
    for target in targets:
        reason = _misfit(target, facts)
        if reason is not None:
            others[target.name] = reason
            continue
        evidence = list(_evidence(target, facts))
        fitting.append((max(rank for rank, _ in evidence), target, tuple(t for _, t in evidence)))
    fitting.sort(key=lambda item: -item[0])
    if not fitting:
        return Detection(target=None, why=(_none(facts),), others=others, facts=facts)
    _, best, why = fitting[0]
    others |= {target.name: f"{best.name} says more" for _, target, _ in fitting[1:]}
    return Detection(target=best.name, why=why, others=others, facts=facts)


def _none(facts: Facts) -> str:
    if facts.architecture == "arm":
        return "a 32-bit system: the engines have wheels for 64-bit Arm only"
    if facts.architecture is None:
        return "/proc/cpuinfo does not tell the architecture"
    return "no target's probe fits this machine"


def _misfit(target: Target, facts: Facts) -> str | None:
    """Say what speaks against a target; None where nothing does."""
    probe = target.probe
    if facts.architecture != target.cpu.architecture:
        return f"it is {target.cpu.architecture}, this is {facts.architecture or 'unknown'}"
    named = probe.compatible or probe.models
    if named and not (_compatible(target, facts) or _model(target, facts)):
        return f"the board is {facts.model or (facts.compatible or ('not named',))[0]}"
    if probe.cpu_parts and facts.cpu_parts and not set(probe.cpu_parts) & set(facts.cpu_parts):
        return f"CPU part {', '.join(facts.cpu_parts)} instead of {', '.join(probe.cpu_parts)}"
    if probe.cpu_models and not _cpu_model(target, facts):
        return f"the CPU is {facts.cpu_model or 'not named'}"
    flags = set(facts.flags)
    if probe.flags_any and not flags & set(probe.flags_any):
        return f"the CPU has none of {', '.join(probe.flags_any)}"
    extra = sorted(flags & set(probe.flags_none))
    if extra:
        return f"the CPU has {', '.join(extra)}"
    if probe.virtual is not None and probe.virtual != ("hypervisor" in flags):
        return "not a virtual machine" if probe.virtual else "a virtual machine"
    # A board that says its name is believed: larger ones are sold later, and emulators show the
    # memory of their host.
    if not named and _excess(target, facts):
        return f"{facts.memory_mib} MiB of memory, and it has at most {probe.memory_max_mib}"
    return None


def _excess(target: Target, facts: Facts) -> bool:
    """Tell whether there is more memory than such a machine is known to have."""
    limit = target.probe.memory_max_mib
    return limit is not None and facts.memory_mib is not None and facts.memory_mib > limit


def _compatible(target: Target, facts: Facts) -> str | None:
    return next((item for item in facts.compatible if item in target.probe.compatible), None)


def _model(target: Target, facts: Facts) -> str | None:
    """Return the board's name if it fits and no device tree says better."""
    if facts.compatible or facts.model is None:
        return None
    exact = facts.model.partition(" Rev ")[0]
    return facts.model if exact in target.probe.models else None


def _cpu_model(target: Target, facts: Facts) -> str | None:
    words = (facts.cpu_model or "").split()
    return next((part for part in target.probe.cpu_models if part in words), None)


def _evidence(target: Target, facts: Facts) -> Iterator[tuple[int, str]]:
    """Yield (how telling, what) speaks for a target that fits."""
    probe = target.probe
    if found := _compatible(target, facts):
        yield 4, f"the device tree is compatible with {found}"
    elif found := _model(target, facts):
        yield 4, f"the board says {found}"
    if parts := sorted(set(probe.cpu_parts) & set(facts.cpu_parts)):
        yield 1, f"CPU part {', '.join(parts)}"
    if found := _cpu_model(target, facts):
        yield 3, f"the CPU is {facts.cpu_model}"
    if flags := sorted(set(probe.flags_any) & set(facts.flags)):
        yield 2, f"the CPU has {', '.join(flags)}"
    if probe.virtual:
        yield 1, "the CPU says that it is a virtual machine's"
    if probe.memory_max_mib is not None and facts.memory_mib is not None:
        known = f", though none with more than {probe.memory_max_mib} is known"
        yield 0, f"{facts.memory_mib} MiB of memory{known if _excess(target, facts) else ''}"
    yield 0, f"the architecture is {target.cpu.architecture}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
