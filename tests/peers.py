"""Other makers' programs as PACS and as judges: DCMTK's storescp, Orthanc, dciodvfy, DCMTK's renderer."""

from __future__ import annotations

import collections
import contextlib
import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
from loopback import eventually, free_port, program
from pydicom.encaps import get_frame
from pydicom.errors import InvalidDicomError
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGLSLossless, JPEGLSNearLossless
from tools import need


def dicom_files(folder: Path) -> dict[str, Path]:
    """The DICOM files below a folder, one for each SOP Instance UID."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with contextlib.suppress(InvalidDicomError):
                ds = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
                if "SOPInstanceUID" in ds:
                    found.setdefault(str(ds.SOPInstanceUID), path)
    return found


def send(files: list[Path], port: int, *, called: str = "GATEWAY", calling: str = "CT1") -> None:
    """Send files as they are with DCMTK's dcmsend: each in its own transfer syntax."""
    command = [need("dcmsend"), "-q", "-nuc", "--no-halt", "-aet", calling, "-aec", called, "127.0.0.1", str(port)]
    subprocess.run([*command, *map(str, files)], check=True, timeout=120)


@contextlib.contextmanager
def storescp(folder: Path, port: int, *options: str) -> Iterator[Path]:
    """DCMTK's storescp as a PACS: takes everything and writes it bit for bit."""
    folder.mkdir(exist_ok=True)
    with program(need("storescp"), "-pm", "+xa", "+B", "-od", folder, *options, port, port=port):
        yield folder


class Orthanc:
    """Debian's Orthanc as a PACS, looked at through its REST interface; `modalities` are those it can call."""

    def __init__(self, folder: Path, title: str = "ORTHANC", modalities: dict[str, Any] | None = None) -> None:
        self.port, self.http = free_port(), free_port()
        self.config = folder / "orthanc.json"
        settings = {
            "Name": "PACS",
            "DicomAet": title,
            "DicomModalities": modalities or {},
            "DicomPort": self.port,
            "HttpPort": self.http,
            "StorageDirectory": str(folder / "orthanc"),
            "IndexDirectory": str(folder / "orthanc"),
            "DicomAlwaysAllowStore": True,
            "DicomCheckCalledAet": False,
            "UnknownSopClassAccepted": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [],
        }
        self.config.write_text(json.dumps(settings))

    @contextlib.contextmanager
    def running(self) -> Iterator[Orthanc]:
        """Run it until the block ends."""
        with program(need("Orthanc"), self.config, port=self.http):
            eventually(lambda: self.get("/system"))
            yield self

    def get(self, path: str) -> Any:
        """Return what it says."""
        return json.loads(self.file(path))

    def post(self, path: str, content: Any) -> Any:
        """Tell it something and return what it says."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data=json.dumps(content).encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def file(self, path: str) -> bytes:
        """Return bytes it holds."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=60) as answer:
            return bytes(answer.read())


# Errors that dciodvfy finds in right objects; see what it is told about legacy converted images.
_FALSE = (
    # A frame of which nothing is unassigned has an item without attributes.
    "UnassignedPerFrameConvertedAttributesSequence",
    "ReferencedSeriesSequence",
    # The Series UID of a target that is not held must not be guessed (E47).
    "ReferencedImageEvidenceSequence",
)


def errors_of(path: Path) -> set[str]:
    """What dciodvfy has against an object, attribute and kind of error only."""
    text = subprocess.run([need("dciodvfy"), "-new", str(path)], capture_output=True, check=False, timeout=60).stderr
    found = set()
    for line in text.decode("latin-1").splitlines():
        match = re.match(r"Error - <.*?/?([A-Za-z0-9]+)\([0-9a-f]{4},[0-9a-f]{4}\)(?:\[\d+\])?> - (.*)", line)
        if match:
            kind = re.sub(r"Module=.*|= <.*", "", match[2])
            found.add(f"{match[1]}: {re.sub(r' for Type .*', '', kind).strip(' -')}")
        elif line.startswith("Error"):
            found.add(line)
    return {error for error in found if not error.startswith(_FALSE)}


# Renderers of DCMTK by transfer syntax; there is none for JPEG 2000.
_RENDERERS = {JPEGLSLossless: "dcml2pnm", JPEGLSNearLossless: "dcml2pnm", JPEG2000: "", JPEG2000Lossless: ""}


def rendered(path: Path, frame: int = 1) -> bytes:
    """A frame as DCMTK draws it, from stored values: it does not apply rescaling per frame.

    JPEG 2000, which DCMTK cannot draw, as the encoded frame.
    """
    syntax = pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID
    program = _RENDERERS.get(syntax, "dcmj2pnm")
    if not program:
        ds = pydicom.dcmread(path)
        return get_frame(ds.PixelData, frame - 1, number_of_frames=int(ds.get("NumberOfFrames", 1)))
    result = subprocess.run(
        [need(program), "-M", "+Wm", "+F", str(frame), str(path)], capture_output=True, check=True, timeout=60
    )
    return result.stdout


def sources_of(ds: pydicom.Dataset) -> list[str]:
    """SOP Instance UIDs an object was made of, frame by frame."""
    return [
        str(item.ConversionSourceAttributesSequence[0].ReferencedSOPInstanceUID)
        for item in ds.get("PerFrameFunctionalGroupsSequence", [])
        if "ConversionSourceAttributesSequence" in item
    ]


def repeated(values: list[str]) -> list[str]:
    """Those that are there more than once."""
    return [value for value, count in collections.Counter(values).items() if count > 1]
