"""The tables of PS3.6 are read without the package they come in: what they say has to be what it says itself."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydicom import _private_dict, _uid_dict, datadict
from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.uid import UID

from gateway.objects.elements import dataset, decoded, make
from gateway.standard.dictionary import entry_of, keyword_of, private_vr, tag_for_keyword, uid_name


def test_every_standard_element_and_keyword_is_that_of_the_dictionary() -> None:
    for tag in datadict.DicomDictionary:
        assert entry_of(tag) == datadict.get_entry(tag)
        assert keyword_of(tag) == datadict.keyword_for_tag(tag)
    for keyword, tag in datadict.keyword_dict.items():
        assert tag_for_keyword(keyword) == tag
    assert tag_for_keyword("NoSuchKeyword") is None


@pytest.mark.parametrize("tag", [0x60003000, 0x601E0010, 0x50040005, 0x00203100, 0x002804F0, 0x7F040010, 0x10000FF0])
def test_repeating_groups_and_elements_are_found(tag: int) -> None:
    assert entry_of(tag) == datadict.get_entry(tag)


@pytest.mark.parametrize("tag", [0x00090010, 0x60010010, 0x00080002, 0x0008FFFF])
def test_what_is_not_in_the_dictionary_has_no_entry(tag: int) -> None:
    assert entry_of(tag) is None
    assert keyword_of(tag) == "" == datadict.keyword_for_tag(tag)


def _expected(tag: int, creator: str) -> str | None:
    try:
        return datadict.private_dictionary_VR(tag, creator)
    except KeyError:
        return None


def test_every_private_element_has_the_vr_of_the_dictionary() -> None:
    for creator, entries in _private_dict.private_dictionaries.items():
        for pattern in entries:
            tag = int(pattern.replace("xxxx", "0110").replace("xx", "10"), 16)
            if tag >> 16 & 1 and tag & 0xFFFF > 0xFF:
                assert private_vr(tag, creator) == _expected(tag, creator), (creator, pattern)
    assert private_vr(0x00091001, "NO SUCH CREATOR") is None


def test_uids_have_the_names_of_the_registry() -> None:
    for uid in _uid_dict.UID_dictionary:
        assert uid_name(uid) == UID(uid).name
    assert uid_name("1.2.3") == "1.2.3"


def test_the_package_is_not_imported_and_shares_the_tables_when_it_is() -> None:
    code = (
        "import sys\n"
        "from gateway.standard.dictionary import entry_of\n"
        "assert entry_of(0x00100010)[4] == 'PatientName'\n"
        "assert 'pydicom' not in sys.modules\n"
        "from pydicom.datadict import DicomDictionary, dictionary_VR\n"
        "assert dictionary_VR(0x00100010) == 'PN'\n"
        "assert entry_of(0x00100010) is DicomDictionary[0x00100010]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("term", [term for term in python_encoding if term])
def test_T4_ascii_text_is_the_same_in_every_character_set(term: str) -> None:
    value = bytes(range(0x20, 0x5C)) + bytes(range(0x5D, 0x7F))
    ds = dataset(make("SpecificCharacterSet", term), make("SeriesDescription", value.decode("ascii")))
    expected = decode_bytes(value, convert_encodings([term]), {0x0A}).strip()
    if term.endswith(" 13"):
        expected = expected.replace("~", "\u203e")  # ISO-IR 14 has an overline there
    assert decoded(ds, "SeriesDescription") == expected
