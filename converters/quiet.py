"""Keep tools silent that talk on standard output, standard error and through logging."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet(*, native: bool = False) -> Iterator[None]:
    """Swallow what Python code prints, logs or warns of; its exceptions come through.

    The streams belong to the process, so other threads are silenced with it.

    Args:
        native: also what compiled code writes, straight to the process's standard output and error.
    """
    disabled = logging.root.manager.disable
    sink = io.StringIO()
    with ExitStack() as stack:
        if native:
            stack.enter_context(_silent_descriptor(1))
            stack.enter_context(_silent_descriptor(2))
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(redirect_stdout(sink))
        stack.enter_context(redirect_stderr(sink))
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)


@contextmanager
def _silent_descriptor(number: int) -> Iterator[None]:
    try:
        saved = os.dup(number)
    except OSError:  # it is closed: nothing can be written to it
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(saved, number)
        os.close(saved)
