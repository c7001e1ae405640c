"""Headers that are held are those of the files, however many there is room for."""

from __future__ import annotations

from pathlib import Path

import pytest
from conversion.material import facts_of, save_all, series_of

from gateway.conversion import headers as headers_module
from gateway.conversion.facts import Facts
from gateway.conversion.headers import MOST_BYTES, Headers
from gateway.objects.part10 import read_header


def filled(tmp_path: Path) -> tuple[Headers, list[Path], list[Facts]]:
    slices = series_of(count=12)
    slices[7].ImageComments = "as no other"
    del slices[9].Manufacturer
    paths = save_all(slices, tmp_path)
    headers, facts = Headers(), facts_of(paths)
    for fact in facts:
        headers.keep(fact, headers.read(fact.path))
    return headers, paths, facts


@pytest.mark.parametrize("room", [0, 5_000, MOST_BYTES])
def test_a_header_is_that_of_the_file_held_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr(headers_module, "MOST_BYTES", room)
    headers, paths, facts = filled(tmp_path)
    assert [headers(fact) for fact in facts] == [read_header(path) for path in paths]


def test_what_is_held_is_not_read_again(tmp_path: Path) -> None:
    headers, paths, facts = filled(tmp_path)
    expected = [read_header(path) for path in paths]
    for path in paths:
        path.unlink()
    assert [headers(fact) for fact in facts] == expected
