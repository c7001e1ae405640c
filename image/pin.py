"""Write `requirements.txt`: what a release brings along, each wheel by its digest.

``python -m image.pin`` asks the package index that pip is configured for. The versions are those for the oldest Python;
every other platform has to have them, too. Run it to take up newer versions, and look at the difference.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "image" / "requirements.txt"

# What runs the gateway: CPython of Debian 12 and 13, on the boards it is for. The oldest first.
TARGETS = tuple(f"{machine}-{python}" for python in ("3.11", "3.13") for machine in ("x86_64", "aarch64"))


def platform_options(target: str) -> list[str]:
    """Return what tells pip for which platform it is to look, instead of the one it runs on."""
    machine, python = target.split("-")
    # Debian 12 has glibc 2.36; numpy's wheels carry two of these names, and pip compares names.
    tags = [f"manylinux_2_28_{machine}", f"manylinux_2_27_{machine}", f"manylinux_2_17_{machine}"]
    platforms = [option for tag in (*tags, f"manylinux2014_{machine}") for option in ("--platform", tag)]
    return ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *platforms]


def canonical(name: str) -> str:
    """Return the name of a package as an index spells it: one package has one name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def resolve(target: str, wanted: list[str]) -> dict[tuple[str, str], str]:
    """Return name, version and digest of every wheel that `wanted` needs on a platform."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report=-"]
    command += ["--target=unused", *platform_options(target), *wanted]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    found = {}
    for one in report["install"]:
        package = canonical(one["metadata"]["name"]), one["metadata"]["version"]
        found[package] = one["download_info"]["archive_info"]["hashes"]["sha256"]
    return found


def main() -> None:
    """Resolve for each platform and write the file."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    digests: dict[tuple[str, str], set[str]] = {}
    for target in TARGETS:
        for package, digest in resolve(target, wanted).items():
            digests.setdefault(package, set()).add(digest)
        wanted = [f"{name}=={version}" for name, version in sorted(digests)]
    lines = [f"# Wheels for {', '.join(TARGETS)}; written by `python -m image.pin`."]
    for (name, version), found in sorted(digests.items()):
        lines.append(" \\\n    ".join((f"{name}=={version}", *(f"--hash=sha256:{one}" for one in sorted(found)))))
    REQUIREMENTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
