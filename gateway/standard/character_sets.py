"""Character sets of text: their Defined Terms and escape sequences (PS3.3 C.12.1.1.2, tables C.12-2 to C.12-5)."""

from __future__ import annotations

from typing import NamedTuple

ASCII = b"\x1b(B"  # ISO-IR 6 in G0
ROMAJI = b"\x1b(J"  # ISO-IR 14 in G0: ASCII but for the yen sign and the overline


class CodeElement(NamedTuple):
    """The characters that one escape sequence designates.

    Attributes
    ----------
    escape : bytes
        The escape sequence.
    high : bool
        Whether it is G1, whose bytes have the highest bit.
    width : int
        Bytes of a character.
    codec : str
        Python's name of an encoding that has these characters with the bytes they have in G1.
    wider : str
        One that has more, to read what systems write that do not keep to the set.
    prefix : bytes
        What that encoding has before the bytes of a character.
    """

    escape: bytes
    high: bool
    width: int
    codec: str
    wider: str = ""
    prefix: bytes = b""


def _single(escape: bytes, codec: str, wider: str = "") -> CodeElement:
    return CodeElement(escape, True, 1, codec, wider)


# Tables C.12-2 and C.12-3, by registration number: the single-byte sets with ISO-IR 6 in G0, but for 13.
SINGLE_BYTE: dict[str, CodeElement | None] = {
    "6": None,
    "100": _single(b"\x1b-A", "latin_1"),
    "101": _single(b"\x1b-B", "iso8859_2"),
    "109": _single(b"\x1b-C", "iso8859_3"),
    "110": _single(b"\x1b-D", "iso8859_4"),
    "144": _single(b"\x1b-L", "iso8859_5"),
    "127": _single(b"\x1b-G", "iso8859_6"),
    "126": _single(b"\x1b-F", "iso8859_7"),
    "138": _single(b"\x1b-H", "iso8859_8"),
    "148": _single(b"\x1b-M", "iso8859_9"),
    "203": _single(b"\x1b-b", "iso8859_15"),
    "13": _single(b"\x1b)I", "shift_jis"),
    "166": _single(b"\x1b-T", "tis_620", "iso8859_11"),
}

# Table C.12-4: multi-byte sets, which are never the first value.
MULTI_BYTE: dict[str, CodeElement] = {
    "87": CodeElement(b"\x1b$B", False, 2, "euc_jp"),
    "159": CodeElement(b"\x1b$(D", False, 2, "euc_jp", prefix=b"\x8f"),
    "149": CodeElement(b"\x1b$)C", True, 2, "euc_kr", "cp949"),
    "58": CodeElement(b"\x1b$)A", True, 2, "gb2312", "gb18030"),
}

# Table C.12-5: sets without code extensions, which stand alone.
ALONE: dict[str, tuple[str, ...]] = {
    "ISO_IR 192": ("utf_8",),
    "GB18030": ("gb18030",),
    "GBK": ("gbk", "gb18030"),
}

# What else is written for them: the parts of ISO 8859, and terms of a proposal that was changed (CP 1234).
ISO_8859 = {
    "1": "100", "2": "101", "3": "109", "4": "110", "5": "144", "6": "127", "7": "126", "8": "138", "9": "148",
    "11": "166", "15": "203",
}  # fmt: skip
ALIASES = {
    "UTF8": "ISO_IR 192",
    "ISOIR192": "ISO_IR 192",
    "ISO2022IR192": "ISO_IR 192",
    "GB18030": "GB18030",
    "GBK": "GBK",
    "ISO2022GBK": "GBK",
}


def defined_terms() -> list[str]:
    """Return every Defined Term that is read, in the order of the tables."""
    extended = [f"ISO 2022 IR {number}" for number in (*SINGLE_BYTE, *MULTI_BYTE)]
    return [*(f"ISO_IR {number}" for number in SINGLE_BYTE if number != "6"), *extended, *ALONE]
