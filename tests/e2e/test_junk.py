"""Objects with junk in their elements, from the answer to their arrival: real processes, real sockets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from archive_tools import CT
from box import Box, Pacs
from find_tools import find, identifier
from loopback import eventually
from pydicom import dcmread
from pydicom.data import get_testdata_file
from scripted_caller import EXPLICIT, Caller

from gateway.objects.elements import DataSet, Element, make
from gateway.objects.encode import encode
from gateway.objects.part10 import read_header


def image(number: int, *odd: Element, series: str = "1.2.3.4") -> tuple[str, bytes]:
    """Return UID and data set of a slice of pydicom's CT with some elements of its own."""
    path = Path(str(get_testdata_file("CT_small.dcm")))
    header = read_header(path)
    uid = f"{series}.{number}"
    own = (
        make("SOPInstanceUID", uid),
        make("StudyInstanceUID", "1.2.3"),
        make("SeriesInstanceUID", series),
        make("InstanceNumber", number),
        make("ImagePositionPatient", 0, 0, 5 * number),
    )
    ds: DataSet = header.dataset | {element.tag: element for element in (*own, *odd)}
    before = {tag: element for tag, element in ds.items() if tag < 0x7FE00010}
    pixels = dcmread(path).PixelData
    return uid, encode(before) + b"\xe0\x7f\x10\x00OW\0\0" + len(pixels).to_bytes(4, "little") + pixels


def odd(number: int) -> tuple[Element, ...]:
    """Return elements that a writer has spoilt, each in a way of its own."""
    return (
        (Element(0x00080005, "CS", b"\0ISO_IR 100\0"),),
        (Element(0x00080005, "CS", b"ISO_IR 999"), Element(0x00100010, "PN", b"\xff\xfe\x1b$B\0^\x07")),
        (Element(0x00200013, "LO", b"not a number"), Element(0x00081030, "UN", b"a\0b\n\x1b[31m\xed\xa0\x80")),
        (Element(0x00321060, "SQ", ({},)), Element(0x00401001, "US", b"\1\0"), Element(0x00400275, "LO", b"text")),
        (Element(0x00280010, "UN", b"\x80\0"), Element(0x00280008, "IS", b"99999999999999999999")),
        (Element(0x00080020, "DA", b"99999999"), Element(0x00101030, "DS", b"NaN "), Element(0x00080201, "SH", b"x\0")),
        (Element(0x00081032, "UN", b"\xfe\xff\0\xe0\xff\xff\xff\x7f"), Element(0x00081140, "UN", b"\1\2\3\4")),
    )[number]


def run(box: Box, *words: str) -> str:
    """Return what a command says of the box."""
    command = [sys.executable, "-m", "gateway.cli.main", *words, "--config", str(box.config)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_T1_objects_with_junk_in_them_are_registered_shown_and_delivered(tmp_path: Path) -> None:
    pacs = Pacs().start()
    box = Box(tmp_path, {"PACS": pacs.port})
    box.start()
    try:
        sent = dict(image(number, *odd(number), series=f"1.2.3.{number % 4 + 4}") for number in range(7))
        sent |= dict(image(number, series="1.2.3.9") for number in range(3))
        with Caller(box.port) as caller:
            caller.associate(((CT, (EXPLICIT,)),))
            answers = [caller.store(data, CT, uid)["status"] for uid, data in sent.items()]
            caller.release()
        assert answers == [0] * len(sent)
        box.wait_done()
        with box.archive() as archive:
            became = archive.converted(list(sent))
        missing = [uid for uid in sent if uid not in pacs.received and became.get(uid) not in pacs.received]
        assert missing == [], box.text()
        unchanged = [uid for uid in sent if uid in pacs.received]
        assert all(pacs.objects[uid][1] == sent[uid] for uid in unchanged), "byte for byte"
        assert next(iter(sent)) in unchanged, "an object whose character set many readers cannot read stays by itself"
        assert {uid for uid in sent if uid.startswith("1.2.3.9.")} <= set(became), (
            "the others of the study are converted"
        )
        shown = run(box, "status")
        assert "received: 10 objects" in shown
        assert not any(letter in shown for letter in "\0\x1b\x07")
        status = json.loads(run(box, "status", "--json"))
        assert (status["idle"], status["not_registered"]["objects"]) == (True, 0)
        assert json.loads(run(box, "fhir", "1.2.3"))["numberOfInstances"] == len(sent)
        asked = identifier("IMAGE", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4", SOPInstanceUID="")
        for keyword in ("InstanceNumber", "Rows", "NumberOfFrames", "ImageType"):
            setattr(asked, keyword, "" if keyword != "Rows" else None)
        answer = find(box.port, asked)
        assert sorted(answer.values("SOPInstanceUID")) == ["1.2.3.4.0", "1.2.3.4.4"]
        eventually(lambda: not box.debris())
        assert not box.logged("Traceback")
    finally:
        box.stop()
        pacs.stop()
