"""Benchmarks of one model on several boards, side by side."""

# Annotations are not postponed here: `edgecv.schema` reads them.

from collections.abc import Mapping
from typing import Literal

from edgecv.bench.report import Latency, Report, Result
from edgecv.errors import EdgecvError, UsageError
from edgecv.record import Record
from edgecv.schema import parse_object, validate

SCHEMA = "edgecv.bench.fleet/1"
COLUMNS = (
    "host",
    "board",
    "CPU",
    "scenario",
    "variant",
    "threads",
    "p50 ms",
    "p90 ms",
    "results/s",
    "peak RSS MiB",
    "J",
    "validity",
)


class Member(Record, kw_only=True):
    """One host: its report, or why there is none; never both.

    Attributes:
        report: what was measured there.
        error: what went wrong.
    """

    report: Report | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        if (self.report is None) == (self.error is None):
            raise UsageError("a member of a fleet has either a report or an error")


class Fleet(Record, kw_only=True):
    """Everything that one call found on several hosts.

    Attributes:
        schema: `SCHEMA`.
        created: UTC, ISO 8601.
        hosts: name of a host -> its member.
    """

    schema: Literal["edgecv.bench.fleet/1"]
    created: str
    hosts: dict[str, Member]


def gather(created: str, found: Mapping[str, Report | EdgecvError]) -> Fleet:
    """Put the reports and errors of hosts together, in the order given."""
    hosts = {
        name: Member(error=str(one)) if isinstance(one, EdgecvError) else Member(report=one)
        for name, one in found.items()
    }
    return Fleet(schema="edgecv.bench.fleet/1", created=created, hosts=hosts)


def read_fleet(data: bytes, where: str) -> Fleet:
    """Read a fleet's JSON strictly.

    Args:
        data: the JSON.
        where: how errors name it.

    Raises:
        UsageError: the first fault, with the path of its field.
    """
    return validate(Fleet, parse_object(data, where, UsageError), where, UsageError)


def rows(fleet: Fleet) -> list[tuple[str, ...]]:
    """Lay out a fleet as text under `COLUMNS`: a row for each result, failed cell and failed host.

    ``-`` stands for what could not be measured. What failed has its error in the last column.
    """
    table = []
    for host, member in fleet.hosts.items():
        if member.report is None:
            table.append((host, *("-",) * (len(COLUMNS) - 2), f"failed: {member.error}"))
            continue
        machine = member.report.environment
        place = (host, _text(machine.get("board")), _text(machine.get("cpu")))
        table += [(*place, *_cells(result)) for result in member.report.results]
        blank = ("-",) * (len(COLUMNS) - len(place) - 1)
        table += [
            (*place, *blank, f"failed: {failure.cell}: {failure.error}")
            for failure in member.report.failures
        ]
    return table


def markdown(fleet: Fleet) -> str:
    """Write `rows` as a Markdown table, with a final newline."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows(fleet)]
    return "".join(f"| {' | '.join(_cell(text) for text in line)} |\n" for line in lines)


def _cells(result: Result) -> tuple[str, ...]:
    total = result.latency_ms.get("total") or Latency(n=0)
    peak = result.memory_bytes.peak_rss
    codes = ", ".join(reason.code for reason in result.validity.reasons)
    return (
        result.scenario,
        result.variant,
        str(result.threads),
        _number(total.p50, ".2f"),
        _number(total.p90, ".2f"),
        _number(result.throughput, ".1f"),
        _number(None if peak is None else peak / 2**20, ".0f"),
        _number(result.energy.gross_j, ".3g"),
        f"{result.validity.status}: {codes}" if codes else result.validity.status,
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
