"""Whether two objects have equal pixels after decoding, found out by a process of its own.

Decoders are C libraries that meet bytes from strangers: what they do to memory, or to themselves, must not happen in a
process that serves associations. They also need numpy, which would double what each of those processes takes.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from gateway.errors import ObjectError
from gateway.objects.part10 import Header, read_header

# pydicom inflates a deflated object in memory.
_MOST_INFLATED = 256 << 20

# Seconds; decoding 2 GiB of JPEG 2000 on a small box takes minutes.
_LONGEST = 900

# Exit status; others are those of an exception or a crash.
_EQUAL, _DIFFERENT = 10, 11


def same_decoded(one: Path, other: Path) -> bool:
    """Tell whether the decoded frames of two files are equal.

    Raises
    ------
    ObjectError
        If that cannot be found out: there is no decoder, or pixel data are broken.
    """
    # Open files instead of names: a checkpoint may move them meanwhile.
    with open(one, "rb") as first, open(other, "rb") as second:
        descriptors = first.fileno(), second.fileno()
        names = [f"/dev/fd/{number}" for number in descriptors]
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", __name__, *names],
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_LONGEST,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ObjectError(other.name, "takes too long to decode") from None
    if done.returncode not in (_EQUAL, _DIFFERENT):
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ObjectError(other.name, "cannot be decoded", found=lines[-1] if lines else f"status {done.returncode}")
    return done.returncode == _EQUAL


def _same(one: Path, other: Path) -> bool:
    """Compare decoded frames, one at a time."""
    import numpy

    pairs = zip_longest(_frames(read_header(one)), _frames(read_header(other)))
    return all(a is not None and b is not None and numpy.array_equal(a, b) for a, b in pairs)


def _frames(header: Header) -> Iterator[Any]:
    """Yield the decoded frames of a file."""
    from pydicom import dcmread
    from pydicom.pixels import iter_pixels

    if not header.deflated:
        yield from iter_pixels(header.path)
    elif header.pixels and header.pixels.length <= _MOST_INFLATED:
        yield from iter_pixels(dcmread(header.path))
    else:
        raise ObjectError(header.path.name, "is too long to be inflated")


if __name__ == "__main__":
    sys.exit(_EQUAL if _same(Path(sys.argv[1]), Path(sys.argv[2])) else _DIFFERENT)
