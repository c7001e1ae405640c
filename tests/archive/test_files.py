"""Durable files: what was committed is whole and stays, what was not leaves no trace."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from archive_tools import commit, ct
from blake3 import blake3

from gateway import observe
from gateway.archive.durable import write_durable
from gateway.archive.files import Files, ReceivedSource
from gateway.archive.index import Archive
from gateway.errors import ArchiveError, ResourceError


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path)
    made.prepare()
    return made


def everything(files: Files) -> list[Path]:
    return [path for path in files.root.rglob("*") if path.is_file()]


def test_a_committed_file_holds_meta_and_data_set_and_is_named_by_the_digest_of_the_latter(files: Files) -> None:
    part = files.begin(b"META")
    part.write(b"data ")
    part.write(memoryview(b"set"))
    assert part.length == 8
    name = part.commit()
    assert name.startswith(blake3(b"data set").hexdigest(length=16) + "-")
    assert part.path == files.locate(name) == files.intake_path(name)
    assert part.path.read_bytes() == b"METAdata set"
    assert part.path.stat().st_mode & 0o777 == 0o600
    assert everything(files) == [part.path]


def test_equal_objects_get_names_of_their_own(files: Files) -> None:
    first, second = files.begin(), files.begin()
    first.write(b"same")
    second.write(b"same")
    assert first.commit() != second.commit()
    assert len(files.waiting()) == 2


@pytest.mark.parametrize("point", ["write", "before_sync", "before_rename", "after_rename"])
def test_S4_a_write_error_is_a_resource_error_and_leaves_nothing(files: Files, point: str) -> None:
    observe.load_faults(f"intake.{point}=ENOSPC")
    part = files.begin(b"META")
    with pytest.raises(ResourceError, match="No space left"):  # noqa: PT012 - either of the two may fail
        part.write(b"data")
        part.commit()
    assert everything(files) == []
    part.discard()


def test_a_discarded_file_is_gone_and_a_committed_one_cannot_be_discarded(files: Files) -> None:
    part = files.begin()
    part.write(b"x")
    part.discard()
    assert everything(files) == []
    kept = files.begin()
    kept.write(b"x")
    kept.commit()
    kept.discard()
    assert everything(files) == [kept.path]


def test_a_sweep_removes_what_dead_processes_left_and_nothing_else(files: Files) -> None:
    living = files.begin()
    dead = [files.intake / ".0123.part", files.records / ".0123.tmp", files.derived / "ab" / ".0123.tmp"]
    for path in dead:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    assert files.sweep() == 3
    assert everything(files) == [living.path]
    living.write(b"whole")
    assert files.locate(living.commit()).read_bytes() == b"whole"


def test_a_file_moving_to_its_final_place_is_found_at_every_moment(archive: Archive) -> None:
    names = [commit(archive, ct(f"1.2.{n}")) for n in range(150)]
    sizes = {name: archive.files.intake_path(name).stat().st_size for name in names}
    mover = threading.Thread(target=lambda: [archive.files.settle([name]) for name in names])
    mover.start()
    looked = 0
    while mover.is_alive() or looked < len(names):
        name = names[looked % len(names)]
        assert archive.files.locate(name).name == f"{name}.dcm"
        source = ReceivedSource(archive.files, name, 4, sizes[name] - 4)
        assert sum(len(chunk) for chunk in source.chunks()) == sizes[name] - 4
        looked += 1
    mover.join()
    assert all(archive.files.locate(name) == archive.files.received_path(name) for name in names)
    assert archive.files.waiting() == []


def test_a_file_that_is_nowhere_is_an_error_that_names_it(files: Files) -> None:
    name = "0" * 32 + "-" + "1" * 16
    with pytest.raises(ArchiveError, match=name):
        files.locate(name)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "1.2.3", "0" * 32 + "-" + "1" * 16 + "/.."])
def test_no_name_leads_out_of_the_data_directory(files: Files, name: str) -> None:
    for path in (files.locate, files.intake_path, files.received_path):
        with pytest.raises(ArchiveError, match="malformed"):
            path(name)
    if "/" in name or not name:
        for path in (files.recipe_path, files.record_path):
            with pytest.raises(ArchiveError, match="malformed"):
                path(name)


def test_a_durable_record_is_whole_or_as_it_was_before(files: Files) -> None:
    path = files.record_path("one")
    write_durable(path, b"old")
    observe.load_faults("record.before_rename=ENOSPC")
    with pytest.raises(ResourceError, match=r"one\.json"):
        write_durable(path, b"new")
    assert path.read_bytes() == b"old"
    assert everything(files) == [path]
    write_durable(path, b"new")
    assert path.read_bytes() == b"new"


def test_bytes_are_synced_before_the_rename_and_the_folder_after_it(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []

    def watch(name: str) -> None:
        real = getattr(os, name)

        def watched(first: int | Path, *rest: Path) -> None:
            place = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else str(rest[0])
            done.append((name, place))
            real(first, *rest)

        monkeypatch.setattr(os, name, watched)

    part = files.begin(b"META")
    part.write(b"data")
    for name in ("fsync", "rename", "replace"):
        watch(name)
    temporary = str(part.path)
    name = part.commit()
    assert done == [
        ("fsync", temporary),
        ("rename", str(files.intake_path(name))),
        ("fsync", str(files.intake)),
    ]
    done.clear()
    path = files.record_path("one")
    write_durable(path, b"record")
    assert done[0][1].endswith(".tmp")
    assert done[1:] == [("replace", str(path)), ("fsync", str(files.records))]
    done.clear()
    files.settle([name])
    target = files.received_path(name)
    order = [("fsync", str(files.received)), ("rename", str(target)), ("fsync", str(target.parent))]
    assert done == [*order, ("fsync", str(files.intake))]
