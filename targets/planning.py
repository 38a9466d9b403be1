"""Say without the board what a bundle will do there.

Pure reading: the manifest, the target's file and the table of wheels.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

import edgecv
from edgecv import plugins
from edgecv.engines import load_backend
from edgecv.errors import UsageError
from edgecv.manifest import Manifest, Variant
from edgecv.record import Record
from edgecv.targets.memory import Estimate, estimate
from edgecv.targets.target import System, Target
from edgecv.targets.wheels import Table, table

DOT_PRODUCTS = ("asimddp", "i8mm", "avx512_vnni", "avx_vnni", "amx_int8")
"""CPU features, each of which multiplies and adds bytes in one instruction."""
MEGABYTE = 1e6


class VariantPlan(Record, kw_only=True):
    """What becomes of one variant.

    Attributes:
        id: of the variant.
        backend: that runs it.
        precision: that it is meant to run in.
        runs: it will.
        reasons: why it will not.
        warnings: what speaks against it, though it runs.
        model_bytes: of its files.
        memory: what it takes.
    """

    id: str
    backend: str
    precision: str
    runs: bool
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    model_bytes: int
    memory: Estimate


class Package(Record, kw_only=True):
    """A distribution that is installed there.

    Attributes:
        project: its name.
        part: ``base``, or the extra of edgecv that adds it.
        version: of the wheel in the table; null where there is none.
        megabytes: to download, 10^6 bytes; null where it is not known.
        reason: why a figure is null.
        here: the version in this environment, or null.
    """

    project: str
    part: str
    version: str | None
    megabytes: float | None
    reason: str | None
    here: str | None


class Deployment(Record, kw_only=True):
    """What will happen.

    Attributes:
        target: its name.
        title: its title.
        system: that is planned for.
        model: name of the model.
        variants: in the bundle's order.
        chosen: the variant that edgecv takes with every engine installed; null where none runs.
        chosen_base: the one that it takes with the base install alone.
        packages: base install first, then each extra that the bundle's engines need.
        megabytes: part -> megabytes to download of the packages whose size is known.
        wheels_checked: the day on which the wheels were looked up, ISO 8601.
        traps: of the board and of the engines that run.
        notes: what else to know.
    """

    target: str
    title: str
    system: System
    model: str
    variants: tuple[VariantPlan, ...]
    chosen: str | None
    chosen_base: str | None
    packages: tuple[Package, ...]
    megabytes: dict[str, float]
    wheels_checked: str
    traps: tuple[str, ...]
    notes: tuple[str, ...]


def find_system(target: Target, text: str | None = None) -> System:
    """Find the system whose name holds a text, whatever the case; None takes the usual one.

    Raises:
        UsageError: there is none.
    """
    for system in target.systems:
        if text is None or text.casefold() in system.os.casefold():
            return system
    raise UsageError(
        "no such system",
        where=target.name,
        expected=f"a part of one of: {'; '.join(system.os for system in target.systems)}",
        got=repr(text),
    )


def plan(manifest: Manifest, target: Target, system: System | None = None) -> Deployment:
    """Plan a bundle for a target.

    Args:
        manifest: of the bundle.
        target: where it is to run.
        system: one of the target's; None takes the usual one.
    """
    system = system or target.systems[0]
    wheels = table()
    extras = _extras(manifest)
    packages = [_own()]
    for part, projects in {"base": wheels.base, **_chosen_parts(wheels, extras)}.items():
        packages += [_package(name, part, wheels, target, system) for name in projects]
    missing = _missing(packages)
    variants = tuple(_variant(manifest, variant, target, missing) for variant in manifest.variants)
    running = [variant for variant in variants if variant.runs]
    base = [variant for variant in running if extras.get(variant.backend) is None]
    sums = {
        part: round(sum(p.megabytes or 0.0 for p in packages if p.part == part), 1)
        for part in dict.fromkeys(package.part for package in packages)
    }
    engines = dict.fromkeys(variant.backend for variant in running)
    traps = [
        f"{name}: {trap}"
        for name in engines
        if name in target.engines
        for trap in target.engines[name].traps
    ]
    return Deployment(
        target=target.name,
        title=target.title,
        system=system,
        model=manifest.name,
        variants=variants,
        chosen=running[0].id if running else None,
        chosen_base=base[0].id if base else None,
        packages=tuple(packages),
        megabytes=sums,
        wheels_checked=wheels.checked,
        traps=(*target.traps, *traps),
        notes=_notes(target),
    )


def _notes(target: Target) -> tuple[str, ...]:
    notes = ["speeds are not predicted: `edgecv bench` on the board measures them"]
    advice = []
    for item in target.precisions:
        where = f" ({', '.join(item.backends)})" if item.backends else ""
        advice.append(f"{item.precision}{where}")
    notes.append(f"worth trying there, in this order: {', '.join(advice)}")
    return tuple(notes)


def _extras(manifest: Manifest) -> dict[str, str | None]:
    """Map the bundle's backends that this edgecv knows to the extras that install them."""
    known = plugins.names("backends")
    return {
        variant.backend: load_backend(variant.backend).EXTRA
        for variant in manifest.variants
        if variant.backend in known
    }


def _chosen_parts(wheels: Table, extras: Mapping[str, str | None]) -> dict[str, tuple[str, ...]]:
    wanted = dict.fromkeys(extra for extra in extras.values() if extra)
    return {extra: wheels.extras.get(extra, ()) for extra in wanted}


def _own() -> Package:
    return Package(
        project="edgecv",
        part="base",
        version=edgecv.__version__,
        megabytes=None,
        reason="its wheel is built from the source, so the table does not have it",
        here=edgecv.__version__,
    )


def _package(project: str, part: str, wheels: Table, target: Target, system: System) -> Package:
    wheel, reason = wheels.find(project, target.cpu.architecture, system)
    try:
        here = metadata.version(project)
    except metadata.PackageNotFoundError:
        here = None
    return Package(
        project=project,
        part=part,
        version=wheel.version if wheel else None,
        megabytes=round(wheel.bytes / MEGABYTE, 2) if wheel else None,
        reason=reason or None,
        here=here,
    )


def _missing(packages: list[Package]) -> dict[str, str]:
    """Map each part that cannot be installed to the reason."""
    return {
        package.part: f"{package.project} cannot be installed: {package.reason}"
        for package in reversed(packages)
        if package.version is None
    }


def _variant(
    manifest: Manifest, variant: Variant, target: Target, missing: Mapping[str, str]
) -> VariantPlan:
    memory = estimate(manifest, variant)
    reasons = list(_refusals(variant, target, missing))
    warnings = list(_warnings(variant, target))
    if memory.peak_mib is not None:
        smallest, largest = target.memory_mib[0], target.memory_mib[-1]
        if memory.peak_mib > largest:
            reasons.append(f"needs about {memory.peak_mib} MiB; there are at most {largest}")
        elif memory.peak_mib > smallest:
            warnings.append(f"needs about {memory.peak_mib} MiB: not for those with {smallest}")
        elif memory.peak_mib > smallest / 2:
            warnings.append(f"needs about {memory.peak_mib} MiB, more than half of {smallest}")
    return VariantPlan(
        id=variant.id,
        backend=variant.backend,
        precision=variant.precision,
        runs=not reasons,
        reasons=tuple(reasons),
        warnings=tuple(warnings),
        model_bytes=sum(entry.bytes for entry in variant.files),
        memory=memory,
    )


def _refusals(variant: Variant, target: Target, missing: Mapping[str, str]) -> list[str]:
    """List why a variant cannot run; empty where it can."""
    name, found = variant.backend, []
    if "base" in missing:
        found.append(missing["base"])
    if name not in plugins.names("backends"):
        return [*found, f"this edgecv has no backend {name}"]
    backend = load_backend(name)
    engine = target.engines.get(name)
    if backend.ENGINE == "edgecv":
        return found  # it computes nothing, so it needs nothing
    if engine is None:
        return [*found, f"nothing is known about {backend.ENGINE} there"]
    if not engine.runs:
        found.append(f"{backend.ENGINE} does not run there: {engine.reason}")
    elif backend.EXTRA is not None and backend.EXTRA in missing:
        found.append(missing[backend.EXTRA])
    lacking = backend.lacks(variant.precision, target.cpu.features)
    impossible = [
        item.why
        for item in target.avoid
        if item.cause == "impossible" and item.concerns(variant.precision, name)
    ]
    if impossible:
        found += impossible
    elif lacking:
        found.append(lacking.replace("this CPU", "the CPU"))
    return found


def _warnings(variant: Variant, target: Target) -> list[str]:
    """List what speaks against a variant that runs."""
    found = [
        f"{item.cause}: {item.why}"
        for item in target.avoid
        if item.cause != "impossible" and item.concerns(variant.precision, variant.backend)
    ]
    if variant.precision == "int8" and not set(DOT_PRODUCTS) & set(target.cpu.features):
        found.append("the CPU has no 8-bit dot product: int8 may be no faster than fp32")
    rest = variant.engine_options.get("INFERENCE_PRECISION_HINT")
    if rest == "bf16" and load_backend(variant.backend).lacks("bf16", target.cpu.features):
        found.append("the layers that it leaves in bf16 run in fp32 there")
    return found
