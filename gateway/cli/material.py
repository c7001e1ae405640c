"""What the demonstration sends: files from disk, each SOP Instance UID once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.uid import UID

from gateway.archive.rows import RECEIVED, InstanceRow, instance_columns
from gateway.archive.views import View
from gateway.cli.elements import data_set_digest
from gateway.errors import GatewayError
from gateway.objects.elements import decoded, integer, text
from gateway.objects.part10 import EXPLICIT_LITTLE, IMPLICIT_LITTLE, Header, check_identity, read_header
from gateway.objects.stream import ByteSource, FileSource
from gateway.standard.sop_classes import CONVERSIONS

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_CONVERTIBLE = frozenset(conversion.classic for conversion in CONVERSIONS.values())


@dataclass
class Material:
    """Files to send and files left aside.

    Attributes
    ----------
    rows : list of InstanceRow
        What is sent, by study and series; `name` is the path.
    titles : dict of str to str
        What people call each series, by Series Instance UID.
    aside : list of (Path, str)
        Files that are not sent, with the reason.
    """

    rows: list[InstanceRow] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)
    aside: list[tuple[Path, str]] = field(default_factory=list)

    def source_of(self, row: InstanceRow, /) -> ByteSource:
        """Return the data set of a file; makes this a source for the retrieval engine."""
        return FileSource(Path(row.name), row.dataset_offset, row.length)


def bundled() -> Path:
    """Return the folder of real and broken objects that comes with pydicom."""
    import pydicom.data

    return Path(pydicom.data.__file__).parent / "test_files"


def files(folder: Path) -> list[Path]:
    """Return the files in a folder and below, in order of their names."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def collect(paths: Iterable[Path]) -> Material:
    """Look at each file and return what can be sent, each SOP Instance UID once."""
    material = Material()
    found: dict[str, InstanceRow] = {}
    for path in paths:
        row = _look(path, material)
        if row is not None:
            known = found.get(row.sop_instance)
            better = known is None or _preference(row) < _preference(known)
            if known is not None:
                dropped, other = (known, row) if better else (row, known)
                material.aside.append((Path(dropped.name), _collision(dropped, other)))
            if better:
                found[row.sop_instance] = row
    material.rows = sorted(found.values(), key=lambda row: (row.study, row.series, row.instance_number or 0))
    return material


def _collision(dropped: InstanceRow, other: InstanceRow) -> str:
    """Return why one of two files with one UID is left aside."""
    if data_set_digest(Path(dropped.name)) == data_set_digest(Path(other.name)):
        return f"equal to another file: {dropped.sop_instance}"
    return f"the SOP Instance UID of another file: {dropped.sop_instance}"


def _preference(row: InstanceRow) -> tuple[bool, bool, str]:
    """Of files with one UID the one with most to show: convertible, uncompressed."""
    native = row.transfer_syntax in (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    return row.sop_class not in _CONVERTIBLE, not native, row.name


def _look(path: Path, material: Material) -> InstanceRow | None:
    try:
        header = read_header(path)
        if text(header.meta, 0x00020002) == MEDIA_DIRECTORY:
            material.aside.append((path, "a DICOMDIR"))
            return None
        check_identity(header)
    except (GatewayError, OSError, ValueError) as error:
        material.aside.append((path, str(error).removeprefix(f"{path.name}: ")))
        return None
    material.titles.setdefault(header.series, _title(header))
    return _row(path, header)


def _title(header: Header) -> str:
    parts = [
        text(header.dataset, "Modality") or UID(header.sop_class).name,
        decoded(header.dataset, "SeriesDescription") or decoded(header.dataset, "StudyDescription"),
    ]
    return " ".join(part for part in parts if part)


def _row(path: Path, header: Header) -> InstanceRow:
    values = instance_columns(header.dataset)
    return InstanceRow(
        id=0,
        sop_instance=header.sop_instance,
        sop_class=header.sop_class,
        study=header.study,
        series=header.series,
        name=str(path),
        kind=RECEIVED,
        transfer_syntax=header.transfer_syntax,
        length=header.size - header.dataset_offset,
        dataset_offset=header.dataset_offset,
        views=View.RECEIVED,
        frames=values["frames"],
        instance_number=values["number"],
        reason="",
        peer="",
        convert=True,
        prior=False,
        digest="",
        settled=False,
        superseded=0,
        series_number=integer(header.dataset, "SeriesNumber"),
        modality=text(header.dataset, "Modality"),
    )
