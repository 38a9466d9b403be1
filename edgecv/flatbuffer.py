"""Read FlatBuffers without a library, every offset checked.

Source: the FlatBuffers documentation, "FlatBuffer Internals": a table begins with the signed
distance to its vtable; the vtable holds its own size, the table's, and for each field its offset in
the table or 0; tables, strings and vectors are reached through unsigned offsets from where they are
stored.
"""

from __future__ import annotations

import struct

_MAX_ITEMS = 100_000


class Table:
    """One table; fields are counted from 0 in the order of the schema.

    Every method raises ValueError where an offset leads out of the buffer.
    """

    def __init__(self, data: memoryview, at: int) -> None:
        self._data, self._at = data, at
        vtable = at - self._read("<i", at)
        size = self._read("<H", vtable)
        if size < 4 or size % 2:
            raise ValueError(f"a vtable of {size} bytes")
        self._fields = self._slice(vtable, size)[4:]

    @classmethod
    def root(cls, data: memoryview | bytes, identifier: bytes | None = None) -> Table:
        """Read the root table.

        Args:
            data: the whole buffer.
            identifier: four bytes that must stand at position 4; None to accept any.
        """
        view = memoryview(data)
        if identifier is not None and bytes(view[4:8]) != identifier:
            raise ValueError(f"expected identifier {identifier!r}, got {bytes(view[4:8])!r}")
        (at,) = struct.unpack_from("<I", view) if len(view) >= 8 else (len(view),)
        return cls(view, at)

    def scalar(self, field: int, kind: str, default: float = 0) -> float:
        """Read a number; `kind` is struct's letter, such as ``b``, ``I`` or ``f``."""
        at = self._place(field)
        return default if at is None else self._read(f"<{kind}", at)

    def text(self, field: int) -> str:
        """Read a string; empty where there is none."""
        return bytes(self.data(field)).decode("utf-8", "replace")

    def data(self, field: int) -> memoryview:
        """View a vector of bytes, or a string; empty where there is none."""
        found = self._vector(field)
        if found is None:
            return memoryview(b"")
        at, count = found
        return self._slice(at, count)

    def table(self, field: int) -> Table | None:
        """Read a table, or the one that a union holds; None where there is none."""
        at = self._place(field)
        return None if at is None else Table(self._data, at + self._read("<I", at))

    def tables(self, field: int) -> list[Table]:
        """Read a vector of tables."""
        found = self._vector(field)
        if found is None:
            return []
        at, count = found
        if count > _MAX_ITEMS:
            raise ValueError(f"a vector of {count} tables")
        places = range(at, at + 4 * count, 4)
        return [Table(self._data, place + self._read("<I", place)) for place in places]

    def floats(self, field: int) -> tuple[float, ...]:
        """Read a vector of float32."""
        found = self._vector(field)
        if found is None:
            return ()
        at, count = found
        return struct.unpack(f"<{count}f", self._slice(at, 4 * count))

    def ints(self, field: int, most: int) -> tuple[int, ...]:
        """Read a vector of int32 with at most `most` items."""
        found = self._vector(field)
        if found is None:
            return ()
        at, count = found
        if count > most:
            raise ValueError(f"a vector of {count} numbers")
        return struct.unpack(f"<{count}i", self._slice(at, 4 * count))

    def _place(self, field: int) -> int | None:
        # Read where it is asked for: many tables may share a vtable as long as the file.
        pair = self._fields[2 * field : 2 * field + 2]
        offset = int.from_bytes(pair, "little")
        return self._at + offset if offset else None

    def _vector(self, field: int) -> tuple[int, int] | None:
        place = self._place(field)
        if place is None:
            return None
        at = place + self._read("<I", place)
        count = self._read("<I", at)
        if count > len(self._data):
            raise ValueError(f"a vector of {count} items in {len(self._data)} bytes")
        return at + 4, count

    def _slice(self, at: int, size: int) -> memoryview:
        if at < 0 or at + size > len(self._data):
            raise ValueError(f"bytes {at} to {at + size} of {len(self._data)}")
        return self._data[at : at + size]

    def _read(self, kind: str, at: int) -> int:
        (value,) = struct.unpack(kind, self._slice(at, struct.calcsize(kind)))
        number: int = value
        return number
