"""The report as one HTML page: no script, nothing from the network, everything inside."""

from __future__ import annotations

from pathlib import Path

import edgecv
from edgecv.bundle import is_bundle, open_bundle
from edgecv.converters.report import charts, columns, disagreements
from edgecv.converters.report.disagreements import Disagreements
from edgecv.converters.report.document import Conversion, read
from edgecv.page import both, check_target, embedded, template, write

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
    page = template(_TEMPLATE)
    layers = conversion.sensitivity or ()
    scatter = both(charts.scatter, conversion) if charts.can_scatter(conversion) else None
    return page.render(
        conversion=conversion,
        raw=embedded(conversion),
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


def write_page(source: Path, target: Path, *, overwrite: bool = False) -> None:
    """Read the conversion of a bundle, or of a document, and write its page.

    Raises:
        UsageError: there is no conversion in it, or the page cannot be written there.
        BundleError: the bundle or the document is broken.
        DependencyMissingError: Jinja2 or matplotlib is not installed.
    """
    check_target(target, overwrite=overwrite, source=source)
    write(target, make(source, read(source)), overwrite=overwrite, source=source)
