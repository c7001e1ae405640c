"""Programs that tests run as independent peers: a missing one skips the test, and fails it where CI=true."""

from __future__ import annotations

import importlib
import os
import shutil
from types import ModuleType

import pytest

# Where Debian puts what is not on everybody's PATH.
_EXTRA = ("/usr/sbin", "/usr/local/sbin", "/usr/lib/dcmtk")
PACKAGES = {
    "dcmj2pnm": "dcmtk",
    "dcml2pnm": "dcmtk",
    "dcmsend": "dcmtk",
    "storescu": "dcmtk",
    "storescp": "dcmtk",
    "movescu": "dcmtk",
    "echoscu": "dcmtk",
    "dcmdump": "dcmtk",
    "dcm2pnm": "dcmtk",
    "dcmp2pgm": "dcmtk",
    "Orthanc": "orthanc",
    "dciodvfy": "dicom3tools",
    "dcentvfy": "dicom3tools",
    "openssl": "openssl",
    "java": "default-jre-headless",
    "cc": "gcc",
    "systemd-analyze": "systemd",
    "systemd-sysusers": "systemd",
    "systemd-tmpfiles": "systemd",
    "ansible-playbook": "none: pip install -e '.[appliance-test]'",
    "ansible-lint": "none: pip install -e '.[appliance-test]'",
    "mcopy": "mtools",
    "mdir": "mtools",
    "sfdisk": "fdisk",
    "debugfs": "e2fsprogs",
    "ssh": "openssh-client",
    "scp": "openssh-client",
    "ssh-keygen": "openssh-client",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-system-aarch64": "qemu-system-arm",
}


def need(name: str) -> str:
    """Return the path of a program, or skip the test that needs it."""
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *_EXTRA)))
    if found:
        return found
    reason = f"{name} is not installed (Debian package {PACKAGES.get(name, name)})"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def need_module(name: str) -> ModuleType:
    """Return a package that only tests need, or skip the test that needs it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        reason = f"{name} is not installed (pip install -e '.[test]')"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
