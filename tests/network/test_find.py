"""C-FIND SCP: real requestors and the real archive behind the real server (PS3.4 C.4.1, C.5.1, C.6)."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_tools import CT, GSPS, LEGACY_CT, ct, derive, store, store_file
from find_tools import (
    DATETIME,
    EMPTY,
    FUZZY,
    MODELS,
    MULTIPLE,
    PATIENT_ROOT,
    PATIENT_STUDY_ONLY,
    RELATIONAL,
    REPOSITORY,
    STUDY_ROOT,
    TIMEZONE,
    VIEW,
    Answer,
    Box,
    ask,
    association,
    box,
    find,
    identifier,
)
from loopback import nothing_left_behind
from peers import Orthanc
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from tools import need

from gateway.archive.rows import Settlement
from gateway.archive.views import ALL_VIEWS, View
from gateway.errors import GatewayError, ResourceError
from gateway.network.negotiation import negotiate_extended
from gateway.objects.part10 import read_header


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Box]:
    with box(tmp_path) as made:
        # SQLite keeps the descriptor of a connection that was closed for the next one.
        find(made.port, identifier("STUDY", StudyInstanceUID=""))
        with nothing_left_behind():
            yield made


@pytest.fixture
def filled(gateway: Box) -> Box:
    """Two patients, three studies, not converted yet."""
    for number in (1, 2, 3):
        store(gateway.archive, ct(f"1.2.3.4.{number}", number=number, SliceLocation=str(number)))
    store(gateway.archive, ct("1.2.3.5.1", series="1.2.3.5", sop_class=GSPS, Modality="PR"))
    store(gateway.archive, ct("1.3.1.1", study="1.3", series="1.3.1", AccessionNumber="A2", StudyDate="20240229"))
    other = {"PatientID": "P2", "PatientName": "Roe^John", "AccessionNumber": "A3", "StudyTime": "2230"}
    store(gateway.archive, ct("1.4.1.1", study="1.4", series="1.4.1", **other))
    return gateway


def settle(gateway: Box, study: str, *, convert: bool = True) -> None:
    """Let the conversion decide about a study."""
    archive = gateway.archive
    rows = archive.unsettled(study)
    made = [derive(archive, study, f"2.25.{study.replace('.', '')}")] if convert else []
    views = View.RECEIVED | View.CLASSIC if convert else ALL_VIEWS
    settled = {row.name: Settlement(views if row.sop_class == CT else ALL_VIEWS) for row in rows}
    archive.record_conversion(study, made, settled)


def uids(answer: Answer, keyword: str = "StudyInstanceUID") -> list[str]:
    return sorted(str(match.get(keyword)) for match in answer.matches)


# F1: the models


@pytest.mark.parametrize(
    ("model", "levels"),
    [
        (PATIENT_ROOT, ("PATIENT", "STUDY", "SERIES", "IMAGE")),
        (STUDY_ROOT, ("STUDY", "SERIES", "IMAGE")),
        (PATIENT_STUDY_ONLY, ("PATIENT", "STUDY")),
        (REPOSITORY, ("STUDY", "SERIES", "IMAGE")),
    ],
)
def test_F1_every_model_has_its_levels_and_no_other(filled: Box, model: str, levels: tuple[str, ...]) -> None:
    keys = {
        "PATIENT": {"PatientID": "P1"},
        "STUDY": {"StudyInstanceUID": "1.2.3"},
        "SERIES": {"SeriesInstanceUID": "1.2.3.4"},
        "IMAGE": {"SOPInstanceUID": "1.2.3.4.2"},
    }
    with association(filled.port) as made:
        given: dict[str, Any] = {}
        for level in ("PATIENT", "STUDY", "SERIES", "IMAGE"):
            given |= keys[level]
            answer = ask(made, identifier(level, **given), model)
            if level in levels:
                assert (answer.status, len(answer.matches)) == (0x0000, 1), level
                match = answer.matches[0]
                assert match.QueryRetrieveLevel == level
                assert all(match.get(keyword) == one for keyword, one in given.items())
            else:
                assert answer.status == 0xA900
                assert answer.final.OffendingElement == 0x00080052
                assert answer.matches == []


def test_F1_the_models_are_for_peers_that_may_query(filled: Box) -> None:
    from pynetdicom import AE

    entity = AE("STORE_ONLY")
    for model in MODELS:
        entity.add_requested_context(model)
    refused = entity.associate("127.0.0.1", filled.port, ae_title="GATEWAY")
    assert [context.result for context in refused.rejected_contexts] == [1] * len(MODELS)
    refused.abort() if refused.is_established else None


# F2, F16: what is returned


def test_F2_F16_matches_have_what_was_asked_and_what_is_always_said(filled: Box) -> None:
    answer = find(filled.port, identifier("STUDY", StudyInstanceUID="1.4", PatientName="", StudyTime="", PatientAge=""))
    assert answer.pending == [0xFF00]
    (match,) = answer.matches
    assert {element.keyword: element.value for element in match} == {
        "QueryRetrieveLevel": "STUDY",
        "RetrieveAETitle": "GATEWAY",
        "InstanceAvailability": "ONLINE",
        "StudyInstanceUID": "1.4",
        "PatientName": "Roe^John",
        "StudyTime": "2230",
        "PatientAge": "",
    }


def test_F2_an_unsupported_key_is_left_out_with_FF01(filled: Box) -> None:
    answer = find(filled.port, identifier("STUDY", StudyInstanceUID="", KVP="120", MetadataSequence=[]))
    assert answer.pending == [0xFF01] * 3
    assert not any("KVP" in match or "MetadataSequence" in match for match in answer.matches)
    images = identifier("IMAGE", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4", SliceLocation="2.0")
    answer = find(filled.port, images)
    assert (answer.pending, answer.values("SliceLocation")) == ([0xFF00], [2])


def test_F2_private_attributes_and_group_lengths_are_no_keys(filled: Box) -> None:
    asked = identifier("STUDY", StudyInstanceUID="1.4")
    asked.add_new(0x00090010, "LO", "SOMEONE")
    asked.add_new(0x00091001, "LO", "something")
    answer = find(filled.port, asked)
    assert (answer.pending, uids(answer)) == ([0xFF00], ["1.4"])


# F3: matching, as it comes over the network


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"PatientID": "P1"}, ["1.2.3", "1.3"]),
        ({"PatientID": "P?"}, ["1.2.3", "1.3", "1.4"]),
        ({"PatientName": "dOE*"}, ["1.2.3", "1.3"]),
        ({"AccessionNumber": "A2"}, ["1.3"]),
        ({"StudyInstanceUID": ["1.3", "1.4", "1.5"]}, ["1.3", "1.4"]),
        ({"StudyDate": "20240201-"}, ["1.3"]),
        ({"StudyDate": "-20240131"}, ["1.2.3", "1.4"]),
        ({"StudyDate": "20240101-20240228", "StudyTime": "223000"}, ["1.4"]),
        ({"ModalitiesInStudy": "PR"}, ["1.2.3"]),
        ({"StudyDescription": "Tho*"}, ["1.2.3", "1.3", "1.4"]),
        ({"StudyDescription": "tho*"}, []),
    ],
)
def test_F3_what_matches(filled: Box, keys: dict[str, Any], expected: list[str]) -> None:
    answer = find(filled.port, identifier("STUDY", **{"StudyInstanceUID": "", **keys}))
    assert (answer.status, uids(answer)) == (0x0000, expected)


def test_F3_items_of_a_sequence_match_and_come_back(gateway: Box) -> None:
    from gateway.objects.elements import dataset, make, sequence

    for number, code in enumerate(("C1", "C2")):
        ds = ct(f"1.{number}.1.1", study=f"1.{number}", series=f"1.{number}.1")
        codes = [dataset(make("CodeValue", one), make("CodeMeaning", f"is {one}")) for one in (code, "C3")]
        store(gateway.archive, dataset(*ds.values(), sequence("ProcedureCodeSequence", *codes)))
    asked = identifier("STUDY", StudyInstanceUID="", ProcedureCodeSequence={"CodeValue": "C2", "CodeMeaning": ""})
    (match,) = find(gateway.port, asked).matches
    assert [(item.CodeValue, item.CodeMeaning) for item in match.ProcedureCodeSequence] == [("C2", "is C2")]
    asked = identifier("STUDY", StudyInstanceUID="1.1", ProcedureCodeSequence=[])
    (match,) = find(gateway.port, asked).matches
    assert [item.CodeValue for item in match.ProcedureCodeSequence] == ["C2", "C3"]


# F5, F6, F7: extended negotiation


def test_F6_Q1_one_byte_is_answered_for_each_that_was_offered() -> None:
    def answer(offered: bytes) -> bytes | None:
        agreed = negotiate_extended({STUDY_ROOT: offered}, {STUDY_ROOT}).get(STUDY_ROOT)
        return agreed.answer if agreed else None

    assert answer(b"\1") == b"\1"
    assert answer(b"\0") == b"\0"
    assert answer(b"\1\0\1\0\1\0\1") == b"\1\0\1\0\1\0\1"
    assert answer(b"\0\0\0\0\1") == b"\0\0\0\0\1"
    assert answer(b"\2\1") == b"\0\1"  # neither of the two values
    assert answer(b"\1" * 9) == b"\1" * 7
    assert answer(b"") is None
    assert negotiate_extended({STUDY_ROOT: b"\1"}, {PATIENT_ROOT}) == {}
    assert negotiate_extended({CT: b"\1"}, {CT}) == {}
    assert "view" in negotiate_extended({STUDY_ROOT: b"\0\0\0\0\1"}, {STUDY_ROOT})[STUDY_ROOT].options


def test_F6_nothing_is_said_to_who_offers_nothing(filled: Box) -> None:
    with association(filled.port) as made:
        assert made.acceptor.sop_class_extended == {}
    with association(filled.port, (RELATIONAL, VIEW)) as made:
        assert made.acceptor.sop_class_extended == dict.fromkeys(MODELS, b"\1\0\0\0\1\0\0")


def test_F5_empty_and_multiple_value_matching_when_negotiated_not_otherwise(filled: Box) -> None:
    store(filled.archive, ct("1.5.1.1", study="1.5", series="1.5.1", StudyDescription="", AccessionNumber="A5"))
    empty = identifier("STUDY", StudyInstanceUID="", StudyDescription='""')
    assert uids(find(filled.port, empty, (EMPTY,))) == ["1.5"]
    assert uids(find(filled.port, empty)) == []  # two quotation marks are text like any other
    filled_only = identifier("STUDY", StudyInstanceUID="1.3", StudyDescription='""')
    assert uids(find(filled.port, filled_only, (EMPTY,))) == []
    both = identifier("STUDY", StudyInstanceUID="", ModalitiesInStudy=["CT", "PR"])
    assert uids(find(filled.port, both, (MULTIPLE,))) == ["1.2.3"]
    assert len(find(filled.port, both).matches) == 4  # undefined by the text; here any of them


def test_F7_a_missing_unique_key_of_an_upper_level_is_A900(filled: Box) -> None:
    with association(filled.port) as made:
        for model, level, keys, offending in (
            (STUDY_ROOT, "SERIES", {"SeriesInstanceUID": ""}, 0x0020000D),
            (STUDY_ROOT, "IMAGE", {"StudyInstanceUID": "1.2.3"}, 0x0020000E),
            (STUDY_ROOT, "SERIES", {"StudyInstanceUID": ""}, 0x0020000D),
            (STUDY_ROOT, "SERIES", {"StudyInstanceUID": ["1.2.3", "1.3"]}, 0x0020000D),
            (PATIENT_ROOT, "STUDY", {"StudyInstanceUID": "1.2.3"}, 0x00100020),
            (PATIENT_ROOT, "STUDY", {"PatientID": "P*"}, 0x00100020),
        ):
            answer = ask(made, identifier(level, **keys), model)
            assert (answer.status, answer.final.OffendingElement) == (0xA900, offending), (level, keys)
            assert answer.final.ErrorComment
            assert answer.matches == []


def test_F7_relational_queries_when_negotiated(filled: Box) -> None:
    with association(filled.port, (RELATIONAL,)) as made:
        series = ask(made, identifier("SERIES", SeriesInstanceUID="", Modality="PR", PatientID="P1"))
        assert (series.status, uids(series, "SeriesInstanceUID")) == (0x0000, ["1.2.3.5"])
        image = ask(made, identifier("IMAGE", SOPInstanceUID="1.3.1.1", StudyInstanceUID="", PatientName=""))
        assert (uids(image), image.values("PatientName")) == (["1.3"], ["Doe^Jane"])
        study = ask(made, identifier("STUDY", StudyInstanceUID="", SOPInstanceUID="1.2.3.4.2"))
        assert uids(study) == ["1.2.3"]
        patient = ask(made, identifier("PATIENT", PatientID="", Modality="PR"), PATIENT_ROOT)
        assert uids(patient, "PatientID") == ["P1"]


def test_F4_fuzzy_names_when_negotiated(filled: Box) -> None:
    asked = identifier("STUDY", StudyInstanceUID="", PatientName="Jayne Dow")
    assert uids(find(filled.port, asked)) == []
    assert uids(find(filled.port, asked, (FUZZY,))) == ["1.2.3", "1.3"]


# F9: character sets and time zones

NAMES = {
    "ISO_IR 100": "Müller^Jürgen",
    "ISO_IR 144": "Люкceмбypг",
    "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "ISO 2022 IR 13\\ISO 2022 IR 87": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    "\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    "GB18030": "Wang^XiaoDong=王^小东",
    "ISO_IR 192": "Wang^XiaoDong=王^小東",
}


def named(name: str, character_set: str, study: str) -> Any:
    """Return an object whose values are in a character set, encoded by pydicom."""
    from io import BytesIO

    from pydicom.filebase import DicomFileLike
    from pydicom.filewriter import write_dataset

    from gateway.objects.parse import Syntax, parse_dataset

    ds = Dataset()
    ds.SpecificCharacterSet = character_set.split("\\")
    ds.PatientName, ds.PatientID = name, study
    buffer = DicomFileLike(BytesIO())
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, ds)
    data = buffer.parent.getvalue()  # type: ignore[attr-defined]
    made = ct(f"{study}.1.1", study=study, series=f"{study}.1")
    return dict(sorted((made | parse_dataset(data, 0, len(data), Syntax())[0]).items()))


@pytest.mark.parametrize("character_set", NAMES)
def test_F9_character_sets_of_objects_requests_and_responses(gateway: Box, character_set: str) -> None:
    name = NAMES[character_set]
    store(gateway.archive, named(name, character_set, "1.7"))
    store(gateway.archive, ct("1.8.1.1", study="1.8", series="1.8.1"))
    for asked_in in (character_set, "ISO_IR 192"):
        asked = identifier("STUDY", StudyInstanceUID="", PatientName=name)
        asked.SpecificCharacterSet = asked_in.split("\\")
        (match,) = find(gateway.port, asked).matches
        assert match.StudyInstanceUID == "1.7"
        said = match.SpecificCharacterSet
        assert "\\".join([said] if isinstance(said, str) else said) in (
            asked_in,
            asked_in.replace("\\", "ISO_IR 6\\", 1),
        )
        assert match.PatientName == name
    # In a set that cannot write the name, and without any.
    for asked_in in ("ISO_IR 101", ""):
        asked = identifier("STUDY", StudyInstanceUID="1.7", PatientName="")
        if asked_in:
            asked.SpecificCharacterSet = asked_in
        (match,) = find(gateway.port, asked).matches
        if match.SpecificCharacterSet != asked_in:
            assert match.SpecificCharacterSet == "ISO_IR 192"
        assert match.PatientName == name
    (match,) = find(gateway.port, identifier("STUDY", StudyInstanceUID="1.8", PatientName="")).matches
    assert "SpecificCharacterSet" not in match


def test_F9_times_are_adjusted_to_the_zone_of_the_request_when_negotiated(gateway: Box) -> None:
    store(gateway.archive, ct("1.7.1.1", study="1.7", series="1.7.1", TimezoneOffsetFromUTC="+0100"))
    store(gateway.archive, ct("1.8.1.1", study="1.8", series="1.8.1"))
    # The first was at 10:15 where it is one hour ahead of UTC, in New York at 4:15.
    asked = identifier("STUDY", StudyInstanceUID="", StudyDate="20240131", StudyTime="0400-0430")
    asked.TimezoneOffsetFromUTC = "-0500"
    assert uids(find(gateway.port, asked)) == []
    (match,) = find(gateway.port, asked, (TIMEZONE,)).matches
    assert (match.StudyInstanceUID, match.StudyTime, match.TimezoneOffsetFromUTC) == ("1.7", "101500", "+0100")
    asked.StudyDate, asked.StudyTime = "20240130-20240131", "2200-"
    asked.TimezoneOffsetFromUTC = "-1100"
    (match,) = find(gateway.port, asked, (TIMEZONE,)).matches
    assert match.StudyInstanceUID == "1.7"
    asked.StudyTime = "101500"
    (match,) = find(gateway.port, asked, (TIMEZONE,)).matches
    assert match.StudyInstanceUID == "1.8"  # it does not say its zone: then it is in that of the request
    assert "TimezoneOffsetFromUTC" not in match
    asked.TimezoneOffsetFromUTC = "CET"
    assert find(gateway.port, asked, (TIMEZONE,)).final.OffendingElement == 0x00080201


# Q: views


def test_Q2_Q11_a_view_that_was_not_negotiated_or_is_none_is_A900(filled: Box) -> None:
    for options, view in (((), "CLASSIC"), ((RELATIONAL,), "ENHANCED"), ((VIEW,), "RECEIVED"), ((VIEW,), "")):
        answer = find(filled.port, identifier("STUDY", StudyInstanceUID="", QueryRetrieveView=view), options)
        assert (answer.status, answer.final.OffendingElement) == (0xA900, 0x00080053), (options, view)
        assert answer.matches == []


def test_Q3_Q4_Q10_Q12_the_view_asked_is_the_view_answered(filled: Box) -> None:
    settle(filled, "1.2.3")
    images = identifier("IMAGE", SOPInstanceUID="", SOPClassUID="", StudyInstanceUID="1.2.3")
    options = (VIEW, RELATIONAL)
    received = find(filled.port, images, options)
    assert sorted(received.values("SOPClassUID")) == sorted([CT] * 3 + [GSPS])
    assert all("QueryRetrieveView" not in match for match in received.matches)
    assert set(received.values("RetrieveAETitle")) == {"GATEWAY"}
    for view, classes, title in (
        ("CLASSIC", [CT] * 3 + [GSPS], "GATEWAY_CLS"),
        ("ENHANCED", [LEGACY_CT, GSPS], "GATEWAY_ENH"),
    ):
        images.QueryRetrieveView = view
        answer = find(filled.port, images, options)
        assert sorted(answer.values("SOPClassUID")) == sorted(classes)
        assert set(answer.values("QueryRetrieveView")) == {view}
        assert set(answer.values("RetrieveAETitle")) == {title}
        del images.QueryRetrieveView
        by_title = find(filled.port, images, (RELATIONAL,), called=title)
        assert uids(by_title, "SOPInstanceUID") == uids(answer, "SOPInstanceUID")
        assert set(by_title.values("RetrieveAETitle")) == {title}
        assert all("QueryRetrieveView" not in match for match in by_title.matches)
    # Who calls the AE of one view and names another gets the one that is named.
    images.QueryRetrieveView = "CLASSIC"
    assert len(find(filled.port, images, options, called="GATEWAY_ENH").matches) == 4


def test_Q7_a_view_inconsistent_with_the_unique_key_matches_nothing(filled: Box) -> None:
    settle(filled, "1.2.3")
    keys = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4", "SOPInstanceUID": "1.2.3.4.1"}
    for view, count in (("CLASSIC", 1), ("ENHANCED", 0)):
        answer = find(filled.port, identifier("IMAGE", QueryRetrieveView=view, **keys), (VIEW,))
        assert (answer.status, len(answer.matches)) == (0x0000, count)


def test_Q8_a_pending_conversion_is_waited_for_or_said(tmp_path: Path) -> None:
    with box(tmp_path, query_wait=20.0) as made:
        store(made.archive, ct("1.2.3.4.1"))
        asked = identifier("SERIES", StudyInstanceUID="1.2.3", SeriesInstanceUID="")
        import threading

        timer = threading.Timer(0.5, settle, (made, "1.2.3"))
        timer.start()
        started = time.monotonic()
        answer = find(made.port, asked, called="GATEWAY_ENH")
        timer.join()
        assert (answer.status, uids(answer, "SeriesInstanceUID")) == (0x0000, ["2.25.2"])
        assert set(answer.values("InstanceAvailability")) == {"ONLINE"}
        assert time.monotonic() - started < 10
    with box(tmp_path / "impatient") as made:
        store(made.archive, ct("1.2.3.4.1"))
        answer = find(made.port, identifier("STUDY", StudyInstanceUID="1.2.3"), called="GATEWAY_ENH")
        assert answer.values("InstanceAvailability") == ["NEARLINE"]
        answer = find(made.port, asked, called="GATEWAY_ENH")
        assert (answer.status, answer.matches) == (0xC001, [])
        assert find(made.port, asked, called="GATEWAY").status == 0x0000


# F18: Repository Query


def test_F18_records_come_in_the_order_of_their_keys_and_can_be_gone_on_from(gateway: Box) -> None:
    for number in range(7):
        store(gateway.archive, ct(f"1.{number}.1.1", study=f"1.{number}", series=f"1.{number}.1"))
    asked = identifier("STUDY", StudyInstanceUID="", RecordKey=b"", MaximumNumberOfRecords=3)
    found: list[Dataset] = []
    statuses = []
    with association(gateway.port) as made:
        for _ in range(3):
            answer = ask(made, asked, REPOSITORY)
            statuses.append(answer.status)
            found += answer.matches
            asked.PriorRecordKey = answer.matches[-1].RecordKey
        assert statuses == [0xB001, 0xB001, 0x0000]
        assert [match.StudyInstanceUID for match in found] == [f"1.{number}" for number in range(7)]
        keys = [match.RecordKey for match in found]
        assert keys == sorted(set(keys))
        # An earlier key goes on from there, with another request too.
        answer = ask(made, identifier("STUDY", StudyInstanceUID="", RecordKey=b"", PriorRecordKey=keys[4]), REPOSITORY)
        assert [match.StudyInstanceUID for match in answer.matches] == ["1.5", "1.6"]
        asked = identifier("STUDY", StudyInstanceUID="", MaximumNumberOfRecords=7)
        assert ask(made, asked, REPOSITORY).status == 0x0000


def test_F18_a_key_that_is_none_is_A710(filled: Box) -> None:
    with association(filled.port, (RELATIONAL,)) as made:
        answer = ask(made, identifier("SERIES", SeriesInstanceUID="", RecordKey=b""), REPOSITORY)
        series_key = answer.matches[0].RecordKey
        for bad in (b"ab", series_key[:6] + b"\xff" * 8, b"T\1\0\0\0\0" + series_key[6:], series_key):
            asked = identifier("STUDY", StudyInstanceUID="", PriorRecordKey=bad)
            answer = ask(made, asked, REPOSITORY)
            assert (answer.status, answer.matches) == (0xA710, [])


def test_F18_the_keys_of_repository_query_are_of_no_other_model(filled: Box) -> None:
    asked = identifier("STUDY", StudyInstanceUID="", RecordKey=b"", MaximumNumberOfRecords=1, PriorRecordKey=b"xx")
    answer = find(filled.port, asked)
    assert (answer.status, answer.pending) == (0x0000, [0xFF01] * 3)
    assert not any("RecordKey" in match for match in answer.matches)


# F19, F20


@pytest.mark.parametrize("empty_matches", [True, False])
def test_T7_F19_an_empty_required_key_matches_any_value_if_it_is_configured(
    tmp_path: Path, empty_matches: bool
) -> None:
    with box(tmp_path, empty_matches=empty_matches) as gateway:
        store(gateway.archive, ct("1.2.3.4.1", AccessionNumber="", StudyDate="", PatientName=""))
        keys = {"AccessionNumber": "X", "StudyDate": "19990101", "PatientName": "Nobody"}
        expected = ["1.2.3"] if empty_matches else []
        for keyword, value in keys.items():
            for model, options in ((STUDY_ROOT, ()), (STUDY_ROOT, (DATETIME, TIMEZONE, FUZZY)), (REPOSITORY, ())):
                asked = identifier("STUDY", StudyInstanceUID="", **{keyword: value})
                assert uids(find(gateway.port, asked, options, model)) == expected
            asked = identifier("STUDY", StudyInstanceUID="", **{keyword: "*"})
            assert uids(find(gateway.port, asked)) == ["1.2.3"]
            asked = identifier("STUDY", StudyInstanceUID="", **{keyword: '""'})
            assert uids(find(gateway.port, asked, (EMPTY,))) == ["1.2.3"]


def test_T7_with_real_objects_what_does_not_exist_is_not_found(gateway: Box) -> None:
    """The objects that pydicom has are without most of what one can ask for."""
    studies: set[str] = set()
    for path in sorted(Path(str(get_testdata_file("CT_small.dcm"))).parent.glob("*.dcm")):
        with contextlib.suppress(GatewayError):
            study = read_header(path).study
            if study and study not in studies and path.stat().st_size < 100_000:
                store_file(gateway.archive, path)
                studies.add(study)
    assert len(studies) > 10
    with association(gateway.port) as made:
        everything = ask(made, identifier("STUDY", StudyInstanceUID="", AccessionNumber="", StudyID="*"))
        assert set(uids(everything)) == studies
        assert everything.values("AccessionNumber").count("") > 5
        for keyword in ("AccessionNumber", "StudyID", "PatientID", "PatientName", "ReferringPhysicianName"):
            assert uids(ask(made, identifier("STUDY", StudyInstanceUID="", **{keyword: "NOSUCH"}))) == []
        for keyword, text in (
            ("StudyDate", "18000101-18991231"),
            ("StudyTime", "235959-"),
            ("ModalitiesInStudy", "XX"),
        ):
            assert uids(ask(made, identifier("STUDY", StudyInstanceUID="", **{keyword: text}))) == []
        assert uids(ask(made, identifier("PATIENT", PatientID="", PatientBirthDate="18000101"), PATIENT_ROOT)) == []


def test_a_patient_without_an_id_is_found_and_never_taken_for_another(gateway: Box) -> None:
    """Unique keys shall not be empty (C.2.2.1.1); the objects of a broken modality have to be found all the same."""
    store(gateway.archive, ct("1.2.3.4.1", PatientID="", PatientName="Lost"))
    store(gateway.archive, ct("1.3.1.1", study="1.3", series="1.3.1", IssuerOfPatientID="A"))
    store(gateway.archive, ct("1.4.1.1", study="1.4", series="1.4.1", IssuerOfPatientID="B"))
    with association(gateway.port) as made:
        everybody = ask(made, identifier("PATIENT", PatientID="", IssuerOfPatientID=""), PATIENT_ROOT)
        assert sorted(zip(everybody.values("PatientID"), everybody.values("IssuerOfPatientID"), strict=True)) == [
            ("", ""),
            ("P1", "A"),
            ("P1", "B"),
        ]
        assert ask(made, identifier("STUDY", PatientID="", StudyInstanceUID=""), PATIENT_ROOT).status == 0xA900
        assert uids(ask(made, identifier("STUDY", PatientName="Lost", StudyInstanceUID=""))) == ["1.2.3"]
        asked = identifier("STUDY", PatientID="P1", IssuerOfPatientID="B", StudyInstanceUID="")
        assert uids(ask(made, asked, PATIENT_ROOT)) == ["1.2.3", "1.4"] or uids(ask(made, asked, PATIENT_ROOT)) == [
            "1.4"
        ]


def test_F20_short_of_resources_is_A700(filled: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def locked(*_: Any) -> Iterator[None]:
        raise ResourceError("index", "another process keeps it locked")
        yield

    monkeypatch.setattr(filled.archive.database, "reading", locked)
    answer = find(filled.port, identifier("STUDY", StudyInstanceUID=""))
    assert (answer.status, answer.final.ErrorComment) == (0xA700, "another process keeps it locked")


def test_F20_a_fault_of_our_own_is_C000(filled: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("gateway.network.find.matches", broken)
    answer = find(filled.port, identifier("STUDY", StudyInstanceUID=""))
    assert answer.status == 0xC000
    assert "secret" not in answer.final.ErrorComment


# Transfer syntaxes of identifiers


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"]
)
def test_identifiers_in_every_transfer_syntax(filled: Box, syntax: str) -> None:
    asked = identifier(
        "IMAGE", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4", SOPInstanceUID="", Rows=4, InstanceNumber="2"
    )
    answer = find(filled.port, asked, syntax=syntax)
    assert [(match.SOPInstanceUID, match.Rows) for match in answer.matches] == [("1.2.3.4.2", 4)]


# Other people's programs


def test_F1_F3_dcmtk_findscu_finds(filled: Box) -> None:
    command = [need("findscu"), "-S", "-aet", "WORKSTATION", "-aec", "GATEWAY", "127.0.0.1", str(filled.port)]
    keys = [
        "-k",
        "QueryRetrieveLevel=STUDY",
        "-k",
        "PatientName=DOE*",
        "-k",
        "StudyInstanceUID",
        "-k",
        "ModalitiesInStudy",
    ]
    done = subprocess.run([*command, *keys], capture_output=True, text=True, timeout=60)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert said.count("Pending") >= 2, said
    assert "1.2.3" in said
    assert "CT\\PR" in said


def test_Q1_pynetdicom_findscu_negotiates_the_view(filled: Box) -> None:
    import sys

    settle(filled, "1.2.3")
    command = [sys.executable, "-m", "pynetdicom", "findscu", "-S", "-aet", "WORKSTATION", "-aec", "GATEWAY"]
    address = ["127.0.0.1", str(filled.port)]
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3", "-k", "SOPClassesInStudy="]
    for view, expected in (("ENHANCED", LEGACY_CT), ("CLASSIC", "Classic"), (None, "")):
        more = ["--enhanced-conversion", "-k", f"QueryRetrieveView={view}"] if view else []
        done = subprocess.run([*command, *more, *address, *keys], capture_output=True, text=True, timeout=60)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert (LEGACY_CT in said or "Legacy Converted Enhanced CT" in said) == (view == "ENHANCED"), said
        assert expected is not None


def test_F1_F10_orthanc_queries_and_gets_the_counts(filled: Box, tmp_path: Path) -> None:
    modalities = {"gw": ["GATEWAY", "127.0.0.1", filled.port]}
    with Orthanc(tmp_path, "WORKSTATION", modalities).running() as orthanc:
        query = {"Level": "Study", "Query": {"PatientID": "P1", "NumberOfStudyRelatedInstances": ""}}
        made = orthanc.post("/modalities/gw/query", query)
        answers = orthanc.get(f"/queries/{made['ID']}/answers?expand&simplify")
        found = {one["StudyInstanceUID"]: one["NumberOfStudyRelatedInstances"] for one in answers}
        assert found == {"1.2.3": "4", "1.3": "1"}


def test_Q9_who_stores_enhanced_images_can_store_presentation_states_too() -> None:
    from gateway.network.negotiation import SERVICES, STORAGE
    from gateway.standard.sop_classes import ENHANCED_CLASSES

    assert {SERVICES.get(uid) for uid in (*ENHANCED_CLASSES, GSPS, "1.2.840.10008.5.1.4.1.1.11.2")} == {STORAGE}


def test_F8_a_range_of_days_and_times_is_one_range_when_negotiated(gateway: Box) -> None:
    for number, (date, hour) in enumerate((("20060705", "0900"), ("20060706", "0900"), ("20060707", "1830"))):
        store(
            gateway.archive,
            ct(f"1.{number}.1.1", study=f"1.{number}", series=f"1.{number}.1", StudyDate=date, StudyTime=hour),
        )
    asked = identifier("STUDY", StudyInstanceUID="", StudyDate="20060705-20060707", StudyTime="1000-1800")
    assert uids(find(gateway.port, asked)) == []
    assert uids(find(gateway.port, asked, (DATETIME,))) == ["1.1"]


def test_F17_a_long_answer_is_not_held_in_memory(gateway: Box) -> None:
    """Ten times the matches, the same memory."""
    import tracemalloc

    from gateway.archive.entities import describe_entities
    from gateway.archive.keys import find_place, said
    from gateway.archive.matches import matches
    from gateway.archive.matching import Asked
    from gateway.archive.query import Query

    with gateway.archive.database.transaction() as connection:
        what = said(describe_entities(ct()))
        for number in range(20_000):
            place = find_place(connection, f"1.2.{number}", f"1.2.{number}.1", 0, what)
            connection.execute("INSERT INTO keys_tally VALUES (?, 1, 1, 0, 0)", (place.keys,))
        connection.execute("INSERT INTO study_tally SELECT id, 1, 1, 1 FROM study")
    query = Query("STUDY", View.RECEIVED, (Asked(0x0020000D, "UI"),))
    peaks = []
    tracemalloc.start()
    for most in (2_000, 20_000):
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        assert sum(1 for _, _ in zip(matches(gateway.archive, query), range(most), strict=False)) == most
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
    tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000, peaks
