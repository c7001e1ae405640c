"""Which instances a retrieve request means: Query/Retrieve level and unique keys (PS3.4 C.4.2.1.4, C.4.2.2.1, C.6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pydicom.datadict import dictionary_description
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from gateway.archive.views import View
from gateway.errors import MismatchError
from gateway.objects.uids import valid_uid

if TYPE_CHECKING:
    from gateway.archive.index import Archive
    from gateway.archive.rows import InstanceRow

QUERY_RETRIEVE_LEVEL = 0x00080052
QUERY_RETRIEVE_VIEW = 0x00080053


class Level(NamedTuple):
    """A level of the information models: its unique key, and the name of that key in `Archive.select`."""

    name: str
    unique_key: int
    argument: str


PATIENT = Level("PATIENT", 0x00100020, "patient")
STUDY = Level("STUDY", 0x0020000D, "study")
SERIES = Level("SERIES", 0x0020000E, "series")
IMAGE = Level("IMAGE", 0x00080018, "instance")

# Abstract syntaxes of C-MOVE and the levels of their models from the top (PS3.4 C.6.1.1, C.6.2.1, C.6.3).
MOVE_MODELS: dict[str, tuple[Level, ...]] = {
    "1.2.840.10008.5.1.4.1.2.1.2": (PATIENT, STUDY, SERIES, IMAGE),  # Patient Root
    "1.2.840.10008.5.1.4.1.2.2.2": (STUDY, SERIES, IMAGE),  # Study Root
    "1.2.840.10008.5.1.4.1.2.3.2": (PATIENT, STUDY),  # Patient/Study Only, retired
}


class IdentifierError(MismatchError):
    """An Identifier that is none of the model it came for (status A900).

    Parameters
    ----------
    tag : int
        The Offending Element.
    problem : str
        What is wrong with it.
    """

    def __init__(self, tag: int, problem: str, **details: Any) -> None:
        self.tag = tag
        super().__init__(f"{dictionary_description(tag)} {Tag(tag)}", problem, **details)


@dataclass(frozen=True)
class Selection:
    """The entities that a request names.

    Attributes
    ----------
    level : str
        PATIENT, STUDY, SERIES or IMAGE.
    keys : mapping
        Arguments of `Archive.select`.
    """

    level: str
    keys: Mapping[str, Any] = field(default_factory=dict)

    def rows(self, archive: Archive, view: View) -> list[InstanceRow]:
        """Return the instances of one view that are meant."""
        return archive.select(view, **self.keys)

    def pending(self, archive: Archive) -> bool:
        """Tell whether the conversion has not yet settled what becomes of a study that this selection touches.

        Whole studies are looked at: until a study is settled, which series and instances its enhanced view has is
        not known.
        """
        keys = {name: value for name, value in self.keys.items() if name in ("patient", "study")}
        studies = {row.study for row in archive.select(View.RECEIVED, **keys)}
        return any(archive.unsettled(study) for study in studies)


def selection(identifier: Dataset, model: str) -> Selection:
    """Return what an Identifier asks for in baseline behaviour.

    Parameters
    ----------
    identifier : Dataset
        Of a C-MOVE request.
    model : str
        Abstract syntax of the request, a key of `MOVE_MODELS`.

    Raises
    ------
    IdentifierError
        If the level is none of the model, or a unique key of this or a higher level is missing or unusable.
    """
    levels = MOVE_MODELS[model]
    name = "".join(_values(identifier, QUERY_RETRIEVE_LEVEL)).upper()
    names = [level.name for level in levels]
    if name not in names:
        raise IdentifierError(QUERY_RETRIEVE_LEVEL, "is none of this model", found=name, expected=", ".join(names))
    if QUERY_RETRIEVE_VIEW in identifier:
        # Never silently another view: who wants one negotiates it, or calls the AE title that has it.
        raise IdentifierError(QUERY_RETRIEVE_VIEW, "was not negotiated", remedy="call the AE title of the view")
    keys: dict[str, Any] = {}
    for level in levels[: names.index(name) + 1]:
        keys[level.argument] = _unique_key(identifier, level, several=level.name == name)
    # A patient named without need, as Study Root requests sometimes do: then only his or hers.
    if "patient" not in keys and (patient := _values(identifier, PATIENT.unique_key)):
        keys["patient"] = patient[0]
    return Selection(name, keys)


def _unique_key(identifier: Dataset, level: Level, *, several: bool) -> str | tuple[str, ...]:
    """Return the value of a unique key: one, or a list of UIDs where the request is for that level."""
    values = _values(identifier, level.unique_key)
    if not values:
        raise IdentifierError(level.unique_key, "is missing", remedy="supply the unique keys down to the level")
    if len(values) > 1 and (level is PATIENT or not several):
        raise IdentifierError(level.unique_key, "has several values", found=len(values), expected="one")
    if level is PATIENT:
        return values[0]
    for value in values:
        if not valid_uid(value):
            raise IdentifierError(level.unique_key, "is no UID", found=value[:64])
    return tuple(values)


def _values(identifier: Dataset, tag: int) -> Sequence[str]:
    """Return the non-empty values of an element."""
    try:
        element = identifier.get(tag)
        value = element.value if element is not None else None
    except Exception as error:  # whatever pydicom makes of arbitrary bytes
        raise IdentifierError(tag, "cannot be decoded", found=str(error)) from error
    if value is None:
        return ()
    values = [value] if isinstance(value, str) else list(value)
    return [text for text in (str(one).strip(" \0") for one in values) if text]
