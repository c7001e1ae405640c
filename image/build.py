"""Build an image of the appliance: ``python -m image.build --arch amd64 -o DIR``, as root on Debian 12 or 13.

Debian 13, the release of this tree, and what makes a card out of them. DIR then has ``gateway-VERSION-ARCH.img.zst``,
its checksum, and its bill of materials (CycloneDX). Nothing in it is a secret or an identity.

Needs mmdebstrap, genimage, mtools, dosfstools, e2fsprogs and zstd; for another architecture than the machine's own also
arch-test, qemu-user-static and binfmt-support.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from image import sbom
from image.pin import ROOT
from image.release import digest, release

SUITE = "trixie"

PACKAGES = (
    "systemd-sysv", "dbus", "udev", "initramfs-tools", "zstd", "kmod",
    "systemd-resolved", "systemd-timesyncd", "libnss-resolve",
    "openssh-server", "iproute2", "less", "nano",
    "python3", "python3-systemd", "python3-apt",
    "cloud-guest-utils", "fdisk", "e2fsprogs", "dosfstools",
    "unattended-upgrades", "ca-certificates",
)  # fmt: skip

# Documentation stays out, licences stay in.
LEAN = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
)


class Board(NamedTuple):
    """What differs between the machines.

    Attributes
    ----------
    machine : str
        In the names of wheels.
    packages : tuple of str
        Kernel and what starts it.
    components : str
        Parts of the Debian archive that these are in.
    card : str
        Where the first partition is mounted.
    table : str
        Kind of partition table; the firmware of a Raspberry Pi 3 knows only one.
    boot_type, linux_type : str
        Types of the partitions in it.
    """

    machine: str
    packages: tuple[str, ...]
    components: str
    card: str
    table: str
    boot_type: str
    linux_type: str


BOARDS = {
    "amd64": Board(
        "x86_64",
        ("linux-image-amd64", "systemd-boot", "systemd-boot-efi-amd64-signed"),
        "main",
        "/boot/efi",
        "gpt",
        'partition-type-uuid = "U"',
        'partition-type-uuid = "L"',
    ),
    "arm64": Board(
        "aarch64",
        ("linux-image-arm64", "raspi-firmware", "firmware-brcm80211"),
        "main,non-free-firmware",
        "/boot/firmware",
        "mbr",
        "partition-type = 0xC",
        "partition-type = 0x83",
    ),
}


class Stopwatch:
    """Says how long each step took."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def lap(self, what: str) -> None:
        """Print the time since the last one."""
        now = time.monotonic()
        print(f"{what}: {now - self.began:.0f} s", flush=True)
        self.began = now


def make_root(arch: str, bundle: Path, root: Path, scratch: Path) -> None:
    """Make the root file system of the appliance in a folder."""
    board = BOARDS[arch]
    with tarfile.open(bundle) as tar:
        tar.extractall(scratch, filter="data")
    (unpacked,) = scratch.glob("gateway-*")
    packages = ",".join((*PACKAGES, *board.packages))
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--architectures={arch}", f"--include={packages}"]
    command += [f"--components={board.components}", *(f"--dpkgopt={option}" for option in LEAN)]
    command += [f'--customize-hook="{ROOT}/image/customize.sh" "$1" "{unpacked}" {arch}', SUITE, str(root)]
    subprocess.run(command, check=True)
    # Last of all, since mmdebstrap empties it: this word, and not an empty file, makes the first start a first one.
    (root / "etc/machine-id").write_text("uninitialized\n", encoding="utf-8")


def make_disk(arch: str, name: str, root: Path, scratch: Path) -> Path:
    """Make the disk image of a root file system and return it."""
    board = BOARDS[arch]
    text = (ROOT / "image" / "disk.cfg").read_text(encoding="utf-8")
    values = {"NAME": name, "CARD": board.card, "TABLE": board.table}
    values |= {"BOOT_TYPE": board.boot_type, "LINUX_TYPE": board.linux_type}
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    config = scratch / "disk.cfg"
    config.write_text(text, encoding="utf-8")
    folders = {"rootpath": root, "tmppath": scratch / "tmp", "inputpath": scratch, "outputpath": scratch / "out"}
    paths = [f"--{option}={path}" for option, path in folders.items()]
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    subprocess.run(["genimage", "--loglevel=0", f"--config={config}", *paths], check=True, env=environment)
    return scratch / "out" / f"{name}.img"


def build(arch: str, output: Path, *, bundle: Path | None = None, compress: bool = True) -> Path:
    """Build an image and return it.

    Parameters
    ----------
    arch : str
        A key of `BOARDS`.
    output : Path
        Folder for it.
    bundle : Path, optional
        A release that has been made already.
    compress : bool
        Whether it is to be sent somewhere; tests start it here.
    """
    watch = Stopwatch()
    output.mkdir(parents=True, exist_ok=True)
    # Not in /tmp, which may be memory: the folder is some gigabytes large for a while.
    with tempfile.TemporaryDirectory(dir=output, prefix=".build-") as folder:
        scratch, root = Path(folder), Path(folder) / "root"
        scratch.chmod(0o755)
        if bundle is None:
            bundle = release(scratch / "release", targets=(f"{BOARDS[arch].machine}-3.13",))
            watch.lap("release")
        name = f"{bundle.stem}-{arch}"
        make_root(arch, bundle, root, scratch / "unpacked")
        watch.lap("root file system")
        bill = output / f"{name}.cdx.json"
        bill.write_text(json.dumps(sbom.bill(root, name), indent=1) + "\n", encoding="utf-8")
        disk = make_disk(arch, name, root, scratch)
        watch.lap("disk image")
        if not compress:
            return Path(shutil.move(disk, output / disk.name))
        made = output / f"{disk.name}.zst"
        subprocess.run(["zstd", "-q", "-f", "-10", "-T0", disk, "-o", made], check=True)
        watch.lap("compression")
    (output / f"{made.name}.sha256").write_text(f"{digest(made)}  {made.name}\n", encoding="utf-8")
    return made


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m image.build", description="Build an image of the appliance.")
    parser.add_argument("--arch", choices=BOARDS, default="amd64")
    parser.add_argument("-o", "--output", type=Path, default=Path("dist"), help="folder for the image (dist)")
    parser.add_argument("--release", type=Path, help="a release made by image.release; else one of this tree")
    parser.add_argument("--raw", action="store_true", help="do not compress it")
    given = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("python -m image.build: has to be run as root: the files in the image belong to root")
    print(build(given.arch, given.output.resolve(), bundle=given.release, compress=not given.raw))


if __name__ == "__main__":
    main()
