"""The cells of ``edgecv bench`` one after the other, and a table that grows meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from edgecv.cli.bench_outputs import results_table
from edgecv.errors import EdgecvError
from edgecv.page import printable

if TYPE_CHECKING:
    from rich.console import Console, Group

    from edgecv.bench.calibration import Calibration
    from edgecv.bench.cell import Cell, Settings
    from edgecv.bench.energy import BoardPower
    from edgecv.bench.report import Failure, Result, Work


_AROUND = 8
"""Lines of a screen that are not rows: what is going on, the table's head, and what came before."""


class Listener(Protocol):
    """Who is told how far it is."""

    def now(self, title: str, word: str) -> None:
        """Take note of what is going on: the cell and its number, and a word on it."""

    def done(self, result: Result) -> None:
        """Take note of a result."""


def measure_all(
    cells: Sequence[Cell],
    images: Sequence[Path],
    settings: Settings,
    rates: Mapping[str, float | None],
    listener: Listener,
    *,
    usual_starts: bool,
    board: BoardPower | None = None,
    calibration: Calibration | None = None,
    usb_log: Path | None = None,
) -> tuple[list[Result], list[Failure]]:
    """Measure cells; one that fails is said on standard error, and the others go on.

    Args:
        cells: in the order to measure them in.
        images: to run on.
        settings: of all of them.
        rates: arrivals or frames a second, by scenario.
        listener: is told how far it is.
        usual_starts: the scenario decides how often it starts cold.
        board: see `edgecv.bench.runner.measure`, like the others.
        calibration: of this board.
        usb_log: of a USB meter.

    Returns:
        What was measured and what failed; after an interruption, what there is so far.
    """
    from edgecv.bench.report import Failure
    from edgecv.bench.runner import measure
    from edgecv.bench.validity import FEWEST_STARTS

    results, failures = [], []
    counted: dict[tuple[str, str], Work] = {}
    for number, cell in enumerate(cells, 1):
        starts = settings.cold_starts
        if usual_starts and cell.scenario == "cold":
            starts = FEWEST_STARTS
        title = f"{number} of {len(cells)}: {cell.name}"
        listener.now(title, "")
        try:
            result = measure(
                cell,
                images,
                settings.replace(rate_hz=rates.get(cell.scenario), cold_starts=starts),
                board=board,
                calibration=calibration,
                usb_log=usb_log,
                counted=counted,
                progress=partial(listener.now, title),
            )
        except KeyboardInterrupt:
            # What was measured is not lost.
            failures += [Failure(cell=c.name, error="interrupted") for c in cells[number - 1 :]]
            click.echo("interrupted: the report holds what was measured", err=True)
            break
        except EdgecvError as error:
            failures.append(Failure(cell=cell.name, error=error.message))
            click.echo(f"error: {cell.name}: {error}", err=True)
            continue
        results.append(result)
        listener.done(result)
    return results, failures


class Lines:
    """Says it in lines, to the machine that started this one."""

    def now(self, title: str, word: str) -> None:
        """Write a line."""
        from edgecv.bench.remote.job import PROGRESS

        if word:
            click.echo(f"{PROGRESS}{title}: {word}", err=True)

    def done(self, result: Result) -> None:
        """Say nothing: the report holds it."""


class GrowingTable:
    """Shows what is going on, and below it the results so far, the last ones of many.

    On a terminal it is drawn anew as it grows, and gone at the end: the report's own table follows.
    Elsewhere nothing is written.
    """

    def __init__(self, screen: Console) -> None:
        from rich.spinner import Spinner

        self._screen = screen
        self._results: tuple[Result, ...] = ()
        self._spinner = Spinner("dots", "")

    def now(self, title: str, word: str) -> None:
        """Put it above the table."""
        self._spinner.update(text=printable(f"{title}: {word}" if word else title))

    def done(self, result: Result) -> None:
        """Add a row."""
        # Never changed in place: it is drawn in a thread of its own.
        self._results = (*self._results, result)

    def __rich__(self) -> Group:
        """Draw it."""
        from rich.console import Group

        last = self._results[-max(1, self._screen.height - _AROUND) :]
        if not last:
            return Group(self._spinner)
        table, _ = results_table(last, self._screen.width)
        return Group(self._spinner, table)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep it on the screen meanwhile."""
        from rich.live import Live

        # Not `is_terminal`, which FORCE_COLOR makes true of a file.
        if not self._screen.file.isatty():
            yield
            return
        # Slowly: what is drawn runs on the CPUs that are measured.
        with Live(
            get_renderable=self.__rich__,
            console=self._screen,
            transient=True,
            refresh_per_second=2,
            redirect_stdout=False,
        ):
            yield
