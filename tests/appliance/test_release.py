"""What a release is made of, and the bill of materials of an image."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

from image.pin import REQUIREMENTS, ROOT, TARGETS, canonical, platform_options
from image.release import pack
from image.sbom import bill


def pinned() -> dict[str, int]:
    """How many wheels of each package are pinned."""
    found = re.findall(r"^([a-z0-9-]+)==\S+((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", REQUIREMENTS.read_text(), re.M)
    return {name: hashes.count("--hash") for name, hashes in found}


def test_every_dependency_is_pinned_by_its_digest() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[<>=~!;\[ ]", one)[0].lower() for one in wanted}
    assert names <= set(pinned())
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if "==" in line]
    assert len(lines) == len(pinned())


def test_compiled_packages_have_a_wheel_for_each_platform() -> None:
    counts = pinned()
    assert counts["numpy"] == counts["msgspec"] == counts["blake3"] == len(TARGETS)


def test_a_package_is_pinned_under_one_name() -> None:
    assert canonical("typing_extensions") == canonical("Typing.Extensions") == "typing-extensions"


def test_pip_is_asked_for_the_platform_and_not_for_this_machine() -> None:
    options = platform_options("aarch64-3.13")
    assert "--python-version=3.13" in options
    assert [one for one in options if one.startswith("many")]
    assert all("x86_64" not in one for one in options)


def test_the_same_files_make_the_same_archive(tmp_path: Path) -> None:
    for turn, names in (("a", ("install.py", "x", "y")), ("b", ("y", "x", "install.py"))):
        folder = tmp_path / turn / "gateway-1"
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_text(name)
            os.utime(folder / name, (len(turn), 1000 if turn == "a" else 2000))
            (folder / name).chmod(0o600 if turn == "a" else 0o664)
        pack(folder, tmp_path / f"{turn}.tar", 1_700_000_000)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


STATUS = """Package: libc6
Status: install ok installed
Maintainer: Somebody <a@b.example>
Architecture: arm64
Source: glibc (2.41-1)
Version: 2.41-1+b2

Package: gone
Status: deinstall ok config-files
Architecture: arm64
Version: 1
"""


def test_the_bill_names_what_is_installed_and_where_it_is_from(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('ID=debian\nVERSION_ID="13"\n')
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(STATUS)
    info = tmp_path / "opt/gateway/releases/1/lib/python3.13/site-packages/sqlite_utils-4.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: sqlite_utils\nVersion: 4.2\nLicense-Expression: Apache-2.0\n\nText\n")
    made = bill(tmp_path, "card")
    assert [one["purl"] for one in made["components"]] == [
        "pkg:deb/debian/libc6@2.41-1%2Bb2?arch=arm64&distro=debian-13",
        "pkg:pypi/sqlite-utils@4.2",
    ]
    assert made["components"][0]["properties"] == [{"name": "debian:source", "value": "glibc"}]
    assert made["components"][1]["licenses"] == [{"expression": "Apache-2.0"}]
    assert made == bill(tmp_path, "card")
