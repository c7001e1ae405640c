"""Log events with fields, and the fault points at which tests break the box on purpose.

An event is a short name and fields; on a terminal it is one ``key=value`` line on stderr, under systemd the fields
become journal fields that ``journalctl`` can search.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import time

LOGGER = logging.getLogger("gateway")

# GATEWAY_FAULTS="intake.write=ENOSPC,convert.before_record=kill@3": the third pass kills the process.
_FAULTS: dict[str, tuple[str, int]] = {}
_PASSES: dict[str, int] = {}


def event(name: str, level: int = logging.INFO, **fields: object) -> None:
    """Log one event.

    Parameters
    ----------
    name : str
        Dotted name such as ``intake.stored``.
    level : int
        A level of :mod:`logging`.
    **fields
        Study, series, instance, peer, destination, reason: whatever a reader would search for.
    """
    if LOGGER.isEnabledFor(level):
        text = " ".join(f"{key}={_quote(value)}" for key, value in fields.items() if value is not None)
        LOGGER.log(level, "%s %s", name, text, extra={"gateway_event": name, "gateway_fields": fields})


def warning(name: str, **fields: object) -> None:
    """Log one event that somebody should look at."""
    event(name, logging.WARNING, **fields)


def _quote(value: object) -> str:
    text = str(value)
    return repr(text) if " " in text or not text else text


def load_faults(text: str) -> None:
    """Arm fault points from ``name=action[@pass]`` pairs separated by commas."""
    _FAULTS.clear()
    _PASSES.clear()
    for pair in filter(None, text.split(",")):
        name, _, action = pair.partition("=")
        action, _, count = action.partition("@")
        _FAULTS[name.strip()] = (action, int(count or 1))


def fault(name: str) -> None:
    """A named place where a test may kill the process, delay it or raise an `OSError`.

    Actions: ``kill`` (SIGKILL to this process) or the name of an errno such as ``ENOSPC``, each at the given pass only;
    ``sleep:SECONDS`` at every pass.
    """
    if not _FAULTS or name not in _FAULTS:
        return
    action, wanted = _FAULTS[name]
    _PASSES[name] = _PASSES.get(name, 0) + 1
    if action.startswith("sleep:"):
        time.sleep(float(action[6:]))
        return
    if _PASSES[name] != wanted:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    code = getattr(errno, action)
    raise OSError(code, os.strerror(code), f"fault point {name}")


load_faults(os.environ.get("GATEWAY_FAULTS", ""))
