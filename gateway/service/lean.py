"""Imports for processes that decode no pixels: without what only that needs, and without looking for garbage."""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any

# What pydicom imports if it is installed. It takes longer and more memory than all the rest together, and pixels are
# decoded in processes of their own (`gateway.archive.decoder`).
_DECODERS = ("numpy", "PIL", "gdcm", "pylibjpeg", "openjpeg", "libjpeg", "rle", "jpeg_ls")

# OpenSSL for hashlib, 3.5 MB, which does without: nothing long is hashed with it.
_HASHES = "_hashlib"

# Tables of statuses with more rows than this list whole ranges code by code: 4 MB of what nobody looks up here.
_LONGEST_TABLE = 1000


class _Later(types.ModuleType):
    """Stands for ``ssl`` until somebody uses it: OpenSSL, 1 MB and more, is only for a box with TLS.

    pydicom and pynetdicom import it, one for downloads, the other to annotate with one name.
    """

    SSLContext = object

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system looks whether it is a package
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def without_decoders() -> Iterator[None]:
    """Let pydicom, if it is imported for the first time inside, do without what it only needs to decode pixels.

    The same goes for what only TLS needs.
    """
    hidden = [name for name in (*_DECODERS, _HASHES) if name not in sys.modules]
    later = sys.modules.setdefault("ssl", _Later("ssl"))
    # Nearly all that an import makes stays. To look through it again and again for garbage took a fifth of the time.
    collecting = gc.isenabled()
    gc.disable()
    # The documented way to make an import fail: None in sys.modules.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        if isinstance(later, _Later) and sys.modules.get("ssl") is later:
            del sys.modules["ssl"]
        for name in hidden:
            del sys.modules[name]
        if collecting:
            gc.enable()


@contextlib.contextmanager
def as_served() -> Iterator[None]:
    """Let what is imported inside do without decoders, and take the room of pynetdicom's long tables of statuses.

    For the process that the box is forked from. The services of the gateway name their statuses themselves.
    """
    with without_decoders():
        from pynetdicom import status

        for table in vars(status).values():
            if isinstance(table, dict) and len(table) > _LONGEST_TABLE:
                table.clear()
        yield
