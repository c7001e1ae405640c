"""PS3.6: the data dictionary and the registry of UIDs, as pydicom's tables have them.

Only the modules that hold the tables are loaded. The package around them imports decoders, a web client and TLS, and
takes longer to start than everything else of a conversion; where it is imported anyway, both share the same tables.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from functools import cache
from types import ModuleType

# VR, VM, name, "Retired", keyword
Entry = tuple[str, str, str, str, str]


@cache
def _tables(name: str) -> ModuleType:
    """Return a module of pydicom that imports nothing itself, without what its package imports."""
    full = f"pydicom.{name}"
    package = None if "pydicom" in sys.modules else importlib.machinery.PathFinder.find_spec("pydicom")
    spec = package and importlib.machinery.PathFinder.find_spec(full, package.submodule_search_locations)
    if not spec or spec.loader is None:
        return importlib.import_module(full)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return sys.modules.setdefault(full, module)


@cache
def _keywords() -> dict[str, int]:
    return {entry[4]: tag for tag, entry in _tables("_dicom_dict").DicomDictionary.items()}


@cache
def _repeating() -> list[tuple[int, int, Entry]]:
    """Return the entries of repeating groups and elements: which bits of a tag count, what they are, the entry."""
    return [
        (
            int("".join("0" if digit == "x" else "F" for digit in pattern), 16),
            int(pattern.replace("x", "0"), 16),
            entry,
        )
        for pattern, entry in _tables("_dicom_dict").RepeatersDictionary.items()
    ]


def tag_for_keyword(keyword: str) -> int | None:
    """Return the tag of a standard attribute, None if there is none of that name."""
    return _keywords().get(keyword)


def entry_of(tag: int) -> Entry | None:
    """Return what PS3.6 says of a standard element, None if it has none of that tag."""
    entry: Entry | None = _tables("_dicom_dict").DicomDictionary.get(tag)
    if entry is None and not tag >> 16 & 1:
        return next((found for mask, bits, found in _repeating() if tag & mask == bits), None)
    return entry


def keyword_of(tag: int) -> str:
    """Return the keyword of a standard attribute, empty if it has none."""
    entry = entry_of(tag)
    return entry[4] if entry else ""


def private_vr(tag: int, creator: str) -> str | None:
    """Return the VR of a private element of `creator`, None if it is not known."""
    known = _tables("_private_dict").private_dictionaries.get(creator, {})
    group, number = f"{tag >> 16:04X}", f"{tag & 0xFFFF:04X}"
    for key in (f"{group}{number}", f"{group}xx{number[2:]}", f"{group[:2]}xxxx{number[2:]}"):
        if key in known:
            return str(known[key][0])
    return None


# Storage classes of PS3.6 table A-1 that pynetdicom knows and pydicom's dictionary of UIDs does not.
_LATER_UIDS = {
    "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage",
    "1.2.840.10008.5.1.4.1.1.66.8": "Height Map Segmentation Storage",
    "1.2.840.10008.5.1.4.1.1.9.100.1": "Waveform Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.9.100.2": "Waveform Acquisition Presentation State Storage",
}


def uid_name(uid: str) -> str:
    """Return the name of a UID of the standard, the UID itself if it is none."""
    entry = _tables("_uid_dict").UID_dictionary.get(uid)
    return str(entry[0]) if entry else _LATER_UIDS.get(uid, uid)


def is_retired(uid: str) -> bool:
    """Tell whether PS3.6 has a UID and has retired it."""
    entry = _tables("_uid_dict").UID_dictionary.get(uid)
    return entry is not None and entry[3] == "Retired"
