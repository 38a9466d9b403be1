"""Figures as SVG that lies in the page: its colours are the page's, and so follow its dark mode."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from edgecv.errors import DependencyMissingError
from edgecv.page import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINT = 72
"""Points an inch."""

_SVG = "http://www.w3.org/2000/svg"
# Colours that stand for variables of the page's style sheet, which replace them in the SVG.
_VARIABLES = {
    "#0b0c01": "--ink",
    "#0b0c02": "--muted",
    "#0b0c03": "--line",
    "#0b0c04": "--paper",
    "#0b0c05": "--accent",
    "#0b0c11": "--series-1",
    "#0b0c12": "--series-2",
    "#0b0c13": "--series-3",
    "#0b0c14": "--series-4",
    "#0b0c15": "--series-5",
}
INK, MUTED, LINE, PAPER, ACCENT, *SERIES = _VARIABLES
_WIDE, _NARROW = 7.6, 3.5


@contextmanager
def new_figure(narrow: bool, height: float) -> Iterator[Figure]:
    """Make a figure with our settings, which hold inside of the context alone.

    Args:
        narrow: for a phone.
        height: inches.

    Raises:
        DependencyMissingError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise DependencyMissingError(
            "matplotlib is not installed",
            where="the charts of the report",
            remedy="pip install 'edgecv[report]'",
        ) from None
    settings: dict[Any, Any] = {
        # Letters stay letters, and a dollar sign in a name is no formula.
        "svg.fonttype": "none",
        "text.parse_math": False,
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.unicode_minus": False,
        "axes.linewidth": 0.8,
        "axes.edgecolor": LINE,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # A letter that the measuring font lacks: the reader's browser has it.
        warnings.simplefilter("ignore", UserWarning)
        figure = Figure(figsize=(_NARROW if narrow else _WIDE, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def to_svg(figure: Figure, salt: str, title: str, description: str) -> str:
    """Write a figure as an ``<svg>`` element, its colours as variables of the page.

    Args:
        figure: inside of its context.
        salt: unique in the page; the element's ids begin with it.
        title: of the element, for who cannot see it.
        description: what it shows, in words.
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", transparent=True)
    root = ElementTree.fromstring(buffer.getvalue())
    for element in list(root.iter()):
        for child in list(element):
            # Its style sheet would apply to the whole page; its metadata names the library's site.
            if child.tag in (f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"):
                element.remove(child)
        _localize(element)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("xmlns", _SVG)
    root.set("role", "img")
    root.set("aria-labelledby", f"{salt}-title {salt}-desc")
    for tag, text in (("desc", description), ("title", title)):
        child = ElementTree.Element(tag, {"id": f"{salt}-{tag}"})
        child.text = printable(text)
        root.insert(0, child)
    return ElementTree.tostring(root, encoding="unicode")


def _localize(element: ElementTree.Element) -> None:
    """Write names as a page has them, without namespaces, and colours as its variables."""
    element.tag = element.tag.rpartition("}")[2]
    found = {name.rpartition("}")[2]: text for name, text in element.attrib.items()}
    if element.tag == "g":
        found.pop("id", None)  # the same in every chart, and nothing refers to it
    for name in ("fill", "stroke"):
        # Hatches have their colours as attributes.
        if found.get(name) in _VARIABLES:
            found["style"] = f"{name}: {found.pop(name)}; {found.get('style', '')}"
    for color, variable in _VARIABLES.items():
        if "style" in found:
            found["style"] = found["style"].replace(color, f"var({variable})")
    element.attrib.clear()
    element.attrib.update(found)
