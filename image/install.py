#!/usr/bin/python3 -I
"""Install this release of the gateway, or upgrade to it. Run as root on Debian 12 or 13.

    python3 install.py              install or upgrade; what is installed already is left alone, lost links come back
    python3 install.py --check      say what that would do, and do nothing
    python3 install.py --recover    undo an upgrade that was interrupted (done at boot by gateway-recover.service)

Where things are:

    /opt/gateway/releases/VERSION   a virtual environment, the units and the marker `complete`
    /opt/gateway/current            link to the release in use; units and /usr/local/bin/gateway lead through it
    /opt/gateway/switch.json        there while an upgrade is under way: whoever finds it puts the old release back

An upgrade is made in steps, and a power cut between any two of them leaves a box that works:

 1. the new release is installed beside the old one, which goes on working;
 2. `gateway doctor` says how things stand; switch.json is written; the gateway is stopped;
 3. the new release makes a migrated copy of the index; the index is kept, the copy takes its place;
 4. `current` leads to the new release; the gateway is started and has to become ready;
 5. `gateway doctor` must find nothing failed that was right before; then switch.json and the old index go.

If anything of this fails, the old release and the old index are put back and the old release takes in what the new one
has received meanwhile: acknowledged files are in the data directory, and the index is told to look for them.

Exit status: 0 done or nothing to do, 1 refused or put back, with the reason on stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SERVICE = "gateway.service"
PYTHON = "/usr/bin/python3"  # Debian's, whoever runs this
USER = "gateway"
KEPT = 2  # releases: the one in use and the one before it
MARGIN = 200 << 20  # bytes left free beside what an upgrade writes

# What a release brings for the system, and where it leads to it.
LINKS = {
    "gateway.service": "etc/systemd/system",
    "gateway-recover.service": "etc/systemd/system",
    "gateway.sysusers.conf": "etc/sysusers.d",
    "gateway.tmpfiles.conf": "etc/tmpfiles.d",
}
ENABLED = ("gateway.service", "gateway-recover.service")


class Refused(Exception):
    """It cannot be done, and nothing has changed."""


def say(text: str) -> None:
    """Tell what is being done; nobody may be listening any more."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


# What has to survive a power cut


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    with open(fresh, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
    sync_folder(path.parent)


def link(path: Path, target: str) -> None:
    """Make a link lead somewhere, at once."""
    if path.is_symlink() and os.readlink(path) == target:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    os.symlink(target, fresh)
    os.replace(fresh, path)
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file durably; harmless when there is none."""
    if path.exists() or path.is_symlink():
        path.unlink()
        sync_folder(path.parent)


# The bundle that this file came in


class Bundle:
    """A release as it was unpacked.

    Parameters
    ----------
    folder : Path
        Where this file stands.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            about = json.loads((folder / "release.json").read_text(encoding="utf-8"))
            self.version: str = about["version"]
            self.targets: list[str] = about["targets"]
        except (OSError, ValueError, KeyError) as error:
            raise Refused(f"{folder}: is no release of the gateway: {error}; unpack the whole archive") from error

    def check(self) -> None:
        """Compare every file with its checksum, and the machine with what the release is for."""
        machine = f"{platform.machine()}-{sys.version_info.major}.{sys.version_info.minor}"
        if machine not in self.targets:
            raise Refused(f"{self.version} has no wheels for {machine}; it is for {', '.join(self.targets)}")
        expected = {}
        for line in (self.folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
            digest, _, name = line.partition("  ")
            expected[name] = digest
        found = {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}
        if missing := sorted(set(expected) - found):
            raise Refused(f"{missing[0]}: is missing from the release; unpack the whole archive again")
        if more := sorted(name for name in found - set(expected) - {"SHA256SUMS"} if "__pycache__" not in name):
            raise Refused(f"{more[0]}: does not belong to the release; unpack the archive into an empty folder")
        for name, digest in expected.items():
            with open(self.folder / name, "rb") as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
            if actual != digest:
                raise Refused(f"{name}: is damaged; found {actual}, expected {digest}; fetch the release again")


# The machine


class Machine:
    """What is asked of systemd and of installed releases; `live` is False where no systemd runs, as in an image.

    Parameters
    ----------
    live : bool
        Whether services can be started and stopped.
    patience : float
        Seconds that the gateway has to become ready.
    """

    def __init__(self, live: bool, patience: float) -> None:
        self.live = live
        self.patience = patience

    def systemctl(self, *arguments: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        """Ask systemd for something."""
        return subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False, timeout=timeout)

    def running(self) -> bool:
        """Return whether the gateway runs, or tries to."""
        if not self.live:
            return False
        state = self.systemctl("show", "--property=ActiveState", "--value", SERVICE).stdout.strip()
        return state in ("active", "activating", "reloading")

    def stop(self) -> None:
        """Stop the gateway in order, and also one that keeps failing."""
        if self.live:
            self.systemctl("stop", SERVICE)

    def start(self) -> str:
        """Start the gateway and wait until it is ready; return why it is not, or nothing."""
        self.systemctl("reset-failed", SERVICE)
        try:
            done = self.systemctl("start", SERVICE, timeout=self.patience)
        except subprocess.TimeoutExpired:
            return f"it was not ready after {self.patience:.0f} s"
        if done.returncode:
            return f"it did not become ready: {done.stderr.strip()}"
        return "" if self.running() else "it was not started: a condition of its unit is not met"

    def reload(self) -> None:
        """Have systemd read the units, make the user and the folders."""
        subprocess.run(["systemd-sysusers", "gateway.conf"], check=True)
        subprocess.run(["systemd-tmpfiles", "--create", "gateway.conf"], check=True)
        if self.live:
            self.systemctl("daemon-reload")

    def build(self, release: Path, bundle: Path) -> None:
        """Make the virtual environment of a release from the wheels of a bundle."""
        # Debian's python3-systemd has to be seen: it cannot be had as a wheel. The pip of the bundle installs itself.
        subprocess.run([PYTHON, "-I", "-m", "venv", "--without-pip", "--system-site-packages", release], check=True)
        (pip,) = (bundle / "wheels").glob("pip-*.whl")
        command = [
            release / "bin" / "python",
            "-I",
            pip / "pip",
            "--isolated",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
        ]
        command += [f"--find-links={bundle / 'wheels'}", "--require-hashes", "--ignore-installed", "--no-cache-dir"]
        subprocess.run([*command, f"--requirement={bundle / 'requirements.txt'}"], check=True)

    def migrate(self, release: Path, data_dir: Path) -> None:
        """Have a release make a migrated copy of the index, as the user who owns it."""
        command = [release / "bin" / "python", "-m", "gateway.archive.succession", data_dir]
        done = self.as_gateway(command)
        if done.returncode:
            raise Refused(f"the index cannot be migrated: {done.stderr.strip()[-1000:]}")

    def doctor(self, release: Path) -> dict[tuple[str, str], tuple[str, str]]:
        """Return result and reason of each check of `gateway doctor`, by code and subject; nothing if it fails."""
        done = self.as_gateway([release / "bin" / "gateway", "doctor", "--json"])
        try:
            checks = json.loads(done.stdout)["checks"]
        except (ValueError, KeyError):
            return {}
        return {(one["code"], one["subject"]): (one["result"], one["reason"]) for one in checks}

    def restarts(self) -> int:
        """Return how often systemd has had to start the gateway again since `start`."""
        return int(self.systemctl("show", "--property=NRestarts", "--value", SERVICE).stdout.strip() or 0)

    def as_gateway(self, command: list[Any]) -> subprocess.CompletedProcess[str]:
        """Run something as the user of the service: what it writes must be that user's."""
        who = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
        return subprocess.run(command, capture_output=True, text=True, check=False, umask=0o077, cwd="/", **who)


# What is installed


class Installation:
    """The releases on a machine and the one in use.

    Parameters
    ----------
    root : Path
        ``/``, or another folder in tests.
    machine : Machine
        Does what is not a matter of files.
    """

    def __init__(self, root: Path, machine: Machine) -> None:
        self.root = root
        self.machine = machine
        self.home = root / "opt" / "gateway"
        self.releases = self.home / "releases"
        self.current = self.home / "current"
        self.journal = self.home / "switch.json"
        self.config = root / "etc" / "gateway" / "gateway.toml"

    def version(self) -> str:
        """Return the version in use, empty if there is none."""
        return Path(os.readlink(self.current)).name if self.current.is_symlink() else ""

    def complete(self, version: str) -> bool:
        """Return whether a release is there as a whole."""
        return (self.releases / version / "complete").exists()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep a second run out."""
        self.releases.mkdir(parents=True, exist_ok=True)
        with open(self.home / ".lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused("another upgrade is under way; wait for it") from None
            yield

    def data_dir(self) -> Path:
        """Return the data directory that the configuration names."""
        try:
            found = tomllib.loads(self.config.read_text(encoding="utf-8"))["gateway"]["data_dir"]
        except (OSError, ValueError, KeyError):
            found = "/var/lib/gateway"
        return self.root / str(found).lstrip("/")

    def index(self) -> Index:
        """Return the index of the data directory."""
        return Index(self.data_dir())

    # Making and removing releases

    def add(self, bundle: Bundle) -> Path:
        """Install a release beside the others; it is marked complete when it is on the disk."""
        release = self.releases / bundle.version
        self.make_room(bundle)
        try:
            self.machine.build(release, bundle.folder)
            shutil.copytree(bundle.folder / "systemd", release / "systemd")
        except (OSError, subprocess.CalledProcessError) as error:
            self.discard(bundle.version)
            raise Refused(f"{bundle.version} cannot be installed: {error}") from error
        os.sync()
        write(release / "complete", f"{bundle.version}\n")
        return release

    def make_room(self, bundle: Bundle) -> None:
        """Refuse what the disks have no room for: wheels unpack to four times their size, the index is copied."""
        wheels = sum(path.stat().st_size for path in (bundle.folder / "wheels").iterdir())
        index = self.index()
        size = index.file.stat().st_size if index.file.exists() else 0
        for folder, needed in ((self.releases, 4 * wheels), (index.file.parent, 2 * size)):
            free = shutil.disk_usage(folder).free if folder.exists() else needed + MARGIN
            if free < needed + MARGIN:
                raise Refused(f"{folder}: has {free >> 20} MB free, {(needed + MARGIN) >> 20} are needed")

    def links(self) -> dict[Path, str]:
        """Return what leads to the release in use, `current` apart, and where to."""
        found = {}
        for name, folder in LINKS.items():
            short = name.replace(".sysusers.", ".").replace(".tmpfiles.", ".")
            found[self.root / folder / short] = f"/opt/gateway/current/systemd/{name}"
        for name in ENABLED:
            found[self.root / "etc/systemd/system/multi-user.target.wants" / name] = f"/etc/systemd/system/{name}"
        found[self.root / "usr/local/bin/gateway"] = "/opt/gateway/current/bin/gateway"
        return found

    def whole(self) -> bool:
        """Return whether every link is there; `systemctl disable` removes that of the unit, too."""
        return all(path.is_symlink() and os.readlink(path) == target for path, target in self.links().items())

    def lead(self, version: str) -> None:
        """Make everything lead to a release."""
        link(self.current, f"releases/{version}")
        for path, target in self.links().items():
            link(path, target)
        self.machine.reload()

    def tidy(self, previous: str = "") -> None:
        """Remove what interrupted runs have left, and all but the last releases."""
        current = self.version()
        names = [path.name for path in self.releases.iterdir() if path.name not in (current, previous)]
        spare = sorted(filter(self.complete, names), key=lambda name: (self.releases / name).stat().st_mtime)
        kept = spare[len(spare) - (KEPT - 1) :] if current and not previous else []
        for name in names:
            if name not in kept:
                self.discard(name)
        self.index().clear()

    def discard(self, version: str) -> None:
        """Remove a release."""
        remove(self.releases / version / "complete")
        shutil.rmtree(self.releases / version, ignore_errors=True)

    # Switching

    def install(self, bundle: Bundle) -> None:
        """Install on a machine that has no release."""
        self.add(bundle)
        shutil.copy(bundle.folder / "install.py", self.home / "install.py")
        self.lead(bundle.version)
        if self.machine.live and self.config.exists() and (problem := self.machine.start()):
            raise Refused(f"{bundle.version} is installed, but {problem}; see journalctl -u {SERVICE}")
        say(f"installed {bundle.version}")

    def upgrade(self, bundle: Bundle) -> None:
        """Upgrade to a release, or put everything back."""
        old = self.version()
        if not self.complete(bundle.version):
            self.add(bundle)
        running = self.machine.running()
        before = self.machine.doctor(self.current) if running else {}
        self.begin(old, bundle, running)
        try:
            self.switch(bundle.version, running, before)
        except BaseException as error:  # also when it is told to end: the gateway stands still
            say(f"{bundle.version} does not work here: {error}")
            self.put_back()
            self.discard(bundle.version)
            raise Refused(f"{old} is in use again; {bundle.version} was not taken: {error}") from error
        remove(self.journal)  # from here on a power cut means: the new release is the one
        self.tidy(old)
        say(f"upgraded from {old} to {bundle.version}")

    def begin(self, old: str, bundle: Bundle, running: bool) -> None:
        """Write down what to go back to; from here on a power cut means: put the old release back."""
        shutil.copy(bundle.folder / "install.py", self.home / ".install.py.new")
        os.replace(self.home / ".install.py.new", self.home / "install.py")
        index = self.index()
        note = {"from": old, "to": bundle.version, "running": running}
        note |= {"data_dir": str(index.folder), "index": index.file.exists()}
        write(self.journal, json.dumps(note, indent=1) + "\n")

    def switch(self, version: str, running: bool, before: dict[tuple[str, str], tuple[str, str]]) -> None:
        """Change index and release, and look whether the new one works."""
        self.machine.stop()
        index = self.index()
        if index.file.exists():
            self.machine.migrate(self.releases / version, index.folder)
            index.exchange()
        self.lead(version)
        if not running:
            return
        if problem := self.machine.start():
            raise Refused(problem)
        self.compare(before)

    def compare(self, before: dict[tuple[str, str], tuple[str, str]]) -> None:
        """Refuse a release of which the doctor says that something is failed which was not before.

        A check that the old release did not have says nothing about the upgrade; a peer gets a minute to answer again.
        """
        deadline = time.monotonic() + min(60.0, self.machine.patience)
        while problem := self.worse(before):
            if time.monotonic() >= deadline:
                raise Refused(problem)
            time.sleep(2)
        if times := self.machine.restarts():
            raise Refused(f"it had to be restarted {times} times")

    def worse(self, before: dict[tuple[str, str], tuple[str, str]]) -> str:
        """Return what is failed now and was not before; empty if nothing is."""
        now = self.machine.doctor(self.current)
        if not now:
            return "gateway doctor gives no answer"
        codes = {code for code, _ in before}
        bad = {key: reason for key, (result, reason) in now.items() if result == "failed" and key[0] in codes}
        fresh = {key: reason for key, reason in bad.items() if before.get(key, ("", ""))[0] != "failed"}
        return "; ".join(f"{' '.join(key).strip()}: {reason}" for key, reason in fresh.items())

    def put_back(self, *, at_boot: bool = False) -> None:
        """Put back what the journal says; what is interrupted is done again from the beginning."""
        note = json.loads(self.journal.read_text(encoding="utf-8"))
        if not at_boot:
            self.machine.stop()
        index = Index(Path(note["data_dir"]))
        index.restore(note["index"])
        self.lead(note["from"])
        remove(self.journal)
        index.clear()
        # At boot systemd starts it next.
        if note["running"] and not at_boot and (problem := self.machine.start()):
            say(f"{note['from']} was put back, but {problem}; see journalctl -u {SERVICE}")

    def recover(self, *, at_boot: bool) -> bool:
        """Undo an interrupted upgrade; False if there was none."""
        if not self.journal.exists():
            return False
        note = json.loads(self.journal.read_text(encoding="utf-8"))
        say(f"the upgrade from {note['from']} to {note['to']} was interrupted; {note['from']} is put back")
        self.put_back(at_boot=at_boot)
        return True


class Index:
    """The files of the index; the names are those of gateway.archive.succession.

    Parameters
    ----------
    folder : Path
        The data directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "index.sqlite3"
        self.next = folder / "index.next.sqlite3"
        self.previous = folder / "index.previous.sqlite3"
        self.restored = folder / "index.restored"

    def exchange(self) -> None:
        """Let the migrated copy take the place of the index, which is kept."""
        log = self.file.with_name(f"{self.file.name}-wal")
        if log.exists() and log.stat().st_size:
            raise Refused(f"{log}: somebody has the index open; stop what looks at it")
        self.drop_log()
        os.link(self.file, self.previous)
        os.replace(self.next, self.file)
        sync_folder(self.folder)

    def restore(self, existed: bool) -> None:
        """Put the kept index back and have the gateway look for what it does not know."""
        if existed and not self.previous.exists():
            return  # not exchanged yet, or put back already
        if not existed and not self.file.exists():
            return
        self.restored.touch()
        sync_folder(self.folder)
        self.drop_log()
        if existed:
            os.replace(self.previous, self.file)
        else:
            self.file.unlink()
        sync_folder(self.folder)

    def clear(self) -> None:
        """Remove copies that nobody needs any more."""
        for path in (self.next, self.previous):
            for suffix in ("", "-wal", "-shm"):
                remove(path.with_name(path.name + suffix))

    def drop_log(self) -> None:
        """Remove what belongs to the index that is going to be replaced."""
        for suffix in ("-wal", "-shm"):
            remove(self.file.with_name(self.file.name + suffix))


def plan(installation: Installation, bundle: Bundle) -> str:
    """Say in one line what is to be done; empty if nothing is."""
    old = installation.version()
    if not old:
        return f"install {bundle.version}"
    if old != bundle.version:
        return f"upgrade from {old} to {bundle.version}"
    return "" if installation.whole() else f"restore what leads to {old}"


def run(installation: Installation, bundle: Bundle | None, *, check: bool = False) -> None:
    """Do what the command line asks for; without a bundle, only undo what was interrupted."""
    if bundle is None:
        with installation.alone():
            if not installation.recover(at_boot=not installation.machine.running()):
                say("no upgrade was interrupted")
        return
    bundle.check()
    if check:
        say(f"would {todo}" if (todo := plan(installation, bundle)) else f"{bundle.version} is in use")
        return
    with installation.alone():
        installation.recover(at_boot=False)
        installation.tidy()
        if not plan(installation, bundle):
            say(f"{bundle.version} is in use")
        elif installation.version() == bundle.version:
            installation.lead(bundle.version)
            say(f"restored what leads to {bundle.version}")
        elif installation.version():
            installation.upgrade(bundle)
        else:
            installation.install(bundle)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="say what would be done")
    parser.add_argument(
        "--recover", action="store_true", help="undo an interrupted upgrade; the gateway is not started"
    )
    parser.add_argument("--patience", type=float, default=600, help="seconds to wait for READY (600)")
    given = parser.parse_args()
    # A session over the network may end at any time; what has begun is brought to an end.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.umask(0o022)
    machine = Machine(Path("/run/systemd/system").is_dir(), given.patience)
    installation = Installation(Path("/"), machine)
    try:
        if os.geteuid() != 0 and not given.check:
            raise Refused("this has to be run as root")
        run(installation, None if given.recover else Bundle(Path(__file__).resolve().parent), check=given.check)
    except Refused as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
