"""Say why torch could not export a module, in terms of its own code.

The exporters wrap the cause in reports and in advice to their developers. What counts is the
operator that is missing, the node, and the line of Python that made it.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgecv.errors import StepError

_MISSING = (
    re.compile(r"No ONNX function found for <OpOverload\(op='([\w.:]+)', overload='(\w+)'\)>"),
    re.compile(r"Exporting the operator '([\w:]+)' to ONNX"),
    re.compile(r"Unsupported: ONNX export of operator ([\w:]+)"),
)
_STACK = re.compile(r'File "([^"]+)", line (\d+), in (\w+)\s+(.*)')
_NODE = re.compile(r"(?:translating|processing) node '?%?(\w+)")


def failure(where: str, first: Exception, second: Exception | None = None) -> StepError:
    """Word what stopped the exporters: the operator if one is missing, and where it stands.

    Args:
        where: the step and the model.
        first: what the current exporter raised.
        second: what the older one raised, if it was tried.
    """
    operator = _missing(first) or (None if second is None else _missing(second))
    place = _place(first) or (None if second is None else _place(second))
    where = where + (f": {place}" if place else "")
    if operator is not None:
        return StepError(
            f"ONNX has no translation of {operator}",
            where=where,
            remedy="write that part of the module with other operators",
        )
    reasons = [_innermost(error) for error in (first, second) if error is not None]
    return StepError(
        "torch cannot export it: " + "; the older exporter: ".join(reasons), where=where
    )


def reason(error: BaseException) -> str:
    """Word in one line why an exporter gave up."""
    missing = _missing(error)
    return _innermost(error) if missing is None else f"it does not know {missing}"


def _missing(error: BaseException) -> str | None:
    """Find the operator that an exporter does not know, in an error or what caused it."""
    for text in _texts(error):
        for pattern in _MISSING:
            found = pattern.search(text)
            if found:
                overload = found[2] if pattern.groups == 2 else "default"
                name = found[1].replace(".", "::", 1)
                return name if overload == "default" else f"{name}.{overload}"
    return None


def _place(error: BaseException) -> str | None:
    """Find the node, and the line of Python that made it, in an exporter's words."""
    for text in _texts(error):
        node, lines = _NODE.search(text), _STACK.findall(text)
        own = [line for line in lines if "/torch/" not in line[0]] or lines
        said = [f"node {node[1]}"] if node else []
        if own:
            file, number, function, code = own[-1]
            said.append(f"{Path(file).name}:{number} in {function}: {code.strip()[:80]}")
        if said:
            return ", ".join(said)
    return None


def _texts(error: BaseException) -> list[str]:
    texts: list[str] = []
    waiting: BaseException | None = error
    while waiting is not None and len(texts) < 8:
        texts.append(str(waiting))
        waiting = waiting.__cause__ or waiting.__context__
    return texts


def _innermost(error: BaseException) -> str:
    """Take the innermost cause: exporters wrap it in advice to their own developers."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\x1b\[\d+m", "", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:160]}"
