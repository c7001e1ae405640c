"""Where the index has each key: columns, documents, tallies of the view asked (PS3.4 C.6, C.3.4).

Tables in a statement: patient p, study t, series s, instance i.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gateway.archive.matching import Column, Sql, date_column, number_column, text_column
from gateway.archive.moments import Moment
from gateway.archive.views import View
from gateway.standard.query_keys import COMPUTED, FURTHER_KEYS, IMAGE, KEYS, LEVELS, PATIENT, SERIES, STUDY

# One-valued keys in columns of their own.
COLUMNS: dict[str, Column] = {
    "PatientID": text_column("p.patient_id"),
    "IssuerOfPatientID": text_column("p.issuer"),
    "PatientName": Column("p.name", ("p.name_a", "p.name_i", "p.name_p", "p.sound"), "p.name_a = ''"),
    "PatientSex": text_column("p.sex"),
    "StudyInstanceUID": text_column("t.uid"),
    "StudyDate": date_column("t.date", "t.day"),
    "StudyTime": date_column("t.time", "t.clock"),
    "StudyID": text_column("t.study_id"),
    "AccessionNumber": text_column("t.accession"),
    "StudyDescription": text_column("t.description"),
    "SeriesInstanceUID": text_column("s.uid"),
    "SeriesNumber": number_column("s.number"),
    "Modality": text_column("s.modality"),
    "SeriesDescription": text_column("s.description"),
    "BodyPartExamined": text_column("s.body_part"),
    "ProtocolName": text_column("s.protocol"),
    "SOPInstanceUID": text_column("i.sop_instance"),
    "SOPClassUID": text_column("i.sop_class"),
    "InstanceNumber": number_column("i.number"),
    "Rows": number_column("i.rows"),
    "Columns": number_column("i.columns"),
    "NumberOfFrames": number_column("i.frames"),
}

# All others of these levels are in documents.
DOCUMENTS: dict[str, str] = {PATIENT: "p.more", STUDY: "t.more", SERIES: "s.more", IMAGE: "i.more"}

HOME: dict[str, str] = {
    keyword: level
    for level in LEVELS
    for keyword in (*(key.keyword for key in KEYS[level]), *FURTHER_KEYS[level], *COMPUTED[level])
}

# Not a key: it says how dates and times of a response are meant.
HOME["TimezoneOffsetFromUTC"] = STUDY

# Id of an entity, that of its parent, and its table as it joins the level above.
IDS: dict[str, str] = {PATIENT: "p.id", STUDY: "t.id", SERIES: "s.id", IMAGE: "i.id"}
PARENTS: dict[str, str] = {STUDY: "t.patient", SERIES: "s.study", IMAGE: "i.series"}
TABLES: dict[str, str] = {PATIENT: "patient p", STUDY: "study t", SERIES: "series s", IMAGE: "instance i"}

# The entities of a level with all that is above them.
SOURCES: dict[str, str] = {
    PATIENT: "patient p",
    STUDY: "study t JOIN patient p ON p.id = t.patient",
    SERIES: "series s JOIN study t ON t.id = s.study JOIN patient p ON p.id = t.patient",
    IMAGE: (
        "instance i JOIN series s ON s.id = i.series JOIN study t ON t.id = s.study JOIN patient p ON p.id = t.patient"
    ),
}

STUDY_MOMENT = Moment(Sql("t.day"), Sql("t.clock"), "t.zone", "t.day")


def pending(view: View) -> Sql:
    """Return the studies of which something is still to come into a view: the conversion has not decided about it.

    What is held waits for somebody; it may be long.
    """
    return Sql(
        "(SELECT ps.study FROM instance pi JOIN series ps ON ps.id = pi.series JOIN study pt ON pt.id = ps.study"
        " WHERE pi.settled = 0 AND pi.views & ? = 0 AND NOT EXISTS"
        " (SELECT 1 FROM job pj WHERE pj.kind = 'convert' AND pj.study = pt.uid AND pj.state = 'held'))",
        (int(view),),
    )


def visible(level: str, view: View) -> Sql:
    """Return the condition that an entity has something in a view, or something still to come."""
    if level == IMAGE:
        return Sql("i.views & ? <> 0", (int(view),))
    if level == SERIES:
        text = "EXISTS (SELECT 1 FROM series_tally z WHERE z.series = s.id AND z.view = ? AND z.instances > 0)"
        return Sql(text, (int(view),))
    if level == STUDY:
        return _visible_study("t.id", view)
    study = _visible_study("q.id", view)
    return Sql(f"EXISTS (SELECT 1 FROM study q WHERE q.patient = p.id AND {study.text})", study.values)


def _visible_study(study: str, view: View) -> Sql:
    text = f"EXISTS (SELECT 1 FROM study_tally y WHERE y.study = {study} AND y.view = ? AND y.instances > 0)"
    if view == View.RECEIVED:
        return Sql(text, (int(view),))
    waiting = pending(view)
    return Sql(f"({text} OR {study} IN {waiting.text})", (int(view), *waiting.values))


def is_pending(level: str, view: View) -> Sql:
    """Return whether something of an entity's study, or of one of a patient's, is still to come into a view."""
    if view == View.RECEIVED:
        return Sql("0")
    waiting = pending(view)
    if level == PATIENT:
        text = f"EXISTS (SELECT 1 FROM study q WHERE q.patient = p.id AND q.id IN {waiting.text})"
        return Sql(text, waiting.values)
    return Sql(f"t.id IN {waiting.text}", waiting.values)


class Computed(NamedTuple):
    """An attribute that is counted or gathered.

    Attributes
    ----------
    value : callable
        Returns its SQL for a view.
    settled : bool
        Whether it is only known when nothing is still to come.
    """

    value: Callable[[View], Sql]
    settled: bool = True


def _of_patient(expression: str) -> Callable[[View], Sql]:
    return lambda view: Sql(
        f"(SELECT {expression} FROM study q JOIN study_tally y ON y.study = q.id"
        " WHERE q.patient = p.id AND y.view = ? AND y.instances > 0)",
        (int(view),),
    )


def _of_study(column: str) -> Callable[[View], Sql]:
    return lambda view: Sql(
        f"coalesce((SELECT y.{column} FROM study_tally y WHERE y.study = t.id AND y.view = ?), 0)", (int(view),)
    )


def _modalities(view: View) -> Sql:
    """Return the modalities of a study; a conversion leaves them as they are, so that they are known before it."""
    if view == View.RECEIVED:
        views, values = "m.view = ?", (int(view),)
    else:
        waiting = pending(view)
        views, values = f"(m.view = ? OR m.view = 1 AND t.id IN {waiting.text})", (int(view), *waiting.values)
    return Sql(
        f"(SELECT json_group_array(DISTINCT m.modality) FROM study_modality m"
        f" WHERE m.study = t.id AND {views} AND m.series > 0 AND m.modality <> '')",
        values,
    )


def regions(view: View) -> Sql:
    """Return the anatomic regions of the series that a study has in a view, as a table of documents of one code."""
    return Sql(
        "(SELECT DISTINCT r.region AS value FROM series rs JOIN series_region r ON r.series = rs.id"
        " WHERE rs.study = t.id AND EXISTS"
        " (SELECT 1 FROM series_tally z WHERE z.series = rs.id AND z.view = ? AND z.instances > 0))",
        (int(view),),
    )


def _regions(view: View) -> Sql:
    table = regions(view)
    return Sql(f"(SELECT json_group_array(json(g.value)) FROM {table.text} g)", table.values)


# The same image in the other encoding: made of this one frame alone, or what this one frame was made of (C.6.1.1.5.1).
_ALTERNATES = """(SELECT json_group_array(json_array(x.sop_class, x.sop_instance, xs.uid))
    FROM instance x JOIN series xs ON xs.id = x.series WHERE x.superseded = 0 AND x.frames = 1 AND x.views <> 0
    AND i.frames = 1 AND x.sop_class <> i.sop_class AND x.sop_instance IN (
    SELECT d.sop_instance FROM uid_map m JOIN derived d ON d.id = m.derived
        WHERE i.kind = 'received' AND m.source = i.sop_instance AND m.digest = i.digest
    UNION SELECT m.source FROM derived d JOIN uid_map m ON m.derived = d.id
        WHERE i.kind = 'derived' AND d.sop_instance = i.sop_instance))"""

COMPUTED_KEYS: dict[str, Computed] = {
    "NumberOfPatientRelatedStudies": Computed(_of_patient("count(*)")),
    "NumberOfPatientRelatedSeries": Computed(_of_patient("coalesce(sum(y.series), 0)")),
    "NumberOfPatientRelatedInstances": Computed(_of_patient("coalesce(sum(y.instances), 0)")),
    "NumberOfStudyRelatedSeries": Computed(_of_study("series")),
    "NumberOfStudyRelatedInstances": Computed(_of_study("instances")),
    "NumberOfSeriesRelatedInstances": Computed(
        lambda view: Sql("(SELECT z.instances FROM series_tally z WHERE z.series = s.id AND z.view = ?)", (int(view),)),
        settled=False,
    ),
    "ModalitiesInStudy": Computed(_modalities, settled=False),
    "SOPClassesInStudy": Computed(
        lambda view: Sql(
            "(SELECT json_group_array(c.sop_class) FROM study_class c"
            " WHERE c.study = t.id AND c.view = ? AND c.instances > 0)",
            (int(view),),
        )
    ),
    "AnatomicRegionsInStudyCodeSequence": Computed(_regions),
    "StudyUpdateDateTime": Computed(lambda view: Sql("t.updated_at"), settled=False),
    "AlternateRepresentationSequence": Computed(lambda view: Sql(_ALTERNATES), settled=False),
    "TimezoneOffsetFromUTC": Computed(lambda view: Sql("t.zone"), settled=False),
    "AvailableTransferSyntaxUID": Computed(
        lambda view: Sql("json_array(i.transfer_syntax, i.sop_class)"), settled=False
    ),
}
