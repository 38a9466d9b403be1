"""The report as one HTML page: no script, nothing from the network, everything inside."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgecv
from edgecv.bundle import is_bundle, open_bundle
from edgecv.converters.report import charts, columns, disagreements
from edgecv.converters.report.disagreements import Disagreements
from edgecv.converters.report.document import Conversion, read
from edgecv.errors import DependencyMissingError, UsageError

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATE = Path(__file__).with_name("page.html")


def make(path: Path, conversion: Conversion) -> str:
    """Make the page of a conversion that was read from `path`, a bundle or a document.

    Raises:
        BundleError: the bundle was altered.
        DependencyMissingError: Jinja2 or matplotlib is not installed.
    """
    if not (path.is_dir() or is_bundle(path)):
        return render(conversion)
    # What is read is hashed as it is read.
    with open_bundle(path, verify=False) as bundle:
        return render(conversion, disagreements.find(bundle, conversion))


def render(conversion: Conversion, found: Disagreements | None = None) -> str:
    """Make the page.

    Args:
        conversion: what it is about.
        found: of the bundle's golden samples; None where there is no bundle.

    Raises:
        DependencyMissingError: Jinja2 or matplotlib is not installed.
    """
    template = _template()
    layers = conversion.sensitivity or ()
    scatter = both(charts.scatter, conversion) if charts.can_scatter(conversion) else None
    return template.render(
        conversion=conversion,
        raw=_embedded(conversion),
        summary=columns.summary(conversion),
        images=columns.images(conversion),
        columns=columns.columns(conversion),
        groups=columns.by_backend(conversion),
        front={rung.variant for rung in columns.pareto(conversion.rungs)},
        scatter=scatter,
        unplaced=sum(r.metric is None or r.latency_ms is None for r in conversion.rungs),
        bars=both(charts.bars, layers) if layers else None,
        worst=charts.most_damaging(layers),
        layers=len(layers),
        disagreements=found,
        value=columns.value,
        version=edgecv.__version__,
    )


def both(chart: Any, data: Any) -> list[tuple[str, Any]]:
    """Draw a chart for wide and for narrow screens: (class of the style sheet, SVG)."""
    from markupsafe import Markup

    return [
        ("wide", Markup(chart(data))),  # our own SVG, its texts escaped
        ("narrow", Markup(chart(data, narrow=True))),
    ]


def write_page(source: Path, target: Path, *, overwrite: bool = False) -> None:
    """Read the conversion of a bundle, or of a document, and write its page.

    Raises:
        UsageError: there is no conversion in it, or the page cannot be written there.
        BundleError: the bundle or the document is broken.
        DependencyMissingError: Jinja2 or matplotlib is not installed.
    """
    check_target(target, overwrite=overwrite, source=source)
    write(target, make(source, read(source)), overwrite=overwrite, source=source)


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


def _template() -> Template:
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
        return columns.printable(value) if is_text else value

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))


def _embedded(conversion: Conversion) -> Any:
    """Write the document as JSON that no HTML parser can take for the end of its element."""
    from markupsafe import Markup

    text = json.dumps(conversion.to_dict(), allow_nan=False, separators=(",", ":"))
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)  # ASCII, without a character that HTML knows
