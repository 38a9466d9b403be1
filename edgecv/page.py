"""Pages of HTML that hold all they need: what all reports share."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from edgecv.errors import DependencyMissingError, UsageError
from edgecv.record import Record

if TYPE_CHECKING:
    from jinja2 import Template

T_contra = TypeVar("T_contra", contravariant=True)


class Chart(Protocol[T_contra]):
    """A function that draws data as SVG."""

    def __call__(self, data: T_contra, /, *, narrow: bool = False) -> str:
        """Draw for a wide screen, or for a phone."""
        ...


def printable(text: str) -> str:
    """Replace what cannot be printed: control characters, lone surrogates, turns of direction."""
    text = " ".join(text.split())
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def escape_markdown(text: str) -> str:
    """Escape what Markdown, or the HTML in it, would take for its own."""
    text = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", text)


def both(chart: Chart[T_contra], data: T_contra) -> list[tuple[str, Any]]:
    """Draw a chart for wide and for narrow screens: (class of the style sheet, SVG)."""
    from markupsafe import Markup

    return [
        ("wide", Markup(chart(data))),  # our own SVG, its texts escaped
        ("narrow", Markup(chart(data, narrow=True))),
    ]


def template(path: Path) -> Template:
    """Read a template into which texts are put escaped and without what cannot be printed.

    It may use ``style``, the style sheet of all pages.

    Raises:
        DependencyMissingError: Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise DependencyMissingError(
            "Jinja2 is not installed",
            where="the page of the report",
            remedy="pip install 'edgecv[report]'",
        ) from None

    def finalize(value: Any) -> Any:
        # Whatever is put in is text for people, but for our own SVG and JSON.
        is_text = isinstance(value, str) and not isinstance(value, Markup)
        return printable(value) if is_text else value

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    environment.globals["style"] = Markup(style)
    return environment.from_string(path.read_text(encoding="utf-8"))


def embedded(record: Record) -> Any:
    """Write a record as JSON that no HTML parser can take for the end of its element."""
    from markupsafe import Markup

    text = json.dumps(record.to_dict(), allow_nan=False, separators=(",", ":"))
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)  # ASCII, without a character that HTML knows


def write(path: Path, text: str, *, overwrite: bool = False, source: Path | None = None) -> None:
    """Write a page, whole or not at all.

    Args:
        path: where to.
        text: the page.
        overwrite: replace a file that is there.
        source: what the page was made of; it is never written over.

    Raises:
        UsageError: it cannot be written there.
    """
    check_target(path, overwrite=overwrite, source=source)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(path)) from None
    finally:
        draft.unlink(missing_ok=True)


def check_target(path: Path, *, overwrite: bool = False, source: Path | None = None) -> None:
    """Refuse a place where the page cannot be written, before work is done for it; see `write`."""
    reason = remedy = None
    if path.is_dir():
        reason = "it is a folder"
    elif not path.parent.is_dir():
        reason = "its folder does not exist"
    elif not os.access(path.parent, os.W_OK):
        reason = "no permission"
    elif source is not None and _is_part(path, source):
        reason = "the report is made of it"
    elif path.exists() and not overwrite:
        reason, remedy = "it exists already", "--force replaces it"
    if reason:
        raise UsageError(f"cannot be written: {reason}", where=str(path), remedy=remedy)


def _is_part(path: Path, source: Path) -> bool:
    """Tell whether a path is the source, or would lie in the folder that is it."""
    here, there = path.resolve(), source.resolve()
    if here == there or (path.exists() and source.exists() and path.samefile(source)):
        return True
    return there.is_dir() and there in here.parents
