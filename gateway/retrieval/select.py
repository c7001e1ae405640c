"""Which instances a retrieve request means: Query/Retrieve level and unique keys (PS3.4 C.4.2.1.4, C.4.2.2, C.6)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from gateway.archive.jobs import CONVERT
from gateway.archive.matching import KeyValueError
from gateway.archive.views import ALL_VIEWS, View
from gateway.conversion.frame_lists import KEYS, FrameRequest
from gateway.objects.elements import dataset, make, tag_of
from gateway.objects.uids import valid_uid
from gateway.standard.query_keys import IMAGE, PATIENT, SERIES, STUDY, UNIQUE_KEYS
from gateway.standard.retrieve_models import FRAME, RETRIEVE_MODELS

if TYPE_CHECKING:
    from gateway.archive.index import Archive
from gateway.archive.rows import InstanceRow

QUERY_RETRIEVE_LEVEL = 0x00080052
QUERY_RETRIEVE_VIEW = 0x00080053
_TIME_RANGE = tag_of("TimeRange")


# Keyword of the unique key of a level, and the name it has in `Archive.select`.
_ARGUMENTS = {PATIENT: "patient", STUDY: "study", SERIES: "series", IMAGE: "instance"}
_TAGS = {level: tag_of(keyword) for level, keyword in UNIQUE_KEYS.items()}

_VIEWS = {"CLASSIC": View.CLASSIC, "ENHANCED": View.ENHANCED}


class IdentifierError(KeyValueError):
    """An Identifier that is none of the model it came for (status A900)."""


@dataclass(frozen=True)
class Selection:
    """The entities that a request names.

    Attributes
    ----------
    level : str
        PATIENT, STUDY, SERIES, IMAGE or FRAME.
    keys : mapping
        Arguments of `Archive.select`.
    named : View or None
        The Query/Retrieve View that the request names.
    frames : FrameRequest or None
        At the FRAME level, which frames of the instance.
    """

    level: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    named: View | None = None
    frames: FrameRequest | None = None

    def rows(self, archive: Archive, view: View) -> list[InstanceRow]:
        """Return the instances of one view that are meant.

        Raises
        ------
        IdentifierError
            If a series or instance exists, but not in the view that is named (C.4.2.2.2.2 note 3).
        """
        rows = archive.select(view, **self.keys)
        if self.named is not None:
            self._check(archive, view, "series", {row.series for row in rows})
            self._check(archive, view, "instance", {row.sop_instance for row in rows})
        return rows

    def _check(self, archive: Archive, view: View, key: str, found: set[str]) -> None:
        missing = set(self.keys.get(key, ())) - found
        if not missing:
            return
        named: dict[str, Any] = {key: sorted(missing)}
        held = archive.select(ALL_VIEWS, **named)
        # What the view has, but not in the study or series named, matches nothing; that is no matter of views.
        elsewhere = missing & {_uid(row, key) for row in held} - {_uid(row, key) for row in held if row.views & view}
        if elsewhere:
            raise IdentifierError(QUERY_RETRIEVE_VIEW, f"has no {key} {min(elsewhere)}")

    def pending(self, archive: Archive, view: View) -> bool:
        """Tell whether the conversion has not yet settled what a view has of a study that this selection touches.

        Whole studies are looked at: until a study is settled, which series and instances the view has is not known.
        """
        above = {name: value for name, value in self.keys.items() if name in ("patient", "study")}
        touched = archive.select(ALL_VIEWS, **(above or self.keys))
        if not above and all(row.views & view for row in touched):
            return False  # each instance is named, or series whose members are, and the view has them
        # What has arrived and is classic is in the classic view from the beginning.
        return any(
            view == View.ENHANCED or not row.views & view
            for study in {row.study for row in touched}
            if not archive.jobs.is_held(CONVERT, study)  # that waits for somebody; it may be long
            for row in archive.unsettled(study)
        )


def _uid(row: InstanceRow, key: str) -> str:
    return row.series if key == "series" else row.sop_instance


def selection(identifier: Dataset, model: str, options: Collection[str] = ()) -> Selection:
    """Return what an Identifier asks for.

    Parameters
    ----------
    identifier : Dataset
        Of a C-MOVE or C-GET request.
    model : str
        Abstract syntax of the request, a key of `RETRIEVE_MODELS`.
    options : collection of str
        What was negotiated for it: ``relational``, ``view``.

    Raises
    ------
    IdentifierError
        If the level is none of the model, a unique key of this or a higher level is missing or unusable, or a view was
        not negotiated or is none.
    ExtractionError
        If there is not exactly one usable Frame Range Key at the FRAME level (AA04).
    """
    levels = RETRIEVE_MODELS[model].levels
    name = "".join(_values(identifier, QUERY_RETRIEVE_LEVEL)).upper()
    if name not in levels:
        raise IdentifierError(QUERY_RETRIEVE_LEVEL, "is none of this model", found=name, expected=", ".join(levels))
    view = _view(identifier, options)
    relational = "relational" in options
    keys: dict[str, Any] = {}
    for level in levels[: levels.index(name) + 1]:
        if level == FRAME:
            continue  # named by a Frame Range Key
        if relational and level != name and not _values(identifier, _TAGS[level]):
            continue
        keys[_ARGUMENTS[level]] = _unique_key(identifier, level, several=relational or level == name)
    # A patient named without need, as Study Root requests sometimes do: then only his or hers.
    if PATIENT not in levels and STUDY in levels and (patient := _values(identifier, _TAGS[PATIENT])):
        keys["patient"] = patient[0]
    return Selection(name, keys, view, _frames(identifier) if name == FRAME else None)


def _frames(identifier: Dataset) -> FrameRequest:
    """Return the Frame Range Key."""
    present = [keyword for keyword in KEYS if tag_of(keyword) in identifier]
    return FrameRequest.of(dataset(*(make(keyword, *_numbers(identifier, tag_of(keyword))) for keyword in present)))


def _numbers(identifier: Dataset, tag: int) -> list[float]:
    """Return the values of an element of numbers."""
    try:
        value = identifier[tag].value
        values = value if isinstance(value, (list, MultiValue)) else [] if value is None or value == "" else [value]
        return [float(one) if tag == _TIME_RANGE else int(one) for one in values]
    except Exception as error:  # whatever pydicom makes of arbitrary bytes
        raise IdentifierError(tag, "cannot be decoded", found=str(error)) from error


def _view(identifier: Dataset, options: Collection[str]) -> View | None:
    """Return the view that is named; never silently another."""
    if QUERY_RETRIEVE_VIEW not in identifier:
        return None
    if "view" not in options:
        raise IdentifierError(QUERY_RETRIEVE_VIEW, "was not negotiated", remedy="call the AE title of the view")
    found = "\\".join(_values(identifier, QUERY_RETRIEVE_VIEW))
    if found not in _VIEWS:
        raise IdentifierError(QUERY_RETRIEVE_VIEW, "is unknown", found=found[:16], expected="CLASSIC or ENHANCED")
    return _VIEWS[found]


def _unique_key(identifier: Dataset, level: str, *, several: bool) -> str | tuple[str, ...]:
    """Return the value of a unique key: one, or a list of UIDs where the request may have one."""
    tag = _TAGS[level]
    values = _values(identifier, tag)
    if not values:
        raise IdentifierError(tag, "is missing", remedy="supply the unique keys down to the level")
    if len(values) > 1 and (level == PATIENT or not several):
        raise IdentifierError(tag, "has several values", found=len(values), expected="one")
    if level == PATIENT:
        return values[0]
    for value in values:
        if not valid_uid(value):
            raise IdentifierError(tag, "is no UID", found=value[:64])
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
