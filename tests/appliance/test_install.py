"""The installer: what it refuses, what it leaves alone, and that a cut at any moment leaves a box that works."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from image import install
from image.install import Bundle, Index, Installation, Machine, Refused, plan, run

HERE = f"{platform.machine()}-{sys.version_info.major}.{sys.version_info.minor}"
OLD_INDEX = b"the index of the old release"
NEW_INDEX = b"the index, migrated"
RIGHT = {("clock", ""): ("ok", ""), ("echo", "PACS"): ("failed", "connection refused")}


class Rack(Machine):
    """A machine without systemd: releases are folders, what the service would do is written down.

    Attributes
    ----------
    broken : str
        Why a release does not start.
    findings : list
        What the doctor says next; the last one stays.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(live=True, patience=0.0)
        self.root = root
        self.broken = ""
        self.findings = [RIGHT]
        self.up = False
        self.log: list[str] = []

    def running(self) -> bool:
        return self.up

    def stop(self) -> None:
        self.up = False
        self.log.append("stop")

    def start(self) -> str:
        release = os.readlink(self.root / "opt/gateway/current").removeprefix("releases/")
        self.log.append(f"start {release}")
        self.up = not (self.broken and release == self.broken)
        if release != "1":
            # What has been received under the new release, in its index.
            with open(self.root / "var/lib/gateway/index.sqlite3", "ab") as file:
                file.write(b" and more")
        return "" if self.up else "it did not become ready"

    def restarts(self) -> int:
        return 0

    def reload(self) -> None:
        self.log.append("reload")

    def build(self, release: Path, bundle: Path) -> None:
        release.mkdir()
        (release / "half").touch()

    def migrate(self, release: Path, data_dir: Path) -> None:
        if release.name == "unmigratable":
            raise Refused("the index cannot be migrated: no")
        (data_dir / "index.next.sqlite3").write_bytes(NEW_INDEX)

    def doctor(self, release: Path) -> dict[tuple[str, str], tuple[str, str]]:
        return self.findings.pop(0) if len(self.findings) > 1 else self.findings[0]


@pytest.fixture(autouse=True)
def _no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a test cuts the power it counts what is synced; waiting for the disk shows nothing more."""
    monkeypatch.setattr(os, "sync", lambda: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def bundle(folder: Path, version: str) -> Bundle:
    """Unpack a release that consists of its units."""
    folder = folder / f"gateway-{version}"
    for name in install.LINKS:
        (folder / "systemd").mkdir(parents=True, exist_ok=True)
        (folder / "systemd" / name).write_text(f"# {name} of {version}\n")
    (folder / "wheels").mkdir()
    (folder / "install.py").write_text(Path(install.__file__).read_text())
    (folder / "release.json").write_text(json.dumps({"version": version, "targets": [HERE]}))
    sums = [(path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in folder.rglob("*") if path.is_file()]
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {path.relative_to(folder)}\n" for path, digest in sums))
    return Bundle(folder)


@pytest.fixture
def box(tmp_path: Path) -> Installation:
    """A box that runs release 1."""
    root = tmp_path / "root"
    data = root / "var/lib/gateway"
    data.mkdir(parents=True)
    (root / "etc/gateway").mkdir(parents=True)
    (root / "etc/gateway/gateway.toml").write_text("[gateway]\n")
    made = Installation(root, Rack(root))
    run(made, bundle(tmp_path, "1"))
    (data / "index.sqlite3").write_bytes(OLD_INDEX)
    return made


def index_of(box: Installation) -> bytes:
    return (box.root / "var/lib/gateway/index.sqlite3").read_bytes()


def leftovers(box: Installation) -> list[str]:
    data = [path.name for path in (box.root / "var/lib/gateway").iterdir() if path.name != "index.sqlite3"]
    return sorted(data) + [path.name for path in box.home.iterdir() if path.name.endswith((".new", ".json"))]


def test_the_first_installation_leads_everything_through_one_link(box: Installation) -> None:
    assert box.version() == "1"
    assert os.readlink(box.root / "etc/systemd/system/gateway.service") == (
        "/opt/gateway/current/systemd/gateway.service"
    )
    wants = box.root / "etc/systemd/system/multi-user.target.wants"
    assert sorted(path.name for path in wants.iterdir()) == ["gateway-recover.service", "gateway.service"]
    assert (box.root / "etc/sysusers.d/gateway.conf").is_symlink()
    assert (box.root / "etc/tmpfiles.d/gateway.conf").is_symlink()
    assert box.machine.running()


def test_an_upgrade_exchanges_release_and_index_and_leaves_nothing_behind(box: Installation, tmp_path: Path) -> None:
    run(box, bundle(tmp_path, "2"))
    assert box.version() == "2"
    assert index_of(box) == NEW_INDEX + b" and more"
    assert leftovers(box) == []
    assert box.machine.log[-3:] == ["stop", "reload", "start 2"]
    assert sorted(path.name for path in box.releases.iterdir()) == ["1", "2"]


def test_only_the_release_in_use_and_the_one_before_are_kept(box: Installation, tmp_path: Path) -> None:
    for version in ("2", "3", "4"):
        run(box, bundle(tmp_path, version))
    assert sorted(path.name for path in box.releases.iterdir()) == ["3", "4"]


def test_what_is_in_use_is_left_alone(box: Installation, tmp_path: Path) -> None:
    log = list(box.machine.log)
    again = Bundle(tmp_path / "gateway-1")
    assert plan(box, again) == ""
    run(box, again)
    assert box.machine.log == log


def test_links_that_are_lost_come_back_with_the_same_release(
    box: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    units = box.root / "etc/systemd/system"
    # What `systemctl disable gateway` removes.
    lost = (units / "gateway.service", units / "multi-user.target.wants/gateway.service")
    for path in lost:
        path.unlink()
    again = Bundle(tmp_path / "gateway-1")
    assert plan(box, again) == "restore what leads to 1"
    run(box, again)
    assert all(path.is_symlink() for path in lost)
    assert box.machine.log[-1] == "reload"
    assert plan(box, again) == ""
    assert "restored what leads to 1" in capsys.readouterr().out


def test_check_says_what_would_be_done_and_does_nothing(
    box: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(box, bundle(tmp_path, "2"), check=True)
    assert capsys.readouterr().out.endswith("would upgrade from 1 to 2\n")
    assert (box.version(), [path.name for path in box.releases.iterdir()]) == ("1", ["1"])


@pytest.mark.parametrize(
    ("version", "broken", "after", "reason"),
    [
        ("2", "2", RIGHT, "did not become ready"),
        ("2", "", RIGHT | {("clock", ""): ("failed", "a day behind")}, "clock: a day behind"),
        ("2", "", {}, "no answer"),
        ("unmigratable", "", RIGHT, "cannot be migrated"),
    ],
    ids=["does not start", "a check fails", "no doctor", "migration fails"],
)
def test_what_does_not_work_is_put_back(
    box: Installation, tmp_path: Path, version: str, broken: str, after: dict, reason: str
) -> None:
    box.machine.broken, box.machine.findings = broken, [RIGHT, after]
    with pytest.raises(Refused, match=rf"1 is in use again; .*{reason}"):
        run(box, bundle(tmp_path, version))
    assert box.version() == "1"
    assert index_of(box) == OLD_INDEX
    # What the new release may have received is looked for, if it had the index at all.
    assert leftovers(box) == ([] if version == "unmigratable" else ["index.restored"])
    assert box.machine.log[-1] == "start 1"
    assert [path.name for path in box.releases.iterdir()] == ["1"]


def test_what_failed_before_and_checks_that_are_new_do_not_count(box: Installation, tmp_path: Path) -> None:
    box.machine.findings = [RIGHT, RIGHT | {("brightness", ""): ("failed", "too dark")}]
    run(box, bundle(tmp_path, "2"))
    assert box.version() == "2"


def test_without_an_index_before_there_is_none_after_going_back(box: Installation, tmp_path: Path) -> None:
    (box.root / "var/lib/gateway/index.sqlite3").unlink()
    box.machine.broken = "2"
    with pytest.raises(Refused):
        run(box, bundle(tmp_path, "2"))
    assert leftovers(box) == ["index.restored"]
    assert not (box.root / "var/lib/gateway/index.sqlite3").exists()


def test_a_box_that_does_not_run_is_upgraded_and_not_started(box: Installation, tmp_path: Path) -> None:
    box.machine.stop()
    box.machine.log.clear()
    run(box, bundle(tmp_path, "2"))
    assert box.version() == "2"
    assert not [line for line in box.machine.log if line.startswith("start")]


# Power cuts

CALLS = ("replace", "rename", "unlink", "link", "symlink", "fsync", "sync", "mkdir")


def cut_after(calls: int, work: Callable[[], Any]) -> bool:
    """Do something in a process that is gone after so many changes of the disk; True if it came to its end."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    left = calls

    def counted(call: Callable) -> Callable:
        def wrapper(*args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os._exit(9)
            return call(*args, **options)

        return wrapper

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    try:
        work()
    except Refused:
        pass
    finally:
        os._exit(0)


def whole(box: Installation) -> None:
    """Assert that release and index belong together and are there, as at the start of the service."""
    assert box.complete(box.version())
    assert not box.journal.exists()
    old = box.version() == "1"
    assert index_of(box) in ((OLD_INDEX,) if old else (NEW_INDEX, NEW_INDEX + b" and more"))
    assert (box.root / "etc/systemd/system/gateway.service").is_symlink()


@pytest.mark.parametrize("broken", ["", "2"], ids=["good", "broken"])
def test_a_power_cut_at_any_moment_of_an_upgrade_leaves_a_working_box(tmp_path: Path, broken: str) -> None:
    new = bundle(tmp_path, "2")
    first = bundle(tmp_path, "1")
    outcomes = set()
    for calls in range(200):
        root = tmp_path / f"root{calls}"
        (root / "var/lib/gateway").mkdir(parents=True)
        box = Installation(root, Rack(root))
        run(box, first)
        (root / "var/lib/gateway/index.sqlite3").write_bytes(OLD_INDEX)
        box.machine.broken = broken
        box.machine.up = True
        came_through = cut_after(calls, lambda box=box: run(box, new))
        # The power is back: what the unit at boot does, itself cut in two at one point or another.
        box.machine.up = False
        cut_after(calls % 7, lambda box=box: run(box, None))
        run(box, None)
        whole(box)
        outcomes.add(box.version())
        # Whatever has been left, the next upgrade works.
        box.machine.broken = ""
        run(box, new)
        assert (box.version(), index_of(box)[: len(NEW_INDEX)]) == ("2", NEW_INDEX)
        assert set(leftovers(box)) <= {"index.restored"}
        if came_through:
            break
    else:
        pytest.fail("the upgrade never came to its end")
    assert outcomes == ({"1"} if broken else {"1", "2"})


# What is refused


def test_a_damaged_release_is_refused(tmp_path: Path) -> None:
    made = bundle(tmp_path, "2")
    (made.folder / "systemd/gateway.service").write_text("# changed\n")
    with pytest.raises(Refused, match=r"systemd/gateway\.service: is damaged; found \w+, expected \w+"):
        made.check()


def test_a_release_that_lacks_a_file_or_has_one_more_is_refused(tmp_path: Path) -> None:
    made = bundle(tmp_path, "2")
    (made.folder / "wheels/more.whl").touch()
    with pytest.raises(Refused, match=r"wheels/more\.whl: does not belong to the release"):
        made.check()
    (made.folder / "wheels/more.whl").unlink()
    (made.folder / "systemd/gateway.service").unlink()
    with pytest.raises(Refused, match=r"systemd/gateway\.service: is missing"):
        made.check()


def test_a_release_for_another_machine_is_refused(tmp_path: Path) -> None:
    made = bundle(tmp_path, "2")
    made.targets = ["s390x-3.13"]
    with pytest.raises(Refused, match=rf"no wheels for {HERE}; it is for s390x-3.13"):
        made.check()


def test_a_folder_that_is_no_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is no release of the gateway"):
        Bundle(tmp_path)


def test_two_at_the_same_time_are_one_too_many(box: Installation, tmp_path: Path) -> None:
    with box.alone(), pytest.raises(Refused, match="another upgrade is under way"):
        run(box, bundle(tmp_path, "2"))


def test_too_little_room_is_refused_before_anything_changes(
    box: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "MARGIN", 1 << 60)
    with pytest.raises(Refused, match=r"MB free, \d+ are needed"):
        run(box, bundle(tmp_path, "2"))
    assert (box.version(), leftovers(box)) == ("1", [])


def test_an_index_with_a_log_is_not_exchanged(tmp_path: Path) -> None:
    for name in ("index.sqlite3", "index.sqlite3-wal", "index.next.sqlite3"):
        (tmp_path / name).write_bytes(b"something")
    with pytest.raises(Refused, match="somebody has the index open"):
        Index(tmp_path).exchange()


def test_the_names_of_the_index_are_those_of_the_gateway() -> None:
    from gateway.archive import succession

    index = Index(Path())
    assert (index.file.name, index.next.name, index.restored.name) == (
        succession.INDEX,
        succession.NEXT,
        succession.RESTORED,
    )
