"""T17: the bytes of converted objects change only with the conversion edition."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conversion.material import save_all
from evidence import golden_digests
from evidence.golden_digests import (
    KINDS,
    RAISE,
    SOURCES,
    differences,
    digests_of_kind,
    known,
    of_kind,
    of_set,
    path_of,
    write_down,
)
from evidence.sets import Layer, names
from real_data import NAMES

from gateway.conversion.identity import EDITION

# Converts folders where every package says that it is of another version, and where there is no numpy.
ELSEWHERE = """
import importlib.metadata, sys
sys.modules["numpy"] = None
importlib.metadata.version = lambda name: "99.9.9"
import pydicom, pydicom._version
pydicom.__version__ = pydicom._version.__version__ = "99.9.9"
from gateway.cli.main import main
for place in sys.argv[1:]:
    main(["convert", f"{place}/in", "-o", f"{place}/enhanced", "--json"], standalone_mode=False)
    main(["convert", f"{place}/enhanced", "-o", f"{place}/classic", "--to", "classic", "--json"], standalone_mode=False)
"""


def assert_as_written_down(what: str, now: dict[str, str]) -> None:
    was = known().get(what)
    if was is None and os.environ.get("GATEWAY_GOLDEN") == "write":
        write_down(what, now)
        return
    assert was is not None, (
        f"no digests of {what} are written down for edition {EDITION} in {path_of().name}:"
        " GATEWAY_GOLDEN=write .venv/bin/pytest tests/evidence/test_golden.py"
    )
    found = differences(was, now)
    assert not found, RAISE.format(what=what, edition=EDITION, differences="\n".join(found[:20]))


@pytest.mark.parametrize("name", names())
def test_T17_what_real_sets_become_has_the_bytes_of_its_edition(
    name: str, swept: Callable[[str], list[Layer]], figures: Callable[..., None]
) -> None:
    now = of_set(swept(name))
    if f"set {name}" not in known() and name not in ("pydicom", *NAMES):
        pytest.skip(f"the real series {name} are newer than the digests of edition {EDITION}")
    assert_as_written_down(f"set {name}", now)
    figures("golden", name, digests=len(now) - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_T17_every_kind_of_conversion_has_the_bytes_of_its_edition(kind: str, tmp_path: Path) -> None:
    now = of_kind(kind, tmp_path)
    assert now, "nothing was made"
    assert_as_written_down(f"kind {kind}", now)


def test_T17_bytes_do_not_depend_on_the_version_of_any_package_and_not_on_numpy(tmp_path: Path) -> None:
    for kind in KINDS:
        save_all(KINDS[kind](), tmp_path / kind / "in")
    places = [str(tmp_path / kind) for kind in KINDS]
    subprocess.run([sys.executable, "-c", ELSEWHERE, *places], capture_output=True, check=True)
    for kind in KINDS:
        assert digests_of_kind(kind, tmp_path / kind) == known()[f"kind {kind}"], kind


def test_T17_one_other_byte_is_told_with_what_to_do(tmp_path: Path) -> None:
    now = of_kind("CT", tmp_path)
    (what,) = now.keys() & {key for key in now if key.startswith("enhanced ")}
    with pytest.raises(AssertionError, match="raise EDITION in") as told:
        assert_as_written_down("kind CT", now | {what: "0" * 32})
    assert f"{what} has other bytes" in str(told.value)
    with pytest.raises(AssertionError, match="is made no more"):
        assert_as_written_down("kind CT", {})
    with pytest.raises(AssertionError, match="is new"):
        assert_as_written_down("kind CT", now | {"enhanced 2.25.1": "0" * 32})


def test_T17_of_other_sources_what_both_have_is_compared() -> None:
    was = {"enhanced 2.25.1": "a", "enhanced 2.25.2": "b", SOURCES: "x"}
    assert differences(was, {"enhanced 2.25.1": "a", "enhanced 2.25.3": "c", SOURCES: "y"}) == []
    assert differences(was, {"enhanced 2.25.1": "z", SOURCES: "y"}) == ["  enhanced 2.25.1 has other bytes"]
    assert len(differences(was, {"enhanced 2.25.1": "a", "enhanced 2.25.3": "c", SOURCES: "x"})) == 2


def test_T17_digests_that_are_written_down_are_never_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(golden_digests, "FOLDER", tmp_path)
    write_down("kind CT", {"enhanced 2.25.1": "a"})
    write_down("kind CT", {"enhanced 2.25.1": "b"})
    write_down("kind MR", {"enhanced 2.25.2": "c"})
    written = json.loads(path_of().read_text())
    assert written == {"kind CT": {"enhanced 2.25.1": "a"}, "kind MR": {"enhanced 2.25.2": "c"}}
