"""Registering what is acknowledged: together, in order, whatever the index says, and seen by who asks next."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_tools import HandClock, commit, counted, ct, debris, hand_in, refusing, store, tallies
from loopback import eventually

from gateway.archive import registrar as registrars
from gateway.archive.index import Archive
from gateway.archive.progress import Progress
from gateway.archive.recovery import unregistered
from gateway.archive.registrar import Registrar
from gateway.archive.status import box_status
from gateway.archive.views import View
from gateway.errors import ArchiveError, ResourceError


@pytest.fixture
def registrar(archive: Archive) -> Iterator[Registrar]:
    made = Registrar(archive)
    made.start()
    yield made
    made.close()


def uids(archive: Archive) -> list[str]:
    return [row.sop_instance for row in archive.select(View.RECEIVED)]


# Together


def test_what_comes_together_costs_a_fraction_of_the_writing(archive: Archive, registrar: Registrar) -> None:
    log = archive.files.root / "index.sqlite3-wal"

    def written(work) -> int:
        before = log.stat().st_size
        work()
        return log.stat().st_size - before

    def together() -> None:
        for number in range(40):
            hand_in(registrar, ct(f"1.2.3.4.{number}", number=number))
        assert registrar.visible()

    store(archive, ct("1.2.9"))
    alone = written(lambda: [store(archive, ct(f"1.2.3.5.{number}", number=number)) for number in range(40)])
    assert 0 < written(together) < alone / 4
    assert len(uids(archive)) == 81
    assert tallies(archive) == counted(archive)
    assert debris(archive) == []


def test_S6_versions_and_copies_in_one_transaction_come_one_after_the_other(archive: Archive) -> None:
    waiting = Registrar(archive)
    names = [hand_in(waiting, ct(PatientName=name)) for name in ("First", "Second", "First", "Third")]
    waiting.start()
    assert waiting.visible()
    waiting.close()
    assert [row.name for row in archive.versions("1.2.3.4.1")] == [names[3], names[0], names[1]], "by their last word"
    assert debris(archive) == []


def test_S6_the_later_version_is_the_current_one_whichever_process_is_faster(
    archive: Archive, clock: HandClock
) -> None:
    slow, quick = Registrar(archive), Registrar(archive)
    first = hand_in(slow, ct(PatientName="First"))
    clock.time += 0.1
    second = hand_in(quick, ct(PatientName="Second"))
    quick.start()
    quick.close()
    slow.start()
    slow.close()
    assert [row.name for row in archive.versions("1.2.3.4.1")] == [second, first]
    (old,) = archive.versions("1.2.3.4.1")[1:]
    assert (old.views, old.settled, old.reason) == (0, True, f"superseded by {second}")
    assert [row.name for row in archive.unsettled("1.2.3")] == [second]
    assert tallies(archive) == counted(archive)


def test_S6_the_later_version_is_the_current_one_after_a_power_cut(archive: Archive) -> None:
    registrar = Registrar(archive)
    names = [hand_in(registrar, ct(PatientName=f"Name^{number}")) for number in range(6)]
    registrar.close()  # never begun: what it has taken is left
    assert archive.recover().indexed == 6
    assert [row.name for row in archive.versions("1.2.3.4.1")] == names[::-1]


def test_what_waits_is_registered_before_the_end(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrars, "GATHER", 3600)
    registrar = Registrar(archive)
    registrar.start()
    for number in range(3):
        hand_in(registrar, ct(f"1.2.3.4.{number}", number=number))
    assert len(unregistered(archive)) == 3
    assert not box_status(archive)["idle"], "what the index does not know yet is pending"
    registrar.close()
    assert len(uids(archive)) == 3
    with pytest.raises(ResourceError):
        hand_in(registrar, ct("1.2.3.4.9"))
    assert debris(archive) == []


def test_no_more_wait_than_there_is_room_for(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrars, "MOST_WAITING", 2)
    monkeypatch.setattr(registrars, "PATIENCE", 0.05)
    registrar = Registrar(archive)
    names = [hand_in(registrar, ct(f"1.2.3.4.{number}")) for number in range(2)]
    with pytest.raises(ResourceError, match="more to take in than it can"):
        hand_in(registrar, ct("1.2.3.4.2"))
    assert sorted(names) == archive.files.waiting(), "nothing is left of what was refused"
    registrar.start()
    eventually(lambda: len(uids(archive)) == 2)
    hand_in(registrar, ct("1.2.3.4.2"))
    registrar.close()
    assert len(uids(archive)) == 3


# Whatever the index says


def test_one_object_that_the_index_refuses_keeps_no_other_out(archive: Archive, caplog) -> None:
    registrar = Registrar(archive)
    bad = "1.2.3.4.2"
    with refusing(archive, f"NEW.sop_instance = '{bad}'"):
        for number in range(1, 6):
            hand_in(registrar, ct(f"1.2.3.4.{number}", number=number))
        registrar.start()
        eventually(lambda: len(uids(archive)) == 4)
        assert registrar.visible(), "nobody waits for ever for what cannot be registered"
        (name,) = unregistered(archive)
        (record,) = [one for one in caplog.records if "intake.not_registered" in one.getMessage()]
        assert record.levelname == "ERROR"
        assert all(word in record.getMessage() for word in (name, bad, "refused"))
        hand_in(registrar, ct("1.2.3.4.7", number=7))
        registrar.close()
        # Nor does it keep the box from starting.
        assert archive.recover().refused == [name]
        assert unregistered(archive) == [name]
    assert archive.recover().indexed == 1
    assert len(uids(archive)) == 6
    assert debris(archive) == []


def test_while_the_index_takes_nothing_an_object_is_refused_and_nothing_of_it_left(
    archive: Archive, registrar: Registrar, caplog
) -> None:
    with refusing(archive):
        name = hand_in(registrar, ct("1.2.3.4.1"))
        eventually(lambda: "intake.index_short" in caplog.text)
        for number in range(2, 6):
            with pytest.raises(ArchiveError, match="refused"):
                hand_in(registrar, ct(f"1.2.3.4.{number}"))
        assert archive.files.waiting() == [name]
    hand_in(registrar, ct("1.2.3.4.6"))
    assert uids(archive)[-1] == "1.2.3.4.6", "it was answered when it was registered"
    hand_in(registrar, ct("1.2.3.4.7"))
    registrar.close()
    archive.recover()
    assert set(uids(archive)) == {f"1.2.3.4.{number}" for number in (1, 6, 7)}
    assert debris(archive) == []


def test_no_room_for_the_index_lasts_as_long_as_it_lasts(
    archive: Archive, caplog, monkeypatch: pytest.MonkeyPatch
) -> None:
    registrar = Registrar(archive)
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(registrars, "LONGEST_PAUSE", 0.1)
    (pages,) = archive.database.row("PRAGMA page_count") or (0,)
    archive.database.row(f"PRAGMA max_page_count = {pages}")
    large = [f"1.9.{number}" for number in range(3000)]
    kept = [hand_in(registrar, ct(f"1.2.3.4.{number}", number=number, refers_to=large)) for number in (1, 2)]
    registrar.start()  # not before both are acknowledged: while the index is short nothing more is
    eventually(lambda: "intake.index_short" in caplog.text)
    for _ in range(registrars.MOST_ATTEMPTS + 2):
        with pytest.raises(ResourceError, match="disk is full"):
            hand_in(registrar, ct("1.2.3.4.3", refers_to=large))
    assert archive.files.waiting() == sorted(kept)
    assert not registrar.visible(0.01)
    archive.database.row("PRAGMA max_page_count = 1000000")
    assert registrar.visible()
    assert uids(archive) == ["1.2.3.4.1", "1.2.3.4.2"], "however often it was tried in vain"
    assert "intake.index_writable" in caplog.text
    registrar.close()


def test_what_cannot_be_registered_at_the_end_is_taken_in_at_the_next_start(archive: Archive) -> None:
    registrar = Registrar(archive)
    with refusing(archive):
        hand_in(registrar, ct())
        registrar.start()
        registrar.close()
    assert uids(archive) == []
    assert archive.recover().indexed == 1
    assert uids(archive) == ["1.2.3.4.1"]


def test_a_recovery_beside_it_leaves_alone_what_it_is_about_to_register(archive: Archive) -> None:
    registrar = Registrar(archive)
    hand_in(registrar, ct(), called="GATEWAY_ENH")
    left = commit(archive, ct("1.2.3.4.2"))
    assert archive.recover().indexed == 1
    assert [row.name for row in archive.select(View.RECEIVED)] == [left]
    registrar.start()
    registrar.close()
    # A recovery would not know which application entity was called.
    assert archive.database.row("SELECT called FROM instance WHERE sop_instance = '1.2.3.4.1'") == ("GATEWAY_ENH",)


# Seen by who asks next


def test_who_asks_waits_for_what_every_process_has_acknowledged_before(archive: Archive, tmp_path: Path) -> None:
    progress = Progress(2)
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            own = Archive(archive.files.root)
            registrar = Registrar(own, progress, 1)
            hand_in(registrar, ct())
            os.write(writer, b"x")
            registrar.start()
            signal.pause()
        finally:
            os._exit(1)
    os.read(reader, 1)
    assert Registrar(archive, progress, 0).visible()
    assert uids(archive) == ["1.2.3.4.1"]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)
    assert (progress.acknowledged(1), progress.registered(1)) == (1, 1)


def test_who_asks_waits_for_the_recovery_of_what_a_dead_process_had_acknowledged(archive: Archive) -> None:
    progress = Progress(2)
    pid = os.fork()
    if not pid:
        try:
            hand_in(Registrar(Archive(archive.files.root), progress, 1), ct())
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    other = Registrar(archive, progress, 0)
    assert not other.visible(0.01)
    archive.recover()
    progress.clear(1)
    assert other.visible(0.01)
    # Its successor goes on counting.
    successor = Registrar(archive, progress, 1)
    hand_in(successor, ct("1.2.3.4.2"))
    assert not other.visible(0.01)
    successor.start()
    assert other.visible()
    successor.close()
    assert len(uids(archive)) == 2


def test_who_asks_does_not_wait_for_others_to_join(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrars, "GATHER", 3600)
    registrar = Registrar(archive)
    registrar.start()
    hand_in(registrar, ct())
    assert registrar.visible()
    assert uids(archive) == ["1.2.3.4.1"]
    registrar.close()


def test_nobody_waits_when_all_is_registered(archive: Archive) -> None:
    assert Progress(3).wait(0)
