"""The series of the sources in Related Series Sequence: written, left alone, read on the way back (E45, K6, K8)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
from conversion.material import (
    CLASSIC,
    SERIES,
    STUDY,
    coded,
    convert,
    item,
    made_of,
    other,
    reference,
    save,
    save_all,
    series_of,
    slice_of,
    turned_back,
)
from conversion.reading import source_series
from conversion.resolving import every_reference_resolves
from conversion.test_extraction import simple, taken
from conversion.test_updates import SR, gsps, key_object
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_sequence
from pydicom.uid import ImplicitVRLittleEndian

SECOND = STUDY + ".2"
ALTERNATE = coded("121326", "DCM", "Alternate SOP Class instance")
ATTENUATION = coded("122401", "DCM", "Same frame of reference")


def related(series: str, purpose: Dataset, study: str = STUDY) -> Dataset:
    return item(StudyInstanceUID=study, SeriesInstanceUID=series, PurposeOfReferenceCodeSequence=[purpose])


def named(ds: Dataset) -> list[str]:
    return [str(one.SeriesInstanceUID) for one in ds.get("RelatedSeriesSequence", [])]


def back(files: list[Path], folder: Path) -> dict[str, Dataset]:
    """Return what enhanced files alone are in the classic view, by SOP Instance UID."""
    found, _ = turned_back(files, folder)
    return {str(ds.SOPInstanceUID): ds for ds in map(dcmread, found)}


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_E45_every_object_of_a_derived_series_names_the_source_series_alike(modality: str, tmp_path: Path) -> None:
    turned = {"ImageOrientationPatient": ["0", "1", "0", "1", "0", "0"]}
    made = made_of(series_of(modality, change=[None, None, turned, turned]), tmp_path)
    assert len(made.objects) == 2
    assert len({ds.SeriesInstanceUID for ds in made.objects}) == 1
    assert [source_series(ds) for ds in made.objects] == [SERIES] * 2
    assert [len(ds.RelatedSeriesSequence) for ds in made.objects] == [1, 1]


def test_E45_the_related_series_of_the_source_stay_and_follow_their_targets(tmp_path: Path) -> None:
    attenuation = series_of("CT", series=SECOND)
    own = [related(SECOND, ATTENUATION), related("1.2.3", ALTERNATE)]
    sources = series_of("PT", change={"RelatedSeriesSequence": own})
    made = made_of([*attenuation, *sources], tmp_path)
    ct, pet = sorted(made.objects, key=lambda ds: str(ds.Modality))
    assert named(pet) == [ct.SeriesInstanceUID, "1.2.3", SERIES]
    images = back(made.files, tmp_path / "back")
    for source in sources:
        image = images[source.SOPInstanceUID]
        assert named(image) == [SECOND, "1.2.3"]
        assert image.SeriesInstanceUID == SERIES


def test_E45_related_series_that_differ_by_frame_come_back_to_each(tmp_path: Path) -> None:
    changes = [{"RelatedSeriesSequence": [related(uid, ATTENUATION)]} for uid in ("1.2.3", "1.2.4")]
    sources = series_of(change=[*changes, None])
    made = made_of(sources, tmp_path)
    assert named(made.one) == [SERIES]
    images = back(made.files, tmp_path / "back")
    assert [named(images[ds.SOPInstanceUID]) for ds in sources] == [["1.2.3"], ["1.2.4"], []]


def test_E45_G20_the_source_series_is_no_reference(tmp_path: Path) -> None:
    """What was made and comes back, with images of the series it names converted anew, is left as it is."""
    sources = series_of()
    made = made_of([*sources, key_object(sources)], tmp_path / "1")
    copy = made.copies["enhanced", f"{STUDY}.70.1"]
    further = series_of(change=[{"SOPInstanceUID": f"{SERIES}.9{n}"} for n in range(3)])
    again = convert([*made.files, *save_all([*further, copy], tmp_path / "in")], tmp_path / "2")
    assert named(again.copies["classic", copy.SOPInstanceUID])[:1] == [f"{STUDY}.70"]
    assert ("enhanced", copy.SOPInstanceUID) not in again.copies
    for ds in again.objects:
        assert named(ds) == [SERIES]


def test_K6_images_of_an_enhanced_object_alone_are_in_their_own_series(tmp_path: Path) -> None:
    sources = series_of(change={"SeriesNumber": "42"})
    images = back(made_of(sources, tmp_path).files, tmp_path / "back")
    assert {(str(ds.SeriesInstanceUID), int(ds.SeriesNumber)) for ds in images.values()} == {(SERIES, 42)}
    assert not any("RelatedSeriesSequence" in ds for ds in images.values())


def scout(targets: list[Dataset]) -> Dataset:
    """Return a localizer, which stays classic, and refers to images that do not."""
    change = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ReferencedImageSequence": [reference(targets[0])]}
    return slice_of("CT", 9, change, series=SECOND)


@pytest.mark.parametrize("make", [gsps, key_object, scout, lambda targets: other(SR, 1, structured(targets))])
def test_K8_a_copy_turned_back_is_in_the_series_of_its_source(make: Callable, tmp_path: Path) -> None:
    sources = series_of()
    document = make(sources[:2])
    made = made_of([*sources, document], tmp_path / "in")
    copy = made.copy(document)
    assert source_series(copy) == document.SeriesInstanceUID
    found = back([*made.files, save(copy, tmp_path / "copy.dcm")], tmp_path / "back")[document.SOPInstanceUID]
    assert (found.SOPInstanceUID, found.SeriesInstanceUID) == (document.SOPInstanceUID, document.SeriesInstanceUID)
    assert "RelatedSeriesSequence" not in found


def structured(targets: list[Dataset]) -> dict:
    return {
        "ContentSequence": [
            item(
                RelationshipType="CONTAINS",
                ValueType="IMAGE",
                ReferencedSOPSequence=[item(ReferencedSOPClassUID=CLASSIC["CT"], ReferencedSOPInstanceUID=one)],
            )
            for one in (ds.SOPInstanceUID for ds in targets)
        ]
    }


def test_K8_a_copy_keeps_the_related_series_of_its_source_and_takes_only_its_own_away(tmp_path: Path) -> None:
    sources = series_of()
    state = gsps(sources[:1], RelatedSeriesSequence=[related(SERIES, ATTENUATION), related("1.2.3", ALTERNATE)])
    made = made_of([*sources, state], tmp_path / "in")
    copy = made.copy(state)
    assert named(copy) == [made.objects[0].SeriesInstanceUID, "1.2.3", state.SeriesInstanceUID]
    images = back([*made.files, save(copy, tmp_path / "copy.dcm")], tmp_path / "back")
    assert named(images[state.SOPInstanceUID]) == [SERIES, "1.2.3"]


def test_E45_presentation_states_that_are_made_name_the_series_of_the_images(tmp_path: Path) -> None:
    made = made_of(series_of(change={"PhotometricInterpretation": "MONOCHROME1"}), tmp_path)
    (state,) = [one for one in made.result.companions if one.companion.kind == "presentation state"]
    ds = state.companion.dataset()
    assert [bytes(one[0x0020000E].value).rstrip(b"\0").decode() for one in ds[0x00081250].value] == [SERIES]


def stripped(path: Path, target: Path, change: Callable[[Dataset], None]) -> Path:
    ds = dcmread(path)
    change(ds)
    ds.save_as(target)
    return target


def test_K6_without_private_elements_an_only_item_tells_the_series(tmp_path: Path) -> None:
    path = stripped(made_of(series_of(), tmp_path).files[0], tmp_path / "1.dcm", lambda ds: ds.remove_private_tags())
    assert {str(ds.SeriesInstanceUID) for ds in back([path], tmp_path / "back").values()} == {SERIES}


def test_K6_an_item_that_another_has_written_is_not_taken_for_the_source_series(tmp_path: Path) -> None:
    """Classic images of some scanners name their own enhanced series for the same purpose."""

    def change(ds: Dataset) -> None:
        ds.remove_private_tags()
        ds.RelatedSeriesSequence = [related("1.2.3", ALTERNATE), related(SERIES, ALTERNATE)]

    path = stripped(made_of(series_of(), tmp_path).files[0], tmp_path / "1.dcm", change)
    found = {str(ds.SeriesInstanceUID) for ds in back([path], tmp_path / "back").values()}
    assert found.isdisjoint(("1.2.3", SERIES))


def test_K6_objects_of_the_first_edition_come_back_to_their_series(tmp_path: Path) -> None:
    """Their Unassigned groups have the source series and bits, their equipment the edition in Software Versions."""
    bits = {"BitsStored": 12, "HighBit": 11}
    sources = series_of("PT", change=bits | {"NumberOfFrames": "1"})

    def change(ds: Dataset) -> None:
        del ds.RelatedSeriesSequence
        (equipment,) = ds.ContributingEquipmentSequence
        equipment.remove_private_tags()
        equipment.ManufacturerModelName, equipment.SoftwareVersions = "DICOM edge gateway", "conversion edition 1"
        (shared,) = ds.SharedFunctionalGroupsSequence[0].UnassignedSharedConvertedAttributesSequence
        shared.remove_private_tags()
        shared.SeriesInstanceUID, shared.NumberOfFrames = SERIES, "1"
        shared.BitsStored, shared.HighBit = 12, 11

    path = stripped(made_of(sources, tmp_path).files[0], tmp_path / "1.dcm", change)
    images = back([path], tmp_path / "back")
    for source in sources:
        image = images[source.SOPInstanceUID]
        assert (image.SeriesInstanceUID, image.BitsStored, image.HighBit) == (SERIES, 12, 11)
        assert image.PixelData == source.PixelData


def test_E45_an_object_that_is_the_only_one_of_its_view_resolves(tmp_path: Path) -> None:
    sources = [*series_of(), slice_of("CT", 9, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]})]
    made = made_of([*sources, gsps(sources[:2])], tmp_path / "in")
    folder = tmp_path / "view"
    save_all([*made.objects, *made.copies.values()], folder)
    assert every_reference_resolves(folder, unknown={sources[-1].SOPInstanceUID}) > 0


def test_K6_a_rewritten_copy_of_an_enhanced_object_still_tells_the_series_of_its_frames(tmp_path: Path) -> None:
    targets = series_of("MR", series=SECOND)
    sources = series_of(change={"ReferencedImageSequence": [item(**reference_to(targets[0]))]})
    first = made_of(sources, tmp_path / "1")
    second = convert([first.files[0], *save_all(targets, tmp_path / "in")], tmp_path / "2")
    copy = second.copy(first.one)
    assert named(copy) == [SERIES, first.one.SeriesInstanceUID]
    images = back([*second.files, save_copy(copy, tmp_path / "copy.dcm")], tmp_path / "back")
    for source in sources:
        image = images[source.SOPInstanceUID]
        assert image.SeriesInstanceUID == SERIES
        assert image.ReferencedImageSequence[0].ReferencedSOPInstanceUID == targets[0].SOPInstanceUID
        assert "RelatedSeriesSequence" not in image


def reference_to(ds: Dataset) -> dict[str, str]:
    return {"ReferencedSOPClassUID": ds.SOPClassUID, "ReferencedSOPInstanceUID": ds.SOPInstanceUID}


def save_copy(ds: Dataset, path: Path) -> Path:
    ds.save_as(path)
    return path


def test_K4_K6_what_is_private_survives_an_archive_that_changes_the_transfer_syntax(tmp_path: Path) -> None:
    change = {"BitsStored": 12, "HighBit": 11, "PresentationLUTShape": "IDENTITY", "InstanceCreatorUID": "1.2.3"}
    sources = series_of("PT", change=change)
    path = save(made_of(sources, tmp_path).one, tmp_path / "again.dcm", ImplicitVRLittleEndian)
    images = back([path], tmp_path / "back")
    for source in sources:
        image = images[source.SOPInstanceUID]
        assert image.SeriesInstanceUID == SERIES
        assert {keyword: image[keyword].value for keyword in change} == change


def test_E45_related_series_of_unknown_encoding_are_kept_as_they_are_understood(tmp_path: Path) -> None:
    state = gsps(series_of()[:1], RelatedSeriesSequence=[related("1.2.3", ATTENUATION)])
    sources = series_of(change={"RelatedSeriesSequence": [related("1.2.3", ATTENUATION)]})
    paths = [unknown(ds, tmp_path / f"{number}.dcm") for number, ds in enumerate([*sources, state])]
    made = convert(paths, tmp_path / "out")
    assert not {name for name in made.kept if name != "3.dcm"}
    assert named(made.objects[0]) == ["1.2.3", SERIES]
    assert named(made.copy(state)) == ["1.2.3", state.SeriesInstanceUID]


def unknown(ds: Dataset, path: Path) -> Path:
    """Save a data set whose related series are encoded as UN, as one does who does not know them (PS3.5 6.2.2)."""
    encoded = DicomBytesIO()
    encoded.is_little_endian, encoded.is_implicit_VR = True, True
    write_sequence(encoded, ds["RelatedSeriesSequence"], ["latin-1"])
    return with_unknown(ds, encoded.getvalue(), path)


def with_unknown(ds: Dataset, value: bytes, path: Path) -> Path:
    """Save a data set with bytes of unknown VR for its related series, which stand before the patient."""
    ds = deepcopy(ds)
    ds.pop("RelatedSeriesSequence", None)
    content = save(ds, path).read_bytes()
    at = content.index(b"\x10\x00\x10\x00PN")
    element = b"\x08\x00\x50\x12UN\0\0" + struct.pack("<I", len(value)) + value
    path.write_bytes(content[:at] + element + content[at:])
    return path


def test_E45_what_is_no_sequence_keeps_a_series_classic_with_the_reason(tmp_path: Path) -> None:
    paths = [with_unknown(ds, b"no items", tmp_path / f"{ds.InstanceNumber}.dcm") for ds in series_of()]
    made = convert(paths, tmp_path / "out")
    assert not made.objects
    assert all("(0008,1250)" in reason for reason in made.kept.values()), made.kept


def test_K6_frames_taken_out_of_an_object_still_tell_their_series(tmp_path: Path) -> None:
    sources = series_of("PT", count=4, change={"BitsStored": 12, "HighBit": 11})
    taken(made_of(sources, tmp_path).files[0], simple(2, 3), tmp_path)
    (path,) = [path for path in tmp_path.glob("*.dcm") if dcmread(path).get("NumberOfFrames") == 2]
    images = back([path], tmp_path / "back")
    assert set(images) == {source.SOPInstanceUID for source in sources[1:3]}
    assert {(str(ds.SeriesInstanceUID), ds.BitsStored) for ds in images.values()} == {(SERIES, 12)}
