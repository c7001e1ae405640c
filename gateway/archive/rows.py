"""Rows of the index as values, and the attributes that go into its columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.archive.attributes import BINARY_NUMBERS, characters_of, known, tag_named, text_values
from gateway.archive.views import View
from gateway.objects.elements import DataSet, numbers, tag_text
from gateway.observe import warning

RECEIVED = "received"
DERIVED = "derived"


class InstanceRow(NamedTuple):
    """One instance of the index.

    Attributes
    ----------
    name : str
        Archive name of the received file, or of the recipe.
    kind : str
        ``received`` or ``derived``.
    length : int
        Bytes of the data set.
    dataset_offset : int
        Where the data set begins in the file; 0 for a recipe.
    views : View
        The views it is in.
    reason : str
        Why it was not converted, if it was not.
    convert : bool
        Whether images of that peer are to be converted.
    prior : bool
        Whether it came from a destination.
    digest : str
        BLAKE3-128 of the data set bytes.
    settled : bool
        Whether conversion has decided what becomes of it.
    superseded : int
        0 for the current version of its SOP Instance UID.
    image : int
        Which of the different images that came under its SOP Instance UID it is a version of, 0 for the first.
    retired : int
        Its rank among the versions that were the current one once, the latest has the highest; else 0.
    writer : str
        Who had sent the file itself; `peer` is another where the version has come again from somebody else.
    """

    id: int
    sop_instance: str
    sop_class: str
    study: str
    series: str
    name: str
    kind: str
    transfer_syntax: str
    length: int
    dataset_offset: int
    views: View
    frames: int
    instance_number: int | None
    reason: str
    peer: str
    convert: bool
    prior: bool
    digest: str
    settled: bool
    superseded: int
    series_number: int | None
    modality: str
    image: int = 0
    retired: int = 0
    writer: str = ""

    @property
    def spoken(self) -> bool:
        """Whether a sender has once made it the current version: what destinations return is none."""
        return self.kind == RECEIVED and not self.prior and (not self.superseded or self.retired > 0)


# What `instance_row` takes, of instance i, series s, study t, and what the instance says of its series, g.
COLUMNS = (
    "i.id, i.sop_instance, i.sop_class, t.uid, s.uid, i.name, i.kind, i.transfer_syntax, i.length, i.dataset_offset,"
    " i.views, i.frames, i.number, i.reason, i.peer, i.convert, i.prior, i.digest, i.settled, i.superseded, g.number,"
    " g.modality, i.image, i.retired, COALESCE(i.writer, i.peer)"
)
FROM = (
    "instance i JOIN series s ON s.id = i.series JOIN study t ON t.id = s.study"
    " JOIN series_keys g ON g.id = i.series_keys"
)
ORDER = "t.uid, g.number, s.uid, i.number, i.sop_instance"

_VIEWS = tuple(View(bits) for bits in range(8))


def instance_row(values: tuple) -> InstanceRow:
    """Make an `InstanceRow` of a row of `COLUMNS`."""
    made = InstanceRow._make(values)
    return made._replace(
        views=_VIEWS[values[10]],
        convert=bool(made.convert),
        prior=bool(made.prior),
        digest=values[17].hex(),
        settled=bool(made.settled),
    )


class Settlement(NamedTuple):
    """What conversion has decided about one instance: the views it is in and, if it stays as it is, why."""

    views: View
    reason: str = ""


@dataclass(frozen=True)
class DerivedRow:
    """A derived object to be indexed.

    Attributes
    ----------
    name : str
        Name of its recipe.
    digest : str
        BLAKE3-128 of its data set bytes.
    frames : sequence of (str, str)
        Archive name and SOP Instance UID of the source of each frame, in frame order; of the one source when the object
        is an updated copy.
    attributes : DataSet
        At least the attributes of patient, study, series and instance that the index holds.
    references : sequence of str or None
        UIDs that it refers to; None has them read from the attributes.
    kind : str
        What it is to its sources: ``image``, of which each frame stands for one; ``copy``, rewritten, which stands for
        its one source; ``classic``, made of a frame of its source; ``restored``, the same under the UID of the image
        that the frame was made of; or ``companion``, which stands for none.
    prior : bool
        Whether its sources came from a destination.
    """

    sop_instance: str
    sop_class: str
    study: str
    series: str
    name: str
    transfer_syntax: str
    length: int
    digest: str
    frames: Sequence[tuple[str, str]]
    attributes: DataSet = field(repr=False)
    views: View = View.ENHANCED
    references: Sequence[str] | None = None
    kind: str = "image"
    prior: bool = False


class Admission(NamedTuple):
    """What became of a file that was committed to the intake folder.

    Attributes
    ----------
    kind : str
        ``stored``; ``duplicate`` (equal to one held, the file is gone); ``again`` (the same, and what is held is the
        current version from now on); ``version`` (same SOP Instance UID with other content, both are kept); ``other``
        (the same, and it is another image); ``own`` (an object this box made came back).
    name : str
        Archive name of the file that now holds the content.
    study : str
        Study Instance UID.
    """

    kind: str
    name: str
    study: str


# Column and keyword of what the index holds of each entity.
PATIENT_COLUMNS = {
    "patient_id": "PatientID",
    "issuer": "IssuerOfPatientID",
    "name": "PatientName",
    "birth_date": "PatientBirthDate",
    "sex": "PatientSex",
}
STUDY_COLUMNS = {
    "date": "StudyDate",
    "time": "StudyTime",
    "study_id": "StudyID",
    "accession": "AccessionNumber",
    "description": "StudyDescription",
    "referring": "ReferringPhysicianName",
}
SERIES_COLUMNS = {
    "number": "SeriesNumber",
    "modality": "Modality",
    "description": "SeriesDescription",
    "body_part": "BodyPartExamined",
    "protocol": "ProtocolName",
    "date": "SeriesDate",
    "time": "SeriesTime",
}
INSTANCE_COLUMNS = {"number": "InstanceNumber", "rows": "Rows", "columns": "Columns", "frames": "NumberOfFrames"}

_WHOLE_NUMBERS = frozenset(("number", "rows", "columns", "frames"))

_WHOLE_NUMBER = re.compile(r"([+-]?\d{1,18})(?:\.0*)?", re.ASCII)


def columns_of(ds: DataSet, columns: dict[str, str]) -> dict[str, Any]:
    """Return the values of `columns` in `ds`, text as Unicode, numbers as SQLite can hold them.

    What cannot be read is as good as absent; nothing that stands in an object keeps it out of the index.
    """
    made: dict[str, Any] = {}
    for column, keyword in columns.items():
        read, nothing = (_number, None) if column in _WHOLE_NUMBERS else (_text, "")
        try:
            made[column] = read(ds, keyword)
        except Exception as error:  # a fault of ours, see `gateway.archive.attributes`
            made[column] = nothing
            warning(
                "index.unreadable", attribute=tag_text(tag_named(keyword)), reason=f"{type(error).__name__}: {error}"
            )
    return made


def instance_columns(ds: DataSet) -> dict[str, Any]:
    """Return the values of `INSTANCE_COLUMNS`; an object without Number of Frames counts as one frame.

    ``number_of_frames`` is what it says itself, None if it does not.
    """
    values = columns_of(ds, INSTANCE_COLUMNS)
    values["number_of_frames"] = values["frames"]
    values["frames"] = max(values["frames"] or 1, 1)
    return values


def _number(ds: DataSet, keyword: str) -> int | None:
    element = known(ds, tag_named(keyword))
    if element is None:
        return None
    if element.vr in BINARY_NUMBERS:
        value = next(iter(numbers({element.tag: element}, element.tag)), None)
        return None if value is None else int(value)
    found = _WHOLE_NUMBER.fullmatch(next(iter(text_values(element)), ""))
    return int(found[1]) if found else None


def _text(ds: DataSet, keyword: str) -> str:
    element = known(ds, tag_named(keyword))
    return "" if element is None else "\\".join(text_values(element, characters_of(ds)))


def patient_scope(patient: dict[str, Any], study: str) -> str:
    """Return what tells one patient from another: Patient ID and issuer; without an ID, the study."""
    # A backslash separates values in DICOM, so that it is in none of them.
    return f"{patient['patient_id']}\\{patient['issuer']}" if patient["patient_id"] else f"\\{study}"
