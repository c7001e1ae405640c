"""Imports for processes that decode no pixels: without what only that needs, and without looking for garbage."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator

# What pydicom imports if it is installed. It takes longer and more memory than all the rest together, and pixels are
# decoded in processes of their own (`gateway.archive.decoder`).
_DECODERS = ("numpy", "PIL", "gdcm", "pylibjpeg", "jpeg_ls")


@contextlib.contextmanager
def without_decoders() -> Iterator[None]:
    """Let pydicom, if it is imported for the first time inside, do without what it only needs to decode pixels."""
    hidden = [name for name in _DECODERS if name not in sys.modules]
    # Nearly all that an import makes stays. To look through it again and again for garbage took a fifth of the time.
    collecting = gc.isenabled()
    gc.disable()
    # The documented way to make an import fail: None in sys.modules.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        if collecting:
            gc.enable()
