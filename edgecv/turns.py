"""A fair semaphore, for threads that take turns at something."""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """Turns that are handed to whoever has waited longest.

    Where a turn that comes back is merely free, as with semaphores and queues, threads that take
    one again and again can overtake those that wait.

    Args:
        count: turns that may be taken at the same time.
    """

    def __init__(self, count: int) -> None:
        self._lock, self._free = threading.Lock(), count
        self._waiting: deque[threading.Lock] = deque()

    def take(self) -> None:
        """Wait for a turn."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            gate = threading.Lock()
            gate.acquire()
            self._waiting.append(gate)
        try:
            gate.acquire()
        except BaseException:  # an interrupt; the turn may have been handed over meanwhile
            with self._lock:
                waits = gate in self._waiting
                if waits:
                    self._waiting.remove(gate)
            if not waits:
                self.give()
            raise

    def give(self) -> None:
        """Give a turn back."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1
