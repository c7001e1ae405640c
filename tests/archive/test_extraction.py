"""What is acknowledged is in the index, whatever stands in its elements, and read by the dictionary."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_tools import HandClock, ct, debris, hand_in, store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.archive.attributes import tag_named, vr_of
from gateway.archive.entities import _DOCUMENTS
from gateway.archive.index import Archive
from gateway.archive.matches import Match, matches
from gateway.archive.matching import Asked
from gateway.archive.query import Query
from gateway.archive.recovery import unregistered
from gateway.archive.registrar import Registrar
from gateway.archive.rows import INSTANCE_COLUMNS, PATIENT_COLUMNS, SERIES_COLUMNS, STUDY_COLUMNS
from gateway.archive.status import box_status
from gateway.archive.views import View
from gateway.cli.status import describe
from gateway.network import identifier
from gateway.objects.characters import CharacterSets
from gateway.objects.elements import LONG_VRS, SHORT_VRS, DataSet, Element, dataset, make, sequence
from gateway.objects.encode import encode
from gateway.objects.part10 import EXPLICIT_LITTLE
from gateway.retrieval.imaging_study import imaging_study

# Every attribute that the index looks at; the UIDs that say which object it is are checked before the answer.
_UIDS = frozenset(map(tag_named, ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")))
_COLUMNS = (*PATIENT_COLUMNS.values(), *STUDY_COLUMNS.values(), *SERIES_COLUMNS.values(), *INSTANCE_COLUMNS.values())
_FURTHER = (
    *("SpecificCharacterSet", "TimezoneOffsetFromUTC", "PixelRepresentation", "SharedFunctionalGroupsSequence"),
    *("FrameAnatomySequence", "AnatomicRegionSequence", "ReferencedImageSequence", "ReferencedSOPInstanceUID"),
    *("CodeValue", "CodeMeaning", "UniversalEntityID", "NumberOfFrames", "SmallestImagePixelValue", "ImageType"),
)
INDEXED = sorted(
    {tag_named(one) for one in (*_COLUMNS, *_FURTHER, *(key for keys in _DOCUMENTS.values() for key in keys))} - _UIDS
)
VRS = sorted((LONG_VRS | SHORT_VRS) - {"SQ"})


# Bytes that have broken something somewhere.
JUNK = st.sampled_from(
    (
        b"", b"\0", b"\0\0\0\0", b"A\0B ", b"\0ISO_IR 100", b"ISO_IR 100\0\0", b"ISO_IR 999 ", b"ISO 2022 IR 87\\\\",
        b"\\ISO 2022 IR 58\\ISO 2022 IR 149 ", b"utf8", b"\x1b$B", b"\x1b$)A\xc4\xe3\x1b", b"\xed\xa0\x80\xed\xb0\x80",
        b"\xff\xfe\xfd\xfc", b"\xc3(", b"\x1b[31m\x07\n\r\t", b"9" * 40, b"-1", b"1e400 ", b"NaN ", b"inf ", b"1_0 ",
        b"9223372036854775808 ", b"-9223372036854775809", b"99991231", b"00000000", b"20240230", b"240000", b"+9999 ",
        b"\\\\\\\\", b"=^=^=^", b"^" * 64, b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x00\xe0\x04\0\0\0abcd",
        b"{\"a\":1}", b"'; DROP TABLE instance; --", b"\0\0\xc0\x7f", b"\xff" * 8, b"\0" * 7 + b"\x80",
    )
)  # fmt: skip


def elements(depth: int = 2) -> st.SearchStrategy[Element]:
    """Elements of the attributes that the index looks at, of any VR and with any value."""
    tags = st.sampled_from(INDEXED)
    values = st.one_of(JUNK, st.binary(max_size=40)).map(lambda value: value + b"\0" * (len(value) % 2))
    plain = st.builds(Element, tags, st.sampled_from(VRS), values)
    if not depth:
        return plain
    items = st.lists(st.lists(elements(depth - 1), max_size=4).map(lambda found: dataset(*found)), max_size=2)
    nested = st.builds(lambda tag, made: Element(tag, "SQ", tuple(made)), tags, items)
    as_unknown = nested.map(lambda one: Element(one.tag, "UN", encode({one.tag: one}, implicit=True)[8:]))
    return st.one_of(plain, plain, nested, as_unknown)


def objects() -> st.SearchStrategy[list[Element]]:
    return st.lists(elements(), min_size=1, max_size=25)


def everything_asked(study: str) -> tuple[Asked, ...]:
    """Every key of every level, without a value, of one study."""
    keys = (Asked(tag, vr_of(tag)) for tag in INDEXED if vr_of(tag) != "UN")
    return (Asked(tag_named("StudyInstanceUID"), "UI", (study,)), *keys)


def shown(archive: Archive, study: str) -> int:
    """Have everything that looks at the index show a study, and return how many instances C-FIND has answered with."""
    status = box_status(archive, study)
    text = "\n".join(describe(status, 0))
    text.encode()
    assert not any(letter in text for letter in "\0\x1b\x07")
    json.dumps(status, ensure_ascii=False).encode()
    json.dumps(imaging_study(archive, study), ensure_ascii=False).encode()
    found: list[Match] = []
    for level in ("PATIENT", "STUDY", "SERIES", "IMAGE"):
        found = list(matches(archive, Query(level, View.RECEIVED, everything_asked(study), relational=True)))
        for match in found:
            assert identifier.encoded(match.values, {}, CharacterSets(), EXPLICIT_LITTLE)
    return len(found)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """One archive for all examples: to make one takes longer than to fill it."""
    made = Archive(tmp_path_factory.mktemp("shared") / "data", HandClock())
    yield made
    assert debris(made) == []
    made.close()


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=st.lists(objects(), min_size=1, max_size=4))
def test_T1_whatever_stands_in_an_object_that_is_acknowledged_it_has_its_row(
    shared: Archive, made: list[list[Element]]
) -> None:
    log = _Log()
    (before,) = shared.database.row("SELECT count(*) FROM study") or (0,)
    study = f"1.2.{before + 1}"
    with log.kept():
        registrar = Registrar(shared)
        registrar.start()
        for number, junk in enumerate(made, 1):
            # Two share a UID: versions are compared with each other.
            ds = ct(f"{study}.1.{(number + 1) // 2}", study=study, series=f"{study}.1", number=number)
            hand_in(registrar, ds | dataset(*junk))
        registrar.close()
    assert log.lines("index.unreadable", "not_registered", "recovery.refused", "registrar") == []
    current = (len(made) + 1) // 2
    assert len(shared.study_instances(study, View.RECEIVED)) == current == shown(shared, study)
    assert unregistered(shared) == []


class _Log(logging.Handler):
    """What the gateway logs while a property is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(record.getMessage())

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        logging.getLogger("gateway").addHandler(self)
        try:
            yield
        finally:
            logging.getLogger("gateway").removeHandler(self)

    def lines(self, *words: str) -> list[str]:
        return [line for line in self._kept if any(word in line for word in words)]


def asked(archive: Archive, level: str, **keys: str) -> list[dict[str, Any]]:
    """Return what a query finds, with all values of `keys` by keyword; a value that is not empty must match."""
    made = tuple(Asked(tag_named(key), vr_of(tag_named(key)), (one,) if one else ()) for key, one in keys.items())
    return [
        {key: list(match.values[tag_named(key)]) for key in keys if tag_named(key) in match.values}
        for match in matches(archive, Query(level, View.RECEIVED, made))
    ]


def test_T1_a_NUL_in_the_character_set_hides_nothing(archive: Archive) -> None:
    text = {"SpecificCharacterSet": "\0ISO_IR 100", "PatientName": "M\xfcller^J"}
    store(archive, ct(**text))
    assert asked(archive, "STUDY", PatientName="Müller*") == [{"PatientName": ["Müller^J"]}]


@pytest.mark.parametrize("name", ["ISO_IR 999", "ISO_IR 100\0x", "\\\\\\", "\0", "ISO 2022 IR 87\\ISO_IR 13"])
def test_T1_a_character_set_that_nobody_knows_hides_nothing(archive: Archive, name: str) -> None:
    store(archive, ct(SpecificCharacterSet=name, StudyDescription="Sch\xe4del"))
    assert [one["StudyID"] for one in asked(archive, "STUDY", StudyID="", PatientID="P1")] == [[]]


def test_T1_what_no_text_may_hold_is_shown_as_unreadable_and_is_no_other_text(archive: Archive) -> None:
    store(archive, ct("1.2.3.4.1", PatientID="12\x0034", StudyDescription="a\x1b[31m\x07b\r\nc"))
    store(archive, ct("1.9.1", study="1.9", series="1.9.2", PatientID="1234"))
    assert asked(archive, "PATIENT", PatientID="1234") == [{"PatientID": ["1234"]}], "another patient"
    (found,) = asked(archive, "STUDY", StudyDescription="a*", PatientID="")
    assert found == {"StudyDescription": ["a\ufffd31m\ufffdb  c"], "PatientID": ["12\ufffd34"]}
    assert shown(archive, "1.2.3") == 1


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "expected"),
    [
        ("Rows", "IS", b"70000 ", []),
        ("Rows", "LO", b"512 ", [512]),
        ("Rows", "UL", b"\0\2\0\0", [512]),
        ("Rows", "SV", b"\xff" * 8, []),
        ("InstanceNumber", "US", b"\7\0", [7]),
        ("InstanceNumber", "IS", b"99999999999999999999", []),
        ("InstanceNumber", "IS", b"9007199254740993", [9007199254740993]),
        ("InstanceNumber", "LO", b"one ", []),
        ("InstitutionName", "US", b"\7\0", ["7"]),
        ("InstitutionName", "OB", b"CLINIC", ["CLINIC"]),
        ("SmallestImagePixelValue", "SS", b"\x18\xfc", [-1000]),
        ("SliceLocation", "FD", b"\0\0\0\0\0\0\x04\x40", ["2.5"]),
        ("SliceLocation", "FD", b"\0\0\0\0\0\0\xf8\x7f", []),
    ],
)
def test_T1_T6_a_value_of_another_VR_is_read_or_is_none(
    archive: Archive, keyword: str, vr: str, value: bytes, expected: list[Any]
) -> None:
    tag = tag_named(keyword)
    store(archive, ct() | {tag: Element(tag, vr, value)})
    level = "SERIES" if keyword == "InstitutionName" else "IMAGE"
    assert asked(archive, level, **{keyword: ""}) == [{keyword: expected}]
    assert shown(archive, "1.2.3") == 1


def test_T1_text_where_items_should_be_and_items_where_text_should_be_are_no_values(archive: Archive) -> None:
    text, items = tag_named("RequestAttributesSequence"), tag_named("InstitutionName")
    item = dataset(make("AccessionNumber", "A7"))
    store(archive, ct() | {text: Element(text, "LO", b"text"), items: Element(items, "SQ", (item,))})
    (found,) = asked(archive, "SERIES", RequestAttributesSequence="", InstitutionName="")
    assert found == {"RequestAttributesSequence": [], "InstitutionName": []}
    assert shown(archive, "1.2.3") == 1


def test_T1_a_text_of_megabytes_costs_the_index_little(archive: Archive) -> None:
    store(archive, ct(), pixels=b"")
    tag = tag_named("PatientComments")
    store(archive, ct("1.2.4.1", study="1.2.4", PatientID="P2") | {tag: Element(tag, "UT", b"word \\" * (1 << 20))})
    (size,) = archive.database.row("SELECT max(length(patient_more)) FROM study_keys") or (0,)
    assert size < 1 << 17


# By the dictionary (PS3.5 6.2.2)


def as_unknown(ds: DataSet, *kept: str) -> DataSet:
    """Return an object all of whose attributes but the UIDs, and some others, are encoded as UN."""
    left = _UIDS | set(map(tag_named, kept))
    return {
        tag: one if tag in left else Element(tag, "UN", encode({tag: one}, implicit=True)[8:])
        for tag, one in ds.items()
    }


def full() -> DataSet:
    """Return an object with a value for attributes of every kind that the index looks at."""
    code = dataset(make("CodeValue", "T-D3000"), make("CodingSchemeDesignator", "SRT"), make("CodeMeaning", "Chest"))
    request = dataset(make("RequestedProcedureID", "RP1"), sequence("RequestedProcedureCodeSequence", code))
    return dataset(
        *ct(
            SpecificCharacterSet="ISO_IR 100",
            PatientName="M\xfcller^J",
            PatientBirthDate="19700102",
            PatientWeight="70.5",
            InstitutionName="HOSPITAL",
            ImageType="ORIGINAL\\PRIMARY\\AXIAL",
            NumberOfFrames=1,
            BodyPartExamined="CHEST",
            TimezoneOffsetFromUTC="+0100",
            SliceLocation="1.5",
            SmallestImagePixelValue=3,
        ).values(),
        sequence("ProcedureCodeSequence", code),
        sequence("RequestAttributesSequence", request),
        sequence("AnatomicRegionSequence", code),
    )


def test_T5_every_key_of_VR_UN_is_what_it_is_with_its_own_VR(tmp_path: Path) -> None:
    held = []
    for number, ds in enumerate((full(), as_unknown(full()))):
        archive = Archive(tmp_path / f"data{number}", HandClock())
        store(archive, ds)
        rows = [
            archive.database.rows(f"SELECT * FROM {table}")
            for table in ("patient", "study", "study_keys", "series_keys", "keys_region", "reference")
        ]
        sql = "SELECT number, rows, columns, frames, number_of_frames, more FROM instance"
        answers = []
        for level in ("PATIENT", "STUDY", "SERIES", "IMAGE"):
            found = matches(archive, Query(level, View.RECEIVED, everything_asked("1.2.3"), relational=True))
            answers.append([match.values for match in found])
        held.append((rows, archive.database.rows(sql), answers, imaging_study(archive, "1.2.3")))
        archive.close()
    assert held[0] == held[1]


@pytest.mark.parametrize(
    ("level", "keys", "other"),
    [
        ("STUDY", {"PatientName": "müller*"}, {"PatientName": "meier*"}),
        ("SERIES", {"InstitutionName": "HOSP*"}, {"InstitutionName": "CLINIC"}),
        ("SERIES", {"BodyPartExamined": "CHEST"}, {"BodyPartExamined": "HEAD"}),
        ("IMAGE", {"ImageType": "AXIAL"}, {"ImageType": "LOCALIZER"}),
        ("IMAGE", {"Rows": "4"}, {"Rows": "5"}),
        ("IMAGE", {"SliceLocation": "1.50"}, {"SliceLocation": "1.6"}),
        ("IMAGE", {"SmallestImagePixelValue": "3"}, {"SmallestImagePixelValue": "4"}),
    ],
)
def test_T5_what_is_of_VR_UN_matches_its_value_and_no_other(
    archive: Archive, level: str, keys: dict[str, str], other: dict[str, str]
) -> None:
    store(archive, as_unknown(full(), "SpecificCharacterSet"))
    assert len(asked(archive, level, **keys)) == 1
    assert asked(archive, level, **other) == []


def test_T5_items_in_a_sequence_of_VR_UN_match(archive: Archive) -> None:
    store(archive, as_unknown(full()))
    for number, code in enumerate(("T-D3000", "T-A0100")):
        item = (Asked(tag_named("CodeValue"), "SH", (code,)),)
        for keyword in ("ProcedureCodeSequence", "AnatomicRegionsInStudyCodeSequence"):
            query = Query("STUDY", View.RECEIVED, (Asked(tag_named(keyword), "SQ", items=item),))
            assert len(list(matches(archive, query))) == 1 - number


def test_T5_a_request_may_have_its_keys_as_UN() -> None:
    item = dataset(make("CodeValue", "T-D3000"))
    plain = dataset(
        make("QueryRetrieveLevel", "IMAGE"),
        make("StudyInstanceUID", "1.2.3"),
        make("SeriesInstanceUID", "1.2.3.4"),
        make("Rows", 512),
        sequence("AnatomicRegionSequence", item),
    )
    study_root = "1.2.840.10008.5.1.4.1.2.2.1"
    wanted = identifier.request(plain, study_root, frozenset())
    assert identifier.request(as_unknown(plain, "QueryRetrieveLevel"), study_root, frozenset()) == wanted
