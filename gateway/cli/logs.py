"""Where events go: text on stderr, or journal fields when systemd is listening."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

# sd-daemon(3): priorities of syslog.
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class JournalHandler(logging.Handler):
    """Sends records to the journal; the fields of an event become searchable fields such as ``GATEWAY_STUDY``.

    Parameters
    ----------
    send : callable
        `systemd.journal.send`.
    """

    def __init__(self, send: Callable[..., Any]) -> None:
        super().__init__()
        self.send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        try:
            fields = {"GATEWAY_EVENT": getattr(record, "gateway_event", None), **_upper(record)}
            known = {name: str(value) for name, value in fields.items() if value is not None}
            self.send(
                self.format(record),
                PRIORITY=PRIORITIES.get(record.levelno, 6),
                SYSLOG_IDENTIFIER="gateway",
                LOGGER=record.name,
                **known,
            )
        except Exception:
            self.handleError(record)


def _upper(record: logging.LogRecord) -> dict[str, object]:
    return {f"GATEWAY_{name.upper()}": value for name, value in getattr(record, "gateway_fields", {}).items()}


def set_up(level: int = logging.INFO) -> None:
    """Attach the handler that fits to the root logger."""
    root = logging.getLogger()
    root.handlers[:] = [_handler()]
    root.setLevel(logging.WARNING)
    logging.getLogger("gateway").setLevel(level)


def _handler() -> logging.Handler:
    if "JOURNAL_STREAM" in os.environ:
        try:
            from systemd import journal
        except ImportError:
            pass
        else:
            return JournalHandler(journal.send)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(process)d %(message)s"))
    return handler
