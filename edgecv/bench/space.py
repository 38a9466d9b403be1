"""What can be tried on this machine: variant x threads x streams x CPUs to which one is pinned.

Each variant brings its engine, so engines need no axis of their own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from edgecv import host
from edgecv.head import keeps_batch, load_head
from edgecv.manifest import Manifest, Variant
from edgecv.plan import Plan
from edgecv.record import Record

Goal = Literal["latency", "throughput"]
BATCH = 4
"""Images of one inference, where batches are tried."""
_EVERY = 4
_SOME = (1, 2, 3, 4, 6, 8)


class Candidate(Record, kw_only=True):
    """One way to run a bundle.

    Attributes:
        variant: its id.
        backend: of the variant.
        plan: threads and streams of the engine, and workers that feed it; for the latency of one
            image after the other 1 worker and 1 stream.
        affinity: CPUs that the process is pinned to; () is all.
    """

    variant: str
    backend: str
    plan: Plan
    affinity: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """A name that no other candidate of a search has."""
        plan = self.plan
        said = f"{self.variant} x{plan.threads}"
        if plan.streams > 1:
            said = f"{self.variant} {plan.streams}x{plan.threads}"
        if plan.workers > 1:
            said += f", {plan.workers} workers"
        if plan.batch > 1:
            said += f", batches of {plan.batch}"
        return said + (f" on CPUs {','.join(map(str, self.affinity))}" if self.affinity else "")

    @property
    def threads(self) -> int:
        """All threads of the engine, over its streams."""
        return (self.plan.threads or 1) * self.plan.streams

    @property
    def load(self) -> dict[str, Any]:
        """Keyword arguments of `edgecv.load` that open it."""
        plan = self.plan
        return {"variant": self.variant, "threads": plan.threads, "streams": plan.streams}


def thread_counts(cpus: int | None = None, cores: int | None = None) -> tuple[int, ...]:
    """List the numbers of threads worth trying.

    Every one up to four CPUs; above, where neighbours hardly differ, some: small ones, that of the
    physical cores, and all.

    Args:
        cpus: that may be used; None asks the system.
        cores: physical ones behind them; None asks the system.
    """
    most = host.usable_cpus() if cpus is None else cpus
    if most <= _EVERY:
        return tuple(range(1, most + 1))
    cores = host.physical_cores() if cores is None else cores
    return tuple(n for n in sorted({*_SOME, cores or most, most}) if n <= most)


def plans(goal: Goal, cpus: int, *, batches: bool = False) -> list[Plan]:
    """List how some CPUs can be used, first with all of them in one inference, edgecv's default.

    Args:
        goal: ``latency`` varies the threads; ``throughput`` splits the CPUs into streams of so many
            threads, with one worker more than streams, which decodes while the others wait.
        cpus: that may be used.
        batches: the model takes several images in one inference.
    """
    counts = thread_counts(cpus)[::-1]
    if goal == "latency":
        return [Plan(1, threads) for threads in counts]
    found = []
    for threads in counts:
        streams = max(1, cpus // threads)
        found.append(Plan(streams + 1, threads, streams))
    # Where inference keeps all CPUs busy, one worker more only gets in the way.
    found.append(Plan(cpus, 1, cpus))
    if batches:
        found.append(Plan(cpus, 1, cpus, BATCH))
    return found


def candidates(
    manifest: Manifest, variants: Sequence[str], goal: Goal = "latency", root: Path = Path("/")
) -> list[Candidate]:
    """Lay out the ways to run some variants, edgecv's default of the first variant first.

    The variants take turns in the list, so that a search that must end early has seen all of them.
    Where the process may run on CPUs of two kinds, all ways are there once more, pinned to the fast
    ones; these come last.

    Args:
        manifest: of the bundle.
        variants: ids of those that may be tried.
        goal: what they are tried for.
        root: of the file system with ``sys``.
    """
    mine = host.allowed_cpus()
    fast = tuple(sorted(mine & set(host.fast_cpus(root))))
    pinnable = hasattr(os, "sched_setaffinity") and len(fast) < len(mine)
    found: list[tuple[int, Candidate]] = []
    for variant in manifest.variants:
        if variant.id not in variants:
            continue
        batches = takes_batches(manifest, variant)
        for affinity in ((), fast) if fast and pinnable else ((),):
            cpus = host.usable_cpus(root, among=affinity or mine)
            for place, plan in enumerate(plans(goal, cpus, batches=batches)):
                one = Candidate(
                    variant=variant.id, backend=variant.backend, plan=plan, affinity=affinity
                )
                found.append((place, one))
    found.sort(key=lambda pair: (bool(pair[1].affinity), pair[0]))
    return list(dict.fromkeys(one for _, one in found))


def takes_batches(manifest: Manifest, variant: Variant) -> bool:
    """Tell whether `edgecv.model.Model.batches` will be true of a variant."""
    inputs, outputs = (
        [tensor.to_spec() for tensor in tensors] for tensors in (variant.inputs, variant.outputs)
    )
    free = all(spec.shape[:1] == (None,) for spec in inputs)
    return free and keeps_batch(load_head(manifest.head.name), outputs)
