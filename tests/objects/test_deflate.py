"""A deflated stream stands for the very bytes it was made of, however long they are and however they are cut."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest

from gateway.errors import ObjectError
from gateway.objects.deflate import Deflated
from gateway.objects.stream import CHUNK, BytesSource, every_byte


class Uneven:
    """A source that gives pieces of any length, and may not give what it announces."""

    def __init__(self, data: bytes, seed: int = 0, announced: int | None = None) -> None:
        self._data, self._seed = data, seed
        self.length = len(data) if announced is None else announced

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        chance, start = random.Random(self._seed), 0
        while start < len(self._data):
            taken = chance.randint(0, size)
            yield self._data[start : start + taken]
            start += taken


def contents() -> Iterator[bytes]:
    """Lengths around those of a piece, odd and even; what deflates well, badly, and not at all."""
    chance = random.Random(7)
    for length in (1, 2, 3, 63, 64, 65, 1000, 1001, 4095, 4096, 4097, 40_000, 300_001):
        yield bytes(length)
        yield chance.randbytes(length)
        yield b"".join(chance.randrange(900, 1100).to_bytes(2, "little") for _ in range(length))[:length]


def inflate(deflated: bytes) -> tuple[bytes, bytes]:
    """Return what a raw deflate stream stands for, and what follows it."""
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    data = engine.decompress(deflated)
    assert engine.eof
    return data, engine.unused_data


@pytest.mark.parametrize("size", [1, 2, 64, 1001, 4096, CHUNK])
def test_M3_what_is_deflated_inflates_to_the_very_bytes_and_is_of_even_length(size: int) -> None:
    trailers = set()
    for number, data in enumerate(contents()):
        if len(data) > 1000 * size:
            continue
        for source in (BytesSource(data), Uneven(data, number)):
            pieces = list(Deflated(source).chunks(size))
            assert max(map(len, pieces)) <= size
            deflated = b"".join(pieces)
            assert not len(deflated) % 2
            inflated, trailer = inflate(deflated)
            assert inflated == data
            trailers.add(trailer)
    # One NUL byte where the stream is of odd length, and no header or checksum of zlib in any.
    assert trailers == {b"", b"\0"}


def test_a_deflated_source_is_read_as_often_as_wanted_and_gives_the_same_bytes() -> None:
    source = Deflated(BytesSource(bytes(range(256)) * 1000))
    assert list(source.chunks()) == list(source.chunks())
    assert source.length is None


@pytest.mark.parametrize(
    ("length", "announced", "problem"), [(10, 11, "fewer"), (11, 10, "more"), (0, 0, "empty"), (300_000, 1, "more")]
)
def test_a_data_set_of_another_length_is_never_sent_to_its_end(length: int, announced: int, problem: str) -> None:
    source = Uneven(bytes(length), announced=announced)
    for chunks in (every_byte(source), Deflated(source).chunks()):
        with pytest.raises(ObjectError, match=problem):
            list(chunks)


class Endless:
    """A long data set that is nowhere as a whole."""

    length = 64 << 20

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        noise = random.Random(1).randbytes(size)
        for _ in range(0, self.length, size):
            yield noise


def test_memory_does_not_grow_with_what_is_deflated() -> None:
    tracemalloc.start()
    try:
        count = sum(map(len, Deflated(Endless()).chunks()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count > Endless.length
    assert peak < 8 * CHUNK
