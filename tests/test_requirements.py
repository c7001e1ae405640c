"""Every line of the conversion is shown by at least one test, and every number in a test's name is one that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from requirements import PAGE, lines, numbers_of, page, shown

# The chapters that are to be shown without a gap: the conversion, and what the box sends and says.
ANSWERED = re.compile(r"[GEKOT][0-9]")


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.requirements"


def test_no_line_of_the_conversion_is_without_a_test() -> None:
    tests = shown()
    assert [line.number for line in lines() if ANSWERED.match(line.number) and not tests.get(line.number)] == []


def test_every_number_in_the_name_of_a_test_exists() -> None:
    assert sorted(shown().keys() - {line.number for line in lines()}) == []


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("test_E25_E43_overlays", ["E25", "E43"]),
        ("test_K1_class", ["K1"]),
        ("test_no_number", []),
        ("test_the_E25_in_the_middle", []),
    ],
)
def test_numbers_are_those_the_name_begins_with(name: str, numbers: list[str]) -> None:
    assert numbers_of(name) == numbers


def test_a_test_that_is_expected_to_fail_shows_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "@pytest.mark.xfail(strict=True, reason='x')\ndef test_G1_not_yet(): ...\n"
        "class TestAll:\n    def test_G2_G4_here(self): ...\n"
    )
    assert shown(tmp_path) == {"G2": ["test_it.py::test_G2_G4_here"], "G4": ["test_it.py::test_G2_G4_here"]}
