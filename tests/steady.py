"""pynetdicom's requestor without its race: stock but for the moment in which its reactor is paused.

Before it sends a request, a requestor pauses the thread that takes in messages, and waits until that says it is paused.
The thread says so before it waits: when the pause comes in between, both believe to be alone, and now and then the
thread takes the response. The requestor then waits for it until its time is over. Here the pause returns only when the
thread stands still. `tests/conftest.py` gives it to every client of the tests.
"""

from __future__ import annotations

import threading
from typing import Any

from pynetdicom.association import Association


class Checkpoint:
    """Where a thread stops while it is closed; an event (`threading.Event`) whose `clear` waits for the thread.

    Parameters
    ----------
    goes_on : callable
        Whether the thread can still come here.
    """

    def __init__(self, goes_on: Any) -> None:
        self._goes_on = goes_on
        self._changed = threading.Condition()
        self._open = True
        self._stands = False

    def wait(self, timeout: float | None = None) -> bool:
        """Stop until it is open."""
        with self._changed:
            self._stands = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._open, timeout)
            self._stands = False
            return self._open

    def clear(self) -> None:
        """Close it, and wait until the thread stands still or has ended."""
        with self._changed:
            self._open = False
            while not self._stands and self._goes_on():
                self._changed.wait(0.1)

    def set(self) -> None:
        """Open it."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def is_set(self) -> bool:
        """Tell whether it is open."""
        return self._open


class SteadyAssociation(Association):
    """An association whose requests never lose their response to its own reactor."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._reactor_checkpoint = Checkpoint(self._reactor_goes_on)  # type: ignore[assignment]

    def _reactor_goes_on(self) -> bool:
        return self.is_alive() and threading.current_thread() is not self and not self._kill
