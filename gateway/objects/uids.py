"""Unique identifiers: which are usable, and deterministic new ones (PS3.5 section 9 and annex B.2)."""

from __future__ import annotations

import hashlib
import re
import uuid

# Of every UID of the standard; those under another root are private (PS3.5 9.2).
STANDARD_ROOT = "1.2.840.10008."

_UID = re.compile(r"\d+(\.\d+)*\Z", re.ASCII)


def valid_uid(text: str) -> bool:
    """Tell whether `text` can be used as a UID.

    Digits in components separated by single dots, 64 characters at most (PS3.5 9.1). Components with leading zeros
    are let through: old modalities make them and nobody is confused by them.
    """
    return len(text) <= 64 and _UID.match(text) is not None


def derived_uid(*parts: str) -> str:
    """Make the UID that belongs to `parts`, always the same for the same parts.

    A UUID-based ``2.25.`` UID (PS3.5 B.2) from a digest, so that it is no old UID with a suffix.
    """
    digest = hashlib.blake2b(digest_size=16, person=b"dicom gateway")
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return f"2.25.{uuid.UUID(bytes=digest.digest(), version=5).int}"
