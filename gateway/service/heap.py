"""The heap as the children of the box inherit it: without holes.

Importing leaves about 1,500 small free chunks between the objects that stay. A child that takes such a chunk unshares
the page around it: SQLite reading the schema, 170 KB in small pieces, cost each process more than 2 MB. What is
allocated once the holes are filled lies together, at the end of the heap.
"""

from __future__ import annotations

import ctypes

# Requests in bytes, falling: every size that the C library keeps apart, and above that steps that leave little.
_SIZES = (*range(65536, 4096, -1024), *range(4096, 1024, -64), *range(1024, 0, -16))


class _Figures(ctypes.Structure):
    """What mallinfo2(3) tells of the heap; the last says how much its free end has."""

    _fields_ = (*((f"other_{number}", ctypes.c_size_t) for number in range(9)), ("keepcost", ctypes.c_size_t))


def fill_holes() -> int:
    """Allocate, for good, all free memory of the main heap but its end; return how many pieces that took.

    To be called before a fork, with one thread. Does nothing where the C library does not tell where the end begins
    (glibc has mallinfo2 since 2.33).
    """
    library = ctypes.CDLL(None)
    try:
        figures, brk, allocate, free = library.mallinfo2, library.sbrk, library.malloc, library.free
    except AttributeError:
        return 0
    figures.restype, brk.restype, allocate.restype = _Figures, ctypes.c_void_p, ctypes.c_void_p
    brk.argtypes, allocate.argtypes, free.argtypes = (ctypes.c_ssize_t,), (ctypes.c_size_t,), (ctypes.c_void_p,)
    end = brk(0) - figures().keepcost
    filled = 0
    for size in _SIZES:
        while (piece := allocate(size) or end) < end:
            filled += 1
        if piece != end:
            free(piece)
    return filled
