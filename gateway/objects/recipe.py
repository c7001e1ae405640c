"""Recipes: an object that is not on disk as such but as a header and the places its pixels come from.

A recipe file holds the encoded header (everything up to the first pixel), then a JSON map, then the digest of both, the
length of the map and a mark. The map lists segments in the order of the data set's bytes:

==============================  ===================================================================================
``["h", start, stop]``          bytes of the recipe file itself
``["b", hex]``                  these bytes
``["f", n, off, len]``          bytes of the n-th source file
``["t", n, off, len, steps]``   bytes of the n-th source file after the transforms ``[[name, *parameters], ...]``
``["z", n, off, len, steps]``   the same of what the deflated data set of the n-th source file inflates to
==============================  ===================================================================================

Sources are named, not located: who opens a recipe says where a name lives. Transforms are those of
`gateway.objects.transforms`; they see one frame at a time, which is held in memory as a whole.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TypeVar

from gateway.errors import ObjectError
from gateway.objects.checked import OTHER_BYTES, damaged
from gateway.objects.digest import Digest
from gateway.objects.elements import DataSet, tag_of
from gateway.objects.encode import sequence_start
from gateway.objects.parse import Syntax, parse_dataset
from gateway.objects.part10 import inflated
from gateway.objects.stream import CHUNK, ByteSource, announce, read_range
from gateway.objects.transforms import checked, transformed, transformed_length

# Per-Frame Functional Groups Sequence as it begins in every recipe of a multi-frame image.
PER_FRAME_START = sequence_start(tag_of("PerFrameFunctionalGroupsSequence"))

# Digest of all bytes before it, length of the map, mark. The first edition of the format had no digest.
_MARK, _FIRST_MARK = b"recipe\0\2", b"recipe\0\1"
_TAIL, _FIRST_TAIL = struct.Struct("<16sQ8s"), struct.Struct("<Q8s")

# ("h", start, stop) | ("b", hex) | ("f", source, offset, length) | ("t" or "z", source, offset, length, steps)
Segment = tuple

# Segments that the disk is told of before they are read, and the most bytes of one.
_AHEAD = 4
_MOST_AHEAD = 1 << 20

Found = TypeVar("Found")


@dataclass
class Recipe:
    """A derived object as header and segments.

    Attributes
    ----------
    path : Path
        The recipe file.
    sop_class, sop_instance, transfer_syntax : str
        What a C-STORE request and file meta information need to know.
    sources : tuple of str
        Names of the files that pixels come from.
    segments : tuple of Segment
        Where the bytes of the data set come from, in order.
    length : int
        Number of bytes of the data set.
    digest : str
        BLAKE3-128 of those bytes, set by the proof.
    header_length : int
        Bytes of the header at the beginning of the recipe file.
    """

    path: Path
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    sources: tuple[str, ...]
    segments: tuple[Segment, ...]
    length: int
    header_length: int
    digest: str = ""

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a recipe file, and compare all of it with the digest at its end.

        Raises
        ------
        DamagedError
            If the file is no complete recipe, or not the one that was written.
        """
        with open(path, "rb") as file:
            held = file.read()
        encoded = _map_of(held, path.name)
        try:
            content = json.loads(encoded)
            content["sources"] = tuple(content["sources"])
            content["segments"] = tuple(map(_segment, content["segments"]))
            return cls(path=path, **content)
        except (ValueError, LookupError, TypeError, ObjectError) as error:
            raise damaged(path.name, f"it is a broken recipe: {error}") from None

    def source(self, locate: Callable[[str], Path]) -> RecipeSource:
        """Return the bytes of the data set, the sources being where `locate` says."""
        return RecipeSource(self, locate)


class RecipeWriter:
    """Writes a recipe file: first the header piece by piece, then the map.

    As a context manager it removes what an exception leaves unfinished.

    Parameters
    ----------
    path : Path
        The file to write; who calls takes care that it becomes durable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "wb")  # noqa: SIM115 - closed by finish() or discard()
        self.header_length = 0

    def __enter__(self) -> RecipeWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.discard()

    def write(self, piece: bytes) -> None:
        """Append bytes to the header."""
        self._file.write(piece)
        self.header_length += len(piece)

    def discard(self) -> None:
        """Remove the unfinished file."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def finish(
        self,
        *,
        sop_class: str,
        sop_instance: str,
        transfer_syntax: str,
        sources: Sequence[str],
        segments: Sequence[Segment],
    ) -> Recipe:
        """Append the map and close the file; the header becomes the first segment unless segments say where it goes."""
        placed = any(segment[0] == "h" for segment in segments)
        every = tuple(segments) if placed else (("h", 0, self.header_length), *segments)
        recipe = Recipe(
            path=self.path,
            sop_class=sop_class,
            sop_instance=sop_instance,
            transfer_syntax=transfer_syntax,
            sources=tuple(sources),
            segments=every,
            length=sum(segment_length(segment) for segment in every),
            header_length=self.header_length,
        )
        self._file.close()
        return recipe


def top_level(recipe: Recipe) -> DataSet:
    """Return what the object of a recipe says outside of its frames and pixels."""
    with open(recipe.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as header:
        end = header.find(PER_FRAME_START)
        end = end if end >= 0 else recipe.header_length
        # Of classic images and copies the pixels follow, which are elsewhere.
        return parse_dataset(header, 0, end, Syntax(), stop_at_pixels=True)[0]


def seal(recipe: Recipe, digest: str) -> None:
    """Append the map to a finished recipe file together with the digest that the proof has found, and sync it."""
    recipe.digest = digest
    content = {key: getattr(recipe, key) for key in recipe.__dataclass_fields__ if key != "path"}
    encoded = json.dumps(content, separators=(",", ":"), sort_keys=True).encode()
    with open(recipe.path, "r+b") as file:
        file.truncate(recipe.header_length)
        whole = Digest()
        whole.update(file.read())
        whole.update(encoded)
        file.write(encoded + _TAIL.pack(whole.digest(), len(encoded), _MARK))
        file.flush()
        os.fsync(file.fileno())


def _map_of(held: bytes, name: str) -> bytes:
    """Return the encoded map of a recipe file of which all bytes are right."""
    mark = held[-len(_MARK) :]
    tail = _FIRST_TAIL if mark == _FIRST_MARK else _TAIL
    if len(held) < tail.size or mark not in (_MARK, _FIRST_MARK):
        raise damaged(name, "it is no complete recipe")
    *digest, length, _ = tail.unpack_from(held, len(held) - tail.size)
    end = len(held) - tail.size
    if length > end:
        raise damaged(name, "it is no complete recipe")
    if digest:
        found = Digest()
        found.update(memoryview(held)[:end])
        if found.digest() != digest[0]:
            raise damaged(name, OTHER_BYTES)
    return held[end - length : end]


def _segment(found: list) -> Segment:
    """Return a segment as it was before it was written as JSON."""
    return (*found[:4], checked(found[4])) if found[0] in ("t", "z") else tuple(found)


def segment_length(segment: Segment) -> int:
    """Return the number of bytes a segment stands for."""
    kind = segment[0]
    if kind == "h":
        return segment[2] - segment[1]
    if kind == "b":
        return len(segment[1]) // 2
    return segment[3] if kind == "f" else transformed_length(segment[3], segment[4])


def frame_bytes(path: Path, offset: int, length: int, *, deflated: bool = False) -> bytes:
    """Return a part of a file, or of what its deflated data set inflates to.

    Raises
    ------
    OSError
        If the file has become shorter.
    """
    if deflated:
        return inflated(path, offset, length)
    with open(path, "rb", buffering=0) as file:
        return b"".join(read_range(file, offset, length, length, str(path)))


class RecipeSource:
    """The data set of a recipe as a `ByteSource`; one source file is open at a time."""

    def __init__(self, recipe: Recipe, locate: Callable[[str], Path]) -> None:
        self.recipe = recipe
        self.length = recipe.length
        self._locate = locate

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the bytes in pieces of at most `size`."""
        segments = self.recipe.segments
        for place, segment in enumerate(segments):
            for later in segments[place + _AHEAD : place + _AHEAD + 1]:
                if later[0] in ("f", "t"):
                    path = self._locate(self.recipe.sources[later[1]])
                    announce(path, later[2], min(later[3], _MOST_AHEAD))
            kind = segment[0]
            if kind == "b":
                yield bytes.fromhex(segment[1])
                continue
            if kind in ("t", "z"):
                data = self._transformed(segment)
                for start in range(0, len(data), size):
                    yield data[start : start + size]
                continue
            offset = segment[1] if kind == "h" else segment[2]
            with self._open(segment) as file:
                yield from read_range(file, offset, segment_length(segment), size, str(file.name))

    def _transformed(self, segment: Segment) -> bytes:
        kind, number, offset, length, steps = segment
        return transformed(
            self._at(number, lambda path: frame_bytes(path, offset, length, deflated=kind == "z")), steps
        )

    def _open(self, segment: Segment) -> FileIO:
        """Open the file of a segment."""
        if segment[0] == "h":
            return open(self.recipe.path, "rb", buffering=0)
        return self._at(segment[1], lambda path: open(path, "rb", buffering=0))

    def _at(self, number: int, use: Callable[[Path], Found]) -> Found:
        """Use the file of a source, which may be moved between being located and being opened, but only once."""
        name = self.recipe.sources[number]
        try:
            return use(self._locate(name))
        except FileNotFoundError:
            return use(self._locate(name))


def digest_of(source: ByteSource) -> str:
    """Return the BLAKE3-128 digest of a `ByteSource` in hexadecimal."""
    digest = Digest()
    for chunk in source.chunks(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()
