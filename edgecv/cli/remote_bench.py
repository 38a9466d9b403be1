"""``edgecv bench --host``: the same command, run on other machines."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import edgecv
from edgecv.cli import output
from edgecv.errors import EdgecvError, UsageError
from edgecv.page import printable

if TYPE_CHECKING:
    from edgecv.bench.remote.address import Address
    from edgecv.bench.remote.items import Inside
    from edgecv.bench.remote.job import Done, Job
    from edgecv.bench.report import Report

HERE = (
    "sources",
    "hosts",
    "remote_python",
    "json_target",
    "html_target",
    "markdown_target",
    "csv_target",
    "force",
    "compared",
    "baseline",
    "tolerance",
    "progress_lines",
)
"""Parameters that are not passed on as they are."""
FILES = ("labels", "head_arrays", "calibration")
"""Options that name files here, which are sent."""
_ARGUMENTS = "edgecv.bench.arguments"


class Command(click.Command):
    """A command that remembers its arguments as they were written."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep a copy; parsing takes them apart."""
        ctx.meta[_ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)


def check(hosts: Sequence[str], usb_log: Path | None, one_host_only: Sequence[str]) -> None:
    """Refuse what makes no sense on other machines, before anything is done.

    Args:
        hosts: their addresses.
        usb_log: a meter's log.
        one_host_only: options given that a fleet has no answer to.

    Raises:
        UsageError: an address that is none, or an option that does not go with it.
    """
    from edgecv.bench.remote.address import Address

    for host in hosts:
        Address.parse(host)
    if usb_log is not None:
        raise UsageError(
            "a meter's log here and a run there do not share a clock",
            where="--usb-log",
            remedy="measure with the meter on that machine, or fit --calibration there and send it",
        )
    if len(set(hosts)) > 1 and one_host_only:
        raise UsageError(
            "of one host only",
            where=", ".join(one_host_only),
            remedy="measure the hosts one by one, or write the fleet with --json or --markdown",
        )


def measure(
    model: Path, sources: tuple[str, ...], hosts: Sequence[str], python: str, duration_s: float
) -> dict[str, Report | EdgecvError]:
    """Run this very command on other machines; say what they say, meanwhile.

    Args:
        model: bundle or model file.
        sources: images; none are the bundle's golden ones.
        hosts: addresses.
        python: name or path of their Python.
        duration_s: of one cell.

    Returns:
        The report of each host, or its error.

    Raises:
        UsageError: something that is to be sent cannot be read.
        DependencyMissingError: asyncssh is not installed.
    """
    from edgecv.bench.remote.address import Address
    from edgecv.bench.remote.job import PROGRESS, measure_all
    from edgecv.bench.remote.link import require

    require()
    addresses = [Address.parse(host) for host in dict.fromkeys(hosts)]
    screen = output.console(stderr=True)
    last: dict[Address, str] = {}

    with (
        tempfile.TemporaryDirectory(prefix="edgecv-bench-") as scratch,
        screen.status("packing what is sent") as status,
    ):
        job = _job(model, sources, duration_s, Path(scratch))

        def tell(address: Address, line: str) -> None:
            name = "" if len(addresses) == 1 else f"{address.text}: "
            if not line.startswith(PROGRESS):
                click.echo(f"{name}{printable(line)}", err=True)
                return
            last[address] = printable(line.removeprefix(PROGRESS))
            status.update("; ".join(f"{one.text}: {said}" for one, said in last.items()))

        try:
            found = asyncio.run(measure_all(addresses, job, python, tell))
        except BaseException:
            for address, said in last.items():
                click.echo(f"{address.text}: ended at: {said}", err=True)
            raise
    return {address.text: _report(done) for address, done in found.items()}


def _report(done: Done | EdgecvError) -> Report | EdgecvError:
    return done if isinstance(done, EdgecvError) else done.report


def _job(model: Path, sources: tuple[str, ...], duration_s: float, scratch: Path) -> Job:
    from edgecv import targets
    from edgecv.bench.remote import items
    from edgecv.bench.remote.job import Job
    from edgecv.image_files import expand

    folders = {"edgecv": Path(edgecv.__file__).parent, "edgecv/targets": _folder(targets)}
    words: list[str | Inside] = ["bench", items.model(model, scratch)]
    if sources:
        words += ["--data", items.images(expand(sources), scratch)]
    words += _options(click.get_current_context(), scratch)
    words += ["--json", "-", "--progress-lines"]
    return Job(items.code(folders, scratch), words, duration_s)


def _folder(package: Any) -> Path:
    return Path(package.__file__).parent


def _options(ctx: click.Context, scratch: Path) -> list[str | Inside]:
    """Write the options down again as they were given, with files by where they will lie."""
    from edgecv.bench.remote import items

    given, _, _ = ctx.command.make_parser(ctx).parse_args(args=list(ctx.meta[_ARGUMENTS]))
    words: list[str | Inside] = []
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if name in HERE or name not in given or not isinstance(parameter, click.Option):
            continue
        flag, value = parameter.opts[-1], given[name]
        if parameter.is_flag:
            words.append(flag)
            continue
        for text in value if parameter.multiple else [value]:
            if name in FILES:
                key, separator, path = text.rpartition("=") if "array" in name else ("", "", text)
                words += [flag, items.file(Path(path), scratch, f"{key}{separator}")]
            else:
                words += [flag, text]
    return words


def only(found: dict[str, Report | EdgecvError]) -> Report:
    """Return the report of the only host, or raise its error."""
    (one,) = found.values()
    if isinstance(one, EdgecvError):
        raise one
    return one


def write_fleet(
    found: dict[str, Report | EdgecvError], json_target: str | None, markdown_target: str | None
) -> int:
    """Write and print the reports of several hosts side by side.

    Args:
        found: host -> its report or error.
        json_target: where the JSON goes.
        markdown_target: where the table goes as Markdown.

    Returns:
        The exit status: 1 if anything failed.
    """
    from edgecv.bench.fleet import COLUMNS, gather, markdown, rows

    made = gather(datetime.now(UTC).isoformat(timespec="seconds"), found)
    output.write_json(json_target, made.to_dict())
    with output.json_stream(markdown_target, (), "--markdown") as file:
        if file is not None:
            file.write(markdown(made))
    for name, one in found.items():
        if isinstance(one, EdgecvError):
            place = "" if str(one).startswith(name) else f"{name}: "
            click.echo(f"error: {place}{one}", err=True)
    if "-" not in (json_target, markdown_target):
        table = output.table("", *COLUMNS)
        for row in rows(made):
            table.add_row(*map(printable, row))
        output.console().print(table)
    bad = any(
        member.report is None or member.report.failures or not member.report.results
        for member in made.hosts.values()
    )
    return 1 if bad else 0
