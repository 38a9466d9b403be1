"""Reading FlatBuffers without a library, against buffers that the library builds."""

from __future__ import annotations

import random
from typing import Any

import flatbuffers
import pytest

from edgecv.flatbuffer import Table


def build() -> bytes:
    """A root of (text, number, floats, tables of (byte), text left out, bytes)."""
    builder: Any = flatbuffers.Builder(64)
    inner = []
    for value in (3, -4):
        builder.StartObject(1)
        builder.PrependInt8Slot(0, value, 0)
        inner.append(builder.EndObject())
    builder.StartVector(4, 2, 4)
    for item in reversed(inner):
        builder.PrependUOffsetTRelative(item)
    tables = builder.EndVector()
    builder.StartVector(4, 3, 4)
    for number in (0.5, -1.5, 2.0):
        builder.PrependFloat32(number)
    floats = builder.EndVector()
    text, data = builder.CreateString("zwölf"), builder.CreateByteVector(b"\x00\x01\x02")
    builder.StartObject(6)
    builder.PrependUOffsetTRelativeSlot(0, text, 0)
    builder.PrependUint32Slot(1, 77, 0)
    builder.PrependUOffsetTRelativeSlot(2, floats, 0)
    builder.PrependUOffsetTRelativeSlot(3, tables, 0)
    builder.PrependUOffsetTRelativeSlot(5, data, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"TEST")
    return bytes(builder.Output())


def read_all(table: Table) -> list[Any]:
    return [
        table.text(0), table.scalar(1, "I"), table.floats(2),
        [inner.scalar(0, "b") for inner in table.tables(3)], table.text(4), bytes(table.data(5)),
        table.table(9), table.scalar(9, "b", 5),
    ]  # fmt: skip


def test_every_kind_of_field() -> None:
    assert read_all(Table.root(build(), b"TEST")) == [
        "zwölf", 77, (2.0, -1.5, 0.5), [3, -4], "", b"\x00\x01\x02", None, 5,
    ]  # fmt: skip


def test_another_identifier_and_too_little_are_refused() -> None:
    with pytest.raises(ValueError, match="expected identifier"):
        Table.root(build(), b"ELSE")
    for data in (b"", b"\x08\0\0", b"\xff" * 12):
        with pytest.raises(ValueError, match=r"."):
            Table.root(data)


def test_mutations_are_read_or_refused() -> None:
    good, rng = build(), random.Random(3)
    refused = 0
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            read_all(Table.root(bytes(data)))
        except ValueError:
            refused += 1
    assert refused > 300
