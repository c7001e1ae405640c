"""The three views of an archive and which of them an instance is in (PS3.4 C.3.5)."""

from __future__ import annotations

import enum

from gateway.errors import ConfigError
from gateway.standard.sop_classes import ENHANCED_CLASSES


class View(enum.IntFlag):
    """One bit for each view; an instance carries the bits of the views it is in."""

    RECEIVED = 1
    CLASSIC = 2
    ENHANCED = 4


NO_VIEW = View(0)
ALL_VIEWS = View.RECEIVED | View.CLASSIC | View.ENHANCED


def view_named(name: str) -> View:
    """Return the view that the configuration calls ``received``, ``classic`` or ``enhanced``.

    Raises
    ------
    ConfigError
        If there is no such view.
    """
    try:
        return View[name.upper()]
    except KeyError:
        raise ConfigError("view", "is unknown", found=name, expected="received, classic or enhanced") from None


def name_of(view: View | int) -> str:
    """Return the name the configuration has for a view; several are joined by ``|``."""
    return "|".join(one.name or "" for one in View if one & view).lower() or "none"


def fresh_views(sop_class: str) -> View:
    """Return the views of an instance that has arrived and not been looked at by the conversion."""
    return View.RECEIVED if sop_class in ENHANCED_CLASSES else View.RECEIVED | View.CLASSIC
