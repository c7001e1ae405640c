"""References between instances: rewritten where they can be, and what cannot be rewritten keeps its targets classic."""

from __future__ import annotations

from pathlib import Path

import pytest
from conversion.material import GSPS, LEGACY, STUDY, group, item, made_of, other, reference, series_of, slice_of
from pydicom.dataset import Dataset

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
SR = "1.2.840.10008.5.1.4.1.1.88.33"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"


def _gsps(target: Dataset) -> dict:
    series = item(SeriesInstanceUID=target.SeriesInstanceUID, ReferencedImageSequence=[reference(target)])
    return {"ReferencedSeriesSequence": [series]}


def _seg(target: Dataset) -> dict:
    derivation = item(SourceImageSequence=[reference(target)])
    return {"PerFrameFunctionalGroupsSequence": [item(DerivationImageSequence=[derivation])]}


def _sr(target: Dataset) -> dict:
    deep = item(RelationshipType="CONTAINS", ReferencedSOPSequence=[reference(target)])
    return {"ContentSequence": [item(ContentSequence=[item(ContentSequence=[deep])])]}


def _rtstruct(target: Dataset) -> dict:
    contour = item(ContourImageSequence=[reference(target)])
    return {"ROIContourSequence": [item(ContourSequence=[contour])]}


REFERRING = [(GSPS, _gsps), (SEG, _seg), (SR, _sr), (RTSTRUCT, _rtstruct)]


@pytest.mark.parametrize(("sop_class", "change"), REFERRING, ids=["GSPS", "SEG", "SR", "RTSTRUCT"])
def test_a_series_that_is_referred_to_stays_classic_with_the_reason(sop_class: str, change, tmp_path: Path) -> None:
    sources = series_of()
    free = series_of(series=STUDY + ".3")
    referring = other(sop_class, 1, change(sources[1]))
    made = made_of([*sources, *free, referring], tmp_path)
    why = f"instance {referring.SOPInstanceUID} refers to it, whose references cannot be rewritten yet"
    assert [made.kept[f"{n:03d}.dcm"] for n in range(3)] == [why] * 3
    assert [ds.NumberOfFrames for ds in made.objects] == [3]


def test_what_those_refer_to_stays_classic_as_well(tmp_path: Path) -> None:
    far = series_of("MR", series=STUDY + ".3")
    middle = series_of("MR", change={"ReferencedImageSequence": [reference(far[0])]}, series=STUDY + ".4")
    near = series_of(change={"SourceImageSequence": [reference(middle[0])], "LossyImageCompression": "01"})
    made = made_of([*far, *middle, *near, other(GSPS, 1, _gsps(near[0]))], tmp_path)
    assert made.objects == []
    assert len(made.kept) == 10


def test_an_image_kept_for_another_reason_keeps_its_targets_classic(tmp_path: Path) -> None:
    sources = series_of()
    localizer = slice_of("CT", 9, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, series=STUDY + ".3")
    localizer.ReferencedImageSequence = [reference(sources[0])]
    made = made_of([localizer, *sources], tmp_path)
    assert made.objects == []


def test_objects_that_are_held_elsewhere_count(tmp_path: Path) -> None:
    sources = series_of()
    asked: list[str] = []

    def referred(uids) -> dict[str, str]:
        asked.extend(uids)
        return {sources[2].SOPInstanceUID: "1.2.3.4"}

    made = made_of(sources, tmp_path, referred=referred)
    assert set(asked) == {ds.SOPInstanceUID for ds in sources}
    assert set(made.kept.values()) == {"instance 1.2.3.4 refers to it, whose references cannot be rewritten yet"}


def test_G14_images_refer_to_class_instance_and_frame_of_converted_images(tmp_path: Path) -> None:
    targets = series_of("MR", series=STUDY + ".3")
    sources = series_of(change=[{"ReferencedImageSequence": [reference(targets[2 - n])]} for n in range(3)])
    by_modality = {ds.Modality: ds for ds in made_of([*sources, *targets], tmp_path).objects}
    for frame in range(3):
        found = group(by_modality["CT"], frame, "ReferencedImageSequence")
        assert found.ReferencedSOPClassUID == LEGACY["MR"]
        assert found.ReferencedSOPInstanceUID == by_modality["MR"].SOPInstanceUID
        assert found.ReferencedFrameNumber == 3 - frame


def test_G14_references_within_a_series_are_rewritten_too(tmp_path: Path) -> None:
    sources = series_of()
    for ds in sources:
        ds.ReferencedImageSequence = [reference(sources[0]), reference(sources[1])]
    made = made_of(sources, tmp_path).one
    found = made.SharedFunctionalGroupsSequence[0].ReferencedImageSequence
    assert [ref.ReferencedSOPInstanceUID for ref in found] == [made.SOPInstanceUID] * 2
    assert [ref.ReferencedFrameNumber for ref in found] == [1, 2]


def test_references_to_what_stays_classic_stay_as_they_are(tmp_path: Path) -> None:
    localizer = slice_of("CT", 9, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, series=STUDY + ".3")
    made = made_of([localizer, *series_of(change={"ReferencedImageSequence": [reference(localizer)]})], tmp_path)
    found = group(made.objects[0], 0, "ReferencedImageSequence")
    assert found.ReferencedSOPInstanceUID == localizer.SOPInstanceUID
    assert found.ReferencedSOPClassUID == localizer.SOPClassUID
    assert "ReferencedFrameNumber" not in found


def test_references_deep_in_an_image_keep_their_targets_classic(tmp_path: Path) -> None:
    targets = series_of("MR", series=STUDY + ".3")
    sources = series_of(change=_sr(targets[0]))
    made = made_of([*targets, *sources], tmp_path)
    assert [ds.Modality for ds in made.objects] == ["CT"]
    assert len(made.kept) == 3


def test_private_sequences_are_not_followed(tmp_path: Path) -> None:
    targets = series_of("MR", series=STUDY + ".3")

    def change(ds: Dataset) -> None:
        ds.private_block(0x0019, "ACME", create=True).add_new(1, "SQ", [reference(targets[0])])

    made = made_of([*targets, *series_of(change=change)], tmp_path)
    assert not made.kept


def test_E47_targets_nobody_has_are_not_guessed(tmp_path: Path) -> None:
    stranger = slice_of("CT", 9, series="1.2.3")
    made = made_of(series_of(change={"ReferencedImageSequence": [reference(stranger)]}), tmp_path / "1").one
    assert "ReferencedImageEvidenceSequence" not in made
    held = made_of(
        series_of(change={"ReferencedImageSequence": [reference(stranger)]}),
        tmp_path / "2",
        resolve=lambda uid: ("1.2.4", "1.2.5") if uid == stranger.SOPInstanceUID else None,
    ).one
    (study,) = held.ReferencedImageEvidenceSequence
    assert (study.StudyInstanceUID, study.ReferencedSeriesSequence[0].SeriesInstanceUID) == ("1.2.4", "1.2.5")
