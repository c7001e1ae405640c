"""True Enhanced CT, MR and PET to classic images: the lines K of the requirements where no classic image is known."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conversion.enhanced_material import ENHANCED_SERIES, enhanced_of, save_enhanced
from conversion.material import CLASSIC, ENHANCED, STUDY, item, made_of, save_all, series_of, turned_back
from conversion.reading import plain
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless
from tools import need

from gateway.conversion.identity import Identity

MODALITIES = ["CT", "MR", "PT"]


def back(ds: Dataset, folder: Path, syntax: str = ExplicitVRLittleEndian) -> list[Dataset]:
    """Turn one object back and read the images with pydicom."""
    files, plan = turned_back([save_enhanced(ds, folder / "in" / "enhanced.dcm", syntax)], folder / "back")
    assert not plan.kept
    return [dcmread(path) for path in files]


def kept(ds: Dataset, folder: Path) -> str:
    files, plan = turned_back([save_enhanced(ds, folder / "in" / "enhanced.dcm")], folder / "back")
    assert not files
    (reason,) = plan.kept.values()
    return reason


@pytest.mark.parametrize("modality", MODALITIES)
def test_K1_class_is_the_classic_one(modality: str, tmp_path: Path) -> None:
    images = back(enhanced_of(modality), tmp_path)
    assert [image.SOPClassUID for image in images] == [CLASSIC[modality]] * 4
    assert [image.Modality for image in images] == [modality] * 4
    assert all("NumberOfFrames" not in image for image in images)


@pytest.mark.parametrize("modality", MODALITIES)
def test_K2_geometry_pixels_and_type_come_from_the_groups(modality: str, tmp_path: Path) -> None:
    for number, image in enumerate(back(enhanced_of(modality), tmp_path), 1):
        assert image.PixelSpacing == [0.5, 0.5]
        assert image.SliceThickness == 5
        assert image.ImagePositionPatient == [-10, -20, 5 * number]
        assert image.ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
        assert image.ImageType == ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        assert image.FrameOfReferenceUID == STUDY + ".99"
        assert image.InstanceNumber == number
        assert image.AcquisitionNumber == 3
        assert (image.AcquisitionDate, image.AcquisitionTime) == ("20240102", f"1016{number:02d}.25")
        assert (image.Rows, image.Columns, image.BitsStored) == (8, 8, 16)


def test_K2_CT(tmp_path: Path) -> None:
    image = back(enhanced_of("CT"), tmp_path)[1]
    assert (image.RescaleIntercept, image.RescaleSlope, image.RescaleType) == (-1024, 1, "HU")
    assert image.KVP == 120
    assert (image.WindowCenter, image.WindowWidth) == ([40, 60], [400, 1500])
    assert (image.ExposureTime, image.XRayTubeCurrent, image.Exposure) == (500, 202, 100)
    assert image.XRayTubeCurrentInuA == 201500
    assert image.ConvolutionKernel == "B30"


def test_K2_MR(tmp_path: Path) -> None:
    first, second, *_ = back(enhanced_of("MR"), tmp_path)
    assert first.ScanningSequence == ["SE", "IR"]
    assert first.SequenceVariant == ["SK", "MTC"]
    assert first.ScanOptions == "FS"
    assert first.MRAcquisitionType == "2D"
    assert (first.RepetitionTime, first.EchoTime, second.EchoTime) == (500, 10.5, 21)
    assert (first.InversionTime, first.EchoTrainLength, first.FlipAngle) == (150, 8, 90)
    assert (first.SequenceName, first.ImagedNucleus, first.ImagingFrequency) == ("tse", "1H", 127.748512)
    assert first.InPlanePhaseEncodingDirection == "COL"
    assert first.AcquisitionMatrix == [256, 0, 0, 192]
    assert first.NumberOfPhaseEncodingSteps == 192
    assert (first.SAR, first.dBdt) == (0.25, 42.5)
    assert first.DiffusionGradientOrientation == [1, 0, 0]
    assert "RescaleSlope" not in first


def test_K2_PET(tmp_path: Path) -> None:
    for number, image in enumerate(back(enhanced_of("PT"), tmp_path), 1):
        assert (image.Units, image.CountsSource, image.SeriesType) == ("BQML", "EMISSION", ["STATIC", "IMAGE"])
        assert image.CorrectedImage == ["DECY", "ATTN", "SCAT"]
        assert image.DecayCorrection == "ADMIN"
        assert (image.NumberOfSlices, image.ImageIndex) == (4, number)
        assert image.FrameReferenceTime == 60_000 + 1000 * number
        assert image.ActualFrameDuration == 2000
        assert image.DecayFactor == 1.25
        assert len(image.RadiopharmaceuticalInformationSequence) == 1
        assert image.PatientOrientationCodeSequence[0].CodeValue == "102538003"
        assert image.PatientOrientationCodeSequence[0].PatientOrientationModifierCodeSequence[0].CodeValue == "40199007"
        assert image.PatientGantryRelationshipCodeSequence[0].CodeValue == "102540008"
        assert "PatientPosition" not in image
        assert image.CollimatorType == "NONE"


@pytest.mark.parametrize("modality", MODALITIES)
def test_K2_type_2_attributes_are_there_though_empty(modality: str, tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        del ds.AccessionNumber, ds.PositionReferenceIndicator, ds.SeriesNumber
        del ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness

    image = back(enhanced_of(modality, change=change), tmp_path)[0]
    for keyword in ("AccessionNumber", "PositionReferenceIndicator", "SeriesNumber", "SliceThickness"):
        assert image[keyword].is_empty


def _without(*keywords: str) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for groups in (ds, ds.SharedFunctionalGroupsSequence[0], *ds.PerFrameFunctionalGroupsSequence):
            for keyword in keywords:
                if keyword in groups:
                    del groups[keyword]

    return change


@pytest.mark.parametrize(
    ("modality", "absent", "wanted"),
    [
        ("CT", "PixelValueTransformationSequence", "RescaleSlope"),
        ("CT", "PlaneOrientationSequence", "ImageOrientationPatient"),
        ("MR", "EchoPulseSequence", ""),
        ("MR", "PixelMeasuresSequence", "PixelSpacing"),
        ("PT", "DecayCorrectionDateTime", "DecayCorrection"),
        ("PT", "CountsSource", "CountsSource"),
    ],
)
def test_K2_an_object_that_lacks_a_type_1_attribute_stays_with_the_reason(
    modality: str, absent: str, wanted: str, tmp_path: Path
) -> None:
    ds = enhanced_of(modality, change=_without(absent))
    if wanted:
        assert wanted in kept(ds, tmp_path)
    else:  # inversion recovery is known from elsewhere
        assert back(ds, tmp_path)[0].ScanningSequence == "IR"


def test_K2_bits_that_the_classic_class_does_not_allow_stay_enhanced(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.PixelData = 7, ds.PixelData[: 4 * 64]

    assert "BitsAllocated '8'" in kept(enhanced_of("MR", change=change), tmp_path)


def test_K1_enhanced_MR_color_has_no_classic_class(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.3"

    assert "no classic one" in kept(enhanced_of("MR", change=change), tmp_path)


def test_K3_optional_attributes_of_the_classic_modules(tmp_path: Path) -> None:
    image = back(enhanced_of("CT"), tmp_path)[0]
    assert image.BodyPartExamined == "CHEST"
    assert image.AnatomicRegionSequence[0].CodeValue == "816094009"
    assert image.ImageLaterality == "U"
    assert image.ImageComments == "frame 1"
    assert image.ProtocolName == "Protocol 1"
    assert image.ReconstructionDiameter == 250
    assert image.RotationDirection == "CW"


# Names under which classic images have what the enhanced form calls otherwise.
_RENAMED = {
    "FrameType": "ImageType",
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "FrameAcquisitionDateTime": "AcquisitionDateTime",
    "FrameLaterality": "ImageLaterality",
}


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_K4_everything_of_top_shared_and_frame_is_at_the_top_level(modality: str, syntax: str, tmp_path: Path) -> None:
    ds = enhanced_of(modality)
    images = back(ds, tmp_path, syntax)
    ds = dcmread(tmp_path / "in" / "enhanced.dcm")
    for image, frame in zip(images, ds.PerFrameFunctionalGroupsSequence, strict=True):
        found = plain(image)
        for groups in (ds.SharedFunctionalGroupsSequence[0], frame):
            for group in groups:
                if group.tag.is_private:
                    continue
                for element in group.value[0]:
                    tag = element.tag if element.keyword not in _RENAMED else image[_RENAMED[element.keyword]].tag
                    value = plain(group.value[0])[element.tag]
                    if element.keyword == "FrameAcquisitionNumber":
                        value = str(element.value).encode() + b" "
                    if element.keyword == "InPlanePhaseEncodingDirection":
                        value = b"COL "
                    assert found[tag] == value, element
        for key, value in plain(frame).items():
            if isinstance(key, tuple):
                assert found[key] == value  # a private group stays what it is
        for key, value in plain(ds).items():
            if key not in _GONE and key not in _SUMMED_UP:
                assert found.get(key) == value or _carried(image, key, value), key


_GONE = {0x00080016, 0x00080018, 0x0020000E, 0x00200013, 0x00280008, 0x52009229, 0x52009230, 0x7FE00010}
_SUMMED_UP = {0x00080008, 0x00089205, 0x00089206, 0x00089207, 0x00089208, 0x00089209}


def _carried(image: Dataset, key: object, value: bytes) -> bool:
    block = image.private_block(0x0021, "GATEWAY CONVERSION")
    return plain(block[0x01].value[0]).get(key) == value


def test_K4_what_a_frame_says_goes_before_the_top_level_and_nothing_is_lost(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.PixelBandwidth = "201"
        ds.AcquisitionNumber = "9"

    for image in back(enhanced_of("MR", change=change), tmp_path):
        assert (image.PixelBandwidth, image.AcquisitionNumber) == (200, 3)
        (replaced,) = image.private_block(0x0021, "GATEWAY CONVERSION")[0x01].value
        assert (replaced.PixelBandwidth, replaced.AcquisitionNumber) == (201, 9)
        assert replaced.AcquisitionDateTime == "20240102101600"


def test_K4_groups_of_several_items_stay_sequences(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.SharedFunctionalGroupsSequence[0].MRSpatialSaturationSequence = [
            item(SlabThickness=float(n), SlabOrientation=[1.0, 0.0, 0.0]) for n in (1, 2)
        ]

    for image in back(enhanced_of("MR", change=change), tmp_path):
        assert [slab.SlabThickness for slab in image.MRSpatialSaturationSequence] == [1, 2]


@pytest.mark.parametrize("modality", MODALITIES)
def test_G5_dciodvfy_finds_no_error(modality: str, tmp_path: Path) -> None:
    files, _ = turned_back([save_enhanced(enhanced_of(modality), tmp_path / "in" / "1.dcm")], tmp_path / "back")
    run = subprocess.run([need("dciodvfy"), "-new", files[0]], capture_output=True, text=True)
    assert not [line for line in run.stderr.splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("modality", MODALITIES)
def test_K5_conversion_source_view_and_equipment(modality: str, tmp_path: Path) -> None:
    for number, image in enumerate(back(enhanced_of(modality), tmp_path), 1):
        (source,) = image.ConversionSourceAttributesSequence
        assert source.ReferencedSOPClassUID == ENHANCED[modality]
        assert source.ReferencedSOPInstanceUID == f"{ENHANCED_SERIES}.1"
        assert source.ReferencedFrameNumber == number
        assert image.QueryRetrieveView == "CLASSIC"
        (equipment,) = image.ContributingEquipmentSequence
        assert equipment.ContributionDescription == "Classic Image created from Enhanced Image"


def test_G8_equipment_of_the_object_is_kept(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.ContributingEquipmentSequence = [item(Manufacturer="Other")]

    image = back(enhanced_of("CT", change=change), tmp_path)[0]
    assert [one.Manufacturer for one in image.ContributingEquipmentSequence] == ["Other", "Gateway"]


def test_E3_concatenation_attributes_go_and_numbers_go_on(tmp_path: Path) -> None:
    def part(number: int) -> Callable[[Dataset], None]:
        def change(ds: Dataset) -> None:
            ds.ConcatenationUID, ds.InConcatenationNumber = STUDY + ".80", number
            ds.InConcatenationTotalNumber, ds.SOPInstanceUIDOfConcatenationSource = 2, STUDY + ".81"
            ds.ConcatenationFrameOffsetNumber = 4 * (number - 1)

        return change

    paths = [
        save_enhanced(enhanced_of("CT", change=part(n), number=3 - n), tmp_path / "in" / f"{n}.dcm") for n in (1, 2)
    ]
    images = [dcmread(path) for path in turned_back(paths, tmp_path / "back")[0]]
    assert sorted(int(image.InstanceNumber) for image in images) == list(range(1, 9))
    for image in images:
        source = image.ConversionSourceAttributesSequence[0]
        first = source.ReferencedSOPInstanceUID == f"{ENHANCED_SERIES}.2"
        assert image.InstanceNumber == source.ReferencedFrameNumber + (0 if first else 4)
        assert not {e.keyword for e in image if "Concatenation" in e.keyword}


def test_K6_one_series_for_a_series_with_numbers_unique_in_it(tmp_path: Path) -> None:
    paths = [save_enhanced(enhanced_of("MR", 3, number=n), tmp_path / "in" / f"{n}.dcm") for n in (2, 1)]
    images = [dcmread(path) for path in turned_back(paths, tmp_path / "back")[0]]
    assert len({image.SeriesInstanceUID for image in images}) == 1
    assert [int(image.InstanceNumber) for image in images] == [1, 2, 3, 4, 5, 6]
    assert {image.SeriesNumber for image in images} == {70}


def test_K7_new_UIDs_are_new_and_always_the_same(tmp_path: Path) -> None:
    first = back(enhanced_of("CT"), tmp_path / "1")
    second = back(enhanced_of("CT"), tmp_path / "2")
    for one, other in zip(first, second, strict=True):
        assert one == other
        assert one.SOPInstanceUID.startswith("2.25.")
        assert one.SeriesInstanceUID.startswith("2.25.")
        assert len(one.SOPInstanceUID) <= 64
        assert one.StudyInstanceUID == STUDY
    assert len({image.SOPInstanceUID for image in first}) == 4


def test_K7_other_contents_give_other_UIDs(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.SeriesDescription = "other"

    one = back(enhanced_of("CT"), tmp_path / "1")[0]
    other = back(enhanced_of("CT", change=change), tmp_path / "2")[0]
    path = save_enhanced(enhanced_of("CT"), tmp_path / "3" / "1.dcm")
    seeded = dcmread(turned_back([path], tmp_path / "3" / "back", identity=Identity(seed="x"))[0][0])
    assert len({one.SOPInstanceUID, other.SOPInstanceUID, seeded.SOPInstanceUID}) == 3


@pytest.mark.parametrize("modality", MODALITIES)
def test_pixels_of_every_frame_are_those_of_its_image(modality: str, tmp_path: Path) -> None:
    ds = enhanced_of(modality)
    for image, frame in zip(back(ds, tmp_path), np.frombuffer(ds.PixelData, "<u2").reshape(4, 8, 8), strict=True):
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        assert np.array_equal(image.pixel_array, frame)


@pytest.mark.parametrize("table", [True, False], ids=["basic offset table", "none"])
def test_encapsulated_frames_are_passed_on(table: bool, tmp_path: Path) -> None:
    ds = enhanced_of("MR")
    path = save_enhanced(ds, tmp_path / "in" / "1.dcm")
    compressed = dcmread(path)
    compressed.compress(RLELossless, generate_instance_uid=False)
    if not table:
        length = int.from_bytes(compressed.PixelData[4:8], "little")
        compressed.PixelData = compressed.PixelData[:4] + bytes(4) + compressed.PixelData[8 + length :]
    compressed.save_as(path)
    files, _ = turned_back([path], tmp_path / "back")
    for file, frame in zip(files, np.frombuffer(ds.PixelData, "<u2").reshape(4, 8, 8), strict=True):
        image = dcmread(file)
        assert image.file_meta.TransferSyntaxUID == RLELossless
        assert np.array_equal(image.pixel_array, frame)


@pytest.mark.parametrize("table", ["extended", "none"])
def test_frames_of_several_fragments_without_basic_offset_table(table: str, tmp_path: Path) -> None:
    # Code streams that nobody decodes here: JPEG-LS begins with SOI.
    frames = [[b"\xff\xd8" + bytes([n] * 4), bytes([n] * 6)] for n in range(1, 5)]
    head = b"\xfe\xff\x00\xe0"
    parts = [[head + len(part).to_bytes(4, "little") + part for part in frame] for frame in frames]
    ds = enhanced_of("MR")
    if table == "extended":
        lengths = [sum(map(len, frame)) for frame in parts]
        starts = [sum(lengths[:n]) for n in range(4)]
        ds.ExtendedOffsetTable = b"".join(start.to_bytes(8, "little") for start in starts)
        ds.ExtendedOffsetTableLengths = b"".join(length.to_bytes(8, "little") for length in lengths)
    ds.PixelData = head + bytes(4) + b"".join(part for frame in parts for part in frame)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    path = save_enhanced(ds, tmp_path / "in" / "1.dcm", JPEGLSLossless)
    for file, frame in zip(turned_back([path], tmp_path / "back")[0], frames, strict=True):
        image = dcmread(file)
        assert list(generate_fragments(image.PixelData))[1:] == frame
        assert "ExtendedOffsetTable" not in image


def test_odd_frames_are_padded(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.Rows, ds.Columns = 7, 3, 3
        ds.PixelData = bytes(range(36))
        for number, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
            source = item(ReferencedSOPClassUID=CLASSIC["MR"], ReferencedSOPInstanceUID=f"{STUDY}.60.{number}")
            frame.ConversionSourceAttributesSequence = [source]

    images = back(enhanced_of("MR", change=change), tmp_path)
    assert [image.PixelData for image in images] == [bytes(range(n, n + 9)) + b"\0" for n in (0, 9, 18, 27)]
    assert [image.SOPInstanceUID for image in images] == [f"{STUDY}.60.{n}" for n in range(4)]


def test_K7_images_that_are_held_are_not_made_again(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        for number, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
            source = item(ReferencedSOPClassUID=CLASSIC["CT"], ReferencedSOPInstanceUID=f"{STUDY}.60.{number}")
            frame.ConversionSourceAttributesSequence = [source]

    path = save_enhanced(enhanced_of("CT", change=change), tmp_path / "in" / "1.dcm")

    def held(*numbers: int) -> Callable[[str], tuple[str, str] | None]:
        uids = {f"{STUDY}.60.{number}" for number in numbers}
        return lambda uid: (STUDY, f"{STUDY}.60") if uid in uids else None

    files, made = turned_back([path], tmp_path / "all", resolve=held(0, 1, 2, 3))
    assert (files, made.kept) == ([], {})
    assert made.result.views["1.dcm"] == {"enhanced"}
    files, made = turned_back([path], tmp_path / "some", resolve=held(2))
    assert [path.stem for path in files] == [f"{STUDY}.60.{n}" for n in (0, 1, 3)]
    assert made.standing == {f"{ENHANCED_SERIES}.1": tuple(f"{STUDY}.60.{n}" for n in range(4))}


def test_K7_images_that_come_with_the_object_are_its_frames(tmp_path: Path) -> None:
    sources = series_of("CT", 4)
    path = made_of(sources, tmp_path / "made").files[0]
    files, made = turned_back([path, *save_all(sources[:2], tmp_path / "in")], tmp_path / "back")
    assert [path.stem for path in files] == [source.SOPInstanceUID for source in sources[2:]]
    assert made.result.twins == dict.fromkeys(("000.dcm", "001.dcm"), path.stem)
    assert made.result.views["000.dcm"] == {"classic"}


_MEASURE = """
import resource, sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from gateway.conversion.multiframe import MultiFrame
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
frames = MultiFrame(Path(sys.argv[1]))
assert sum(1 for _ in frames.frames()) == 2000
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1024)
"""


def test_two_thousand_frames_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = save_enhanced(enhanced_of("MR", 2000), tmp_path / "long.dcm")
    run = subprocess.run(
        [sys.executable, "-c", _MEASURE, path, str(Path(__file__).parents[2])],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(run.stdout) < 12  # the file itself is mapped, its header some 3 MB; parsed as a whole it takes 40
