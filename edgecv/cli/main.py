"""The ``edgecv`` command: find the subcommand, run it, and turn errors into exit statuses."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys

import click

import edgecv
from edgecv import plugins
from edgecv.errors import EdgecvError, UsageError
from edgecv.gc_pause import gc_paused


class LazyGroup(click.Group):
    """A group whose subcommands are the modules of ``cli/commands``, imported when they are used.

    Module ``eval.py`` holds the click command ``command``.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands without importing them."""
        return [name.replace("_", "-") for name in plugins.names("cli.commands")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        name = cmd_name.replace("-", "_")
        with gc_paused():
            import numpy  # noqa: F401  # from here, as in edgecv.__getattr__

            module = importlib.import_module(f"edgecv.cli.commands.{name}")
        command: click.Command = module.command
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(edgecv.__version__, prog_name="edgecv")
def cli() -> None:
    """Run, prove and measure small vision models on this machine.

    Exit status: 0 all went well, 1 something failed, 2 the command was used wrongly.
    """


def main() -> None:
    """Run the command line and end the process."""
    # OpenCV's own log would repeat, in C++ terms, what our errors say.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    # Ending in the ordinary way takes child processes along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123  # for good
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal cannot show is printed with escapes, not lost with an error.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = cli(standalone_mode=False) or 0
    except click.exceptions.Abort:
        status = 130
    except click.ClickException as error:
        error.show()
        status = 1 if isinstance(error, click.FileError) else error.exit_code
    except EdgecvError as error:
        click.echo(f"error: {error}", err=True)
        status = 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:
        # The reader of our output went away: not our failure, and there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except OSError as error:
        # A full disk, or a file that went away under us.
        place = f"{error.filename}: " if error.filename else ""
        click.echo(f"error: {place}{error.strerror or error}", err=True)
        status = 1
    sys.exit(status)
