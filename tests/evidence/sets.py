"""The real sets: what lies where, and each of them converted and turned back by the command line, once a session.

Copies of one instance may not be converted together: a set is taken in layers, so that no layer has a UID twice.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pydicom
import real_data
from click.testing import CliRunner
from pydicom import dcmread
from pydicom.dataset import Dataset
from real_data import need_set

from gateway.cli.main import main

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"


def names() -> list[str]:
    """Return all sets: pydicom's own files are always here."""
    return ["pydicom", *real_data.names()]


def _header(path: Path) -> Dataset | None:
    try:
        ds = dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID", "SOPClassUID", "StudyInstanceUID"])
        return ds if ds.get("SOPInstanceUID") and ds.get("SOPClassUID") else None
    except Exception:  # broken files are part of the sets
        return None


def layers(name: str) -> list[list[Path]]:
    """Return the DICOM files of a set, split so that no UID is twice in a list."""
    found: dict[int, list[Path]] = defaultdict(list)
    seen: Counter[str] = Counter()
    for path in sorted(
        path for path in (BUNDLED if name == "pydicom" else need_set(name)).rglob("*") if path.is_file()
    ):
        header = _header(path)
        if header is not None:
            found[seen[header.SOPInstanceUID]].append(path)
            seen[header.SOPInstanceUID] += 1
    return list(found.values())


@dataclass
class Layer:
    """Files of a set without a UID twice, what became of them, and what that became turned back.

    Attributes
    ----------
    sources : list of Path
        The files.
    enhanced, classic : Path
        Folders with the enhanced view, and with the classic view made of nothing but that.
    report, back : dict
        What the two runs said.
    """

    sources: list[Path]
    enhanced: Path
    classic: Path
    report: dict
    back: dict

    @cached_property
    def by_instance(self) -> dict[str, Path]:
        """Sources by SOP Instance UID."""
        return {_header(path).SOPInstanceUID: path for path in self.sources}

    @cached_property
    def made(self) -> list[Path]:
        """Objects that conversion made, presentation states and rewritten copies included."""
        received = set(self.by_instance)
        return [path for path in files(self.enhanced) if _header(path).SOPInstanceUID not in received]

    @cached_property
    def images(self) -> list[Path]:
        """Multi-frame images that conversion made."""
        return [path for path in self.made if _is_new_image(dcmread(path, stop_before_pixels=True))]


def _is_new_image(ds: Dataset) -> bool:
    """Tell conversion's own from rewritten copies of multi-frame objects, whose source stands at the top level."""
    return "PerFrameFunctionalGroupsSequence" in ds and "ConversionSourceAttributesSequence" not in ds


def files(folder: Path) -> list[Path]:
    """Return the files below a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def gateway_convert(sources: Path, output: Path, *options: str) -> dict:
    """Run the command in this process and return its report, exit status included."""
    done = CliRunner().invoke(main, ["convert", str(sources), "-o", str(output), "--json", *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return json.loads(done.stdout) | {"status": done.exit_code}


def convert_set(name: str, folder: Path) -> list[Layer]:
    """Convert every layer of a set and turn the result back."""
    made = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, paths in enumerate(layers(name)):
            place = folder / f"{number}"
            (place / "in").mkdir(parents=True)
            for count, path in enumerate(paths):
                (place / "in" / f"{count:04d}-{path.name}").symlink_to(path)
            report = gateway_convert(place / "in", place / "enhanced")
            back = gateway_convert(place / "enhanced", place / "classic", "--to", "classic")
            made.append(Layer(paths, place / "enhanced", place / "classic", report, back))
    return made
