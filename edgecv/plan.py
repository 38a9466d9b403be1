"""How images are worked on at the same time."""

# Annotations are not postponed here: `edgecv.schema` reads them.

from typing import Annotated

from edgecv.record import Record
from edgecv.schema import Rule

_Count = Annotated[int, Rule(ge=1, le=1024)]


class Plan(Record):
    """How images are worked on at the same time.

    Attributes:
        workers: threads that take images from bytes to result.
        threads: of one inference; None leaves the engine as it was opened.
        streams: inferences that the engine works on at the same time.
        batch: images of one inference, where the model's batch axis is free.
    """

    workers: _Count
    threads: _Count | None = None
    streams: _Count = 1
    batch: _Count = 1

    def __str__(self) -> str:
        engine = "as opened" if self.threads is None else f"{self.streams} x {self.threads} threads"
        batch = f", batches of {self.batch}" if self.batch > 1 else ""
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return f"{workers}, engine {engine}{batch}"
