"""Acknowledged means safe: the box is killed at every fault point, and loses power, and loses nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from archive_tools import commit, counted, ct, debris, derive, is_blank, python, store, tallies

from gateway import observe
from gateway.archive.index import Archive
from gateway.archive.parts import BLANKS
from gateway.archive.rows import Settlement
from gateway.archive.views import ALL_VIEWS, View

# Every line it prints is a promise: the object, the conversion or the decision is safe.
LIFE = """
import sys
from pathlib import Path
import archive_tools
from archive_tools import ct, derive
from gateway.archive.index import Archive
from gateway.archive.registrar import Registrar
from gateway.archive.rows import Settlement
from gateway.archive.views import View

archive = Archive(Path(sys.argv[1]))
archive.recover()
store, visible = archive_tools.store, lambda: None
if "ahead" in sys.argv:
    archive.files.make_ahead(4)
if "registrar" in sys.argv:
    registrar = Registrar(archive)
    registrar.start()
    store, visible = lambda _, *what, **more: archive_tools.hand_in(registrar, *what, **more), registrar.visible
def promise(*words):
    print(*words, flush=True)
for n in (1, 2, 3):
    store(archive, ct(f"1.2.3.4.{n}", number=n), pixels=bytes([n]) * 32)
    promise("stored", f"1.2.3.4.{n}")
store(archive, ct("1.2.3.4.1", number=1), pixels=bytes([1]) * 32)
promise("stored", "1.2.3.4.1")
visible()
archive.checkpoint()
store(archive, ct("1.2.3.4.4", number=4), pixels=bytes([4]) * 32)
promise("stored", "1.2.3.4.4")
visible()
made = derive(archive, "1.2.3")
settled = {row.name: Settlement(View.RECEIVED | View.CLASSIC) for row in archive.unsettled("1.2.3")}
archive.record_conversion("1.2.3", [made], settled, {"edition": 1})
promise("converted", made.sop_instance)
archive.custody.decide("1.2.3", "PACS", View.ENHANCED, "takes them")
promise("decided", "PACS")
archive.checkpoint()
archive.jobs.finish(archive.jobs.listing()[0])
promise("done", "all")
if "registrar" in sys.argv:
    registrar.close()
archive.close()
"""

POINTS = [
    "intake.write=kill@2",
    "intake.before_sync=kill@2",
    "intake.before_rename=kill@2",
    "intake.after_rename=kill@2",
    "admit.before_commit=kill@3",
    "admit.after_commit=kill@3",
    "admit.before_remove=kill",
    "checkpoint.before_move=kill",
    "checkpoint.moved=kill@2",
    "record.before_rename=kill",
    "record.after_rename=kill",
    "settle.before_commit=kill",
    "settle.after_commit=kill",
    "record.before_rename=kill@2",
    "record.after_rename=kill@2",
]


def live(data: Path, faults: str = "", *how: str) -> list[list[str]]:
    process = python(LIFE, data, *how, faults=faults)
    out, err = process.communicate(timeout=60)
    assert process.returncode == (-9 if faults else 0), err
    return [line.split() for line in out.splitlines()]


def kept(archive: Archive, promises: list[list[str]]) -> None:
    """Assert that every promise holds and nothing else is lying about."""
    assert debris(archive) == []
    assert tallies(archive) == counted(archive)
    for kind, what in promises:
        if kind == "stored":
            row = archive.instance(what)
            assert row is not None
            assert b"".join(archive.source_of(row).chunks()).endswith(bytes([int(what[-1])]) * 32)
        elif kind == "converted":
            row = archive.instance(what)
            assert row is not None
            assert row.views == View.ENHANCED
            assert archive.partitions("1.2.3")[-1] == {"edition": 1}
            assert len(archive.sources_of(what)) == 4
            assert archive.unsettled("1.2.3") == []
        elif kind == "decided":
            decision = archive.custody.decision("1.2.3", what)
            assert decision is not None
            assert decision.view == View.ENHANCED


# How objects come in: each makes its own file and is registered before the promise; files are made ahead; and, as in
# the intake processes, they are registered after the promise, those of a moment together.
CASES = [
    *((faults,) for faults in POINTS),
    *((faults, "ahead") for faults in (*POINTS[:9], "blanks.before_sync=kill", "blanks.before_sync=kill@2")),
    *((faults, "ahead", "registrar") for faults in (*POINTS[:4], *POINTS[6:9])),
    *(
        (f"{point}={action}", "ahead", "registrar")
        for point in ("registrar.before_commit", "admit.before_commit", "admit.after_commit", "registrar.after_commit")
        for action in ("kill", "kill@2")
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(case))
def test_killed_at_a_fault_point_nothing_acknowledged_is_lost(tmp_path: Path, case: tuple[str, ...]) -> None:
    faults, *how = case
    promises = live(tmp_path / "data", faults, *how)
    assert ["done", "all"] not in promises
    lost = [tmp_path / "lost", *[tmp_path / "renames_lost", tmp_path / "renames_lost_index_kept"] * ("ahead" in how)]
    for number, copy in enumerate(lost):
        power_cut(tmp_path / "data", copy, index=number == 2)
        if number:
            undo_renames(copy)
    for data in (tmp_path / "data", *lost):
        archive = Archive(data)
        archive.recover()
        kept(archive, promises)
        archive.close()
    if faults in POINTS[::5]:
        kept_after_another_life = live(tmp_path / "data")
        archive = Archive(tmp_path / "data")
        kept(archive, kept_after_another_life)
        assert [row.sop_instance for row in archive.select(View.RECEIVED)] == [f"1.2.3.4.{n}" for n in (1, 2, 3, 4)]
        archive.close()


def power_cut(data: Path, target: Path, *, index: bool = False) -> None:
    """Copy a data directory without the log of the index, which is synced only by a checkpoint."""
    for path in data.rglob("*"):
        copy = target / path.relative_to(data)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
        elif index or not path.name.endswith(("-wal", "-shm")):
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())


def undo_renames(data: Path) -> None:
    """Give the objects in the intake folder the names they were made with: what was renamed was not synced."""
    for path in (data / "intake").glob("*.dcm"):
        path.rename(path.with_name(f".{path.stem.rpartition('-')[2]}.part"))


def test_an_object_is_safe_under_the_name_it_was_received_with(archive: Archive) -> None:
    archive.files.make_ahead()
    known, unknown = store(archive, ct()).name, commit(archive, ct("1.2.3.4.2"))
    undo_renames(archive.files.root)
    assert archive.files.waiting() == []
    report = archive.recover()
    assert (report.indexed, report.swept, report.missing) == (1, 0, [])
    assert sorted(archive.files.waiting()) == sorted((known, unknown))
    assert debris(archive) == []


TORN = {
    "the end is missing": lambda content: content[:-1],
    "the last block was not written": lambda content: content[:-20] + bytes(20),
    "something follows": lambda content: content + b"\0",
    "the mark was not written": lambda content: bytes(128) + content[128:],
    "the mark is that of another": lambda content: b"GATEWAY\0" + bytes(16) + content[24:],
    "only the mark was written": lambda content: content[:128],
    "zeros": lambda content: bytes(len(content)),
    "nothing": lambda content: b"",
}


@pytest.mark.parametrize("case", TORN)
def test_what_a_power_cut_has_torn_is_removed_nobody_was_told_that_it_is_safe(archive: Archive, case: str) -> None:
    archive.files.make_ahead()
    commit(archive, ct(), pixels=bytes(range(32)))
    undo_renames(archive.files.root)
    archive.files.close()
    (path,) = archive.files.intake.iterdir()
    path.write_bytes(TORN[case](path.read_bytes()))
    report = archive.recover()
    assert (report.swept, report.indexed) == (1, 0)
    assert not list(archive.files.intake.iterdir())


def test_files_made_ahead_are_few_and_gone_at_the_end(archive: Archive) -> None:
    archive.files.make_ahead()
    for n in range(100):
        commit(archive, ct(f"1.2.3.4.{n}"))
    assert len(archive.files.waiting()) == 100
    assert 0 <= len(blanks(archive)) <= BLANKS
    archive.files.close()
    assert blanks(archive) == []
    commit(archive, ct("1.2.3.5"))
    assert blanks(archive) == []


def test_files_made_ahead_by_a_process_that_was_killed_are_swept(archive: Archive) -> None:
    code = "import os, sys; from pathlib import Path; from gateway.archive.files import Files; "
    python(code + "files = Files(Path(sys.argv[1])); files.make_ahead(); os._exit(1)", archive.files.root).wait(60)
    assert archive.recover().swept == BLANKS


def blanks(archive: Archive) -> list[Path]:
    return [path for path in archive.files.intake.iterdir() if is_blank(path)]


def test_without_files_made_ahead_the_folder_is_synced(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object is acknowledged after one sync if its name was durable before, and after that of its name if not."""
    synced: list[str] = []
    plain = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        plain(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    name = commit(archive, ct())
    assert synced == [f".{name[33:]}.part", "intake"]
    archive.files.make_ahead()
    synced.clear()
    name = commit(archive, ct("1.2.3.4.2"))
    assert synced == [f".{name[33:]}.part"]


def test_only_files_that_a_durable_index_knows_leave_the_intake_folder(archive: Archive) -> None:
    known = store(archive, ct())
    unknown = commit(archive, ct("1.2.3.4.2"))
    assert archive.checkpoint() == 1
    assert archive.files.waiting() == [unknown]
    assert archive.files.locate(known.name) == archive.files.received_path(known.name)
    assert archive.checkpoint() == 0


def test_a_checkpoint_that_a_reader_holds_back_moves_nothing(archive: Archive) -> None:
    other = Archive(archive.files.root, readonly=True)
    store(archive, ct())
    with other.database._lock:
        other.database._connection.execute("BEGIN")
        other.database.rows("SELECT count(*) FROM instance")
        store(archive, ct("1.2.3.4.2"))
        assert archive.checkpoint() == 0
        assert len(archive.files.waiting()) == 2
        other.database._connection.execute("COMMIT")
    assert archive.checkpoint() == 2
    other.close()


def test_an_acknowledged_file_unknown_to_the_index_is_indexed_with_the_policy_of_its_peer(archive: Archive) -> None:
    commit(archive, ct(), peer="CT1")
    commit(archive, ct("1.9.1", study="1.9"), peer="PACS")
    report = archive.recover(lambda peer: (peer != "CT1", peer == "PACS"))
    assert (report.indexed, report.duplicates) == (2, 0)
    first, second = archive.instance("1.2.3.4.1"), archive.instance("1.9.1")
    assert first is not None
    assert second is not None
    assert (first.peer, first.convert, first.prior) == ("CT1", False, False)
    assert (second.peer, second.convert, second.prior, second.settled) == ("PACS", True, True, True)
    assert [job.study for job in archive.jobs.listing()] == ["1.2.3"]
    assert archive.recover().indexed == 0


def test_a_file_whose_content_is_held_is_dropped_by_the_recovery(archive: Archive) -> None:
    store(archive, ct())
    commit(archive, ct())
    report = archive.recover()
    assert (report.indexed, report.duplicates) == (1, 1)
    assert debris(archive) == []


@pytest.mark.parametrize("content", [b"", b"junk" * 100, bytes(128) + b"DICM" + b"\x08\0\x16\0UI\xff\0"])
def test_an_unreadable_file_in_the_intake_folder_is_set_aside_not_deleted(archive: Archive, content: bytes) -> None:
    part = archive.files.begin()
    part.write(content)
    name = part.commit()
    report = archive.recover()
    assert report.quarantined == [f"{name}.dcm"]
    assert (archive.files.quarantine / f"{name}.dcm").read_bytes() == content
    assert archive.files.waiting() == []


def test_an_indexed_file_that_is_gone_is_reported(archive: Archive) -> None:
    name = store(archive, ct()).name
    archive.files.remove(name)
    assert archive.recover().missing == [name]


RECOVERER = """
import sys
from pathlib import Path
from gateway.archive.index import Archive
archive = Archive(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
report = archive.recover()
print(len(report.quarantined))
"""


def test_processes_that_recover_at_the_same_time_do_not_get_in_each_others_way(archive: Archive) -> None:
    for n in range(40):
        commit(archive, ct(f"1.2.3.4.{n % 30}"))
        part = archive.files.begin()
        part.write(b"junk" * 10)
        part.commit()
    workers = [python(RECOVERER, archive.files.root) for _ in range(3)]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    answers = [worker.communicate(timeout=60) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], answers
    assert sum(int(out) for out, _ in answers) == 40
    assert len(archive.select(View.RECEIVED)) == 30
    assert debris(archive) == []


def test_a_recovery_leaves_alone_what_living_processes_are_receiving(archive: Archive) -> None:
    part = archive.files.begin()
    part.write(b"half")
    assert archive.recover().swept == 0
    part.write(b"whole")
    assert archive.files.locate(part.commit()).exists()


def test_a_record_written_but_not_applied_is_applied_by_the_recovery(archive: Archive) -> None:
    store(archive, ct())
    made = derive(archive, "1.2.3")
    observe.load_faults("settle.before_commit=EIO")
    settled = {row.name: Settlement(View.RECEIVED | View.CLASSIC) for row in archive.unsettled("1.2.3")}
    with pytest.raises(OSError, match="Input/output"):
        archive.record_conversion("1.2.3", [made], settled, {"n": 0})
    assert archive.instance(made.sop_instance) is None
    assert len(archive.unsettled("1.2.3")) == 1
    assert archive.recover().records == 1
    assert archive.instance(made.sop_instance) is not None
    assert archive.unsettled("1.2.3") == []
    assert archive.recover().records == 0


def test_the_same_conversion_recorded_twice_changes_nothing(archive: Archive) -> None:
    store(archive, ct())
    made = derive(archive, "1.2.3")
    settled = {row.name: Settlement(ALL_VIEWS, "why") for row in archive.unsettled("1.2.3")}
    archive.record_conversion("1.2.3", [made], settled, {"n": 0})
    before = [archive.database.rows(f"SELECT * FROM {name}") for name in ("instance", "derived", "uid_map", "series")]
    archive.record_conversion("1.2.3", [made], settled, {"n": 0})
    after = [archive.database.rows(f"SELECT * FROM {name}") for name in ("instance", "derived", "uid_map", "series")]
    assert before == after
    assert len(list(archive.files.records.iterdir())) == 1
    archive.record_conversion("1.2.3", [], {}, {"n": 1})
    assert archive.partitions("1.2.3") == [{"n": 0}, {"n": 1}]


def test_G22_the_map_of_uids_is_rebuilt_from_the_records_alone(archive: Archive) -> None:
    for n in (1, 2, 3):
        store(archive, ct(f"1.2.3.4.{n}", number=n))
    made = derive(archive, "1.2.3")
    archive.record_conversion("1.2.3", [made], {})
    expected = archive.database.rows("SELECT source, digest, derived, frame FROM uid_map")
    assert archive.derived_from("1.2.3.4.2") == [(made.sop_instance, 2)]
    assert archive.sources_of(made.sop_instance) == [f"1.2.3.4.{n}" for n in (1, 2, 3)]
    archive.close()
    for path in archive.files.root.glob("index.sqlite3*"):
        path.unlink()
    rebuilt = Archive(archive.files.root)
    rebuilt.recover()
    assert rebuilt.database.rows("SELECT source, digest, derived, frame FROM uid_map") == expected
    rebuilt.close()


def test_a_record_says_in_plain_json_what_became_of_what(archive: Archive) -> None:
    name = store(archive, ct()).name
    made = derive(archive, "1.2.3")
    archive.record_conversion("1.2.3", [made], {name: Settlement(View.RECEIVED, "why")}, {"edition": 1})
    (path,) = archive.files.records.iterdir()
    record = json.loads(path.read_bytes())
    assert record["study"] == "1.2.3"
    assert record["settled"] == [{"names": [name], "reason": "why", "views": 1}]
    assert record["objects"][0]["frames"] == [[name, "1.2.3.4.1"]]
    assert record["record"] == {"edition": 1}
