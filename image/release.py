"""Make a release: one archive with everything a box needs to install or upgrade, without a network.

``python -m image.release -o DIR`` writes ``gateway-VERSION.tar``:

    install.py         installs and upgrades; needs nothing but the Python of Debian
    requirements.txt   every wheel by its digest, the gateway's own included
    wheels/            for x86-64 and aarch64, Python 3.11 (Debian 12) and 3.13 (Debian 13)
    systemd/           units, user, folders
    release.json       version and platforms
    SHA256SUMS         of all of these

The same tree gives the same archive, as far as the same setuptools builds the wheel.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

from image.pin import REQUIREMENTS, ROOT, TARGETS, platform_options

# What the wheel is built from; tests and tools do not belong to it.
SOURCES = ("gateway", "pyproject.toml", "README.md", "LICENSE")


def version_of(tree: Path) -> str:
    """Return the version of a source tree."""
    return tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def commit_time(tree: Path) -> int:
    """Return the time of the last commit, which dates everything in a release; a fixed day outside of git."""
    done = subprocess.run(["git", "-C", tree, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else 1_700_000_000


def build_wheel(tree: Path, wheels: Path, version: str, when: int) -> Path:
    """Build the gateway's own wheel from a copy of the tree, so that nothing is left in it."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch)
        for name in SOURCES:
            if (tree / name).is_dir():
                shutil.copytree(tree / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(tree / name, copy / name)
        project = copy / "pyproject.toml"
        text = project.read_text(encoding="utf-8")
        project.write_text(re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', text), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={wheels}", copy]
        subprocess.run(command, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": str(when)})
    (wheel,) = wheels.glob("gateway-*.whl")
    return wheel


def fetch_wheels(wheels: Path, target: str) -> None:
    """Get the pinned wheels for a platform; pip refuses one with another digest."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += [f"--dest={wheels}", f"--requirement={REQUIREMENTS}", *platform_options(target)]
    subprocess.run(command, check=True)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def assemble(tree: Path, folder: Path, version: str, targets: tuple[str, ...], when: int) -> None:
    """Fill the folder of a release."""
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    own = build_wheel(tree, wheels, version, when)
    for target in targets:
        fetch_wheels(wheels, target)
    pinned = REQUIREMENTS.read_text(encoding="utf-8")
    pinned += f"gateway=={version} \\\n    --hash=sha256:{digest(own)}\n"
    (folder / "requirements.txt").write_text(pinned, encoding="utf-8")
    shutil.copy(ROOT / "image" / "install.py", folder)
    shutil.copytree(tree / "systemd", folder / "systemd")
    about = {"version": version, "targets": targets}
    (folder / "release.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = "".join(f"{digest(path)}  {path.relative_to(folder)}\n" for path in files)
    (folder / "SHA256SUMS").write_text(sums, encoding="utf-8")


def pack(folder: Path, archive: Path, when: int) -> None:
    """Put a folder into an archive that depends on nothing but its contents."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mode = 0o755 if member.isdir() or member.name.endswith("install.py") else 0o644
        member.mtime = when
        return member

    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(folder, folder.name, recursive=False, filter=plain)
        for path in sorted(folder.rglob("*")):
            tar.add(path, f"{folder.name}/{path.relative_to(folder)}", recursive=False, filter=plain)


def release(output: Path, *, tree: Path = ROOT, version: str = "", targets: tuple[str, ...] = TARGETS) -> Path:
    """Make a release of a source tree and return its archive.

    Parameters
    ----------
    output : Path
        Folder for the archive.
    tree : Path
        The source tree.
    version : str
        Another version than the tree's own.
    targets : tuple of str
        The platforms it can be installed on.
    """
    version = version or version_of(tree)
    when = commit_time(tree)
    output.mkdir(parents=True, exist_ok=True)
    archive = output / f"gateway-{version}.tar"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / f"gateway-{version}"
        assemble(tree, folder, version, targets, when)
        pack(folder, archive, when)
    return archive


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m image.release", description="Make a release of the gateway.")
    parser.add_argument("-o", "--output", type=Path, default=Path("dist"), help="folder for the archive (dist)")
    parser.add_argument("--tree", type=Path, default=ROOT, help="source tree, if not this one")
    parser.add_argument("--version", default="", help="another version than that of the tree")
    parser.add_argument("--target", action="append", choices=TARGETS, help="a platform; all of them by default")
    given = parser.parse_args()
    print(release(given.output, tree=given.tree, version=given.version, targets=tuple(given.target or TARGETS)))


if __name__ == "__main__":
    main()
