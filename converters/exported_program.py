"""Check that an archive of ``torch.export.save`` holds data and known operators, nothing else.

``torch.export.load`` can run foreign code in several ways: pickles among the members, compiled
libraries (AOTInductor), shape expressions that SymPy evaluates as Python, and call targets that are
looked up as attributes of ``torch``. A program that a person exported has none of these, or trivial
ones, so everything that is not on the lists below counts as code.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgecv.converters.pickles import member_names
from edgecv.errors import SourceError

# Tensors are raw bytes or go through torch.load, which the caller binds to weights alone.
_DATA = re.compile(
    r"([^/]+/)?("
    r"archive_(format|version)|version|byteorder|\.data/(version|serialization_id)"
    r"|\.(format_version|storage_alignment)"
    r"|data/weights/(weight_\d+|\w+_weights_config\.json)"
    r"|data/constants/(tensor_\d+|\w+_constants_config\.json)"
    r"|data/sample_inputs/\w+\.pt|models/\w+\.json|extra/.*"
    r"|serialized_(exported_program|state_dict|constants|example_inputs)\.(json|pt)|extra_files/.*"
    r")"
)
_GRAPHS = re.compile(r"([^/]+/)?(models/\w+\.json|serialized_exported_program\.json)")
_TARGET = re.compile(
    r"torch\.ops\.(aten|prims|higher_order)\.\w+(\.\w+)?|_operator\.\w+|math\.\w+|torch\.sym_\w+"
)
# aten operators that open files whose names the program gives.
_FILES = re.compile(r"torch\.ops\.aten\.(from_file|_?save|_?load)\b.*")
_WORDS = (
    r"Max|Min|Abs|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|IntTrueDiv|FloatTrueDiv|PowByNatural"
    r"|Symbol|Integer|Rational|Float|Add|Mul|Pow|Infinity|NegativeInfinity"
    r"|positive|negative|nonnegative|integer|real|finite|precision"
    r"|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not|True|False|oo|int_oo|Identity|Where|ToFloat|TruncToInt"
)
# SymPy's own spelling, such as Mul(Integer(2), Symbol('s77', positive=True)).
_EXPRESSION = re.compile(
    rf"('((s|u|zuf|zf)\d+|[\d.]+)'|[\d\s+\-*/%(),.<>=&|~!]|\b(s|u|zuf|zf)\d+\b|\b({_WORDS})\b)*"
)
_MAX_BYTES = 256 * 2**20


def code_in(path: Path) -> str | None:
    """Say what in an archive could run code; None where nothing can.

    Raises:
        SourceError: the archive is broken.
    """
    names = member_names(path)
    if len(set(names)) != len(names):
        return "two members of one name"
    strange = [name for name in names if _DATA.fullmatch(name) is None]
    if strange:
        return f"the member {strange[0]}"
    for name in filter(_GRAPHS.fullmatch, names):
        reason = _code_in_graph(_json(path, name))
        if reason is not None:
            return reason
    return None


def _json(path: Path, name: str) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(name).file_size > _MAX_BYTES:
                raise SourceError("too large", where=f"{path}: {name}")
            return json.loads(archive.read(name))
    except (zipfile.BadZipFile, OSError, ValueError, RecursionError) as error:
        raise SourceError(f"a broken archive: {error}", where=f"{path}: {name}") from None


def _code_in_graph(graph: Any) -> str | None:
    for key, value in _entries(graph):
        if key in ("target", "as_operator"):
            text = str(value)
            if _TARGET.fullmatch(text) is None or _FILES.fullmatch(text):
                return f"a call of {text[:80]}"
        elif key == "expr_str" and _EXPRESSION.fullmatch(str(value)) is None:
            return f"the shape expression {str(value)[:80]!r}"
        elif isinstance(value, str) and "__enum__" in value:
            return "the name of a class to import"
    return None


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Walk all keys of nested dictionaries, without recursion; trees may be deep."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield from item.items()
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
