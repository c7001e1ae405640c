"""The table of functional group macros against the data dictionary, the supplement's text and another edition of it."""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path

import pytest
from pydicom.datadict import tag_for_keyword
from tools import need_module

from gateway.standard.functional_groups import CLASSIC_NAMES, MACROS, macros_of

SUPPLEMENT = Path(__file__).parents[3] / "shared" / "standard" / "supplement-157.txt"

# Table of Supplement 157 by modality.
TABLES = {"CT": "A.N1-2", "MR": "A.N2-2", "PT": "A.N3-2"}

IODS = {"CT": "ct", "MR": "mr", "PT": "pet"}


def test_every_keyword_of_the_macros_is_in_the_data_dictionary():
    keywords = {keyword for macro in MACROS.values() for item in macro.attributes for keyword in item.path}
    keywords |= set(MACROS) | set(CLASSIC_NAMES) | {name.keyword for names in CLASSIC_NAMES.values() for name in names}
    assert [keyword for keyword in sorted(keywords) if tag_for_keyword(keyword) is None] == []


def test_every_type_of_the_macros_is_a_type():
    assert {item.type for macro in MACROS.values() for item in macro.attributes} == {"1", "1C", "2", "2C", "3"}


def test_attributes_inside_a_sequence_follow_that_sequence():
    for macro in MACROS.values():
        seen = set()
        for item in macro.attributes:
            assert len(item.path) == 1 or item.path[:-1] in seen, (macro.name, item)
            seen.add(item.path)


@pytest.mark.parametrize("modality", TABLES)
def test_E24_macros_of_the_legacy_converted_iods_are_those_of_the_supplement(modality):
    if not SUPPLEMENT.exists():
        pytest.skip("the text of Supplement 157 is not here")
    text = SUPPLEMENT.read_text(encoding="utf-8")
    table = text[text.index(f"**Table {TABLES[modality]}\n") :].split("Frame Conversion Source", 1)[0]
    rows = re.findall(r"^([A-Z][^\t\n]+)\t(C\.[\w.]+)\t([MCU])", table, re.MULTILINE)
    assert len(rows) > 15
    by_section = {
        section: usage
        for keyword, usage in macros_of(modality, legacy=True).items()
        for section in MACROS[keyword].section.replace("CT ", "").split(", ")
    }
    for name, section, usage in rows:
        assert by_section[section] == usage, name
    # Temporal Position came with a later edition, and Image Frame Conversion Source ends the table.
    late = {"TemporalPositionSequence", "ConversionSourceAttributesSequence"}
    assert len(macros_of(modality, legacy=True).keys() - late) == len(rows)


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("modality", IODS)
def test_E24_macros_have_the_attributes_that_another_edition_lists(modality, legacy):
    need_module("highdicom")
    listed = json.loads((importlib.resources.files("highdicom") / "_standard/module_attribute_map.json").read_text())
    iod = f"{'legacy-converted-' * legacy}enhanced-{IODS[modality]}-image-multi-frame-functional-groups"
    theirs = {
        (tuple(entry["path"][1:]), entry["keyword"]): entry["type"]
        for entry in listed[iod]
        if entry["path"][:1] == ["SharedFunctionalGroupsSequence"]
    }
    assert {keyword for path, keyword in theirs if not path} == macros_of(modality, legacy=legacy).keys()
    for sequence in macros_of(modality, legacy=legacy):
        ours = {((sequence, *item.path[:-1]), item.keyword): item.type for item in MACROS[sequence].attributes}
        assert ours.items() <= theirs.items(), sequence
        missing = {keyword for path, keyword in theirs if path == (sequence,)} - {name for _, name in ours}
        assert not missing or sequence.startswith("Unassigned"), sequence
