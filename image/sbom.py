"""The bill of materials of an image: every package of Debian and of Python in a root file system, as CycloneDX 1.5.

``python -m image.sbom ROOT`` prints it. Read from what dpkg and pip have written down, so it says what is there.
"""

from __future__ import annotations

import argparse
import email
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from image.pin import canonical


def debian(root: Path, distribution: str) -> Iterator[dict[str, Any]]:
    """Yield the installed packages of Debian."""
    for paragraph in (root / "var/lib/dpkg/status").read_text(encoding="utf-8").split("\n\n"):
        fields = email.message_from_string(paragraph)
        if not str(fields["Status"]).endswith(" installed"):
            continue
        name, version, arch = (str(fields[key]) for key in ("Package", "Version", "Architecture"))
        purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={arch}&distro={distribution}"
        source = str(fields["Source"] or name).partition(" ")[0]
        yield {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "purl": purl,
            "supplier": {"name": str(fields["Maintainer"])},
            "properties": [{"name": "debian:source", "value": source}],
        }


def python(root: Path) -> Iterator[dict[str, Any]]:
    """Yield the packages of Python in the releases of the gateway."""
    for path in sorted(root.glob("opt/gateway/releases/*/lib/python3.*/site-packages/*.dist-info/METADATA")):
        fields = email.message_from_string(path.read_text(encoding="utf-8"))
        name, version = canonical(str(fields["Name"])), str(fields["Version"])
        purl = f"pkg:pypi/{quote(name)}@{quote(version)}"
        one: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
        # An expression of SPDX where the package gives one, else what it says in words.
        if expression := fields["License-Expression"]:
            one["licenses"] = [{"expression": expression}]
        elif licence := (fields["License"] or "").partition("\n")[0]:
            one["licenses"] = [{"license": {"name": licence}}]
        yield one


def bill(root: Path, name: str) -> dict[str, Any]:
    """Return the bill of materials of a root file system."""
    text = (root / "etc/os-release").read_text(encoding="utf-8")
    about = dict(line.replace('"', "").split("=", 1) for line in text.splitlines() if "=" in line)
    distribution = f"{about['ID']}-{about['VERSION_ID']}"
    components = [*debian(root, distribution), *python(root)]
    content = json.dumps(components, sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name + content)}",
        "version": 1,
        "metadata": {"component": {"type": "operating-system", "bom-ref": name, "name": name}},
        "components": components,
    }


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m image.sbom", description="Print the bill of materials.")
    parser.add_argument("root", type=Path, help="a root file system")
    parser.add_argument("--name", default="gateway", help="name of the image")
    given = parser.parse_args()
    print(json.dumps(bill(given.root, given.name), indent=1))


if __name__ == "__main__":
    main()
