"""Text in every character set, read and written as PS3.5 6.1.2.5 and its annexes H, I and K say."""

from __future__ import annotations

import re
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.charset import convert_encodings
from pydicom.valuerep import PersonName
from tools import need

from gateway.objects.characters import UNKNOWN, CharacterSets, character_sets
from gateway.standard.character_sets import MULTI_BYTE, SINGLE_BYTE, defined_terms

# The examples of the annexes, as they print them: Specific Character Set, text, bytes.
NAMES = {
    "H.3.1": ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう",
              b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"),
    "H.3.2": ("ISO 2022 IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
              b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"
              b"=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"),
    "I.2": ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"),
    "J.1": ("ISO_IR 192", "Wang^XiaoDong=王^小東=",
            b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1="),
    "J.3": ("GB18030", "Wang^XiaoDong=王^小东=", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab="),
    "K.2": ("\\ISO 2022 IR 58", "Zhang^XiaoDong=张^小东=",
            b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="),
}  # fmt: skip

# Escape sequences come again in every line (6.1.2.5.3).
TEXTS = {
    "ISO 2022 IR 149": (
        "The 길동\r\nand 길동 again",
        b"The \x1b$)C\xb1\xe6\xb5\xbf\r\nand \x1b$)C\xb1\xe6\xb5\xbf again",
    ),
    "ISO 2022 IR 58": ("1 张\r\n\r\n2 小东", b"1 \x1b$)A\xd5\xc5\r\n\r\n2 \x1b$)A\xd0\xa1\xb6\xab"),
    "ISO 2022 IR 87": ("山\t田\f太", b"\x1b$B;3\x1b(B\t\x1b$BED\x1b(B\f\x1b$BB@\x1b(B"),
}


def sets(text: str) -> CharacterSets:
    return character_sets(tuple(text.split("\\")))


@pytest.mark.parametrize("annex", NAMES)
def test_T4_the_names_of_the_annexes_are_read_and_written_byte_for_byte(annex: str) -> None:
    said, text, data = NAMES[annex]
    assert sets(said).texts(data, "PN") == (text,)
    assert sets(said).encoded((text,), "PN") == data
    # Two values: what the first has designated does not hold in the second.
    assert sets(said).encoded((text, text), "PN") == data + b"\\" + data
    assert sets(said).texts(data + b"\\" + data, "PN") == (text, text)


@pytest.mark.parametrize("term", TEXTS)
def test_T4_a_character_set_is_designated_again_in_every_line(term: str) -> None:
    text, data = TEXTS[term]
    for vr in ("LT", "UT", "ST"):
        assert sets(f"\\{term}").encoded((text,), vr) == data
        assert sets(f"\\{term}").texts(data, vr) == (text,)


def test_T4_the_first_set_is_in_force_again_before_a_delimiter_and_at_the_end() -> None:
    both = sets("ISO 2022 IR 100\\ISO 2022 IR 126")
    data = b"\xe9\x1b-F\xe1\x1b-A^\xe9\x1b-F\xe1\x1b-A"
    assert both.encoded(("éα^éα",), "PN") == data
    assert both.texts(data, "PN") == ("éα^éα",)
    # Read without it too: a delimiter alone is enough.
    assert both.texts(b"\xe9\x1b-F\xe1^\xe9\\\xe9", "PN") == ("éα^é", "é")
    assert both.texts(b"\xe9\x1b-F\xe1^\xe9", "LO") == ("éα^ι",)  # a circumflex is none but in names
    assert both.encoded(("éα^é",), "LO") == b"\xe9\x1b-F\xe1^\x1b-A\xe9"


def test_T4_a_letter_that_two_sets_have_is_one_of_the_single_byte_set() -> None:
    both = sets("ISO 2022 IR 6\\ISO 2022 IR 58\\ISO 2022 IR 100")
    assert both.encoded(("Jérôme=张",), "PN") == b"J\x1b-A\xe9r\xf4me=\x1b$)A\xd5\xc5"


def test_T4_bytes_that_look_like_delimiters_inside_a_character_are_none() -> None:
    """In JIS X 0208 all of 21 to 7E are bytes of characters; in GBK and GB 18030 the second byte may be a backslash."""
    japanese = sets("\\ISO 2022 IR 87")
    for first in range(0x30, 0x4F):
        data = b"\x1b$B" + b"".join(bytes((first, second)) for second in b"=\\^~") + b"\x1b(B=x^y"
        (text,) = japanese.texts(data, "PN")
        assert len(text) == 8
        assert text.endswith("=x^y")
        assert UNKNOWN not in text
    for term in ("GBK", "GB18030"):
        assert sets(term).texts("誠=乗^\u4e97".encode(term), "PN") == ("誠=乗^\u4e97",)
        assert b"\\" in "誠".encode(term)
        assert sets(term).encoded(("誠", "A"), "LO") == "誠\\A".encode(term)


@pytest.mark.parametrize(
    ("said", "terms"),
    [
        ("", ()),
        ("ISO_IR 6", ()),
        ("ISO_IR 100", ("ISO_IR 100",)),
        ("ISO 2022 IR 100", ("ISO_IR 100",)),
        ("ISO_IR 100\\ISO_IR 100", ("ISO_IR 100",)),
        ("ISO_IR 6\\ISO 2022 IR 87", ("ISO 2022 IR 6", "ISO 2022 IR 87")),
        ("\\ISO 2022 IR 87", ("", "ISO 2022 IR 87")),
        ("ISO 2022 IR 6\\ISO 2022 IR 58", ("ISO 2022 IR 6", "ISO 2022 IR 58")),
        ("ISO 2022 IR 149", ("ISO 2022 IR 6", "ISO 2022 IR 149")),
        ("ISO 2022 IR 87\\ISO 2022 IR 13", ("ISO 2022 IR 6", "ISO 2022 IR 87", "ISO 2022 IR 13")),
        ("ISO_IR 13\\ISO_IR 87\\ISO_IR 87", ("ISO 2022 IR 13", "ISO 2022 IR 87")),
        ("ISO_IR 192\\ISO 2022 IR 87", ("ISO_IR 192",)),
        ("\\ISO_IR 192", ("ISO_IR 192",)),
        ("ISO_IR 100\\GB18030", ("ISO_IR 100",)),
        ("ISO-IR 192", ("ISO_IR 192",)),
        ("iso_ir 101\0", ("ISO_IR 101",)),
        ("KLINGON", ()),
    ],
)
def test_T4_terms_are_as_the_tables_want_them(said: str, terms: tuple[str, ...]) -> None:
    """No ISO_IR among several values, no multi-byte set in first place, nothing twice (PS3.3 C.12.1.1.2)."""
    found = sets(said)
    assert found.terms == terms
    assert found.known == (said != "KLINGON")
    assert character_sets(found.terms).terms == found.terms


def test_T4_a_multi_byte_set_in_first_place_is_read_as_it_is_meant() -> None:
    for said in ("ISO 2022 IR 87", "ISO 2022 IR 87\\ISO 2022 IR 159"):
        assert sets(said).texts(NAMES["H.3.1"][2], "PN") == (NAMES["H.3.1"][1],)
    for said in ("ISO 2022 IR 58", "ISO 2022 IR 6\\ISO 2022 IR 58"):
        assert sets(said).texts(NAMES["K.2"][2], "PN") == (NAMES["K.2"][1],)
    # Escape sequences left out: the one set with these bytes.
    assert sets("ISO 2022 IR 149").texts("홍^길동".encode("euc_kr"), "PN") == ("홍^길동",)
    assert sets("\\ISO 2022 IR 58").texts("张^小东".encode("gb2312"), "PN") == ("张^小东",)


@pytest.mark.parametrize(
    "term", ["", "ISO_IR 100", "ISO_IR 192", *(f"\\ISO 2022 IR {number}" for number in MULTI_BYTE)]
)
def test_T4_what_a_set_does_not_have_is_not_written(term: str) -> None:
    for letter in ("€", "\U0001f600", "똠", "\x92", "\xad", "\\", "\x1b", "ア", "龥"):
        try:
            data = sets(term).encoded((letter,), "LT")
        except UnicodeEncodeError:
            continue
        assert sets(term).texts(data, "LT") == (letter,)
    with pytest.raises(UnicodeEncodeError):
        sets(term).encoded(("\x1b$B",), "LO")
    with pytest.raises(UnicodeEncodeError):
        sets("\\ISO 2022 IR 149").encoded(("똠",), "LO")  # Python has eight bytes for it, KS X 1001 nothing


def test_T4_roman_letters_of_JIS_have_a_yen_sign_and_an_overline() -> None:
    both = sets("ISO_IR 13")
    assert both.texts(b"A~B\\\xb1", "LO") == ("A\u203eB", "ｱ")
    assert both.texts(b"A\\B", "LT") == ("A¥B",)
    assert both.encoded(("A\u203eB", "ｱ"), "LO") == b"A~B\\\xb1"
    with pytest.raises(UnicodeEncodeError):
        both.encoded(("A~ｱ",), "LO")


EXTENDED = [f"ISO 2022 IR {number}" for number in (*SINGLE_BYTE, *MULTI_BYTE)]
LETTERS = st.sampled_from("AZaz 09.-=^'éßłŞЖπابשא€张小东山田太ｱﾔやまだ홍길동洪กขĦ鷗\u203e\U0001f600")


@given(
    st.sampled_from([f"ISO 2022 IR {number}" for number in SINGLE_BYTE]),
    st.lists(st.sampled_from(EXTENDED), max_size=4),
    st.lists(st.text(LETTERS, max_size=12), min_size=1, max_size=3),
    st.sampled_from(("PN", "LO", "UC", "SH")),
)
def test_T4_what_is_written_is_read_again_and_escapes_are_where_they_have_to_be(
    first: str, others: list[str], values: list[str], vr: str
) -> None:
    found = character_sets((first, *others))
    try:
        written = found.encoded(values, vr)
    except UnicodeEncodeError:
        return
    assert found.texts(written, vr) == tuple(values)
    for part in re.split(rb"\\|\^|=" if vr == "PN" else rb"\\", _without_double_bytes(written)):
        # Every part can be read alone, and leaves G0 as it was.
        assert found.texts(part, vr)
        assert not re.search(rb"\x1b\$(B|\(D)(?!.*\x1b\([BJ])", part, re.DOTALL)


def _without_double_bytes(data: bytes) -> bytes:
    """Return a value with letters for the bytes of characters of two bytes in G0."""
    return re.sub(rb"(\x1b\$(?:B|\(D))([^\x1b]*)", lambda match: match[1] + b"!" * len(match[2]), data)


@given(
    st.sampled_from([*defined_terms(), "", *(f"\\{one}" for one in EXTENDED), "ISO 2022 IR 13\\ISO 2022 IR 87"]),
    st.lists(
        st.one_of(
            st.binary(max_size=6),
            st.sampled_from(
                [b"\x1b", b"\x1b$", b"\x1b$B", b"\x1b(B", b"\x1b$)A", b"\x1b$)C", b"\x1b-F", b"^", b"\\", b"="]
            ),
        ),
        max_size=12,
    ),
    st.sampled_from(("PN", "LO", "LT")),
)
def test_T4_whatever_the_bytes_are_they_are_read_as_text(said: str, parts: list[bytes], vr: str) -> None:
    for text in sets(said).texts(b"".join(parts), vr):
        assert "\x1b" not in text
        sets("ISO_IR 192").encoded((text,), vr)


def test_T4_a_value_of_nothing_but_unknown_escape_sequences_takes_no_longer_than_its_length() -> None:
    began = time.process_time()
    (text,) = sets("\\ISO 2022 IR 87").texts(b"\x1b$Z\x1b-zA" * 20_000, "LO")
    assert text == (UNKNOWN * 2 + "A") * 20_000
    assert time.process_time() - began < 10


ICONV = {
    "100": "ISO-8859-1", "101": "ISO-8859-2", "109": "ISO-8859-3", "110": "ISO-8859-4", "144": "ISO-8859-5",
    "127": "ISO-8859-6", "126": "ISO-8859-7", "138": "ISO-8859-8", "148": "ISO-8859-9", "203": "ISO-8859-15",
    "166": "TIS-620", "13": "SHIFT_JIS", "149": "EUC-KR", "58": "EUC-CN", "87": "ISO-2022-JP-2", "159": "ISO-2022-JP-2",
}  # fmt: skip


@pytest.mark.parametrize("number", ICONV)
def test_T4_every_character_of_every_set_is_the_one_of_another_program(number: str) -> None:
    """GNU iconv reads what is written, apart from the escape sequences of G1 that it does not follow."""
    program = need("iconv")
    found = character_sets(("", f"ISO 2022 IR {number}"))
    text, data = [], []
    for code in (*range(0xA0, 0xD800), *range(0xE000, 0x10000)):
        try:
            data.append(found.encoded((chr(code),), "LO"))
        except UnicodeEncodeError:
            continue
        text.append(chr(code))
    assert len(text) > 50
    written = b"\n".join(data)
    if ICONV[number] != "ISO-2022-JP-2":
        written = re.sub(rb"\x1b[\x20-\x2f]+[\x30-\x7e]", b"", written)
    told = subprocess.run([program, "-f", ICONV[number], "-t", "UTF-8"], input=written, capture_output=True, check=True)
    theirs = told.stdout.decode().split("\n")
    # Its table has the reverse solidus of JIS X 0208 as the one of ASCII, which would be a delimiter.
    assert {(a, b) for a, b in zip(text, theirs, strict=True) if a != b} <= {("\uff3c", "\\")}


@pytest.mark.parametrize("said", ["\\ISO 2022 IR 87", "ISO 2022 IR 13\\ISO 2022 IR 87", "\\ISO 2022 IR 149"])
def test_T4_pydicom_reads_what_is_written(said: str) -> None:
    name = next(text for term, text, _ in NAMES.values() if term == said)
    written = sets(said).encoded((name,), "PN")
    theirs = PersonName(written).decode(convert_encodings(said.split("\\")))
    assert str(theirs) == name
