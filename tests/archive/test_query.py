"""Queries: the index answers what a matcher written after the text answers, and never by reading everything."""

from __future__ import annotations

import re
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from archive_tools import CT, GSPS, LEGACY_CT, HandClock, ct, derive, store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from reference_matcher import NAMES, Rules
from reference_matcher import matches as expected_match

from gateway.archive import forms
from gateway.archive.attributes import tag_named, vr_of
from gateway.archive.index import Archive
from gateway.archive.matches import Match, matches
from gateway.archive.matching import Asked, KeyValueError, Options
from gateway.archive.query import Query, translate
from gateway.archive.rows import Settlement
from gateway.archive.schema import MIGRATIONS, migrate
from gateway.archive.views import ALL_VIEWS, View
from gateway.objects.elements import DataSet
from gateway.objects.parse import Syntax, parse_dataset
from gateway.standard.query_keys import COMPUTED

LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
UNIQUE = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}


def encoded(values: dict[str, Any]) -> DataSet:
    """Make a data set with pydicom, in UTF-8."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in values.items():
        setattr(ds, keyword, [_item(item) for item in value] if keyword.endswith("Sequence") else value)
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, ds)
    data = buffer.getvalue()
    return parse_dataset(data, 0, len(data), Syntax())[0]


def _item(values: dict[str, Any]) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, [_item(one) for one in value] if keyword.endswith("Sequence") else value)
    return item


def key(keyword: str, *values: str, **items: Any) -> Asked:
    found = tuple(
        key(name, **value) if isinstance(value, dict) else key(name, *([value] if isinstance(value, str) else value))
        for name, value in items.items()
    )
    tag = tag_named(keyword)
    return Asked(tag, vr_of(tag), tuple(values), found)


def ask(archive: Archive, level: str, *keys: Asked, view: View = View.RECEIVED, **more: Any) -> list[Match]:
    return list(matches(archive, Query(level, view, keys, **more)))


def value(match: Match, keyword: str) -> list[Any]:
    return list(match.values[tag_named(keyword)])


# Random data

NAME_POOL = [
    *(
        "Doe^Jane",
        "doe^john",
        "DOE",
        "Dœ^Jäne",
        "Müller^Jürgen",
        "Muller^Jurgen^^Dr.",
        "Mueller",
        "Smith^Mary",
        "Schmidt",
    ),
    *(
        "Smyth^Maria",
        "O'Neil^Sean",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "=山田^花子",
        "Wang^XiaoDong=王^小東",
        "Sm[i]th",
        "",
    ),
    *("Φίλιππος^Α", "Жуков^Иван", "Doe^Jane^^^", " Doe ^ Jane", "Łukasz^Ż", "ガガ^か"),
]
DATE_POOL = ["20240131", "20240201", "19991231", "20240229", "2024.01.31", "", "today", "20231231", "20240101"]
TIME_POOL = ["101500", "1015", "10", "235959.999999", "000000", "", "noon", "101530.5", "2230", "003000"]
TEXT_POOL = ["CHEST CT", "chest ct", "Abdomen", "A*B", "A?B", "[x]", "", "Thorax^PE", 'say ""', "Kopf mit KM", "É"]
UID_POOL = [f"1.2.{number}" for number in range(1, 6)]
CODE_POOL = ["C1", "C2", "chest", ""]
SIZE_POOL = ["1.8", "1.80", "+1.8", "2", ""]


class World:
    """An archive with random entities, and these entities as they are."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = Random(seed)
        self.archive = Archive(folder / "data", HandClock())
        self.images: list[dict[str, Any]] = []
        for patient in range(6):
            self._patient(patient)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values that are none of their VR
            for image in self.images:
                store(self.archive, encoded(image))
        self.entities = [self._whole(image) for image in self.images]

    def _pick(self, pool: list[str]) -> str:
        return self.random.choice(pool)

    def _codes(self) -> list[dict[str, str]]:
        count = self.random.choice((0, 1, 2))
        return [
            {"CodeValue": self._pick(CODE_POOL), "CodingSchemeDesignator": self._pick(["99X", "SCT"])}
            for _ in range(count)
        ]

    def _patient(self, number: int) -> None:
        patient = {
            "PatientID": f"P{number // 2}" if self.random.random() < 0.8 else "",
            "IssuerOfPatientID": f"I{number}",
            "PatientName": self._pick(NAME_POOL),
            "PatientSex": self._pick(["M", "F", ""]),
            "PatientBirthDate": self._pick(DATE_POOL),
            "PatientComments": self._pick(TEXT_POOL),
            "OtherPatientNames": [self._pick(NAME_POOL) for _ in range(self.random.choice((0, 1, 2)))],
        }
        for study in range(self.random.choice((1, 1, 2)) if patient["PatientID"] else 1):
            self._study(patient, f"1.{number}.{study}")

    def _study(self, patient: dict[str, Any], uid: str) -> None:
        zone = self.random.choice((None, 60, -300, 330))
        study = patient | {
            "StudyInstanceUID": uid,
            "StudyDate": self._pick(DATE_POOL),
            "StudyTime": self._pick(TIME_POOL),
            "AccessionNumber": self._pick(["A1", "A2", "a1", ""]),
            "StudyID": self._pick(["1", "2", ""]),
            "StudyDescription": self._pick(TEXT_POOL),
            "ReferringPhysicianName": self._pick(NAME_POOL),
            "PatientAge": self._pick(["034Y", "010M", ""]),
            "PatientSize": self._pick(SIZE_POOL),
            "ProcedureCodeSequence": self._codes(),
            "TimezoneOffsetFromUTC": "" if zone is None else forms.zone_text(zone),
        }
        for series in range(self.random.choice((1, 2, 3))):
            self._series(study, f"{uid}.{series}")

    def _series(self, study: dict[str, Any], uid: str) -> None:
        requests = [
            {
                "RequestedProcedureID": self._pick(["R1", "R2", ""]),
                "ScheduledProtocolCodeSequence": self._codes(),
            }
            for _ in range(self.random.choice((0, 1, 2)))
        ]
        series = study | {
            "SeriesInstanceUID": uid,
            "Modality": self._pick(["CT", "MR", "PR", ""]),
            "SeriesNumber": self._pick(["1", "2", ""]),
            "SeriesDescription": self._pick(TEXT_POOL),
            "SeriesDate": self._pick(DATE_POOL),
            "SeriesTime": self._pick(TIME_POOL),
            "OperatorsName": [self._pick(NAME_POOL) for _ in range(self.random.choice((0, 1, 2)))],
            "RequestAttributesSequence": requests,
        }
        for number in range(self.random.choice((1, 2))):
            self.images.append(
                series
                | {
                    "SOPInstanceUID": f"{uid}.{number}",
                    "SOPClassUID": self._pick([CT, GSPS, "1.2.840.10008.5.1.4.1.1.4"]),
                    "InstanceNumber": self._pick(["1", "2", "007", ""]),
                    "ContentDate": self._pick(DATE_POOL),
                    "ContentTime": self._pick(TIME_POOL),
                    "ImageType": [self._pick(["ORIGINAL", "DERIVED"]), self._pick(["PRIMARY", "SECONDARY"])],
                }
            )

    def answer(self, level: str, asked: dict[str, Any], rules: Rules, relational: bool) -> set[tuple[str, ...]]:
        """Return the names of the entities that match, by looking at every object."""
        depth = LEVELS.index(level)
        here = {keyword: one for keyword, one in asked.items() if LEVELS.index(HOMES[keyword]) <= depth}
        below = {keyword: one for keyword, one in asked.items() if keyword not in here}
        found = set()
        for image, entity in zip(self.images, self.entities, strict=True):
            zone = forms.zone(image["TimezoneOffsetFromUTC"])
            if not expected_match(entity, here, rules, zone):
                continue
            if relational and below and not expected_match(entity, below, rules, zone):
                continue
            found.add(self.name(image, level))
        return found

    def _whole(self, image: dict[str, Any]) -> dict[str, Any]:
        study = [one for one in self.images if one["StudyInstanceUID"] == image["StudyInstanceUID"]]
        return image | {
            "ModalitiesInStudy": sorted({one["Modality"] for one in study} - {""}),
            "SOPClassesInStudy": sorted({one["SOPClassUID"] for one in study}),
        }

    @staticmethod
    def name(image: dict[str, Any], level: str) -> tuple[str, ...]:
        if level == "PATIENT":
            return (image["PatientID"], image["IssuerOfPatientID"])
        return (image[UNIQUE[level]],)

    def asked_index(self, level: str, asked: dict[str, Any], rules: Rules, relational: bool) -> set[tuple[str, ...]]:
        keys = [_as_key(keyword, one) for keyword, one in asked.items()]
        wanted = ["PatientID", "IssuerOfPatientID"] if level == "PATIENT" else [UNIQUE[level]]
        keys += [key(keyword) for keyword in wanted if keyword not in asked]
        options = Options(
            rules.combined, rules.fuzzy, rules.zone, rules.empty, rules.multiple, empty_matches=rules.letter
        )
        found = ask(self.archive, level, *keys, options=options, relational=relational)
        names = [tuple(str((value(match, keyword) or [""])[0]) for keyword in wanted) for match in found]
        assert len(names) == len(set(names)), "an entity twice"
        return set(names)


def _as_key(keyword: str, asked: Any) -> Asked:
    if isinstance(asked, dict):
        tag = tag_named(keyword)
        return Asked(tag, vr_of(tag), (), tuple(_as_key(name, one) for name, one in asked.items()))
    return key(keyword, *asked)


HOMES = {
    **dict.fromkeys(("PatientID", "IssuerOfPatientID", "PatientName", "PatientSex", "PatientBirthDate"), "PATIENT"),
    **dict.fromkeys(("PatientComments", "OtherPatientNames"), "PATIENT"),
    **dict.fromkeys(("StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "StudyID"), "STUDY"),
    **dict.fromkeys(("StudyDescription", "ReferringPhysicianName", "PatientAge", "PatientSize"), "STUDY"),
    **dict.fromkeys(("ProcedureCodeSequence", "ModalitiesInStudy", "SOPClassesInStudy"), "STUDY"),
    **dict.fromkeys(("SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "SeriesDate"), "SERIES"),
    **dict.fromkeys(("SeriesTime", "OperatorsName", "RequestAttributesSequence"), "SERIES"),
    **dict.fromkeys(("SOPInstanceUID", "SOPClassUID", "InstanceNumber"), "IMAGE"),
}
FROM_HEADERS = ("ContentDate", "ContentTime", "ImageType")
HOMES |= dict.fromkeys(FROM_HEADERS, "IMAGE")


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, World]]:
    made = {seed: World(tmp_path_factory.mktemp(f"world{seed}"), seed) for seed in range(5)}
    yield made
    for world in made.values():
        world.archive.close()


def patterns(pool: list[str]) -> st.SearchStrategy[str]:
    """Values of a pool, and wild cards made of them."""

    def spoil(text: str, position: int, card: str) -> str:
        position %= len(text) + 1
        return text[:position] + card + text[position + (card == "?") :]

    spoiled = st.builds(spoil, st.sampled_from(pool), st.integers(0, 20), st.sampled_from("*?"))
    started = st.sampled_from(pool).map(lambda text: text[:3] + "*")
    return st.one_of(st.sampled_from(pool), spoiled, started, st.just("*"), st.just(""))


def spans(pool: list[str], valid: Any) -> st.SearchStrategy[str]:
    good = [text for text in pool if valid(text)]
    single = st.sampled_from(good)
    both = st.tuples(single, single).map(lambda pair: f"{pair[0]}-{pair[1]}")
    open_ended = st.one_of(single.map(lambda text: f"-{text}"), single.map(lambda text: f"{text}-"))
    return st.one_of(single, both, open_ended, st.just(""))


DATES = spans(DATE_POOL, forms.day)
TIMES = spans([*TIME_POOL, "11", "1014"], forms.clock)
NAMES_ASKED = patterns([*NAME_POOL, "doe^jane", "muller^j*", "SMITH", "swain", "*=山田*", "山田*", "Mary Smith"])


def values_of(keyword: str) -> st.SearchStrategy[list[str]]:
    if keyword in NAMES:
        return st.lists(NAMES_ASKED, min_size=1, max_size=2 if keyword != "PatientName" else 1)
    if keyword.endswith("Date"):
        return DATES.map(lambda text: [text])
    if keyword.endswith("Time"):
        return TIMES.map(lambda text: [text])
    pools: dict[str, Any] = {
        "PatientID": patterns(["P0", "P1", "p0"]),
        "IssuerOfPatientID": patterns(["I0", "I1"]),
        "PatientSex": st.sampled_from(["M", "F", "?", ""]),
        "AccessionNumber": patterns(["A1", "a1", "A2"]),
        "StudyID": patterns(["1", "2"]),
        "PatientAge": st.sampled_from(["034Y", "34Y", ""]),
        "PatientSize": st.sampled_from(["1.8", "1.80", "2.0", ""]),
        "SeriesNumber": st.sampled_from(["1", "01", "+2", ""]),
        "InstanceNumber": st.sampled_from(["1", "7", "007", ""]),
        "Modality": patterns(["CT", "MR"]),
        "ModalitiesInStudy": patterns(["CT", "MR", "PR"]),
        "ImageType": patterns(["ORIGINAL", "SECONDARY", "AXIAL"]),
        "SOPClassUID": st.sampled_from([CT, GSPS, ""]),
        "SOPClassesInStudy": st.sampled_from([CT, GSPS, ""]),
    }
    if keyword in UNIQUE.values():
        uids = [f"1.{a}.{b}{rest}" for a in range(6) for b in range(2) for rest in ("", ".0", ".0.0", ".1.0")]
        return st.lists(st.sampled_from(uids), max_size=6)
    one = pools[keyword] if keyword in pools else patterns(TEXT_POOL)
    several = keyword in ("ModalitiesInStudy", "ImageType")
    return st.lists(one, min_size=1, max_size=2 if several else 1)


CODES_ASKED = st.fixed_dictionaries(
    {}, optional={"CodeValue": patterns(CODE_POOL).map(lambda text: [text]), "CodingSchemeDesignator": st.just(["SCT"])}
)
ITEMS: dict[str, Any] = {
    "ProcedureCodeSequence": CODES_ASKED,
    "RequestAttributesSequence": st.fixed_dictionaries(
        {},
        optional={
            "RequestedProcedureID": patterns(["R1"]).map(lambda text: [text]),
            "ScheduledProtocolCodeSequence": CODES_ASKED,
        },
    ),
}

IDENTIFIERS = st.lists(st.sampled_from(sorted(HOMES)), max_size=5, unique=True).flatmap(
    lambda keywords: st.fixed_dictionaries({one: ITEMS[one] if one in ITEMS else values_of(one) for one in keywords})
)
# Dates with their times, so that what belongs together is asked together often enough.
MOMENTS = st.sampled_from(("Study", "Series", "Content")).flatmap(
    lambda stem: st.fixed_dictionaries({f"{stem}Date": values_of("Date"), f"{stem}Time": values_of("Time")})
)
RULES = st.builds(
    Rules,
    combined=st.booleans(),
    fuzzy=st.booleans(),
    zone=st.sampled_from((None, 0, 60, -480, 840)),
    empty=st.booleans(),
    multiple=st.booleans(),
    letter=st.booleans(),
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 4),
    st.sampled_from(LEVELS),
    st.one_of(IDENTIFIERS, st.builds(lambda a, b: a | b, IDENTIFIERS, MOMENTS)),
    RULES,
    st.booleans(),
)
def test_T7_F3_F4_F5_F8_F19_the_index_answers_as_a_plain_matcher_does(
    worlds: dict[int, World], seed: int, level: str, asked: dict[str, Any], rules: Rules, relational: bool
) -> None:
    if level != "IMAGE":
        asked = {keyword: one for keyword, one in asked.items() if keyword not in FROM_HEADERS}
    world = worlds[seed]
    assert world.asked_index(level, asked, rules, relational) == world.answer(level, asked, rules, relational)


# One statement each, never by reading everything

SCANNED = re.compile(r"SCAN (i|s|t|p|u|instance|series|study|patient)\b")

SELECTIVE: dict[str, tuple[str, tuple[Asked, ...]]] = {
    "patient ID": ("STUDY", (key("PatientID", "P1"),)),
    "accession number": ("STUDY", (key("AccessionNumber", "A1"),)),
    "study": ("STUDY", (key("StudyInstanceUID", "1.2.3"),)),
    "list of studies": ("STUDY", (key("StudyInstanceUID", "1.2.3", "1.2.4"),)),
    "study ID": ("STUDY", (key("StudyID", "1"),)),
    "name": ("STUDY", (key("PatientName", "Doe^Jane"),)),
    "beginning of a name": ("STUDY", (key("PatientName", "doe*"),)),
    "ideographic name": ("PATIENT", (key("PatientName", "=山田*"),)),
    "date": ("STUDY", (key("StudyDate", "20240131"),)),
    "range of dates": ("STUDY", (key("StudyDate", "20240101-20240201"), key("ModalitiesInStudy", "CT"))),
    "modality": ("STUDY", (key("ModalitiesInStudy", "CT"),)),
    "class": ("STUDY", (key("SOPClassesInStudy", CT),)),
    "patient": ("PATIENT", (key("PatientID", "P1"),)),
    "series": ("SERIES", (key("StudyInstanceUID", "1.2.3"), key("Modality", "CT"))),
    "images": ("IMAGE", (key("StudyInstanceUID", "1.2.3"), key("SeriesInstanceUID", "1.2.3.4"))),
    "image": ("IMAGE", (key("SOPInstanceUID", "1.2.3.4.1"),)),
    "study of an image": ("STUDY", (key("SOPInstanceUID", "1.2.3.4.1"),)),
    "patient of a series": ("PATIENT", (key("SeriesInstanceUID", "1.2.3.4"),)),
}


@pytest.mark.parametrize("view", list(View))
@pytest.mark.parametrize("name", SELECTIVE)
def test_F17_what_names_something_is_found_without_a_scan(archive: Archive, name: str, view: View) -> None:
    level, keys = SELECTIVE[name]
    wanted = [key(one) for one in (*COMPUTED["STUDY"], "AlternateRepresentationSequence") if LEVELS.index(level) >= 1]
    wanted = [one for one in wanted if one.tag not in {asked.tag for asked in keys}]
    for options in (Options(), Options(combined=True, zone=60, empty=True, multiple=True)):
        statement = translate(Query(level, view, (*keys, *wanted), options, relational=True))
        plan = archive.database.rows(f"EXPLAIN QUERY PLAN {statement.sql}", statement.parameters)
        # What is still being converted is a handful, with an index of its own.
        assert [step for _, _, _, step in plan if SCANNED.match(step)] == [], plan


def test_values_of_a_request_are_parameters(archive: Archive) -> None:
    hostile = "x' OR 1=1; DROP TABLE study; --"
    for keyword in ("PatientName", "StudyDescription", "PatientComments", "ModalitiesInStudy", "StudyInstanceUID"):
        statement = translate(Query("STUDY", View.RECEIVED, (key(keyword, hostile),)))
        assert hostile not in statement.sql
        assert list(matches(archive, Query("STUDY", View.RECEIVED, (key(keyword, hostile),)))) == []


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    archive = Archive(tmp_path / "data", HandClock())
    yield archive
    archive.close()


# Attributes of C.3.4


def convert(archive: Archive, study: str = "1.2.3") -> None:
    """Let the conversion make one object of a study, and leave presentation states as they are."""
    made = derive(archive, study)
    settled = {
        row.name: Settlement(View.RECEIVED | View.CLASSIC if row.sop_class == CT else ALL_VIEWS)
        for row in archive.unsettled(study)
    }
    archive.record_conversion(study, [made], settled)


COUNTS = ("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "NumberOfPatientRelatedStudies")
PATIENT_COUNTS = ("NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances")


def test_F10_Q5_counts_are_those_of_the_view(archive: Archive) -> None:
    for number in (1, 2, 3):
        store(archive, ct(f"1.2.3.4.{number}", number=number))
    store(archive, ct("1.2.3.5.1", series="1.2.3.5", sop_class=GSPS, Modality="PR"))
    store(archive, ct("1.9.1.1", study="1.9", series="1.9.1"))
    convert(archive)
    found = {}
    for view in View:
        (study,) = ask(archive, "STUDY", key("StudyInstanceUID", "1.2.3"), *map(key, COUNTS[:2]), view=view)
        found[view] = [value(study, keyword)[0] for keyword in COUNTS[:2]]
        (patient,) = ask(archive, "PATIENT", key("PatientID", "P1"), *map(key, PATIENT_COUNTS), view=view)
        if view != View.ENHANCED:
            assert [value(patient, keyword)[0] for keyword in PATIENT_COUNTS] == [2, 3, 5]
        series = ask(
            archive, "SERIES", key("StudyInstanceUID", "1.2.3"), key("NumberOfSeriesRelatedInstances"), view=view
        )
        assert sum(value(one, "NumberOfSeriesRelatedInstances")[0] for one in series) == found[view][1]
        assert len(series) == found[view][0]
    assert found == {View.RECEIVED: [2, 4], View.CLASSIC: [2, 4], View.ENHANCED: [2, 2]}


def test_F11_modalities_and_classes_are_those_of_the_view(archive: Archive) -> None:
    store(archive, ct("1.2.3.4.1"))
    store(archive, ct("1.2.3.5.1", series="1.2.3.5", sop_class=GSPS, Modality="PR"))
    convert(archive)
    keys = key("ModalitiesInStudy"), key("SOPClassesInStudy")
    classes = {}
    for view in View:
        (study,) = ask(archive, "STUDY", *keys, view=view)
        assert value(study, "ModalitiesInStudy") == ["CT", "PR"]
        classes[view] = value(study, "SOPClassesInStudy")
    assert classes == {
        View.RECEIVED: sorted((CT, GSPS)),
        View.CLASSIC: sorted((CT, GSPS)),
        View.ENHANCED: sorted((LEGACY_CT, GSPS)),
    }
    assert ask(archive, "STUDY", key("SOPClassesInStudy", CT), view=View.ENHANCED) == []
    assert len(ask(archive, "STUDY", key("SOPClassesInStudy", LEGACY_CT), view=View.ENHANCED)) == 1
    assert len(ask(archive, "STUDY", key("ModalitiesInStudy", "P*"), view=View.ENHANCED)) == 1
    assert ask(archive, "STUDY", key("ModalitiesInStudy", "MR"), view=View.ENHANCED) == []


def test_F12_anatomic_regions_are_the_union_of_codes_and_body_parts(archive: Archive) -> None:
    code = {"CodeValue": "69536005", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Head"}
    base = {"PatientID": "P1", "StudyInstanceUID": "1.2.3", "SOPClassUID": CT}
    images = (
        {"SeriesInstanceUID": "1.2.3.4", "BodyPartExamined": "CHEST"},
        {"SeriesInstanceUID": "1.2.3.4", "BodyPartExamined": "ABDOMEN"},
        {"SeriesInstanceUID": "1.2.3.5", "BodyPartExamined": "CHEST", "AnatomicRegionSequence": [code]},
        {"SeriesInstanceUID": "1.2.3.6", "BodyPartExamined": "NOWHERE"},
    )
    for number, image in enumerate(images):
        store(archive, encoded(base | image | {"SOPInstanceUID": f"1.2.3.{number}"}))
    wanted = key("AnatomicRegionsInStudyCodeSequence", CodeValue="", CodeMeaning="")
    (study,) = ask(archive, "STUDY", wanted)
    items = value(study, "AnatomicRegionsInStudyCodeSequence")
    found = {(item[tag_named("CodeValue")][0], item[tag_named("CodeMeaning")][0]) for item in items}
    assert found == {("816094009", "Chest"), ("818981001", "Abdomen"), ("69536005", "Head")}
    assert len(items) == 3
    (study,) = ask(archive, "STUDY", key("AnatomicRegionsInStudyCodeSequence", CodeValue="69536005"))
    assert [item[tag_named("CodeValue")] for item in value(study, "AnatomicRegionsInStudyCodeSequence")] == [
        ["69536005"]
    ]
    assert ask(archive, "STUDY", key("AnatomicRegionsInStudyCodeSequence", CodeValue="1")) == []


def test_F13_only_the_same_image_is_an_alternate_representation(archive: Archive) -> None:
    store(archive, ct("1.2.3.4.1"))
    store(archive, ct("1.9.1.1", study="1.9", series="1.9.1"))
    store(archive, ct("1.9.1.2", study="1.9", series="1.9.1", number=2))
    convert(archive)
    archive.record_conversion("1.9", [derive(archive, "1.9", "2.25.7")], {})
    keyword = "AlternateRepresentationSequence"

    def alternates(study: str, view: View) -> list[list[Any]]:
        return [
            value(one, keyword)
            for one in ask(archive, "IMAGE", key("StudyInstanceUID", study), key(keyword), view=view)
        ]

    ((item,),) = alternates("1.2.3", View.CLASSIC)
    assert item[tag_named("ReferencedSOPInstanceUID")] == ("2.25.1",)
    assert item[tag_named("ReferencedSOPClassUID")] == (LEGACY_CT,)
    assert item[tag_named("SeriesInstanceUID")] == ("2.25.2",)
    (purpose,) = item[tag_named("PurposeOfReferenceCodeSequence")]
    assert purpose[tag_named("CodeValue")] == ("121326",)
    ((item,),) = alternates("1.2.3", View.ENHANCED)
    assert item[tag_named("ReferencedSOPInstanceUID")] == ("1.2.3.4.1",)
    assert alternates("1.9", View.RECEIVED) == [[], []]
    assert alternates("1.9", View.ENHANCED) == [[]]


def test_F14_the_stored_transfer_syntax_comes_first(archive: Archive) -> None:
    store(archive, ct("1.2.3.4.1"))
    query = Query("IMAGE", View.RECEIVED, (key("AvailableTransferSyntaxUID"),))
    (found,) = matches(archive, query, syntaxes=lambda stored, sop_class: (stored, sop_class))
    assert value(found, "AvailableTransferSyntaxUID") == ["1.2.840.10008.1.2.1", CT]


def test_F15_study_update_is_when_something_last_came(archive: Archive) -> None:
    store(archive, ct("1.2.3.4.1"))
    assert isinstance(archive.clock, HandClock)
    archive.clock.time += 3600.5
    store(archive, ct("1.2.3.4.2", number=2))
    (found,) = ask(archive, "STUDY", key("StudyUpdateDateTime"))
    (text,) = value(found, "StudyUpdateDateTime")
    assert text == "20231114231320.500000+0000"
    for asked, count in ((text, 1), ("20231114", 1), ("20231115-", 0), ("-20231114", 1), ("20231114231321-", 0)):
        assert len(ask(archive, "STUDY", key("StudyUpdateDateTime", asked))) == count, asked
    assert len(ask(archive, "STUDY", key("StudyUpdateDateTime", "20231115001320+0100-"))) == 1


def test_F16_Q8_what_is_still_to_come_into_a_view_is_pending(archive: Archive) -> None:
    store(archive, ct("1.2.3.4.1"))
    keys = key("StudyInstanceUID"), key("NumberOfStudyRelatedInstances"), key("ModalitiesInStudy", "CT")
    (study,) = ask(archive, "STUDY", *keys, view=View.ENHANCED)
    assert study.pending
    assert value(study, "NumberOfStudyRelatedInstances") == []  # not known yet
    assert value(study, "ModalitiesInStudy") == ["CT"]
    for view in (View.RECEIVED, View.CLASSIC):
        assert [match.pending for match in ask(archive, "STUDY", *keys, view=view)] == [False]
    convert(archive)
    (study,) = ask(archive, "STUDY", *keys, view=View.ENHANCED)
    assert not study.pending
    assert value(study, "NumberOfStudyRelatedInstances") == [1]
    store(archive, ct("1.2.3.4.2", number=2))  # comes late
    assert ask(archive, "STUDY", *keys, view=View.ENHANCED)[0].pending
    assert all(match.pending for match in ask(archive, "IMAGE", key("StudyInstanceUID", "1.2.3"), view=View.ENHANCED))
    assert all(match.pending for match in ask(archive, "PATIENT", key("PatientID"), view=View.ENHANCED))


def test_F2_keys_without_a_place_are_left_out_and_said(archive: Archive) -> None:
    store(archive, ct("1.2.3.4.1"))
    (found,) = ask(archive, "STUDY", key("StudyID"), key("SliceLocation"), key("Modality"), key("PatientComments"))
    assert set(found.values) == {tag_named("StudyID"), tag_named("PatientComments")}
    assert not found.complete
    (found,) = ask(archive, "STUDY", key("StudyID"), key("PatientComments"))
    assert found.complete
    assert value(found, "PatientComments") == []


def test_T7_F2_keys_of_images_are_read_from_every_header(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.archive.matches.PAGE", 2)
    for number in (1, 2, 3, 4, 5):
        store(archive, ct(f"1.2.3.4.{number}", number=number, SliceLocation=str(number)))
    found = ask(archive, "IMAGE", key("StudyInstanceUID", "1.2.3"), key("SliceLocation"))
    assert [match.values.get(tag_named("SliceLocation")) for match in found] == [["1"], ["2"], ["3"], ["4"], ["5"]]
    assert all(match.complete for match in found)
    assert len(ask(archive, "IMAGE", key("InstanceNumber", "1"), key("SliceLocation", "1.0"))) == 1
    assert len(ask(archive, "IMAGE", key("InstanceNumber", "1"), key("SliceLocation", "2"))) == 0
    assert len(ask(archive, "IMAGE", key("SliceLocation", "5"))) == 1


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("StudyDate", "tomorrow"),
        ("StudyDate", "2024-01-31-"),
        ("StudyTime", "25"),
        ("SeriesNumber", "one"),
        ("StudyDescription", "*".join("abcdefghijklmnopqrstuvwxyz")),
        ("StudyUpdateDateTime", "-"),
    ],
)
def test_F20_what_is_no_value_of_its_VR_is_named(archive: Archive, keyword: str, text: str) -> None:
    with pytest.raises(KeyValueError) as error:
        ask(archive, "SERIES", key(keyword, text))
    assert error.value.tag == tag_named(keyword)


def test_an_index_from_before_these_columns_is_filled(tmp_path: Path) -> None:
    """The tables as they were, with a study in them: names and dates match at once, the rest after a checkpoint."""
    old = Archive(tmp_path / "data", HandClock())
    store(old, ct("1.2.3.4.1", PatientComments="note", BodyPartExamined="CHEST"))
    old.checkpoint()
    for table, columns in (
        ("study_keys", "name_a = NULL, name_i = NULL, name_p = NULL, sound = NULL, patient_more = NULL"),
        ("study_keys", "day = NULL, clock = NULL, zone = NULL, more = NULL, digest = x'', indexed = 0"),
        ("series_keys", "more = NULL, digest = x'', indexed = 0"),
    ):
        old.database.rows(f"UPDATE {table} SET {columns}")
    old.database.rows("DELETE FROM keys_region")
    old.database.rows("UPDATE instance SET extraction = 0")
    old.database.rows("UPDATE extraction SET version = 0")
    old.close()
    archive = Archive(tmp_path / "data", HandClock())
    found = ask(archive, "STUDY", key("PatientName", "D*"), key("StudyDate", "20240131"), key("PatientComments"))
    assert [value(one, "PatientComments") for one in found] == [[]]
    assert ask(archive, "STUDY", key("StudyDate", "20240130")) == []
    archive.checkpoint()
    (one,) = ask(archive, "STUDY", key("PatientComments", "note"), key("AnatomicRegionsInStudyCodeSequence"))
    assert value(one, "PatientComments") == ["note"]
    assert len(value(one, "AnatomicRegionsInStudyCodeSequence")) == 1
    assert ask(archive, "STUDY", key("PatientComments", "other")) == []
    archive.close()


def test_the_tallies_of_a_study_are_made_for_what_is_there_already(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite3"
    before = MIGRATIONS[:4]
    migrate(path, before)
    with sqlite3.connect(path) as connection:
        connection.executescript(OLD_ROWS)
    migrate(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT view, sop_class, instances FROM study_class ORDER BY 1").fetchall() == [
            (1, CT, 2),
            (2, CT, 2),
        ]
        assert connection.execute("SELECT view, modality, series FROM study_modality ORDER BY 1").fetchall() == [
            (1, "CT", 1),
            (2, "CT", 1),
        ]
        connection.execute("UPDATE instance SET views = 0 WHERE id = 1")
        connection.execute("DELETE FROM instance WHERE id = 2")
        assert {row[0] for row in connection.execute("SELECT instances FROM study_class")} == {0}
        assert {row[0] for row in connection.execute("SELECT series FROM study_modality")} == {0}


OLD_ROWS = f"""
INSERT INTO patient VALUES (1, 'P1', 'P1', '', 'Doe', '', '');
INSERT INTO study VALUES (1, '1.2.3', 1, '20240131', '', '', '', '', '', 0, 0);
INSERT INTO series VALUES (1, 1, '1.2.3.4', 1, 'CT', '', '', '', '', '');
INSERT INTO instance SELECT value, 1, '1.2.3.4.' || value, '{CT}', 'n' || value, 'received', '1', 1, 1, x'00', 3, 0, 0,
    '', '', '', 1, 0, 0, value, 4, 4, 1 FROM json_each('[1, 2]');
"""
