"""Durable records: JSON that ends with its own digest, so that a record with a flipped bit is never believed.

The digest is the last member of the object, so that a record remains plain JSON. The first records had none.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from gateway.archive.durable import write_durable
from gateway.errors import DamagedError
from gateway.objects.checked import OTHER_BYTES, damaged
from gateway.objects.digest import BYTES, Digest

_KEY = b',"digest":"'
_END = b'"}'
_SEALED = re.compile(re.escape(_KEY) + rb"([0-9a-f]{%d})" % (2 * BYTES) + re.escape(_END) + rb"\Z")
_LENGTH = len(_KEY) + 2 * BYTES + len(_END)


def encoded(content: dict[str, Any]) -> bytes:
    """Return a record as it stands in its file."""
    plain = json.dumps(content, separators=(",", ":"), sort_keys=True).encode()
    return plain[:-1] + _KEY + _digest(plain) + _END


def write_record(path: Path, content: dict[str, Any]) -> None:
    """Write a record durably.

    Raises
    ------
    ResourceError
        If the disk does not take it.
    """
    write_durable(path, encoded(content))


def read_record(path: Path) -> dict[str, Any]:
    """Return what a record says.

    Raises
    ------
    DamagedError
        If it is not what was written, or cannot be read.
    FileNotFoundError
        If there is none.
    """
    try:
        held = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _wrong(path, error.strerror or str(error)) from error
    sealed = _SEALED.search(held)
    if sealed is not None:
        held = held[: sealed.start()] + b"}"
        if _digest(held) != sealed[1]:
            raise _wrong(path, OTHER_BYTES)
    elif _nearly_sealed(held):
        raise _wrong(path, OTHER_BYTES)
    try:
        content = json.loads(held)
    except ValueError as error:
        raise _wrong(path, f"it is no record: {error}") from error
    if not isinstance(content, dict):
        raise _wrong(path, "it is no record")
    return content


def _digest(data: bytes) -> bytes:
    digest = Digest()
    digest.update(data)
    return digest.hexdigest().encode()


def _nearly_sealed(held: bytes) -> bool:
    """Tell whether a file once ended with a digest: no record of the time before ends with so much of one."""
    end = held[-_LENGTH:]
    alike = sum(a == b for a, b in zip(end, _KEY, strict=False)) + sum(
        a == b for a, b in zip(end[-len(_END) :], _END, strict=False)
    )
    return alike >= len(_KEY) + len(_END) - 3


def _wrong(path: Path, reason: str) -> DamagedError:
    return damaged(f"records/{path.name}", reason)
