"""Two reports side by side: ratios with intervals, and what may be said of them.

Every ratio is ``after / before``. Its interval is that of two independent figures, from their own
intervals, on the log scale (MOVER: Donner and Zou, *Closed-form confidence intervals for functions
of the normal mean and standard deviation*, Stat Methods Med Res 21, 2012): with ``a`` in
``[a1, a2]`` before and ``b`` in ``[b1, b2]`` after,

    lower = b/a * exp(-sqrt(log(b/b1)^2 + log(a2/a)^2))
    upper = b/a * exp(+sqrt(log(b2/b)^2 + log(a/a1)^2))

A difference is said only where the two intervals themselves are disjoint, which is stricter than
an interval of the ratio without 1.
"""

# Annotations are not postponed here: `edgecv.schema` reads them.

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from edgecv.bench.figures import Figure, cold_start, joules, peak_rss, stages, throughput
from edgecv.bench.report import Interval, Report, Result
from edgecv.record import Record

Verdict = Literal["faster", "slower", "less", "more", "no difference", "cannot say"]
Key = tuple[str, str, str, int, int]

VOLATILE = ("load_average", "missing", "created", "uptime_s")
"""Parts of the environment that differ from run to run and say nothing about the machine."""
MACHINE = ("board", "cpu", "machine", "usable_cpus")
"""Parts of the environment that make the machine."""


class Difference(Record, kw_only=True):
    """Something other than the figures that is not the same in both reports.

    Attributes:
        name: of the field, such as ``environment.cpu``.
        before: its value, as text; null where it is null or absent.
        after: the same.
    """

    name: str
    before: str | None = None
    after: str | None = None


class Change(Record, kw_only=True):
    """One figure of a cell, before and after.

    Attributes:
        figure: such as ``total p50``.
        unit: of both.
        before: the figure.
        after: the same.
        ratio: after / before.
        ci95: 95 % interval of the ratio.
        verdict: what may be said.
        reason: why nothing can be said.
    """

    figure: str
    unit: str
    before: float | None = None
    after: float | None = None
    ratio: float | None = None
    ci95: Interval | None = None
    verdict: Verdict
    reason: str | None = None

    @property
    def worse(self) -> bool:
        """Whether the figure got worse, beyond doubt."""
        return self.verdict in ("slower", "more")

    @property
    def worse_by(self) -> float | None:
        """How much worse, as a part of the better: 0.1 is 10 %; negative where it got better."""
        if self.ratio is None:
            return None
        return (1 / self.ratio if self.figure == "throughput" else self.ratio) - 1


class Pair(Record, kw_only=True):
    """A cell that both reports have.

    Attributes:
        key: scenario, variant, backend, threads, streams.
        before: validity there.
        after: the same.
        differences: engine, precision and other terms that are not the same.
        changes: figure by figure.
    """

    key: Key
    before: Literal["valid", "suspect", "invalid"]
    after: Literal["valid", "suspect", "invalid"]
    differences: tuple[Difference, ...] = ()
    changes: tuple[Change, ...] = ()


class Comparison(Record, kw_only=True):
    """What two reports say of each other.

    Attributes:
        before: when the first was made, and of what.
        after: the same of the second.
        pairs: cells of both, in the order of the first.
        only_before: cells of the first alone.
        only_after: cells of the second alone.
        differences: of machine, versions, model and settings.
    """

    before: str
    after: str
    pairs: tuple[Pair, ...] = ()
    only_before: tuple[Key, ...] = ()
    only_after: tuple[Key, ...] = ()
    differences: tuple[Difference, ...] = ()

    @property
    def same_machine(self) -> bool:
        """Whether both were measured on the same machine, as far as the reports tell."""
        names = {f"environment.{name}" for name in MACHINE}
        return not any(difference.name in names for difference in self.differences)


def compare(before: Report, after: Report) -> Comparison:
    """Match the results of two reports by `Result.key`, and compare their figures.

    Args:
        before: the earlier, or the baseline; the denominator of every ratio.
        after: the later.
    """
    old = {result.key: result for result in before.results}
    new = {result.key: result for result in after.results}
    return Comparison(
        before=f"{before.model.name}, {before.created}",
        after=f"{after.model.name}, {after.created}",
        pairs=tuple(_pair(old[key], new[key]) for key in old if key in new),
        only_before=tuple(key for key in old if key not in new),
        only_after=tuple(key for key in new if key not in old),
        differences=(
            *_differences("environment", before.environment, after.environment),
            *_differences("model", before.model.to_dict(), after.model.to_dict()),
            *_differences("settings", before.settings, after.settings),
        ),
    )


def name(key: Key) -> str:
    """Write a key in words: ``single: int8 on openvino, 4 threads, 1 stream``."""
    scenario, variant, backend, threads, streams = key
    return (
        f"{scenario}: {variant} on {backend}, {threads} thread{'s' * (threads != 1)}, "
        f"{streams} stream{'s' * (streams != 1)}"
    )


def _pair(before: Result, after: Result) -> Pair:
    invalid = [
        f"invalid {when}: {'; '.join(reason.message for reason in result.validity.reasons)}"
        for when, result in (("before", before), ("after", after))
        if result.validity.status == "invalid"
    ]
    terms = ("engine", "precision_asked", "precision_actual", "processes", "images")
    both = [{term: getattr(result, term) for term in terms} for result in (before, after)]
    return Pair(
        key=before.key,
        before=before.validity.status,
        after=after.validity.status,
        differences=tuple(_differences("", *both)),
        changes=tuple(_changes(before, after, " and ".join(invalid) or None)),
    )


def _changes(before: Result, after: Result, refused: str | None) -> Iterable[Change]:
    old, new = stages(before), stages(after)
    for figure in old:
        if figure in new:
            yield change(old[figure], new[figure], refused)
    for read in (throughput, cold_start, peak_rss):
        one, other = read(before), read(after)
        if one is not None and other is not None:
            yield change(one, other, refused)
    yield from _energy(before, after, refused)


def change(before: Figure, after: Figure, refused: str | None = None) -> Change:
    """Compare two figures of the same kind.

    Args:
        before: the denominator.
        after: the numerator.
        refused: why nothing may be said, whatever the figures are.
    """
    a, b = before.value, after.value
    said = Change(
        figure=before.name,
        unit=before.unit,
        before=a,
        after=b,
        verdict="cannot say",
        reason=refused,
    )
    if a <= 0 or b <= 0:
        return said.replace(reason=refused or "a ratio needs figures above 0")
    said = said.replace(ratio=b / a)
    old, new = before.ci95, after.ci95
    if old is None or new is None:
        why = before.missing if old is None else after.missing
        return said.replace(reason=refused or why)
    if min(*old, *new) <= 0:
        return said.replace(reason=refused or "an interval reaches 0")
    down = math.hypot(math.log(b / min(b, new[0])), math.log(max(a, old[1]) / a))
    up = math.hypot(math.log(max(b, new[1]) / b), math.log(a / min(a, old[0])))
    said = said.replace(ci95=(b / a * math.exp(-down), b / a * math.exp(up)))
    if refused:
        return said
    if old[0] <= new[1] and new[0] <= old[1]:
        return said.replace(verdict="no difference")
    grew = b > a
    if before.name == "throughput":
        return said.replace(verdict="faster" if grew else "slower")
    if before.unit == "ms":
        return said.replace(verdict="slower" if grew else "faster")
    return said.replace(verdict="more" if grew else "less")


def _energy(before: Result, after: Result, refused: str | None) -> Iterable[Change]:
    one, other = before.energy, after.energy
    if not refused and one.tier != other.tier:
        refused = f"refused: tier {one.tier} before and tier {other.tier} after"
    if not refused and one.scope != other.scope:
        refused = f"refused: of the {one.scope} before and of the {other.scope} after"
    kinds: tuple[Literal["gross", "marginal"], ...] = ("gross", "marginal")
    for kind in kinds:
        old, new = joules(before, kind), joules(after, kind)
        if old is None or new is None:
            continue
        said = change(old, new, refused)
        if refused or said.verdict in ("no difference", "cannot say"):
            # A ratio of joules that is not beyond doubt is read as a saving all the same.
            why = said.reason or "refused: the intervals overlap"
            said = said.replace(ratio=None, ci95=None, verdict="cannot say", reason=why)
        yield said


def _differences(
    prefix: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterable[Difference]:
    for key in dict.fromkeys([*before, *after]):
        if key in VOLATILE:
            continue
        one, other = before.get(key), after.get(key)
        path = f"{prefix}.{key}" if prefix else key
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differences(path, one, other)
        elif one != other:
            yield Difference(name=path, before=_text(one), after=_text(other))


def _text(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return None if value is None else str(value)
