"""Whatever is compressed, private or oddly written reaches a peer that takes one native syntax only, or says why not.

The peers are DCMTK's, one that takes nothing but implicit VR little endian and one nothing but explicit VR; what
arrives is compared by pydicom, element by element to the last nested one, and by DCMTK's decoders where it has one.
"""

from __future__ import annotations

import io
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
import pytest
from loopback import free_port, program
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_sequence
from tools import need

from gateway.errors import ObjectError
from gateway.network.sender import Sender
from gateway.objects.part10 import EXPLICIT_LITTLE, IMPLICIT_LITTLE, check_identity, read_header
from gateway.objects.stream import FileSource
from gateway.retrieval.decompress import Decompressing
from gateway.retrieval.engine import Destination, run
from gateway.retrieval.transcript import Fate, Outcome

SHARED = Path(__file__).parents[2] / "../shared"

pytestmark = pytest.mark.filterwarnings("ignore")

PYDICOM = Path(pydicom.__file__).parent / "data"
NAMES = {IMPLICIT_LITTLE: "LittleEndianImplicit", EXPLICIT_LITTLE: "LittleEndianExplicit"}
DCMTK = {
    "4.50": "dcmdjpeg",
    "4.57": "dcmdjpeg",
    "4.70": "dcmdjpeg",
    "4.80": "dcmdjpls",
    "4.81": "dcmdjpls",
    "5": "dcmdrle",
}

SWAPPED = ("AT", "FD", "FL", "OD", "OF", "OL", "OW", "SL", "SS", "UL", "US")
ITEM, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"

# What is left where it is, as people are told.
REASONS = (
    "decoders differ in what they make of it",  # compressed with loss
    "decoders differ in the last bit",  # wavelets that are not reversible
    "colours that decoders convert",
    "does not say whether it was compressed with loss",
    "read in two ways",  # samples of 32 bits in big endian words
    "has no pixels that can be decoded",  # of 1 bit
    "frames than its header says",
    "Unable to decode",  # broken on purpose
)


class Row(NamedTuple):
    """What the engine looks at, and the file."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    path: Path
    offset: int


class Files:
    """The archive."""

    def source_of(self, row: Any) -> FileSource:
        return FileSource(row.path, row.offset)


def row_of(path: Path) -> Row | None:
    """Return a row if the box would take the file in."""
    try:
        header = read_header(path)
        check_identity(header)
    except ObjectError:
        return None
    return Row(header.sop_class, header.sop_instance, header.transfer_syntax, path, header.dataset_offset)


def batches(rows: list[Row]) -> Iterator[list[Row]]:
    """Yield rows so that no SOP Instance UID is in a batch twice, of 40 classes at most."""
    left = rows
    while left:
        batch: dict[str, Row] = {}
        for row in left:
            if len({one.sop_class for one in batch.values()} | {row.sop_class}) <= 40:
                batch.setdefault(row.sop_instance, row)
        yield list(batch.values())
        taken = {id(row) for row in batch.values()}
        left = [row for row in left if id(row) not in taken]


def sent(rows: list[Row], syntax: str, folder: Path) -> Iterator[tuple[Row, Outcome, Path]]:
    """Send rows to a peer that takes one syntax; yield what became of each, and where it would be."""
    classes = sorted({row.sop_class for row in rows})
    lines = [
        "[[TransferSyntaxes]]",
        "[Only]",
        f"TransferSyntax1 = {NAMES[syntax]}",
        "[[PresentationContexts]]",
        "[All]",
    ]
    lines += [f"PresentationContext{number} = {uid}\\Only" for number, uid in enumerate(classes, 1)]
    lines += ["[[Profiles]]", "[Default]", "PresentationContexts = All"]
    config, into, port = folder / "peer.cfg", folder / "arrived", free_port()
    config.write_text("\n".join(lines) + "\n")
    into.mkdir(exist_ok=True)
    with program(need("storescp"), "-xf", config, "Default", "+B", "-od", into, port, port=port):
        target = Destination("PACS", "127.0.0.1", port, "GATEWAY")
        rendition = Decompressing(folder)
        done = run(Files(), rows, target, Sender(), rendition=rendition)  # type: ignore[arg-type]
        rendition.close()
    assert not done.broken, [done.broken, *(row.path for row in done.having(Fate.INTERRUPTED))]  # type: ignore[attr-defined]
    for row, outcome in zip(rows, done.outcomes, strict=True):
        assert outcome is not None
        yield row, outcome, next(iter(into.glob(f"*.{row.sop_instance}")), into / "nothing")  # type: ignore[misc]


def items_of(ds: Dataset, tag: Any) -> list[Dataset] | None:
    """Return the items of a sequence, whatever its VR is called; None if it is none."""
    element = ds.get_item(tag)
    if element.VR == "SQ" or isinstance(element.value, pydicom.Sequence):
        return list(ds[tag].value)
    if tag != 0x7FE00010 and isinstance(element.value, bytes) and element.value.startswith((ITEM, END)):
        return list(read_sequence(io.BytesIO(element.value), True, True, len(element.value), "iso8859"))
    return None


def same_value(one: Dataset, other: Dataset, tag: Any) -> bool:
    """Tell whether two elements have the same bytes, or, if pydicom has read them already, the same value."""
    before, after = one.get_item(tag), other.get_item(tag)
    if before.is_raw and after.is_raw and not (one.is_big and before.VR in SWAPPED):
        return (before.value or b"") == (after.value or b"")
    if one[tag].is_empty or other[tag].is_empty:
        return bool(one[tag].is_empty and other[tag].is_empty)
    return bool(one[tag].value == other[tag].value) or str(one[tag].value) == str(other[tag].value)


def compare(one: Dataset, other: Dataset, syntax: str, where: str = "") -> None:
    """Compare every element of two data sets but the pixel data of the object."""
    skipped = {0x7FE00001, 0x7FE00002, 0x7FE00003} | (set() if where else {0x7FE00010, 0x00280004, 0x00280006})
    wanted = [tag for tag in sorted(one.keys()) if tag.element and tag not in skipped]
    assert wanted == [tag for tag in sorted(other.keys()) if tag.element and tag not in skipped], where
    for tag in wanted:
        place = f"{where}{tag}"
        before, after = items_of(one, tag), items_of(other, tag)
        if before is not None:
            after = list(other[tag].value or []) if after is None else after
            assert len(before) == len(after), place
            for a, b in zip(before, after, strict=True):
                a.is_big, b.is_big = one.is_big, False
                compare(a, b, syntax, place)
        elif tag == 0x7FE00010 and one.get_item(tag).value.startswith(b"\xfe\xff\x00\xe0"):
            icon = Dataset()
            icon.update({tag: one[tag] for tag in sorted(one.keys()) if tag.group == 0x28 or tag == 0x7FE00010})
            icon["PixelData"].is_undefined_length = True
            icon.file_meta = pydicom.dataset.FileMetaDataset()
            icon.file_meta.TransferSyntaxUID = syntax
            assert icon.pixel_array.tobytes() == other[tag].value[: icon.pixel_array.nbytes], place
        else:
            assert same_value(one, other, tag), place


def same_pixels(row: Row, found: Dataset, folder: Path) -> None:
    """Compare the pixels with what independent decoders make of the file."""
    ds = dcmread(row.path, force=True)
    if "PixelData" not in ds:
        return
    tail = row.transfer_syntax.removeprefix("1.2.840.10008.1.2.")
    if tail in DCMTK and ds.SamplesPerPixel == 1 and isinstance(ds.PixelData, bytes):
        made = folder / "native.dcm"
        if not subprocess.run([need(DCMTK[tail]), row.path, made], capture_output=True, check=False).returncode:
            assert dcmread(made).PixelData.rstrip(b"\0") == found.PixelData.rstrip(b"\0")
            return
    if ds.file_meta.get("TransferSyntaxUID") is None or ds.get("BitsAllocated") not in (8, 16, 32):
        assert ds.PixelData == found.PixelData or row.transfer_syntax.endswith(".2.2")
        return
    try:
        wanted = ds.pixel_array
    except Exception:  # pydicom has no pixels of some files that are broken on purpose
        assert ds.PixelData == found.PixelData
        return
    arrived = found.pixel_array
    assert wanted.dtype.kind == arrived.dtype.kind
    assert np.array_equal(wanted, arrived)


def check(rows: list[Row], syntax: str, folder: Path) -> tuple[int, list[str]]:
    """Send rows and compare; return how many have arrived, and why the others have not."""
    arrived, refused = 0, []
    for number, batch in enumerate(batches(rows)):
        inside = folder / str(number)
        inside.mkdir()
        for row, outcome, path in sent(batch, syntax, inside):
            if outcome.local in (Fate.UNSENDABLE, Fate.REFUSED):
                refused.append(f"{row.path.name}: {outcome.comment}")
                assert outcome.comment.startswith("PACS takes no "), outcome.comment
                assert not path.exists()
                continue
            assert outcome.delivered, (row.path, outcome)
            found, source = dcmread(path), dcmread(row.path, force=True)
            source.is_big = row.transfer_syntax.endswith(".2.2")
            found.is_big = False
            assert found.file_meta.TransferSyntaxUID == syntax
            compare(source, found, row.transfer_syntax)
            same_pixels(row, found, inside)
            arrived += 1
    return arrived, refused


def shared(name: str) -> Path:
    """Return a folder beside the project, or skip the test that needs it."""
    if not (SHARED / name).is_dir():
        pytest.skip(f"../shared/{name} is not beside the project")
    return SHARED / name


def known(files: list[Path]) -> list[Row]:
    return [row for row in map(row_of, files) if row is not None]


SPREAD = (
    "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm", "MR_small_bigendian.dcm",
    "image_dfl.dcm", "SC_rgb_rle.dcm", "UN_sequence.dcm", "JPEG-LL.dcm", "emri_small_RLE.dcm", "waveform_ecg.dcm",
    "JPGExtended.dcm", "MR_small_expb.dcm", "priv_SQ.dcm", "ExplVR_BigEnd.dcm", "reportsi.dcm", "CT_small.dcm",
)  # fmt: skip


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE], ids=["implicit", "explicit"])
def test_T10_T11_a_spread_of_files_arrives_at_peers_of_one_native_syntax(syntax: str, tmp_path: Path) -> None:
    rows = known([path for path in PYDICOM.rglob("*") if path.name in SPREAD])
    arrived, refused = check(rows, syntax, tmp_path)
    assert arrived >= 8
    assert all(any(reason in one for reason in REASONS) for one in refused), refused


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE], ids=["implicit", "explicit"])
@pytest.mark.parametrize("case", ["deliver_compressed_icon", "deliver_private_sequence_as_un", "deliver_jpeg_lossless"])
def test_T10_T11_what_once_did_not_arrive_or_arrived_wrong_does(case: str, syntax: str, tmp_path: Path) -> None:
    rows = known(sorted((shared("cases") / case).glob("*.dcm")))
    assert check(rows, syntax, tmp_path) == (len(rows), [])


@pytest.mark.long
@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE], ids=["implicit", "explicit"])
def test_T10_T11_every_file_there_is_arrives_or_says_why_not(syntax: str, tmp_path: Path) -> None:
    folders = (PYDICOM, shared("data"), *sorted(shared("cases").glob("deliver_*")))
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    with warnings.catch_warnings(record=True):
        arrived, refused = check(known(files), syntax, tmp_path)
    print(arrived, *refused, sep="\n")
    assert arrived > 400
    assert all(any(reason in one for reason in REASONS) for one in refused), refused
