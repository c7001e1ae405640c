"""The tables of keys against the text of PS3.4, where it is at hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from gateway.archive.attributes import tag_named, vr_of
from gateway.archive.places import COLUMNS, COMPUTED_KEYS, HOME
from gateway.standard.query_keys import (
    BASIC_CODE,
    CODE,
    COMPUTED,
    FURTHER_KEYS,
    IMAGE,
    KEYS,
    LEVELS,
    PATIENT,
    REQUIRED_OF_STUDY_ROOT,
    SERIES,
    STUDY,
    UNIQUE_KEYS,
    Key,
)

TEXT = Path(__file__).parents[2] / "../shared/standard/ps3.4-2025b-service-classes.txt"

Row = tuple[int, int, str]  # depth, tag, type


def printed(table: str) -> set[Row]:
    """Return the rows of a table of the text: name with its nesting, tag, type."""
    lines = TEXT.read_text(encoding="utf-8").replace("\xa0", " ").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"Table {table}."))
    rows, name = set(), ""
    for number in range(start + 1, len(lines)):
        line = lines[number].strip()
        if line.startswith(("Table ", "C.6", "Note")):
            break
        if match := re.fullmatch(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)", line):
            depth = len(name) - len(name.lstrip(">"))
            rows.add((depth, int(match[1] + match[2], 16), lines[number + 1].strip()[:1]))
        name = line
    return rows


def ours(keys: Iterable[Key], depth: int = 0) -> Iterator[Row]:
    for key in keys:
        yield depth, tag_named(key.keyword), key.type
        # The text includes the code macros by name.
        if key.items not in (CODE, BASIC_CODE):
            yield from ours(key.items, depth + 1)


needs_text = pytest.mark.skipif(not TEXT.exists(), reason="the text of PS3.4 is not there")


@needs_text
@pytest.mark.parametrize(
    ("table", "level"), [("C.6-1", PATIENT), ("C.6-2", STUDY), ("C.6-3", SERIES), ("C.6-4", IMAGE)]
)
def test_F2_the_keys_of_a_level_are_those_of_the_table(table: str, level: str) -> None:
    # Series Instance UID of an alternate representation is printed as (0020,000E) like the key of the level above.
    assert set(ours(KEYS[level])) == printed(table)


@needs_text
def test_F2_the_keys_of_study_root_are_those_of_patient_and_study() -> None:
    required = {tag_named(keyword) for keyword in REQUIRED_OF_STUDY_ROOT}
    only_at_patient = {tag_named(keyword) for keyword in COMPUTED[PATIENT]}
    both = set(ours((*KEYS[PATIENT], *KEYS[STUDY])))
    expected = {
        (depth, tag, "R" if tag in required else kind) for depth, tag, kind in both if tag not in only_at_patient
    }
    assert expected == printed("C.6-5")


@needs_text
def test_F2_the_code_macros_are_those_of_the_tables() -> None:
    assert {tag for _, tag, _ in printed("C.6-2b")} == {tag_named(key.keyword) for key in BASIC_CODE}
    assert {tag for _, tag, _ in printed("C.6-2a")} == {tag_named("EquivalentCodeSequence")}


@needs_text
def test_F10_the_additional_attributes_are_those_of_the_table() -> None:
    lines = TEXT.read_text(encoding="utf-8").replace("\xa0", " ").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Table C.3-1."))
    end = next(number for number, line in enumerate(lines) if line.startswith("C.3.5 ") and number > start)
    found = {
        int(match[1] + match[2], 16)
        for line in lines[start:end]
        if (match := re.fullmatch(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)", line.strip()))
    }
    assert found == {tag_named(keyword) for keywords in COMPUTED.values() for keyword in keywords}


def test_F2_every_key_of_the_tables_has_a_place() -> None:
    for level in LEVELS:
        for keyword in (*(key.keyword for key in KEYS[level]), *FURTHER_KEYS[level]):
            assert HOME[keyword] == level, keyword
            assert vr_of(tag_named(keyword)) != "UN", keyword
    assert set(COMPUTED_KEYS) - {"TimezoneOffsetFromUTC"} == {one for keywords in COMPUTED.values() for one in keywords}
    assert {key.keyword for key in KEYS[STUDY] if key.type == "R"} <= set(COLUMNS)
    assert set(UNIQUE_KEYS.values()) <= set(COLUMNS)
