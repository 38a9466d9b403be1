"""A benchmark as one HTML page: no script runs, nothing comes from the network."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import edgecv
from edgecv.bench import front, words
from edgecv.bench.comparison import Comparison, name
from edgecv.bench.html import charts, history
from edgecv.bench.report import STAGES, Report
from edgecv.page import both, embedded, printable, template
from edgecv.schema import to_json

_TEMPLATE = Path(__file__).with_name("page.html")


def render(report: Report, comparison: Comparison | None = None) -> str:
    """Make the page of a report.

    Args:
        report: what was measured.
        comparison: with a saved run, whose `after` is this report.

    Raises:
        DependencyMissingError: Jinja2 or matplotlib is not installed.
    """
    page = template(_TEMPLATE)
    results = report.results
    drawn = [result for result in results if charts.has_distribution(result)]
    split = [result for result in results if charts.has_stages(result)]
    phases = history.with_phases(results)
    found = front.find(report)
    raw = to_json(report)
    return page.render(
        report=report,
        comparison=comparison,
        raw=embedded(report),
        pretty=escape_lines(raw.decode()),
        download=base64.b64encode(raw).decode(),
        counts=words.counts(report),
        columns=words.columns(report.results),
        stages=STAGES,
        words=words,
        name=name,
        front=found,
        most_rows=charts.MOST_ROWS,
        charts={
            "latency": both(charts.distributions, drawn) if drawn else None,
            "stages": both(charts.breakdown, split) if split else None,
            "front": both(charts.front, found) if found.points else None,
            "memory": both(history.memory, phases) if phases else None,
            "timeline": both(history.timeline, results) if history.panels(results) else None,
            "ratios": both(charts.ratios, comparison)
            if comparison is not None and charts.ratios_of(comparison)
            else None,
        },
        panels=history.panels(results),
        environment=flat(report.environment),
        settings=flat(report.settings),
        version=edgecv.__version__,
    )


def escape_lines(text: str) -> Any:
    """Escape a text whose line breaks and indents stay, and nothing else that cannot be printed."""
    from markupsafe import Markup, escape

    # `printable` joins what is apart by spaces; of the indent it would leave nothing.
    indented = ((line[: len(line) - len(line.lstrip(" "))], line) for line in text.split("\n"))
    return Markup("\n").join(indent + escape(printable(line)) for indent, line in indented)


def flat(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List nested values as (path, text); a null says why, where a ``missing`` knows."""
    return list(_flat(values, "", {}))


def _flat(
    values: Mapping[str, Any], prefix: str, known: Mapping[str, Any]
) -> Iterable[tuple[str, str]]:
    missing = values.get("missing")
    if isinstance(missing, dict):
        known = {**known, **{f"{prefix}{key}": why for key, why in missing.items()}}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if key == "missing" and isinstance(missing, dict):
            continue
        if isinstance(value, dict):
            yield from _flat(value, f"{path}.", known)
        elif value is None:
            yield path, f"- ({known.get(path, 'no reason given')})"
        else:
            yield path, ", ".join(map(str, value)) if isinstance(value, list) else str(value)
