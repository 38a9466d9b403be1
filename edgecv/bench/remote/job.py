"""One benchmark on one other machine, or on several at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgecv.bench.process import TIMEOUT_S
from edgecv.bench.remote.address import Address
from edgecv.bench.remote.items import Inside, Item
from edgecv.bench.remote.link import Link, connect
from edgecv.bench.report import Report
from edgecv.bench.saved import parse
from edgecv.errors import EdgecvError, RemoteError

PROGRESS = "progress: "
"""How lines begin that only say how far it is."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is done there.

    Attributes:
        code: edgecv's own archive.
        words: arguments of ``edgecv bench``.
        duration_s: that one cell is to take.
    """

    code: Item
    words: Sequence[str | Inside]
    duration_s: float


@dataclass(frozen=True, slots=True)
class Done:
    """What came of it.

    Attributes:
        report: as measured there.
        sent: titles of the archives that were not there yet.
        sent_bytes: their size.
    """

    report: Report
    sent: tuple[str, ...]
    sent_bytes: int


async def measure_on(address: Address, job: Job, python: str, tell: Callable[[str], None]) -> Done:
    """Connect, send what is not there yet, run, and read the report.

    When this is cancelled, what runs there is ended.

    Args:
        address: of the machine.
        job: what is done.
        python: name or path of its Python.
        tell: told each line that edgecv says there, and, after `PROGRESS`, how far it is.

    Raises:
        DependencyMissingError: asyncssh is not installed.
        RemoteError: the machine, its Python, the connection or the run there failed.
        BenchReportError: what came back is no report.
    """
    tell(f"{PROGRESS}connecting")
    async with connect(address, python) as link:
        items = {word.item.sha256: word.item for word in job.words if isinstance(word, Inside)}
        items[job.code.sha256] = job.code
        found = await link.ask("probe", *items)
        _check(found.get("missing"), found.get("engine"), link)
        cache, have = str(found["cache"]), set(found["have"])
        new = [item for digest, item in items.items() if digest not in have]
        for item in new:
            await link.send(item, lambda text: tell(f"{PROGRESS}{text}"))
        words = [word.at(cache) if isinstance(word, Inside) else word for word in job.words]
        heard: list[str] = []

        def hear(line: str) -> None:
            heard[:-40] = []
            heard.append(line)
            tell(line)

        # Each process has that long; what it says in between is more than nothing.
        silence_s = TIMEOUT_S + job.duration_s + 60
        status, out = await link.run(job.code, words, hear, silence_s)
    if not out.strip():
        raise _failed(address, status, heard)
    report = parse(out.encode(), f"{address.text}: report")
    return Done(report, tuple(item.title for item in new), sum(item.size for item in new))


async def measure_all(
    addresses: Sequence[Address], job: Job, python: str, tell: Callable[[Address, str], None]
) -> dict[Address, Done | EdgecvError]:
    """Measure on several machines at the same time; one that fails does not stop the others."""

    async def one(address: Address) -> Done | EdgecvError:
        try:
            return await measure_on(address, job, python, lambda line: tell(address, line))
        except EdgecvError as error:
            return error

    found = await asyncio.gather(*map(one, addresses))
    return dict(zip(addresses, found, strict=True))


def _check(missing: dict[str, str] | None, engine: str | None, link: Link) -> None:
    """Raise if the Python there cannot run edgecv."""
    lacking = [f"{name} ({fault})" for name, fault in (missing or {}).items()]
    if not engine:
        lacking.append("an engine")
    if lacking:
        raise RemoteError(
            "its Python lacks what edgecv needs",
            where=f"{link.address.text}: {link.python}",
            got=f"no {', no '.join(lacking)}",
            remedy="`edgecv bundle-wheels --target NAME -o FOLDER` collects it for a board without "
            "network; else `pip install edgecv` in a virtual environment there, and name its "
            "bin/python with --remote-python",
        )


def _failed(address: Address, status: int, heard: Sequence[str]) -> RemoteError:
    """Make an error of what was said last there."""
    said = [line for line in heard if not line.startswith(PROGRESS)]
    start = max((i for i, line in enumerate(said) if line.startswith("error: ")), default=None)
    text = said[-1:] if start is None else [said[start].removeprefix("error: ")]
    remedies = [line.strip() for line in said if line.startswith("  remedy: ")]
    return RemoteError(
        text[0] if text else "it said nothing",
        where=f"{address.text}: exit status {status}",
        remedy=remedies[-1].removeprefix("remedy: ") if remedies else None,
    )
