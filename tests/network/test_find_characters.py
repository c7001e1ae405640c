"""Every character set, from the object over the index to the response, as other programs read it (PS3.5 6.1)."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from archive_tools import ct, store, store_file
from find_tools import STUDY_ROOT, Box, ask, association, box, identifier
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_charset_files
from tools import need

from gateway.network.identifier import encoded, parse, request
from gateway.objects.elements import Element, dataset, make, tag_of, texts
from gateway.objects.part10 import read_header
from gateway.standard.character_sets import defined_terms

# Specific Character Set, a name as text and as bytes, and a part of it to look for with wild cards around.
JIS = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
JIS_13 = b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"
KOREAN = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
CHINESE = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="
WIDE = {
    "\\ISO 2022 IR 87": ("Yamada^Tarou=山田^太郎=やまだ^たろう", JIS, "=山田"),
    "ISO 2022 IR 6\\ISO 2022 IR 87": ("Yamada^Tarou=山田^太郎=やまだ^たろう", JIS, "==やまだ"),
    "ISO 2022 IR 13\\ISO 2022 IR 87": ("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", JIS_13, "ﾔﾏ"),
    "\\ISO 2022 IR 87\\ISO 2022 IR 159": ("Oogai=\u9dd7外=", b"Oogai=\x1b$(Dl?\x1b$B30\x1b(B=", "=\u9dd7"),
    "\\ISO 2022 IR 159": ("Oo=\u9dd7", b"Oo=\x1b$(Dl?\x1b(B", "\u9dd7"),
    "\\ISO 2022 IR 149": ("Hong^Gildong=洪^吉洞=홍^길동", KOREAN, "=洪"),
    "\\ISO 2022 IR 58": ("Zhang^XiaoDong=张^小东=", CHINESE, "=张"),
    "ISO 2022 IR 100\\ISO 2022 IR 58": ("Zhäng=张", b"Zh\xe4ng=\x1b$)A\xd5\xc5\x1b-A", "=张"),
    "ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 126": (
        "Jérôme^Люк^Διον", b"J\xe9r\xf4me^\x1b-L\xbb\xee\xda\x1b-A^\x1b-F\xc4\xe9\xef\xed\x1b-A", "Jérôme^Л"),
    "GB18030": ("Wang^XiaoDong=王^小东", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "=王"),
    "GBK": ("Cheng^Long=誠^龍", "Cheng^Long=誠^龍".encode("gbk"), "誠"),
    "ISO_IR 192": ("Wang^XiaoDong=王^小東", "Wang^XiaoDong=王^小東".encode(), "=王"),
}  # fmt: skip
NARROW = {
    "100": ("Äneas^Rüdiger", "latin_1"), "101": ("Wałęsa^Żółć", "iso8859_2"), "109": ("Ħaż^Ġorġ", "iso8859_3"),
    "110": ("Ģirts^Šķēle", "iso8859_4"), "144": ("Люкceмбypг", "iso8859_5"), "127": ("قباني^لنزار", "iso8859_6"),
    "126": ("Διονυσιος", "iso8859_7"), "138": ("שרון^דבורה", "iso8859_8"), "148": ("Çavuşoğlu^İnci", "iso8859_9"),
    "166": ("สมชาย^ใจดี", "tis_620"), "203": ("Œuvré^Žan", "iso8859_15"),
}  # fmt: skip


@dataclass
class Case:
    """A character set with a name."""

    said: str
    name: str
    data: bytes
    part: str

    @property
    def study(self) -> str:
        return f"1.9.{list(CASES).index(self.said) + 1}"


def _cases() -> Iterator[Case]:
    for said, (name, data, part) in WIDE.items():
        yield Case(said, name, data, part)
    for number, (name, codec) in NARROW.items():
        yield Case(f"ISO_IR {number}", name, name.encode(codec), name[:2])
        yield Case(f"ISO 2022 IR {number}\\ISO 2022 IR 149", name, name.encode(codec), name[:2])
    yield Case("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏ")


CASES = {case.said: case for case in _cases()}

# pydicom does not know the youngest.
pytestmark = pytest.mark.filterwarnings("ignore:Unknown encoding")

# What DCMTK with the library of GNU does not know, or is younger than it.
NOT_OF_DCMTK = ("IR 87", "IR 159", "IR 203")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with box(tmp_path_factory.mktemp("gateway")) as made:
        for case in CASES.values():
            named = {
                0x00080005: Element(0x00080005, "CS", _even(case.said.encode())),
                0x00100010: Element(0x00100010, "PN", _even(case.data)),
            }
            ds = ct(f"{case.study}.1.1", study=case.study, series=f"{case.study}.1", PatientID=case.study)
            store(made.archive, dict(sorted((ds | named).items())))
        yield made


def _even(value: bytes) -> bytes:
    return value + b" " * (len(value) % 2)


def asked(path: Path, said: str, name: bytes, study: str = "") -> Path:
    """Write a query for DCMTK, its bytes as they are."""
    elements = [
        (0x0008, 0x0005, b"CS", said.encode()), (0x0008, 0x0052, b"CS", b"STUDY"), (0x0010, 0x0010, b"PN", name),
        (0x0020, 0x000D, b"UI", study.encode() + b"\0" * (len(study) % 2)),
    ]  # fmt: skip
    meta = b"\2\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0"
    content = b"\0" * 128 + b"DICM" + b"\2\0\0\0UL\4\0" + struct.pack("<I", len(meta)) + meta
    for group, number, vr, value in elements:
        if said or number != 5:
            content += struct.pack("<HH2sH", group, number, vr, len(_even(value))) + _even(value)
    path.write_bytes(content)
    return path


def answers(port: int, query: Path) -> list[Path]:
    """Return the responses that DCMTK gets, each as a file with the bytes off the wire."""
    folder = query.parent / f"{query.stem}_answers"
    folder.mkdir()
    command = [need("findscu"), "-S", "-X", "-od", folder, "-aet", "WORKSTATION", "-aec", "GATEWAY"]
    done = subprocess.run([*command, "127.0.0.1", str(port), query], capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return sorted(folder.iterdir())


def read(path: Path, quick: bool = False) -> tuple[str, str, str]:
    """Return Specific Character Set, study and name of a response, the name as another program reads it."""
    raw = dcmread(path, force=True)
    said = "" if "SpecificCharacterSet" not in raw else raw["SpecificCharacterSet"].value
    said = said if isinstance(said, str) else "\\".join(said)
    if said in ("", "ISO_IR 192") and quick:
        name = _raw_name(path).decode()
    elif any(term in said for term in NOT_OF_DCMTK):
        name = _by_iconv(_raw_name(path), said)
    else:
        other = path.with_suffix(".utf8")
        done = subprocess.run([need("dcmconv"), "+U8", path, other], capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, (said, done.stderr)
        name = _raw_name(other).decode()
    return said, str(raw.StudyInstanceUID), name


def _raw_name(path: Path) -> bytes:
    value = read_header(path).dataset[0x00100010].value
    assert isinstance(value, bytes)
    return value.rstrip(b" ")


def _by_iconv(data: bytes, said: str) -> str:
    """Read a value group by group and component by component, with GNU iconv."""
    first = said.split("\\")[0].rpartition(" ")[2]
    codecs = {number: codec.upper().replace("8859_", "-8859-") for number, (_, codec) in NARROW.items()}
    codecs |= {"": "ASCII", "6": "ASCII", "13": "SHIFT_JIS", "100": "ISO-8859-1", "166": "TIS-620"}
    found = ""
    for part in re.split(rb"([\^=](?![^\x1b]*\x1b\())", data):
        escapes = re.findall(rb"\x1b[\x20-\x2f]+.", part)
        assert not escapes or escapes[-1] in (b"\x1b(B", b"\x1b(J"), part  # the first set is in force again
        codec = "ISO-2022-JP-2" if escapes else codecs[first]
        told = subprocess.run([need("iconv"), "-f", codec, "-t", "UTF-8"], input=part, capture_output=True, check=True)
        found += told.stdout.decode()
    return found


def allowed(said: str) -> bool:
    """Whether Specific Character Set is as tables C.12-2 to C.12-5 have it."""
    terms = said.split("\\")
    if len(terms) == 1:
        return said == "" or (said in defined_terms() and not said.startswith("ISO 2022"))
    first = terms[0] in ("", "ISO 2022 IR 6") or terms[0].removeprefix("ISO 2022 IR ") in (*NARROW, "13")
    return first and len(set(terms)) == len(terms) and all(one.startswith("ISO 2022 IR ") for one in terms[1:])


@pytest.mark.parametrize("said", CASES)
def test_T4_F9_every_character_set_is_found_and_answered_so_that_others_read_it(
    gateway: Box, tmp_path: Path, said: str
) -> None:
    case = CASES[said]
    by_name = answers(gateway.port, asked(tmp_path / "name.dcm", said, case.data))
    assert {read(path) for path in by_name} >= {(said, case.study, case.name)}
    by_study = answers(gateway.port, asked(tmp_path / "study.dcm", said, b"", case.study))
    assert [read(path) for path in by_study] == [(said, case.study, case.name)]
    if said not in WIDE and "\\" in said:
        return
    # In UTF-8, by a part of the name; and in a set that cannot write it, which is answered in UTF-8.
    wild = f"{case.part}*" if not case.part.startswith("=") else f"*{case.part}*"
    by_part = answers(gateway.port, asked(tmp_path / "part.dcm", "ISO_IR 192", wild.encode()))
    assert ("ISO_IR 192", case.study, case.name) in {read(path) for path in by_part}
    other = "ISO_IR 138" if "138" not in said else "ISO_IR 127"
    for term in (other, "ISO_IR 999"):
        (path,) = answers(gateway.port, asked(tmp_path / f"in{term[-3:]}.dcm", term, b"", case.study))
        assert read(path) == ("ISO_IR 192", case.study, case.name) or read(path)[0] == term
        assert read(path)[1:] == (case.study, case.name)


SOME = ["\\ISO 2022 IR 87", "ISO 2022 IR 13\\ISO 2022 IR 87", "\\ISO 2022 IR 58", "\\ISO 2022 IR 149", "ISO_IR 100"]
ODD = ["ISO_IR 6\\ISO 2022 IR 87", "ISO 2022 IR 87", "ISO 2022 IR 58\\ISO_IR 100", "ISO 2022 IR 100", "\\ISO_IR 13"]


@pytest.mark.parametrize("said", [*SOME, *ODD])
def test_T4_the_character_set_of_every_response_is_one_of_the_tables(gateway: Box, tmp_path: Path, said: str) -> None:
    """A list of all studies, whatever the request says of its own character set."""
    found = [read(path, quick=True) for path in answers(gateway.port, asked(tmp_path / "all.dcm", said, b""))]
    assert {(study, name) for _, study, name in found} == {(case.study, case.name) for case in CASES.values()}
    assert all(allowed(term) for term, _, _ in found), {term for term, _, _ in found if not allowed(term)}
    assert len({term for term, _, _ in found}) == 2  # it cannot write all of them


# The objects of pydicom


@pytest.fixture(scope="module")
def charset_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Box, dict[str, set[str]]]]:
    """A gateway with them, and the names of each study, as pydicom reads them."""
    with box(tmp_path_factory.mktemp("pydicom")) as made:
        names: dict[str, set[str]] = {}
        for file in get_charset_files("*.dcm"):
            ds = dcmread(file, force=True)
            if "StudyInstanceUID" not in ds:
                continue  # two of them are no images
            store_file(made.archive, Path(str(file)))
            names.setdefault(str(ds.StudyInstanceUID), set()).add(str(ds.PatientName))
        assert len(names) >= 13
        yield made, names


def test_T4_the_objects_of_pydicom_are_indexed_matched_and_answered(
    charset_files: tuple[Box, dict[str, set[str]]], tmp_path: Path
) -> None:
    gateway, names = charset_files
    found = [read(path) for path in answers(gateway.port, asked(tmp_path / "all.dcm", "ISO_IR 192", b""))]
    assert {study for _, study, _ in found} == set(names)
    for _, study, name in found:
        assert name.rstrip("=") in names[study]
        groups = name.split("=")
        wanted = [name, name[0] + "*", f"?{name[1:]}", "*" + name.split("=")[-1][1:]]
        wanted += [f"{'=' * place}{group[:1]}*" for place, group in enumerate(groups) if group]
        wanted += [f"*={groups[1][:1]}*"] if len(groups) > 1 else []
        wanted += ["^".join((name.split("=")[0].split("^")[0], "*"))] if "^" in name else []
        with association(gateway.port) as made:
            for text in wanted:
                query = identifier("STUDY", StudyInstanceUID="", PatientName=text)
                query.SpecificCharacterSet = "ISO_IR 192"
                assert study in ask(made, query).values("StudyInstanceUID"), text


# Whatever a request says

BITS = st.sampled_from(
    (b"\x1b$B", b"\x1b(B", b"\x1b$)A", b"\x1b$)C", b"\x1b-F", b"\x1b(J", b"\x1b", b"^", b"=", b"\\", b"*", b"?", b"[",
     b"A", b"~", b" ", b"\n", b"\0", b'""', b"\xd5\xc5", b"\xe4", b"\xa4\xd4")
)  # fmt: skip
TERMS = st.sampled_from([*defined_terms(), "", "ISO_IR 6", "KLINGON", "\0", "\x1b$B"])


@example(["ISO 2022 IR 159", ""], [b"\xd5\xc5"])
@settings(max_examples=400, deadline=None)
@given(st.lists(TERMS, max_size=3), st.lists(BITS, max_size=10))
def test_T4_what_was_read_of_a_request_is_answered_so_that_it_is_read_the_same(
    terms: list[str], bits: list[bytes]
) -> None:
    value = b"".join(bits)
    ds = dataset(
        make("QueryRetrieveLevel", "STUDY"),
        Element(0x00080005, "CS", "\\".join(terms).encode()),
        *(Element(tag_of(keyword), vr, value) for keyword, vr in (("PatientName", "PN"), ("StudyDescription", "LO"))),
    )
    read_once = request(ds, STUDY_ROOT, frozenset())
    values = {key.tag: key.values for key in read_once.keys}
    data = encoded(values, {"QueryRetrieveLevel": "STUDY"}, read_once.characters, "1.2.840.10008.1.2.1")
    response = parse(data, "1.2.840.10008.1.2.1")
    assert allowed("\\".join(texts(response, 0x00080005)))
    assert {key.tag: key.values for key in request(response, STUDY_ROOT, frozenset()).keys} == values
