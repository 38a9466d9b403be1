"""Decide how far a result can be believed, from the evidence that was taken beside it.

Each rule looks at one thing and has one limit; docs/bench.md says what to do about each reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from edgecv.bench import statistics
from edgecv.bench.monitor import Conditions
from edgecv.bench.report import Arrivals, Code, Memory, Reason, Validity
from edgecv.record import Record, field

FEWEST_SAMPLES = 10
"""Fewer say nothing about a distribution at all."""
FEWEST_STARTS = 6
"""Of processes, where cold starts are what is measured: below, no interval reaches 95 %."""
PROCESSES_LIMIT = 0.10
"""Medians of processes that lie further apart than this part of their mean."""
OTHERS_SUSPECT, OTHERS_INVALID = 0.05, 0.25
"""CPU time of others, as a part of all CPUs. On two CPUs, one busy neighbour is 0.5."""
STARVED_LIMIT = 0.10
"""Part of the time for which a single-threaded process waited for a CPU. With more threads the gaps
in which they wake each other would count, too; a busy neighbour is seen without this rule."""
CLOCK_SUSPECT, CLOCK_INVALID = 0.03, 0.10
"""Change of the mean clock from the first third to the last; latency follows it one to one."""
HEAT_LIMIT_C = 3.0
"""A rise from the first third to the last that says the board was still warming up."""
QUOTA_LIMIT = 0.01
"""Part of the run for which a control group held the process back."""
LEAK_LIMIT = 0.5 * 2**20
"""Bytes a minute that the lower end of the slope's interval must exceed."""
DROPPED_LIMIT = 0.5
"""Frames lost, as a part of all. Below, dropping is a result like any other."""
# Firmware bits, from Raspberry Pi's documentation of `vcgencmd get_throttled`.
UNDERVOLTAGE, CAPPED, THROTTLED, SOFT_LIMIT = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_SINCE_BOOT = 16


class Evidence(Record, kw_only=True):
    """What a verdict is made from.

    Attributes:
        processes_ms: total latency of each image, by process, in the order of time.
        cpu_s: CPU time of the measured processes in their windows.
        elapsed_s: wall time of those windows.
        threads: of one inference.
        single: one image at a time, back to back: then the process should never wait.
        cold: starts of processes are what is measured.
        precision_asked: by the variant or the user; None if nothing was asked.
        precision_actual: read back from the engine.
        fallbacks: what ran otherwise than it was asked for, in words.
        conditions: of the machine; None if nobody watched.
        memory: with the slope of the resident set, where there is one.
        arrivals: of scenarios with a schedule.
    """

    processes_ms: tuple[tuple[float, ...], ...] = field(default_factory=tuple)
    cpu_s: float = 0.0
    elapsed_s: float = 0.0
    threads: int = 1
    single: bool = True
    cold: bool = False
    precision_asked: str | None = None
    precision_actual: str | None = None
    fallbacks: tuple[str, ...] = ()
    conditions: Conditions | None = None
    memory: Memory | None = None
    arrivals: Arrivals | None = None


Finding = tuple[Code, bool, str]
"""Code, whether the result is invalid (or only suspect), message."""


def judge(evidence: Evidence) -> Validity:
    """Apply every rule; the worst reason decides."""
    reasons = tuple(
        Reason(code=code, status="invalid" if invalid else "suspect", message=message)
        for rule in _RULES
        for code, invalid, message in rule(evidence)
    )
    if any(reason.status == "invalid" for reason in reasons):
        return Validity(status="invalid", reasons=reasons)
    return Validity(status="suspect" if reasons else "valid", reasons=reasons)


def _samples(e: Evidence) -> Iterator[Finding]:
    count = sum(map(len, e.processes_ms))
    floor = statistics.PERCENTILE_FLOORS["p90"][1]
    if e.cold:
        if count < FEWEST_STARTS:
            yield (
                "too-few-samples",
                count < 2,
                f"{count} starts; an interval of their median needs {FEWEST_STARTS}",
            )
    elif count < floor:
        yield (
            "too-few-samples",
            count < FEWEST_SAMPLES,
            f"{count} samples; a 90th percentile needs {floor}",
        )


def _drift(e: Evidence) -> Iterator[Finding]:
    changes = [c for c in map(statistics.drift, e.processes_ms) if c is not None]
    if not changes or e.arrivals is not None:
        return
    # The worst: a board that warms up in the first process is steady in the others.
    change = max(changes, key=abs)
    if abs(change) > statistics.DRIFT_LIMIT:
        yield (
            "drift",
            False,
            f"the latency of a process drifted by {change:+.0%} from the first third of its run to "
            f"the last; more than {statistics.DRIFT_LIMIT:.0%} is no steady state",
        )


def _processes(e: Evidence) -> Iterator[Finding]:
    medians = [float(np.median(p)) for p in e.processes_ms if len(p)]
    if len(medians) < 2:
        return
    spread = (max(medians) - min(medians)) / float(np.mean(medians))
    if spread > PROCESSES_LIMIT:
        told = ", ".join(f"{m:.2f}" for m in medians)
        yield (
            "processes-disagree",
            False,
            f"the medians of the processes are {spread:.0%} apart ({told} ms)",
        )


def _others(e: Evidence) -> Iterator[Finding]:
    share = e.conditions.others_share if e.conditions else None
    if share is not None and share > OTHERS_SUSPECT:
        yield (
            "busy-machine",
            share > OTHERS_INVALID,
            f"other programs took {share:.0%} of all CPU time; {OTHERS_SUSPECT:.0%} is the limit",
        )


def _starved(e: Evidence) -> Iterator[Finding]:
    if not e.single or e.threads != 1 or not e.elapsed_s:
        return
    waited = 1 - e.cpu_s / e.elapsed_s
    if waited > STARVED_LIMIT:
        yield (
            "starved",
            False,
            f"the process got no CPU for {waited:.0%} of the time: a busy machine, or it sleeps",
        )


def _governor(e: Evidence) -> Iterator[Finding]:
    name = e.conditions.governor if e.conditions else None
    if name is not None and name != "performance":
        yield (
            "governor",
            False,
            f"the CPU's governor is {name}: clocks follow the load. Set it to performance, or "
            "take these numbers as those of a board as it is shipped",
        )


def _clock(e: Evidence) -> Iterator[Finding]:
    mhz = e.conditions.mhz if e.conditions else None
    if mhz is None or not mhz[0]:
        return
    change = mhz[1] / mhz[0] - 1
    if abs(change) > CLOCK_SUSPECT:
        yield (
            "frequency",
            abs(change) > CLOCK_INVALID,
            f"the clock went from {mhz[0]:.0f} to {mhz[1]:.0f} MHz ({change:+.0%})",
        )
        return
    low = e.conditions.mhz_low if e.conditions else None
    dip = 0.0 if low is None else 1 - low / max(mhz)
    if dip > CLOCK_INVALID:
        yield (
            "frequency",
            False,
            f"for a tenth of the run the clock was {dip:.0%} lower, "
            f"{low:.0f} MHz where it was {max(mhz):.0f}",
        )


def _heat(e: Evidence) -> Iterator[Finding]:
    heat = e.conditions.temperature_c if e.conditions else None
    if heat is not None and heat[1] - heat[0] > HEAT_LIMIT_C:
        yield (
            "temperature",
            False,
            f"it rose from {heat[0]:.1f} to {heat[1]:.1f} C during the run and has not settled",
        )


def _swap(e: Evidence) -> Iterator[Finding]:
    pages = e.conditions.swapped_pages if e.conditions else None
    if pages:
        yield "swap", True, f"{pages} pages went to or came from swap space"


def _firmware(e: Evidence) -> Iterator[Finding]:
    """Bits 0-3 tell what is so now; bits 16-19 what has been so since the board was started."""
    if e.conditions is None:
        return
    before, after = e.conditions.throttled or (0, 0)
    came = (after >> _SINCE_BOOT) & ~(before >> _SINCE_BOOT)
    now = (before | after) & 0xF | e.conditions.throttled_between
    if (now | came) & UNDERVOLTAGE:
        yield "undervoltage", True, "the board's supply voltage was too low during the run"
    if (now | came) & (CAPPED | THROTTLED | SOFT_LIMIT):
        yield (
            "throttled",
            True,
            f"the firmware slowed the CPU down during the run "
            f"(bits {after:#x}, before {before:#x})",
        )


def _quota(e: Evidence) -> Iterator[Finding]:
    held = e.conditions.quota_s if e.conditions else None
    if held and e.elapsed_s and held / e.elapsed_s > QUOTA_LIMIT:
        quota = e.conditions.quota if e.conditions else None
        told = "" if quota is None else f" of {quota:g} CPUs"
        yield (
            "quota",
            True,
            f"the control group's quota{told} held the process back for {held:.2f} s "
            f"of {e.elapsed_s:.1f}",
        )


def _fallback(e: Evidence) -> Iterator[Finding]:
    for text in e.fallbacks:
        yield "fallback", True, text


def _precision(e: Evidence) -> Iterator[Finding]:
    if e.precision_actual is None:
        yield "precision-unknown", False, "the engine does not tell in which precision it ran"
    elif e.precision_asked is not None and e.precision_actual != e.precision_asked:
        yield (
            "precision",
            True,
            f"ran in {e.precision_actual} where {e.precision_asked} was asked for",
        )


def _leak(e: Evidence) -> Iterator[Finding]:
    if e.memory is None or e.memory.leak_ci95 is None or e.memory.leak_per_minute is None:
        return
    if e.memory.leak_ci95[0] > LEAK_LIMIT:
        slope = e.memory.leak_per_minute / 2**20
        yield "leak", False, f"the resident set grew by {slope:.2f} MiB a minute over the run"


def _schedule(e: Evidence) -> Iterator[Finding]:
    if e.arrivals is None:
        return
    share = e.arrivals.dropped_share
    if share is not None and share > DROPPED_LIMIT:
        yield (
            "dropped",
            False,
            f"{share:.0%} of the frames were dropped: the model does not keep up with this camera",
        )
    if e.arrivals.overloaded:
        yield (
            "overload",
            True,
            f"images came at {e.arrivals.rate_hz:.1f} a second, faster than they were worked off: "
            "the latency grows with the length of the run",
        )


_RULES: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
    _samples, _drift, _processes, _others, _starved, _governor, _clock, _heat, _swap, _firmware,
    _quota, _fallback, _precision, _leak, _schedule,
)  # fmt: skip
