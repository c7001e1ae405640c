"""What was acknowledged and is not in the index is told, and tried again while the box runs (REQUIREMENTS T1)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from archive_tools import HandClock, commit, ct, debris, refusing, store

from gateway.archive import arrears
from gateway.archive.arrears import LATE, Arrears, late
from gateway.archive.index import Archive
from gateway.archive.recovery import REMEDY, recover
from gateway.archive.status import box_status
from gateway.archive.views import View
from gateway.cli.main import COMMANDS
from gateway.cli.status import describe
from gateway.service import config as configuration
from gateway.service.checks import CHECKS, Finding, Result


@pytest.fixture
def now(tmp_path: Path) -> HandClock:
    return HandClock(time.time())


@pytest.fixture
def archive(tmp_path: Path, now: HandClock) -> Archive:
    return Archive(tmp_path / "data", now)


def uids(archive: Archive) -> list[str]:
    return [row.sop_instance for row in archive.select(View.RECEIVED)]


def policy(peer: str) -> tuple[bool, bool]:
    return True, False


def age(archive: Archive, name: str, seconds: float) -> None:
    """Have a file of the intake folder come some time ago."""
    at = archive.clock.now() - seconds
    os.utime(archive.files.intake_path(name), (at, at))


def doctor(archive: Archive) -> Finding:
    (check,) = (check for check in CHECKS if check.code == "registered")
    (finding,) = check.look(configuration.parse(f'[gateway]\ndata_dir = "{archive.files.root}"\n'))
    return finding


def test_T1_what_is_not_registered_shows_in_status_and_doctor(archive: Archive) -> None:
    assert doctor(archive).result is Result.OK
    name = commit(archive, ct())
    assert box_status(archive)["not_registered"]["objects"] == 0, "it has just come"
    age(archive, name, LATE + 120)
    status = box_status(archive)
    assert status["not_registered"] == {
        "objects": 1,
        "since": pytest.approx(archive.clock.now() - LATE - 120, abs=1),
        "files": [f"{name}.dcm"],
        "remedy": REMEDY,
    }
    assert not status["idle"]
    (line,) = (one for one in describe(status, archive.clock.now()) if "not registered" in one)
    assert line.startswith(f"1 acknowledged object not registered, the oldest came 3 min ago: {name}.dcm")
    finding = doctor(archive)
    assert finding.result is Result.FAILED
    assert all(word in finding.reason for word in (name, "1.2.3.4.1", "1 acknowledged object is not in the index"))
    archive.recover(policy)
    assert doctor(archive).result is Result.OK
    assert box_status(archive)["not_registered"]["objects"] == 0


def test_T1_a_clock_that_was_ahead_hides_nothing(archive: Archive) -> None:
    name = commit(archive, ct())
    age(archive, name, -86400)
    assert late(archive) == [name]


def test_T1_what_the_index_refused_is_tried_again_while_the_box_runs(
    archive: Archive, now: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    trying = Arrears(archive, policy)
    names = [commit(archive, ct(f"1.2.3.4.{number}", number=number)) for number in (1, 2, 3)]
    for name in names:
        age(archive, name, 2 * LATE)
    with refusing(archive, "NEW.sop_instance = '1.2.3.4.2'"):
        assert trying.step() == 0, "not at once: the start has just tried"
        now.time += arrears.FIRST_PAUSE
        assert trying.step() == 2
        assert late(archive) == [names[1]]
        assert "recovery.refused" in caplog.text
        pauses = []
        for _ in range(8):
            before = now.time
            while not caplog.clear() and trying.step() == 0 and "recovery.refused" not in caplog.text:
                now.time += 10
            pauses.append(now.time - before)
        assert pauses[-1] == pytest.approx(arrears.LONGEST_PAUSE, abs=10), "less often each time"
    now.time += arrears.LONGEST_PAUSE
    assert trying.step() == 1
    assert uids(archive) == ["1.2.3.4.1", "1.2.3.4.2", "1.2.3.4.3"]
    assert debris(archive) == []


def test_T1_one_file_that_cannot_be_read_keeps_no_other_out_and_the_box_starts(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [commit(archive, ct(f"1.2.3.4.{number}", number=number)) for number in (1, 2)]
    # A bad block of the card: the folder lists the file, reading it fails.
    path = archive.files.intake_path(names[0])
    path.unlink()
    path.mkdir()
    report = recover(archive, policy)
    assert report.indexed == 1
    assert uids(archive) == ["1.2.3.4.2"]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_T1_status_shows_any_name_on_any_terminal(archive: Archive, encoding: str) -> None:
    store(archive, ct(SpecificCharacterSet="ISO_IR 192", PatientName="M\xc3\xbcller^\xe5\xbc\xa0\xc2\x9b31m\x1b[2J"))
    file = archive.files.root / "gateway.toml"
    file.write_text(f'[gateway]\ndata_dir = "{archive.files.root}"\n')
    for words in (("status",), ("status", "--json")):
        command = [sys.executable, "-m", "gateway.cli.main", *words, "--config", str(file)]
        done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding})
        assert done.returncode == 0, done.stderr
        assert b"1.2.3" in done.stdout
        assert b"\x1b" not in done.stdout
        if len(words) == 1:
            assert b"\x9b" not in done.stdout
        else:
            json.loads(done.stdout.decode("utf-8" if encoding == "ascii" else encoding))


def test_T1_remedies_name_commands_that_exist() -> None:
    package = Path(arrears.__file__).parents[1]
    lines = [line for path in package.rglob("*.py") for line in path.read_text(encoding="utf-8").splitlines()]
    named = {found for line in lines for found in re.findall(r"`gateway ([a-z]+)", line)}
    assert "doctor" in named
    assert named <= set(COMMANDS)
    of_later = r"gateway (verify|storage|receipt|backup|restore|audit|routes|report|web)\b"
    assert [line for line in lines if re.search(of_later, line)] == []
