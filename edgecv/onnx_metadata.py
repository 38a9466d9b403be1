"""Write key-value pairs into an ONNX file without the onnx package.

``ModelProto.metadata_props`` is field 14 of onnx.proto3, a list of messages with a key (field 1)
and a value (field 2). Fields of a protobuf message may stand in any order, and those of a list need
not stand together, so entries are taken out one by one and new ones are put at the end. Nothing
else in the file is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgecv.errors import ModelLoadError
from edgecv.onnx_file import read_varint

_METADATA_PROPS = 14
_LENGTH_DELIMITED = 2
_FIXED = {1: 8, 5: 4}


def with_metadata(
    data: bytes, pairs: Mapping[str, str], drop: Callable[[str], bool] = lambda key: False
) -> bytes:
    """Return an ONNX file's bytes with metadata set.

    Args:
        data: the whole file.
        pairs: key -> value; a key that is there already gets the new value.
        drop: tells which other keys are to be taken out.

    Raises:
        ModelLoadError: the bytes are no protobuf message.
    """
    view = memoryview(data)
    kept: list[memoryview | bytes] = []
    try:
        at = 0
        while at < len(view):
            start = at
            tag, at = read_varint(view, at)
            number, wire = tag >> 3, tag & 7
            body = at
            if wire == 0:
                _, at = read_varint(view, at)
            elif wire in _FIXED:
                at += _FIXED[wire]
            elif wire == _LENGTH_DELIMITED:
                length, body = read_varint(view, at)
                at = body + length
            else:
                raise ValueError(f"wire type {wire}")
            if at > len(view):
                raise ValueError("cut short")
            if number == _METADATA_PROPS and wire == _LENGTH_DELIMITED:
                key = _key(view[body:at])
                if key in pairs or drop(key):
                    continue
            kept.append(view[start:at])
    except ValueError as error:
        raise ModelLoadError(f"not an ONNX file: {error}", where="ONNX file") from None
    return b"".join([*kept, *(_entry(key, value) for key, value in pairs.items())])


def _key(entry: memoryview) -> str:
    """Read the key of one entry."""
    at = 0
    while at < len(entry):
        tag, at = read_varint(entry, at)
        length, at = read_varint(entry, at)
        if tag == (1 << 3 | _LENGTH_DELIMITED):
            return bytes(entry[at : at + length]).decode("utf-8", "replace")
        at += length
    return ""


def _entry(key: str, value: str) -> bytes:
    body = b"".join(_field(n, text.encode()) for n, text in ((1, key), (2, value)))
    return _field(_METADATA_PROPS, body)


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
