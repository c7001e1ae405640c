"""A box in QEMU: its console is a log, two ports lead into it, and killing it is a power cut.

Without KVM everything is emulated: a start takes half a minute to three, and no test may ask how fast something is.

All commands go through one connection of SSH, which is made again when it is gone. Making one takes an emulated machine
seconds, on a busy host tens of seconds, and sshd turns away who has not come through in time (PerSourcePenalties, to
which everybody outside is one address): so connecting, and only that, is tried again for a while. A command is never
repeated.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from loopback import free_port
from tools import need

T = TypeVar("T")

# What the guest sees the host as; a receiver on the host's loopback is reached there.
HOST = "10.0.2.2"
SLOW = 600.0

FIRMWARE = "/usr/share/ovmf/OVMF.fd"


def partition(disk: Path, number: int) -> tuple[int, int]:
    """Return where a partition of a disk image begins and how long it is, in bytes."""
    done = subprocess.run([need("sfdisk"), "--json", str(disk)], check=True, capture_output=True)
    entry = json.loads(done.stdout)["partitiontable"]["partitions"][number - 1]
    return 512 * entry["start"], 512 * entry["size"]


def put_on_card(disk: Path, name: str, content: str | bytes) -> None:
    """Write a file to the first partition, as a field engineer does on any computer."""
    data = content.encode() if isinstance(content, str) else content
    start, _ = partition(disk, 1)
    subprocess.run([need("mcopy"), "-o", "-i", f"{disk}@@{start}", "-", f"::{name}"], check=True, input=data)


def get_from_card(disk: Path, name: str) -> bytes:
    """Read a file from the first partition."""
    start, _ = partition(disk, 1)
    command = [need("mcopy"), "-n", "-i", f"{disk}@@{start}", f"::{name}", "-"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def files_on_card(disk: Path) -> list[str]:
    """Return the names of the files on the first partition."""
    start, _ = partition(disk, 1)
    done = subprocess.run(
        [need("mdir"), "-b", "-i", f"{disk}@@{start}", "::"], check=True, capture_output=True, text=True
    )
    return [line.removeprefix("::/") for line in done.stdout.splitlines()]


def read_root(disk: Path, path: str) -> str:
    """Read a file of the system in a disk image that does not run; empty if there is none."""
    start, _ = partition(disk, 2)
    command = [need("debugfs"), "-R", f"cat {path}", f"{disk}?offset={start}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def card_of(image: Path, folder: Path, size: int = 8 << 30) -> Path:
    """Return a card with an image on it, larger than the image."""
    card = folder / "card.img"
    subprocess.run(["cp", "--sparse=always", str(image), str(card)], check=True)
    os.truncate(card, size)
    return card


class Vm:
    """A virtual machine with one disk.

    Parameters
    ----------
    disk : Path
        Raw image; it is changed.
    folder : Path
        For logs, keys and sockets.
    arch : str
        ``amd64`` or ``arm64``.
    kernel, initrd : Path, optional
        Started directly, with `append`; else the firmware starts what is on the disk (amd64 only).

    Attributes
    ----------
    ssh_port, dicom_port : int
        On the loopback of the host.
    key : Path
        A key made for this machine; its public half goes to ``authorized_keys`` on the card.
    """

    def __init__(
        self,
        disk: Path,
        folder: Path,
        *,
        arch: str = "amd64",
        kernel: Path | None = None,
        initrd: Path | None = None,
        append: str = "",
        memory: int = 1024,
    ) -> None:
        self.disk, self.folder, self.arch, self.memory = disk, folder, arch, memory
        self.kernel, self.initrd, self.append = kernel, initrd, append
        self.ssh_port, self.dicom_port = free_port(), free_port()
        self.key = folder / "key"
        self.starts = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._connection: subprocess.Popen[bytes] | None = None
        # Not in `folder`: the path of a socket may have a hundred characters.
        self._sockets = tempfile.TemporaryDirectory(prefix="ssh-")
        self._socket = Path(self._sockets.name) / "box"
        if not self.key.exists():
            command = [need("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)]
            subprocess.run(command, check=True)

    @property
    def public_key(self) -> str:
        """What opens the door."""
        return self.key.with_suffix(".pub").read_text(encoding="utf-8")

    @property
    def log(self) -> Path:
        """The console since the last start."""
        return self.folder / f"console-{self.starts}.log"

    def console(self) -> str:
        """What the console has shown since the last start, without colours."""
        if not self.log.exists():
            return ""
        text = self.log.read_bytes().decode("utf-8", "replace").replace("\r", "")
        return re.sub(r"\x1b[\[(][0-9;?]*[A-Za-z]", "", text)

    def start(self) -> Vm:
        """Switch it on."""
        self.starts += 1
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        return self

    def command(self) -> list[str]:
        """The command line of QEMU."""
        program = {"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}[self.arch]
        machine = {"amd64": ["-machine", "q35", "-cpu", "max"], "arm64": ["-machine", "virt", "-cpu", "cortex-a72"]}
        forwards = f"hostfwd=tcp:127.0.0.1:{self.ssh_port}-:22,hostfwd=tcp:127.0.0.1:{self.dicom_port}-:11112"
        command = [
            need(program),
            *machine[self.arch],
            "-accel",
            "tcg,thread=multi",
            "-smp",
            "2",
            "-m",
            str(self.memory),
        ]
        command += ["-display", "none", "-monitor", "none", "-no-reboot", "-serial", f"file:{self.log}"]
        # What the guest has synced is with the host, which stays: its disk need not be waited for.
        command += ["-drive", f"file={self.disk},format=raw,if=virtio,cache=unsafe"]
        command += ["-netdev", f"user,id=n0,{forwards}", "-device", "virtio-net-pci,netdev=n0"]
        command += ["-device", "virtio-rng-pci"]
        if self.kernel:
            return [*command, "-kernel", str(self.kernel), "-initrd", str(self.initrd), "-append", self.append]
        return [*command, "-bios", FIRMWARE]

    def wait_console(self, pattern: str, seconds: float = SLOW) -> re.Match[str]:
        """Wait until the console shows something."""
        return self._wait(lambda: re.search(pattern, self.console()), f"{pattern!r} on the console", seconds)

    def wait(self, command: str, seconds: float = SLOW) -> str:
        """Wait until a command succeeds in the box, and return what it says."""
        # It waits there: what a session costs an emulated machine is seconds.
        loop = f"until {{ {command}; }}; do sleep 0.5; done"
        done = self.ssh(f"timeout {seconds:.0f} sh -c {shlex.quote(loop)}", check=False, seconds=seconds + 120)
        assert done.returncode == 0, (
            f"{command}: not within {seconds:.0f} s\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
        return done.stdout

    def _wait(self, condition: Callable[[], T | None], what: str, seconds: float, pause: float = 0.5) -> T:
        deadline = time.monotonic() + seconds
        while True:
            if found := condition():
                return found
            assert self.process is not None
            assert self.process.poll() is None, f"QEMU {self.state()}\n{self.console()[-3000:]}"
            assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s\n{self.console()[-3000:]}"
            time.sleep(pause)

    def state(self) -> str:
        """Whether QEMU runs, or how it has ended; a negative status is the signal that ended it."""
        status = self.process.poll() if self.process else 0
        return "runs" if status is None else f"has ended: {status}"

    def connect(self, seconds: float = SLOW) -> Vm:
        """Wait until somebody can get in; the connection stays until the box or `close` ends it."""
        self.wait_console(" login: ", seconds)  # who calls before that waits for packets that are sent again, and later
        self._wait(self._connected, "SSH", seconds, pause=1)
        return self

    def _connected(self) -> bool:
        if self._connection is None or self._connection.poll() is not None:
            self._socket.unlink(missing_ok=True)  # beside one that is left over there would be no other
            line = [need("ssh"), "-M", "-N", "-p", str(self.ssh_port), *self.ssh_options(), "root@127.0.0.1"]
            self._connection = subprocess.Popen(line, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return False
        line = [need("ssh"), *self.ssh_options(), "-O", "check", "root@127.0.0.1"]
        return subprocess.run(line, capture_output=True, check=False).returncode == 0

    def ssh_options(self) -> list[str]:
        """Options for ssh and scp, the port apart."""
        options = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "ConnectTimeout": "60",
            "IdentitiesOnly": "yes",
            "ControlPath": str(self._socket),
        }
        return ["-i", str(self.key), *(f"-o{name}={value}" for name, value in options.items())]

    def ssh_line(self, command: str) -> list[str]:
        """The command line that runs a command in the box as root; there is a connection then."""
        self.connect()
        return [need("ssh"), "-p", str(self.ssh_port), *self.ssh_options(), "root@127.0.0.1", command]

    def ssh(self, command: str, *, check: bool = True, seconds: float = 900) -> subprocess.CompletedProcess[str]:
        """Run a command in the box as root."""
        done = subprocess.run(self.ssh_line(command), capture_output=True, text=True, check=False, timeout=seconds)
        assert not check or done.returncode == 0, (
            f"{command}: {done.returncode}; QEMU {self.state()}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def say(self, command: str) -> str:
        """Run a command in the box and return what it says."""
        return self.ssh(command).stdout.strip()

    def put(self, files: Sequence[Path], folder: str) -> None:
        """Copy files into the box."""
        self.connect()
        line = [need("scp"), "-q", "-P", str(self.ssh_port), *self.ssh_options(), *map(str, files)]
        subprocess.run([*line, f"root@127.0.0.1:{folder}"], check=True, timeout=900)

    def cut_power(self) -> None:
        """Let it be gone, now."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection.wait()
            self._connection = None

    def power_off(self, seconds: float = SLOW) -> None:
        """Shut it down in order."""
        assert self.process is not None
        self.ssh("systemctl poweroff", check=False)
        self.process.wait(seconds)
        self._hang_up()

    def close(self) -> None:
        """Switch it off if it is on."""
        if self.process is not None and self.process.poll() is None:
            self.cut_power()
        self._hang_up()
        self._sockets.cleanup()


def kernel_of(disk: Path, folder: Path, names: tuple[str, str]) -> tuple[Path, Path]:
    """Copy kernel and initrd from the first partition, to start them directly."""
    paths = folder / "kernel", folder / "initrd"
    for path, name in zip(paths, names, strict=True):
        path.write_bytes(get_from_card(disk, name))
    return paths
