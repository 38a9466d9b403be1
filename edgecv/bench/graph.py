"""A network's graph as its file has it: what the readers in `graphs` make, and `work` counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from edgecv.errors import ModelLoadError
from edgecv.record import Record

Shape = tuple[int, ...]
Role = Literal["plain", "elementwise", "view"]

LARGEST = 2**53
"""Above it a count is not exact in every reader of JSON, and no network is that large."""


class Untold(Exception):  # noqa: N818  # no error: a size that a file does not tell
    """A size cannot be told; the message says why."""


class Tensor(Record, kw_only=True):
    """What flows between operations, or is stored in the file.

    Attributes:
        shape: None where the file does not tell it.
        bits: of one value; None where that is not told.
        stored: of a constant, the bytes that it takes in the file, 0 where it follows from others;
            None for what is computed in each inference.
        why: of a shape that is not told.
    """

    shape: Shape | None = None
    bits: int | None = None
    stored: int | None = None
    why: str = ""


class Operation(Record, kw_only=True):
    """One node of the graph.

    Attributes:
        kind: operator, in the words of the format.
        inputs: names of tensors.
        outputs: the same.
        macs: multiply-accumulates; None where they cannot be told.
        role: ``elementwise`` where each value follows from those at the same place; ``view`` where
            nothing is computed, such as a reshape.
        why: of `macs` that are not told.
        nested: it runs a graph of its own, such as a branch or the body of a loop, which is not
            read and may take more than `inputs`.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int | None = 0
    role: Role = "plain"
    why: str = ""
    nested: bool = False


class Graph(Record, kw_only=True):
    """A network.

    Attributes:
        tensors: by name.
        operations: each behind those that make its inputs.
        inputs: names of tensors that come with each inference.
        outputs: names of tensors that are handed out.
    """

    tensors: dict[str, Tensor]
    operations: tuple[Operation, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def elements(shape: Sequence[int]) -> int:
    """Count the values of a shape.

    Raises:
        Untold: there are more than `LARGEST`, or a size is negative.
    """
    if any(size < 0 for size in shape):
        raise Untold(f"a negative size in {list(shape)}")
    return bounded(math.prod(shape))


def bounded(count: int) -> int:
    """Return a count.

    Raises:
        Untold: it is more than `LARGEST`.
    """
    if count > LARGEST:
        raise Untold(f"more than 2^{LARGEST.bit_length() - 1} of something")
    return count


def size_bytes(shape: Sequence[int], bits: int) -> int:
    """Count the bytes of packed values.

    Raises:
        Untold: as `elements`.
    """
    return (elements(shape) * bits + 7) // 8


def convolution(weights: Sequence[int], positions: Sequence[int]) -> int:
    """Count the multiply-accumulates of a convolution, grouped or not.

    Each weight is used once for each position: of the output, or for a transposed convolution of
    the input. Taps that fall on padding count.

    Args:
        weights: shape of all of them, in any order of axes.
        positions: sizes of the batch and the spatial axes.

    Raises:
        Untold: as `elements`.
    """
    return bounded(elements(weights) * elements(positions))


def product(out: Sequence[int], inner: int) -> int:
    """Count the multiply-accumulates of a product of matrices: `inner` for each value of `out`.

    Raises:
        Untold: as `elements`.
    """
    return bounded(elements(out) * elements([inner]))


def in_order(operations: Sequence[Operation], where: str) -> tuple[Operation, ...]:
    """Put operations behind those that make their inputs; else as they stand.

    Raises:
        ModelLoadError: some need each other's results.
    """
    makers = {name: i for i, one in enumerate(operations) for name in one.outputs}
    needs = [{makers[n] for n in one.inputs if n in makers} for one in operations]
    users: list[list[int]] = [[] for _ in operations]
    for i, wanted in enumerate(needs):
        for maker in wanted:
            users[maker].append(i)
    left = [len(wanted) for wanted in needs]
    ready = [i for i, count in enumerate(left) if not count]
    for i in ready:  # grows while it is walked
        for user in users[i]:
            left[user] -= 1
            if not left[user]:
                ready.append(user)
    if len(ready) < len(operations):
        stuck = next(one for i, one in enumerate(operations) if left[i])
        raise ModelLoadError("the graph has a cycle", where=where, got=f"{stuck.kind} in it")
    return tuple(operations[i] for i in ready)
