"""Text as bytes and bytes as text, by Specific Character Set (PS3.5 6.1, annexes H to K; PS3.3 C.12.1.1.2).

Reading never fails: what is no text of its set becomes U+FFFD, and escape sequences are followed whether or not the
set they designate is named. Writing is strict: as the tables and 6.1.2.5 have it, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gateway.standard.character_sets import (
    ALIASES,
    ALONE,
    ASCII,
    ISO_8859,
    MULTI_BYTE,
    ROMAJI,
    SINGLE_BYTE,
    CodeElement,
)

# VRs with one value, in which a backslash is a character (PS3.5 6.2).
SINGLE_VALUED = frozenset(("LT", "ST", "UT", "UR"))

UNKNOWN = "\ufffd"

_ESCAPE = re.compile(rb"(\x1b[\x20-\x2f]*[\x30-\x7e]?)")
_HALVES = re.compile(rb"[\x00-\x7f]+|[\x80-\xff]+")

# At these the first character set is in force again (6.1.2.5.3): control characters, ends of values, parts of names.
_CONTROL = re.compile(rb"[\x00-\x1f]")
_RESETS = {"name": re.compile(rb"[\x00-\x1f\\^=]"), "several": re.compile(rb"[\x00-\x1f\\]"), "one": _CONTROL}

_ELEMENTS: dict[bytes, CodeElement] = {
    element.escape: element for element in (*SINGLE_BYTE.values(), *MULTI_BYTE.values()) if element is not None
}


@dataclass(frozen=True)
class CharacterSets:
    """The character sets of a data set or item.

    Attributes
    ----------
    terms : tuple of str
        Defined Terms as they are written in Specific Character Set; none is the default repertoire.
    alone : tuple of str
        Python's names of a set without code extensions, then of one that has more.
    initial : bytes
        Escape sequence of what is in G0 at the beginning.
    elements : tuple of CodeElement
        What can be designated, single-byte sets first: an accented letter is one of Latin 1 rather than of GB 2312.
    first : CodeElement or None
        What is in G1 at the beginning.
    extended : bool
        Whether escape sequences may be written.
    known : bool
        Whether every term that was said is one.
    """

    terms: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    initial: bytes = ASCII
    elements: tuple[CodeElement, ...] = ()
    first: CodeElement | None = None
    extended: bool = False
    known: bool = True

    def texts(self, value: bytes, vr: str) -> tuple[str, ...]:
        """Return the values of an element of text, as they stand between the backslashes."""
        single = vr in SINGLE_VALUED
        if value.isascii() and b"\x1b" not in value and self.initial == ASCII:
            found = value.decode("ascii")
        elif self.alone:
            found = _read(value, *self.alone).replace("\x1b", UNKNOWN)
        else:
            found = "".join(self._pieces(value, "name" if vr == "PN" else "one" if single else "several"))
        found = found.encode("utf-8", "replace").decode()
        return (found,) if single else tuple(found.split("\\"))

    def _pieces(self, value: bytes, kind: str) -> Iterator[str]:
        """Yield the text between escape sequences and delimiters."""
        low: CodeElement | None = None
        romaji, high, latest = self.initial == ROMAJI, self.first, self._assumed()
        for number, part in enumerate(_ESCAPE.split(value)):
            if number % 2:
                element = _ELEMENTS.get(part)
                if part in (ASCII, ROMAJI):
                    low, romaji = None, part == ROMAJI
                elif element is None:
                    yield UNKNOWN
                elif element.high:
                    high = latest = element
                else:
                    low = element
                continue
            # Two bytes of a character may look like a delimiter; control characters are none of them.
            end = (_RESETS[kind] if low is None else _CONTROL).search(part)
            if end is None:
                yield from _run(part, low, romaji, high or latest, kind)
                continue
            yield from _run(part[: end.start()], low, romaji, high or latest, kind)
            low, romaji, high = None, self.initial == ROMAJI, self.first
            yield from _run(part[end.start() :], low, romaji, high or latest, kind)

    def _assumed(self) -> CodeElement | None:
        """Return what bytes of G1 are taken for that nothing was designated for: systems leave escapes out."""
        return self.first or next((element for element in self.elements if element.high), None)

    def encoded(self, values: Sequence[str], vr: str) -> bytes:
        """Return the values of an element as bytes, without padding.

        Raises
        ------
        UnicodeEncodeError
            If a character is in none of the sets.
        """
        return b"\\".join(self._encoded(value, vr) for value in values)

    def _encoded(self, value: str, vr: str) -> bytes:
        if value.isascii() and self.initial == ASCII and "\x1b" not in value:
            return value.encode("ascii")
        if self.alone:
            if "\x1b" in value:
                raise _cannot(value, "\x1b")
            return value.encode(self.alone[0])
        writer = _Writer(self, value)
        for letter in value:
            writer.write(letter, delimiter=letter < " " or (vr == "PN" and letter in "^="))
        writer.restore()
        return bytes(writer.made)


def _run(part: bytes, low: CodeElement | None, romaji: bool, high: CodeElement | None, kind: str) -> Iterator[str]:
    """Yield what stands between two escape sequences: bytes of G0 and of G1."""
    for found in _HALVES.finditer(part):
        run = found[0]
        if run[0] > 0x7F:
            yield _of_element(run, high) if high is not None else run.decode("latin_1")
        elif low is not None:
            yield "".join(_double(run, low))
        else:
            text = run.decode("ascii")
            yield (text.replace("~", "\u203e").replace("\\", "\\" if kind != "one" else "\xa5")) if romaji else text


def _double(run: bytes, element: CodeElement) -> Iterator[str]:
    """Yield characters of two bytes in G0; a space between them is one."""
    for part in re.findall(rb"[\x21-\x7e]+|[^\x21-\x7e]+", run):
        if part[0] < 0x21 or part[0] > 0x7E:
            yield part.decode("ascii")
            continue
        pairs = (part[start : start + 2] for start in range(0, len(part), 2))
        yield "".join(_of_element(bytes(byte | 0x80 for byte in pair), element) for pair in pairs)


def _of_element(run: bytes, element: CodeElement) -> str:
    if element.codec == "shift_jis":  # of which it has the single bytes alone
        return "".join(chr(0xFF61 + byte - 0xA1) if 0xA1 <= byte <= 0xDF else UNKNOWN for byte in run)
    if element.prefix:
        run = element.prefix + run
    return _read(run, element.codec, *((element.wider,) if element.wider else ()))


def _read(value: bytes, *codecs: str) -> str:
    for codec in codecs:
        try:
            return value.decode(codec)
        except UnicodeError:
            continue
    return value.decode(codecs[0], "replace")


class _Writer:
    """A value in the making, and what is designated as far as it goes."""

    def __init__(self, sets: CharacterSets, value: str) -> None:
        self._sets = sets
        self._value = value
        self._low: CodeElement | None = None
        self._high = sets.first
        self.made = bytearray()

    def write(self, letter: str, *, delimiter: bool) -> None:
        """Write a character, after the escape sequence it needs."""
        if letter == "\x1b":
            raise _cannot(self._value, letter)
        if delimiter:
            self.restore()
        if letter.isascii() or (letter == "\u203e" and self._sets.initial == ROMAJI):
            self._write_single(letter)
            return
        for element in (self._high, self._low, *(self._sets.elements if self._sets.extended else ())):
            if element is not None and (data := _bytes_of(letter, element)):
                self._designate(element)
                self.made += data
                return
        raise _cannot(self._value, letter)

    def _write_single(self, letter: str) -> None:
        """Write a character of ISO-IR 6, or of ISO-IR 14 where that is in G0 at the beginning."""
        if self._sets.initial == ROMAJI:
            if letter in "\\~":
                raise _cannot(self._value, letter)
            letter = letter.replace("\u203e", "~")
        self._single_again()
        self.made += letter.encode("ascii")

    def _single_again(self) -> None:
        if self._low is not None:
            self._low = None
            self.made += self._sets.initial

    def _designate(self, element: CodeElement) -> None:
        if element in (self._high, self._low):
            return
        self.made += element.escape
        if element.high:
            self._high = element
        else:
            self._low = element

    def restore(self) -> None:
        """Have the first character set in force again, as it must be before a delimiter and at the end."""
        self._single_again()
        if self._high != self._sets.first:
            if self._sets.first is not None:
                self.made += self._sets.first.escape
            self._high = self._sets.first


@lru_cache(maxsize=16384)
def _bytes_of(letter: str, element: CodeElement) -> bytes:
    """Return a character in a set, nothing if it has none: encodings of Python have others besides."""
    try:
        data = letter.encode(element.codec)
    except UnicodeError:
        return b""
    if not data.startswith(element.prefix):
        return b""
    data = data[len(element.prefix) :]
    if len(data) != element.width or min(data) < 0xA0 or _of_element(data, element) != letter:
        return b""
    return data if element.high else bytes(byte & 0x7F for byte in data)


def _cannot(value: str, letter: str) -> UnicodeEncodeError:
    position = value.index(letter)
    return UnicodeEncodeError("Specific Character Set", value, position, position + 1, "is in none of its sets")


@lru_cache(maxsize=1024)
def character_sets(said: tuple[str, ...]) -> CharacterSets:
    """Return what the values of Specific Character Set mean.

    Spelling is forgiven, and a multi-byte set in first place, where none may stand: the default repertoire is put
    before it. `CharacterSets.terms` are as the tables want them.
    """
    found = [_named(one) for one in said]
    known = all(found)
    named = [one for one in found if one]
    if named and named[0] in ALONE:
        return CharacterSets((named[0],), ALONE[named[0]], known=known)
    others = [one for one in named if one in ALONE]
    if others and all(one in ("", "6") or one in ALONE for one in named):
        return CharacterSets((others[0],), ALONE[others[0]], known=known)  # what else would it be named for?
    return _with_extensions(list(dict.fromkeys(one for one in named if one not in ALONE)), said, known)


def _with_extensions(numbers: list[str], said: tuple[str, ...], known: bool) -> CharacterSets:
    """Return sets by their registration numbers."""
    if numbers and numbers[0] in MULTI_BYTE:
        numbers = ["6", *(one for one in numbers if one != "6")]
    if not numbers or numbers == ["6"]:
        return CharacterSets(known=known)
    first = SINGLE_BYTE[numbers[0]]
    elements = tuple(element for one in numbers if (element := SINGLE_BYTE.get(one) or MULTI_BYTE.get(one)))
    elements = tuple(sorted(elements, key=lambda element: element.width))
    initial = ROMAJI if numbers[0] == "13" else ASCII
    if len(numbers) == 1:
        return CharacterSets((f"ISO_IR {numbers[0]}",), (), initial, elements, first, known=known)
    # The default repertoire in first place has a term, and needs none.
    named = "" if numbers[0] == "6" and not said[0].strip(" \0") else f"ISO 2022 IR {numbers[0]}"
    terms = (named, *(f"ISO 2022 IR {one}" for one in numbers[1:]))
    return CharacterSets(terms, (), initial, elements, first, True, known)


_TERM = re.compile(r"ISO(?:2022)?(?:IR)?(\d+)")
_PART = re.compile(r"ISO8859([1-9]|1[15])")


def _named(said: str) -> str:
    """Return the registration number of a set with code extensions, the Defined Term of another, '' if unknown."""
    plain = "".join(letter for letter in said.upper() if letter.isascii() and letter.isalnum())
    if not plain:
        return "6"
    if plain in ALIASES:
        return ALIASES[plain]
    if match := _PART.fullmatch(plain):
        return ISO_8859[match[1]]
    match = _TERM.fullmatch(plain)
    return match[1] if match and (match[1] in SINGLE_BYTE or match[1] in MULTI_BYTE) else ""
