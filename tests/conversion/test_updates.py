"""Rewritten copies: what refers to converted images follows them, and nothing else about it changes."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from conversion.material import (
    GSPS,
    LEGACY,
    STUDY,
    Conversion,
    coded,
    convert,
    facts_of,
    item,
    made_of,
    other,
    reference,
    save,
    save_all,
    series_of,
    slice_of,
)
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from gateway.conversion.identity import Identity
from gateway.conversion.study import convert_facts
from gateway.conversion.updates import Update
from gateway.errors import ConversionError
from gateway.objects import parse

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
SR = "1.2.840.10008.5.1.4.1.1.88.33"
KO = "1.2.840.10008.5.1.4.1.1.88.59"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
REGISTRATION = "1.2.840.10008.5.1.4.1.1.66.1"
TWO_SERIES = STUDY + ".2"


def gsps(targets: list[Dataset], number: int = 1, **more: object) -> Dataset:
    """Return a presentation state over images of one series, with a display area for the first."""
    series = item(
        SeriesInstanceUID=targets[0].SeriesInstanceUID, ReferencedImageSequence=[reference(ds) for ds in targets]
    )
    area = item(ReferencedImageSequence=[reference(targets[0])], PresentationSizeMode="SCALE TO FIT")
    change = {"ReferencedSeriesSequence": [series], "DisplayedAreaSelectionSequence": [area]} | more
    return other(GSPS, number, change)


def key_object(targets: list[Dataset], number: int = 1, series: str = STUDY + ".70", **more: object) -> Dataset:
    """Return a key object selection document."""
    content = [
        item(RelationshipType="CONTAINS", ValueType="IMAGE", ReferencedSOPSequence=[reference(ds)]) for ds in targets
    ]
    return other(
        KO,
        number,
        {"ContentSequence": content, "CurrentRequestedProcedureEvidenceSequence": [evidence(targets)]} | more,
        series=series,
    )


def evidence(targets: list[Dataset]) -> Dataset:
    by_series: dict[str, list[Dataset]] = {}
    for ds in targets:
        by_series.setdefault(ds.SeriesInstanceUID, []).append(ds)
    return item(
        StudyInstanceUID=STUDY,
        ReferencedSeriesSequence=[
            item(SeriesInstanceUID=uid, ReferencedSOPSequence=[reference(ds) for ds in members])
            for uid, members in by_series.items()
        ],
    )


def test_O1_a_copy_has_its_class_new_UIDs_and_the_same_study(tmp_path: Path) -> None:
    sources = series_of()
    state = gsps(sources[:2])
    made = made_of([*sources, state], tmp_path)
    copy = made.copy(state)
    assert copy.SOPClassUID == GSPS
    assert copy.file_meta.MediaStorageSOPInstanceUID == copy.SOPInstanceUID
    assert copy.SOPInstanceUID not in (state.SOPInstanceUID, *(ds.SOPInstanceUID for ds in sources))
    assert copy.SeriesInstanceUID != state.SeriesInstanceUID
    assert copy.StudyInstanceUID == STUDY
    assert copy.PatientName == "Doe^J\xf6rg"
    assert copy.QueryRetrieveView == "ENHANCED"
    assert made.result.views["003.dcm"] == {"classic"}


def test_O2_conversion_source_names_the_source_and_replaces_an_older_one(tmp_path: Path) -> None:
    sources = series_of()
    state = gsps(sources[:2], ConversionSourceAttributesSequence=[reference(sources[0])])
    (origin,) = made_of([*sources, state], tmp_path).copy(state).ConversionSourceAttributesSequence
    assert (origin.ReferencedSOPClassUID, origin.ReferencedSOPInstanceUID) == (GSPS, state.SOPInstanceUID)


def test_G15_conversion_sources_are_never_rewritten(tmp_path: Path) -> None:
    sources = series_of()
    kept = other(SR, 1, {"ConversionSourceAttributesSequence": [reference(sources[0])]})
    made = made_of([*sources, kept], tmp_path)
    assert not made.copies
    assert made.result.views["003.dcm"] == {"classic", "enhanced"}


def test_G19_conversion_source_of_an_image_is_replaced(tmp_path: Path) -> None:
    sources = series_of(change={"ConversionSourceAttributesSequence": [item(ReferencedSOPInstanceUID="1.2.3")]})
    frames = made_of(sources, tmp_path).one.PerFrameFunctionalGroupsSequence
    named = [frame.ConversionSourceAttributesSequence[0].ReferencedSOPInstanceUID for frame in frames]
    assert named == [ds.SOPInstanceUID for ds in sources]


def test_O3_G6_G7_contributing_equipment_says_what_was_done(tmp_path: Path) -> None:
    sources = series_of()
    older = item(Manufacturer="Other", PurposeOfReferenceCodeSequence=[coded("109101", "DCM", "Acquisition Equipment")])
    state = gsps(sources[:1], ContributingEquipmentSequence=[older])
    first, added = made_of([*sources, state], tmp_path).copy(state).ContributingEquipmentSequence
    assert first.Manufacturer == "Other"
    assert added.ContributionDescription == "Updated UID references during Legacy Enhanced Classic conversion"
    (purpose,) = added.PurposeOfReferenceCodeSequence
    assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("109106", "DCM")


def test_everything_else_stands_as_it_was(tmp_path: Path) -> None:
    sources = series_of()

    def change(ds: Dataset) -> None:
        ds.private_block(0x0019, "ACME", create=True).add_new(1, "UI", sources[0].SOPInstanceUID)
        ds.SeriesDate, ds.SeriesTime = "20240101", "101010"
        ds.ContentLabel = ""

    state = gsps(sources[:2])
    change(state)
    copy = made_of([*sources, state], tmp_path).copy(state)
    own = {"SOPInstanceUID", "SeriesInstanceUID", "QueryRetrieveView", "ContributingEquipmentSequence"}
    own |= {"ConversionSourceAttributesSequence", "ReferencedSeriesSequence", "DisplayedAreaSelectionSequence"}
    own.add("RelatedSeriesSequence")
    rest = [element for element in copy if element.keyword not in own]
    assert rest == [element for element in state if element.keyword not in own]
    assert copy[0x0019, 0x1001].value == sources[0].SOPInstanceUID, "nobody knows what private UIDs mean"


def test_G14_a_presentation_state_names_frames_and_leaves_all_of_them_out(tmp_path: Path) -> None:
    sources = series_of()
    some, every = gsps(sources[1:]), gsps(sources, 2)
    made = made_of([*sources, some, every], tmp_path)
    (image,) = made.objects
    (series,) = made.copy(some).ReferencedSeriesSequence
    assert series.SeriesInstanceUID == image.SeriesInstanceUID
    (target,) = series.ReferencedImageSequence
    assert (target.ReferencedSOPClassUID, target.ReferencedSOPInstanceUID) == (LEGACY["CT"], image.SOPInstanceUID)
    assert target.ReferencedFrameNumber == [2, 3]
    (area,) = made.copy(some).DisplayedAreaSelectionSequence
    assert area.ReferencedImageSequence[0].ReferencedFrameNumber == 2
    (series,) = made.copy(every).ReferencedSeriesSequence
    (target,) = series.ReferencedImageSequence
    assert "ReferencedFrameNumber" not in target
    assert made.copy(some).SeriesInstanceUID == made.copy(every).SeriesInstanceUID, "they were in one series"


def test_G14_items_that_say_different_things_stay_apart(tmp_path: Path) -> None:
    sources = series_of()
    purpose = coded("121322", "DCM", "Source image for image processing operation")
    targets = [reference(sources[0], PurposeOfReferenceCodeSequence=[purpose]), reference(sources[1])]
    seg = other(SEG, 1, {"SourceImageSequence": targets})
    found = made_of([*sources, seg], tmp_path).copy(seg).SourceImageSequence
    assert [one.ReferencedFrameNumber for one in found] == [1, 2]


def test_G14_evidence_is_merged_and_names_no_frames(tmp_path: Path) -> None:
    one, two = series_of(), series_of("MR", series=TWO_SERIES)
    document = key_object([*one, two[0]])
    made = made_of([*one, *two, document], tmp_path)
    by_modality = {ds.Modality: ds for ds in made.objects}
    copy = made.copy(document)
    (study,) = copy.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == STUDY
    found = {
        series.SeriesInstanceUID: [ref.ReferencedSOPInstanceUID for ref in series.ReferencedSOPSequence]
        for series in study.ReferencedSeriesSequence
    }
    assert found == {ds.SeriesInstanceUID: [ds.SOPInstanceUID] for ds in by_modality.values()}
    assert not any(
        "ReferencedFrameNumber" in ref for s in study.ReferencedSeriesSequence for ref in s.ReferencedSOPSequence
    )
    images = [content.ReferencedSOPSequence[0] for content in copy.ContentSequence]
    assert [ref.ReferencedFrameNumber for ref in images] == [1, 2, 3, 1]


def test_G14_a_hierarchical_item_is_split_when_its_members_part(tmp_path: Path) -> None:
    sources = series_of()
    localizer = slice_of("CT", 9, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]})
    document = key_object([*sources[:2], localizer])
    made = made_of([*sources, localizer, document], tmp_path)
    (image,) = made.objects
    (study,) = made.copy(document).CurrentRequestedProcedureEvidenceSequence
    found = {
        series.SeriesInstanceUID: [ref.ReferencedSOPInstanceUID for ref in series.ReferencedSOPSequence]
        for series in study.ReferencedSeriesSequence
    }
    assert found == {
        image.SeriesInstanceUID: [image.SOPInstanceUID],
        localizer.SeriesInstanceUID: [localizer.SOPInstanceUID],
    }


def test_G14_items_of_several_series_that_become_one_are_merged(tmp_path: Path) -> None:
    sources = series_of()
    twice = [
        item(SeriesInstanceUID=sources[0].SeriesInstanceUID, ReferencedSOPSequence=[reference(ds)]) for ds in sources
    ]
    document = key_object(sources[:1])
    document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence = twice
    (study,) = made_of([*sources, document], tmp_path).copy(document).CurrentRequestedProcedureEvidenceSequence
    assert len(study.ReferencedSeriesSequence) == 1
    assert len(study.ReferencedSeriesSequence[0].ReferencedSOPSequence) == 1


def test_G14_structure_sets_name_frames_and_a_study_UID_is_no_reference(tmp_path: Path) -> None:
    sources = series_of()
    series = item(
        SeriesInstanceUID=sources[0].SeriesInstanceUID, ContourImageSequence=[reference(ds) for ds in sources]
    )
    detached = "1.2.840.10008.3.1.2.3.1"
    study = item(ReferencedSOPClassUID=detached, ReferencedSOPInstanceUID=STUDY, RTReferencedSeriesSequence=[series])
    frame = item(FrameOfReferenceUID=sources[0].FrameOfReferenceUID, RTReferencedStudySequence=[study])
    contours = [item(ContourImageSequence=[reference(ds)], ContourNumber=str(n)) for n, ds in enumerate(sources)]
    structures = other(
        RTSTRUCT,
        1,
        {
            "ReferencedFrameOfReferenceSequence": [frame],
            "ROIContourSequence": [item(ReferencedROINumber="1", ContourSequence=contours)],
        },
    )
    made = made_of([*sources, structures], tmp_path)
    copy, (image,) = made.copy(structures), made.objects
    (study,) = copy.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence
    assert (study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID) == (detached, STUDY)
    (series,) = study.RTReferencedSeriesSequence
    assert series.SeriesInstanceUID == image.SeriesInstanceUID
    assert [ref.ReferencedSOPInstanceUID for ref in series.ContourImageSequence] == [image.SOPInstanceUID]
    contours = copy.ROIContourSequence[0].ContourSequence
    assert [one.ContourImageSequence[0].ReferencedFrameNumber for one in contours] == [1, 2, 3]


def test_G24_a_UID_that_only_looks_like_a_reference_is_not_rewritten(tmp_path: Path) -> None:
    sources = series_of()
    uid = sources[0].SOPInstanceUID
    change = {
        "ReferencedStudySequence": [item(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID=uid)],
        "ReferencedPerformedProcedureStepSequence": [item(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID=uid)],
    }
    document = key_object(sources[1:2], **change)
    copy = made_of([*sources, document], tmp_path).copy(document)
    assert copy.ReferencedStudySequence[0].ReferencedSOPInstanceUID == uid
    assert copy.ReferencedPerformedProcedureStepSequence[0].ReferencedSOPInstanceUID == uid


def test_G21_a_series_as_a_whole_becomes_every_series_of_its_members(tmp_path: Path) -> None:
    sources = series_of()
    localizer = slice_of("CT", 9, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]})
    whole, partly = series_of("MR", series=TWO_SERIES), [*sources, localizer]
    registration = other(
        REGISTRATION,
        1,
        {
            "ReferencedSeriesSequence": [
                item(SeriesInstanceUID=uid) for uid in (whole[0].SeriesInstanceUID, STUDY + ".1")
            ]
        },
    )
    made = made_of([*whole, *partly, registration], tmp_path)
    by_modality = {ds.Modality: ds for ds in made.objects}
    first, *others = [one.SeriesInstanceUID for one in made.copy(registration).ReferencedSeriesSequence]
    assert first == by_modality["MR"].SeriesInstanceUID
    assert set(others) == {by_modality["CT"].SeriesInstanceUID, localizer.SeriesInstanceUID}


def test_G21_UIDs_in_content_items_follow_series_and_instances(tmp_path: Path) -> None:
    sources = series_of()
    report = other(
        SR,
        1,
        {
            "ContentSequence": [
                item(RelationshipType="CONTAINS", ValueType="UIDREF", UID=uid)
                for uid in (STUDY + ".1", sources[0].SOPInstanceUID, "1.2.3.99")
            ]
        },
    )
    made = made_of([*sources, report], tmp_path)
    (image,) = made.objects
    found = [one.UID for one in made.copy(report).ContentSequence]
    assert found == [image.SeriesInstanceUID, image.SOPInstanceUID, "1.2.3.99"]


def test_G20_what_refers_to_a_copy_is_copied_too_and_cycles_end(tmp_path: Path) -> None:
    sources = series_of()
    first, second = key_object(sources[:1], 1), key_object([], 2)
    report = other(SR, 1, {"ContentSequence": [item(ReferencedSOPSequence=[reference(first)])]})
    first.IdenticalDocumentsSequence = [evidence([second])]
    second.IdenticalDocumentsSequence = [evidence([first])]
    apart = other(
        SR, 2, {"ContentSequence": [item(ReferencedSOPSequence=[reference(report, ReferencedFrameNumber="4")])]}
    )
    made = made_of([*sources, first, second, report, apart], tmp_path)
    named = made.copy(report).ContentSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == made.copy(first).SOPInstanceUID
    for one, another in ((first, second), (second, first)):
        (study,) = made.copy(one).IdenticalDocumentsSequence
        (series,) = study.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == made.copy(another).SeriesInstanceUID
        assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == made.copy(another).SOPInstanceUID
    kept = made.copy(apart).ContentSequence[0].ReferencedSOPSequence[0]
    assert kept.ReferencedFrameNumber == 4, "frames of what did not become frames stay"


def test_G20_images_refer_to_copies_with_their_series_in_the_evidence(tmp_path: Path) -> None:
    state = other(GSPS, 1, {})
    sources = series_of(
        change={
            "ReferencedImageSequence": [reference(state)],
            "ReferencedPresentationStateSequence": [reference(state)],
        }
    )
    state.ReferencedSeriesSequence = gsps(sources).ReferencedSeriesSequence
    made = made_of([*sources, state], tmp_path)
    (image,) = made.objects
    copy = made.copy(state)
    shared = image.SharedFunctionalGroupsSequence[0]
    assert shared.ReferencedImageSequence[0].ReferencedSOPInstanceUID == copy.SOPInstanceUID
    (study,) = image.ReferencedImageEvidenceSequence
    assert study.ReferencedSeriesSequence[0].SeriesInstanceUID == copy.SeriesInstanceUID
    assert copy.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID


def test_E36_a_localizer_that_refers_to_converted_images_is_copied_with_its_pixels(tmp_path: Path) -> None:
    sources = series_of()
    localizer = slice_of("CT", 9, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, series=STUDY + ".60")
    free = deepcopy(localizer)
    free.SOPInstanceUID += ".1"
    localizer.ReferencedImageSequence = [reference(sources[2])]
    made = made_of([*sources, localizer, free], tmp_path)
    copy = made.copy(localizer)
    assert list(made.copies) == [("enhanced", localizer.SOPInstanceUID)]
    assert copy.PixelData == localizer.PixelData
    assert copy.ReferencedImageSequence[0].ReferencedFrameNumber == 3
    assert made.result.views["004.dcm"] == {"classic", "enhanced"}


SYNTAXES = [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=["implicit", "deflated", "big"])
def test_copies_of_every_native_syntax_are_explicit_little_endian(syntax: str, tmp_path: Path) -> None:
    sources = series_of()
    state = gsps(sources[:1], Rows=7)
    paths = save_all(sources, tmp_path / "in")
    path = save(state, tmp_path / "in" / "state.dcm")
    ds = deepcopy(state)
    ds.file_meta = dcmread(path).file_meta
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian)
    copy = convert([*paths, path], tmp_path / "out").copy(state)
    assert copy.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert copy.Rows == 7
    assert copy.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedFrameNumber == 1


def test_sequences_that_a_writer_passed_on_as_unknown_are_followed(tmp_path: Path) -> None:
    sources = series_of()
    state = gsps(sources[:1])
    paths = save_all([*sources, state], tmp_path / "in")
    encoded = paths[-1].read_bytes()
    implicit = save(
        item(**{e.keyword: e.value for e in state}), tmp_path / "i.dcm", ImplicitVRLittleEndian
    ).read_bytes()
    start = implicit.index(b"\x08\x00\x15\x11") + 8
    length = int.from_bytes(implicit[start - 4 : start], "little")
    at = encoded.index(b"\x08\x00\x15\x11SQ")
    size = int.from_bytes(encoded[at + 8 : at + 12], "little")
    unknown = b"\x08\x00\x15\x11UN\0\0" + length.to_bytes(4, "little") + implicit[start : start + length]
    paths[-1].write_bytes(encoded[:at] + unknown + encoded[at + 12 + size :])
    made = convert(paths, tmp_path / "out")
    (series,) = made.copy(state).ReferencedSeriesSequence
    assert series.SeriesInstanceUID == made.objects[0].SeriesInstanceUID


def test_long_values_and_pixels_are_not_copied_but_parts_of_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = series_of()
    wave = item(WaveformData=np.arange(3000, dtype="<u2").tobytes(), WaveformBitsAllocated=16)
    wave["WaveformData"].VR = "OW"
    seg = other(SEG, 1, {"SourceImageSequence": [reference(sources[1])], "WaveformSequence": [wave]})
    seg.Rows, seg.Columns, seg.BitsAllocated, seg.SamplesPerPixel = 5, 5, 8, 1
    seg.PixelRepresentation, seg.BitsStored, seg.HighBit, seg.PhotometricInterpretation = 0, 8, 7, "MONOCHROME2"
    seg.PixelData = bytes(range(25)) + b"\0"
    seg["PixelData"].VR = "OB"
    monkeypatch.setattr(parse, "LONGEST_HELD", 1000)
    made = made_of([*sources, seg], tmp_path)
    copy = made.copy(seg)
    assert copy.PixelData == seg.PixelData
    assert copy.WaveformSequence[0].WaveformData == wave.WaveformData
    recipe = next(one.recipe for one in made.result.companions)
    assert [segment[3] for segment in recipe.segments if segment[0] == "f"] == [6000, 26]
    assert recipe.header_length < 3000


def test_G25_signatures_are_not_kept_as_if_valid_and_the_loss_is_told(tmp_path: Path) -> None:
    sources = series_of()
    state = gsps(
        sources[:1], DigitalSignaturesSequence=[item(MACIDNumber=1)], MACParametersSequence=[item(MACIDNumber=1)]
    )
    made = made_of([*sources, state], tmp_path)
    assert "DigitalSignaturesSequence" not in made.copy(state)
    assert "MACParametersSequence" not in made.copy(state)
    assert made.result.unsigned == [state.SOPInstanceUID]


def test_G1_copies_are_the_same_whatever_the_order(tmp_path: Path) -> None:
    sources = series_of()
    objects = [*sources, gsps(sources[:1]), key_object(sources)]
    paths = save_all(objects, tmp_path / "in")

    def made(order: list[Path], folder: str) -> set[tuple[str, str]]:
        (tmp_path / folder).mkdir()
        result = convert_facts(facts_of(order), lambda uid: tmp_path / folder / uid, identity=Identity())
        return {(one.recipe.sop_instance, one.recipe.digest) for one in result.companions}

    one = made(paths, "one")
    assert len(one) == 2
    assert made(paths[::-1], "two") == one


def test_G1_one_UID_never_stands_for_two_contents(tmp_path: Path) -> None:
    sources = series_of()
    state = gsps(sources[:1])
    one = made_of([*sources, state], tmp_path / "1").copy(state)
    two = made_of([*sources, slice_of("CT", 4), state], tmp_path / "2").copy(state)
    assert one.SOPInstanceUID != two.SOPInstanceUID
    assert one.SeriesInstanceUID == two.SeriesInstanceUID


def test_an_object_that_cannot_be_rewritten_keeps_its_targets_classic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Update, recipe: object) -> str:
        raise ConversionError("copy", "is wrong")

    monkeypatch.setattr(Update, "prove", broken)
    sources, free = series_of(), series_of("MR", series=TWO_SERIES)
    state = gsps(sources[:1])
    made = made_of([*sources, *free, state], tmp_path)
    why = f"instance {state.SOPInstanceUID} refers to it, whose references cannot be rewritten"
    assert [made.kept[f"{n:03d}.dcm"] for n in range(3)] == [why] * 3
    assert [ds.Modality for ds in made.objects] == ["MR"]
    assert made.result.views["006.dcm"] == {"classic", "enhanced"}


def _broken(made: Conversion, change: object) -> None:
    (one,) = made.result.companions
    content = bytearray(one.recipe.path.read_bytes())
    change(content)  # type: ignore[operator]
    one.recipe.path.write_bytes(content)
    one.companion.prove(one.recipe)


@pytest.mark.parametrize(
    "known",
    [
        b"Doe^J\xf6rg",
        b"SCALE TO FIT",
        b"\x08\x00\x60\x11IS\x04\x002\\3 ",
        b"ENHANCED",
        b"1.2.840.10008.5.1.4.1.1.2.2\0",
    ],
)
def test_the_proof_of_a_copy_has_teeth(known: bytes, tmp_path: Path) -> None:
    sources = series_of()
    made = made_of([*sources, gsps(sources[1:])], tmp_path)

    def change(content: bytearray) -> None:
        assert known in content
        content[content.index(known) + len(known) - 3] ^= 1

    with pytest.raises(ConversionError):
        _broken(made, change)
