"""Real series: pydicom's own always, the shared sets where they are; each converts or stays classic as expected."""

from __future__ import annotations

import re
import subprocess
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pydicom
import pytest
from conversion.material import Conversion, convert, frames_of
from conversion.reading import missing, plain, unfolded
from pydicom import dcmread
from pydicom.encaps import generate_frames
from real_data import names, need_set
from tools import need, need_module

from gateway.conversion.pixels import NATIVE
from gateway.errors import ObjectError
from gateway.objects.part10 import read_header

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"

NO_IMAGE = "not a classic CT, MR or PET image"
SAME_UID = "another file has the same SOP Instance UID"
ENHANCED = "enhanced already"
DECODED = "compressed pixels of MONOCHROME2 with {} of {} bits, High Bit {} would have to be decoded to be changed"

# Objects that must come out, as modality and frames with how many of them, and instances that stay by reason.
EXPECTED: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "pydicom": (
        {"CT 1": 1, "CT 4": 1, "CT 5": 1, "MR 1": 5, "MR 3": 2, "MR 7": 1},
        {
            DECODED.format(14, 16, 13): 1,
            NO_IMAGE: 28,
            SAME_UID: 40,
            DECODED.format(13, 16, 12): 1,
            "a localizer": 2,
            "ImagePositionPatient is missing": 50,
        },
    ),
    "ct_ge_tilt28": ({"CT 28": 1}, {}),
    "ct_philips28_localizer": ({"CT 28": 1}, {}),
    "ct_transfer_syntaxes": (
        {"CT 1": 5},
        {DECODED.format(8, 8, 7): 1, SAME_UID: 10},
    ),
    "dcmqi_ct_lce_seg": (
        {"CT 3": 1},
        {
            "received enhanced; its sources are held": 2,
            "its enhanced twin ... was received": 6,
            NO_IMAGE: 7,
            SAME_UID: 2,
        },
    ),
    "dicom2nifti_vendors": (
        {"CT 4": 4, "MR 2": 3, "MR 4": 18, "MR 8": 3},
        {SAME_UID: 24, NO_IMAGE: 4, ENHANCED: 5},
    ),
    "ge_dynamic": ({"MR 10": 10}, {}),
    "highdicom_refs": ({"CT 4": 1}, {NO_IMAGE: 7, SAME_UID: 2}),
    "lce_mr_seg_ibsi": ({}, {NO_IMAGE: 1, ENHANCED: 1}),
    "mr_ge_fmri150": ({"MR 15": 10}, {}),
    "pet_ge_crop": ({"PT 48": 1, "PT 59": 1}, {}),
    "philips_dynamic": ({"MR 9": 3}, {}),
    "philips_pair_asl1901": ({"MR 40": 1}, {ENHANCED: 1}),
    "philips_pcasl_gsps": ({"MR 16": 1}, {NO_IMAGE: 1}),
    "pydicom_data": (
        {"CT 1": 3},
        {SAME_UID: 7, ENHANCED: 1, NO_IMAGE: 1},
    ),
    "rtutils_ct_rtstruct": ({"CT 2": 1}, {NO_IMAGE: 1, SAME_UID: 3}),
    "siemens_9_syntaxes": (
        {},
        {
            "a mosaic holds many slices in one image": 9,
        },
    ),
    "siemens_dualecho": ({"MR 35": 2}, {}),
}

# False on legacy converted objects (FINDINGS), or true of them only because the sources lack it.
FALSE = (
    "UnassignedPerFrameConvertedAttributesSequence",
    "present but Instance does not reference Instances",
    # E47 forbids guessing where the targets are, when nobody holds them.
    "ReferencedImageEvidenceSequence(0008,9092)> - Missing",
    # Type 2 in a classic image, and not to be made up where that is empty.
    "SliceThickness(0018,0050)> - Missing",
    # An error of a source's identity is repeated wherever it is named.
    "ReferencedSOPInstanceUID",
)


def _studies(name: str) -> dict[str, list[Path]]:
    root = BUNDLED if name == "pydicom" else need_set(name)
    found = defaultdict(list)
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        try:
            header = read_header(path)
        except ObjectError:
            continue
        if header.sop_class and header.sop_instance:
            found[header.study].append(path)
    return found


def _errors(path: Path) -> set[str]:
    """Return dciodvfy's errors without places, which differ between a source and an object."""
    done = subprocess.run([need("dciodvfy"), "-new", str(path)], capture_output=True)
    lines = [line for line in done.stderr.decode("latin-1").splitlines() if line.startswith("Error")]
    return {_told(line) for line in lines if not any(part in line for part in FALSE)}


def _told(line: str) -> str:
    place, _, rest = line.removeprefix("Error - ").partition("> - ")
    what = re.sub(r"for Type \w+ (Required|Conditional)|- Module=.*|\[[0-9]+\]", "", rest)
    return f"{place.rpartition('/')[2]}: {what}".strip()


@pytest.fixture(scope="module", params=["pydicom", *names()])
def conversions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp(request.param)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = [
            convert_named(paths, folder / str(number)) for number, paths in enumerate(_studies(request.param).values())
        ]
        yield request.param, made


def convert_named(paths: list[Path], folder: Path) -> Conversion:
    """Convert files whose names may repeat: links with numbers stand for them."""
    links = []
    folder.mkdir(parents=True)
    for number, path in enumerate(paths):
        link = folder / f"{number:03d}-{path.name}"
        link.symlink_to(path)
        links.append(link)
    return convert(links, folder / "out")


def test_each_set_becomes_what_is_expected(conversions) -> None:
    name, made = conversions
    objects = Counter(f"{ds.Modality} {ds.NumberOfFrames}" for one in made for ds in one.objects)
    # What keeps an enhanced object from being turned back is not told apart here.
    kept = [reason.partition(f"{ENHANCED}; ")[0] or ENHANCED for one in made for reason in one.kept.values()]
    reasons = Counter(re.sub(r"[0-9.]{20,}", "...", reason) for reason in kept)
    assert (dict(objects), dict(reasons)) == EXPECTED[name]


def test_every_element_and_pixel_of_every_source_is_in_its_frame(conversions) -> None:
    for made in conversions[1]:
        paths = {fact.sop_instance: fact.path for fact in made.facts}
        for ds in made.objects:
            native = ds.file_meta.TransferSyntaxUID in NATIVE
            frames = None if native else list(generate_frames(ds.PixelData, number_of_frames=int(ds.NumberOfFrames)))
            pixels = ds.pixel_array.reshape(int(ds.NumberOfFrames), -1) if native else None
            for number, frame in enumerate(frames_of(ds)):
                source = dcmread(
                    paths[frame.ConversionSourceAttributesSequence[0].ReferencedSOPInstanceUID], force=True
                )
                lost = missing(source, unfolded(ds, number))
                # References say more than they did: what their targets have become, and what they are for.
                assert {key: value for key, value in lost.items() if key not in (0x00081140, 0x00082112)} == {}
                if pixels is not None:
                    assert np.array_equal(pixels[number], source.pixel_array.reshape(-1))
                else:
                    assert frames[number] == next(generate_frames(source.PixelData, number_of_frames=1))


def test_dciodvfy_finds_nothing_that_the_sources_did_not_have(conversions) -> None:
    for made in conversions[1]:
        paths = {fact.sop_instance: fact.path for fact in made.facts}
        for path in made.files:
            own = {fact.sop_instance for one in made.result.objects for fact in one.planned.frames
                   if one.planned.sop_instance == path.stem}  # fmt: skip
            known = set().union(*(_errors(paths[uid]) for uid in sorted(own)[:4]))
            assert _errors(path) - known == set()


def test_highdicom_reads_every_object(conversions) -> None:
    highdicom = need_module("highdicom")
    for made in conversions[1]:
        for path in made.files:
            image = highdicom.imread(path)
            assert image.number_of_frames == int(dcmread(path).NumberOfFrames)


def test_the_scanners_own_enhanced_object_says_the_same(tmp_path: Path) -> None:
    """The same scan, exported classic and enhanced by the scanner: pixels and geometry of each frame agree."""
    paths = [path for found in _studies("philips_pair_asl1901").values() for path in found]
    theirs = next(dcmread(path) for path in paths if dcmread(path, stop_before_pixels=True).get("NumberOfFrames"))
    classic = [path for path in paths if not dcmread(path, stop_before_pixels=True).get("NumberOfFrames")]
    ours = convert_named(classic, tmp_path / "pair").one
    assert ours.NumberOfFrames == theirs.NumberOfFrames

    def frames(ds):
        shared = ds.SharedFunctionalGroupsSequence[0]
        for number, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
            position = frame.PlanePositionSequence[0].ImagePositionPatient
            where = frame if "PixelMeasuresSequence" in frame else shared
            spacing = where.PixelMeasuresSequence[0].PixelSpacing
            yield (*(round(float(v), 2) for v in (*position, *spacing)), ds.pixel_array[number].tobytes())

    assert Counter(frames(ours)) == Counter(frames(theirs))


def test_plain_is_not_blind() -> None:
    """The comparison above would see one byte."""
    ds = dcmread(BUNDLED / "CT_small.dcm")
    before = plain(ds)
    ds.PatientName = "other"
    assert missing(ds, before)
