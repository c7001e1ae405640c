"""Files of a result: written while they are proved, gone if they are not, and a full disk is said, not waited for."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from conversion.material import convert, save_all, series_of
from pydicom import dcmread

from gateway.cli import writing
from gateway.cli.outcome import Report
from gateway.cli.writing import FileSink, Writer
from gateway.conversion.identity import Identity
from gateway.conversion.study import convert_facts
from gateway.errors import ConversionError
from gateway.objects.recipe import Recipe

# More than may wait to be written.
MANY = 40


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    (tmp_path / "scratch").mkdir()
    return Writer(tmp_path / "out", tmp_path / "scratch", Report())


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return convert(save_all(series_of(), tmp_path / "in"), tmp_path / "recipes").result.objects[0].recipe


def test_what_passes_is_what_is_written(tmp_path: Path) -> None:
    sink = FileSink(b"head")
    with sink:
        for number in range(3):
            sink.update(bytes((number,)) * 10**6)
    path = sink.write_to(tmp_path / "file")
    assert path.read_bytes() == b"head" + b"".join(bytes((number,)) * 10**6 for number in range(3))


def test_long_files_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: Writer, recipe: Recipe) -> None:
    monkeypatch.setattr(writing, "_WRITTEN_BACK", 1000)
    with writer.sink(recipe) as sink:
        for number in range(MANY):
            sink.update(bytes((number,)) * 999)
    target = writer.finish(recipe, Path, "1.2", "1.3")
    assert target.read_bytes().endswith(b"".join(bytes((number,)) * 999 for number in range(MANY)))
    assert not writer.report.failed
    assert not list(writer.scratch.iterdir())


def test_a_full_disk_is_said_and_nobody_waits_for_room(
    monkeypatch: pytest.MonkeyPatch, writer: Writer, recipe: Recipe
) -> None:
    def full(file: object, chunk: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing, "_write_all", full)
    with writer.sink(recipe) as sink:
        for _ in range(MANY):
            sink.update(b"piece")
    target = writer.finish(recipe, Path, "1.2", "1.3")
    assert not target.exists()
    assert writer.report.failed == [f"{target}: cannot be written: No space left on device"]
    writer.close()
    assert not list(writer.scratch.iterdir())


def test_an_attempt_that_fails_leaves_nothing_in_the_next(writer: Writer, recipe: Recipe) -> None:
    def attempt(piece: bytes, count: int, *, fail: bool) -> None:
        with writer.sink(recipe) as sink:
            for _ in range(count):
                sink.update(piece)
            if fail:
                raise ConversionError("object", "is not proved")

    for _ in range(10):
        with pytest.raises(ConversionError):
            attempt(b"wrong" * 10**5, MANY, fail=True)
        attempt(b"right", 1, fail=False)
        target = writer.finish(recipe, Path, "1.2", "1.3")
        assert target.read_bytes().endswith(b"GATEWAY_1 right")
        assert b"wrong" not in target.read_bytes()
        target.unlink()


def test_two_of_one_name_are_told_apart_by_their_digests(writer: Writer, recipe: Recipe, tmp_path: Path) -> None:
    for _ in range(2):
        writer.finish(recipe, lambda name: tmp_path / "in" / name, "1.2", "1.3")
    names = {path.name for path in writer.output.rglob("*.dcm")}
    assert names == {f"{recipe.sop_instance}.dcm", f"{recipe.sop_instance}-{recipe.digest[:8]}.dcm"}


def test_the_file_is_the_stream_that_was_proved(tmp_path: Path, writer: Writer) -> None:
    made = convert(save_all(series_of(), tmp_path / "in"), tmp_path / "recipes")
    result = convert_facts(made.facts, lambda uid: tmp_path / uid, identity=Identity(), sink=writer.sink)
    (converted,) = result.objects
    target = writer.finish(converted.recipe, Path, "1.2", "1.3")
    sealed = made.result.objects[0].recipe
    places = {fact.name: fact.path for fact in made.facts}
    stream = b"".join(sealed.source(places.__getitem__).chunks())
    assert target.read_bytes().endswith(stream)
    assert dcmread(target).SOPInstanceUID == sealed.sop_instance
