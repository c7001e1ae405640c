"""Where the index has each key: columns, documents, tallies of the view asked (PS3.4 C.6, C.3.4).

Tables in a statement: patient p, study t, series s, instance i; study_keys k and series_keys g have what instances say
of patient and study, and of the series (`gateway.archive.keys`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gateway.archive.keys import current_series, current_study, latest_series, latest_study
from gateway.archive.matching import Column, Sql, date_column, number_column, text_column
from gateway.archive.moments import Moment
from gateway.archive.views import View
from gateway.standard.query_keys import COMPUTED, FURTHER_KEYS, IMAGE, KEYS, LEVELS, PATIENT, SERIES, STUDY

# One-valued keys in columns of their own.
COLUMNS: dict[str, Column] = {
    "PatientID": text_column("p.patient_id"),
    "IssuerOfPatientID": text_column("p.issuer"),
    "PatientName": Column("k.name", ("k.name_a", "k.name_i", "k.name_p", "k.sound"), "k.name_a = ''"),
    "PatientSex": text_column("k.sex"),
    "StudyInstanceUID": text_column("t.uid"),
    "StudyDate": date_column("k.date", "k.day"),
    "StudyTime": date_column("k.time", "k.clock"),
    "StudyID": text_column("k.study_id"),
    "AccessionNumber": text_column("k.accession"),
    "StudyDescription": text_column("k.description"),
    "SeriesInstanceUID": text_column("s.uid"),
    "SeriesNumber": number_column("g.number"),
    "Modality": text_column("g.modality"),
    "SeriesDescription": text_column("g.description"),
    "BodyPartExamined": text_column("g.body_part"),
    "ProtocolName": text_column("g.protocol"),
    "SOPInstanceUID": text_column("i.sop_instance"),
    "SOPClassUID": text_column("i.sop_class"),
    "InstanceNumber": number_column("i.number"),
    "Rows": number_column("i.rows"),
    "Columns": number_column("i.columns"),
    # Rows of an older extraction have not noted whether there was one.
    "NumberOfFrames": number_column("coalesce(i.number_of_frames, nullif(i.frames, 1))"),
}

# All others of these levels are in documents.
DOCUMENTS: dict[str, str] = {PATIENT: "k.patient_more", STUDY: "k.more", SERIES: "g.more", IMAGE: "i.more"}

HOME: dict[str, str] = {
    keyword: level
    for level in LEVELS
    for keyword in (*(key.keyword for key in KEYS[level]), *FURTHER_KEYS[level], *COMPUTED[level])
}

# Not a key: it says how dates and times of a response are meant.
HOME["TimezoneOffsetFromUTC"] = STUDY

# Id of an entity, that of its parent, and its tables as they join the level above, with all that is said of it.
IDS: dict[str, str] = {PATIENT: "p.id", STUDY: "t.id", SERIES: "s.id", IMAGE: "i.id"}
PARENTS: dict[str, str] = {STUDY: "k.patient", SERIES: "s.study", IMAGE: "i.series"}
TABLES: dict[str, str] = {
    STUDY: "study t JOIN study_keys k ON k.study = t.id",
    SERIES: "series s JOIN series_keys g ON g.series = s.id",
    IMAGE: "instance i",
}

# Unique keys of the entities themselves; all others of these levels are what their instances say.
OF_ENTITY = frozenset(("StudyInstanceUID", "SeriesInstanceUID"))


class Version(NamedTuple):
    """Where is looked for what instances say: the entity, its id there, the tables, and what is in force in a view."""

    entity: str
    id: str
    tables: str
    current: Callable[[View], Sql]


def version(level: str, home: str) -> Version | None:
    """Return where a query of a level looks for keys of a level; None where each entity has its own."""
    if home == IMAGE:
        return None
    if home == SERIES:
        tables = "series_keys g JOIN study_keys k ON k.id = g.study_keys"
        return Version("s.id", "g.series", tables, current_series)
    entity, column = ("p.id", "k.patient") if level == PATIENT else ("t.id", "k.study")
    return Version(entity, column, "study_keys k JOIN patient p ON p.id = k.patient", current_study)


def current(level: str, view: View) -> Sql | None:
    """Return the condition that what is said of a study or series is in force in a view."""
    return current_study(view) if level == STUDY else current_series(view) if level == SERIES else None


def source(level: str, view: View, patients: tuple[Sql, ...] = ()) -> Sql:
    """Return the entities of a level with all that is above them, and what the latest instances say of each.

    Parameters
    ----------
    level : str
        The level.
    view : View
        One view.
    patients : tuple of Sql
        Of which patients a study is to be told, if it is under several.
    """
    if level == PATIENT:
        latest = latest_study(view, "lk.patient = p.id")
        return Sql(f"patient p JOIN study_keys k ON k.id = {latest.text}", latest.values)
    study = latest_study(view, "lk.study = t.id", patients)
    parts = [Sql(f"study t JOIN study_keys k ON k.id = {study.text} JOIN patient p ON p.id = k.patient", study.values)]
    if level != STUDY:
        series = latest_series(view)
        parts.append(Sql(f"JOIN series s ON s.study = t.id JOIN series_keys g ON g.id = {series.text}", series.values))
    if level == IMAGE:
        parts.append(Sql("JOIN instance i ON i.series = s.id"))
    return Sql(" ".join(part.text for part in parts), tuple(value for part in parts for value in part.values))


STUDY_MOMENT = Moment(Sql("k.day"), Sql("k.clock"), "k.zone", "k.day")


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
    study = current_study(view, "q")
    return Sql(f"EXISTS (SELECT 1 FROM study_keys q WHERE q.patient = p.id AND {study.text})", study.values)


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
        study = current_study(view, "q")
        text = (
            f"EXISTS (SELECT 1 FROM study_keys q WHERE q.patient = p.id AND q.study IN {waiting.text} AND {study.text})"
        )
        return Sql(text, (*waiting.values, *study.values))
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
    def value(view: View) -> Sql:
        study = current_study(view, "q")
        return Sql(
            f"(SELECT {expression} FROM study_tally y WHERE y.view = ? AND y.instances > 0"
            f" AND y.study IN (SELECT q.study FROM study_keys q WHERE q.patient = p.id AND {study.text}))",
            (int(view), *study.values),
        )

    return value


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
        "(SELECT DISTINCT r.region AS value FROM series rs JOIN series_keys rg ON rg.series = rs.id"
        " JOIN keys_tally z ON z.keys = rg.id AND z.view = ? AND z.instances > 0 JOIN keys_region r ON r.keys = rg.id"
        " WHERE rs.study = t.id)",
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
    "TimezoneOffsetFromUTC": Computed(lambda view: Sql("k.zone"), settled=False),
    "AvailableTransferSyntaxUID": Computed(
        lambda view: Sql("json_array(i.transfer_syntax, i.sop_class)"), settled=False
    ),
}
