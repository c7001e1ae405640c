"""References between instances: every one of them is followed, and nothing of a view points into another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from conversion.material import (
    GSPS,
    LEGACY,
    STUDY,
    group,
    item,
    made_of,
    other,
    reference,
    save_all,
    series_of,
    slice_of,
    unassigned,
    unassigned_shared,
)
from conversion.resolving import every_reference_resolves, read, unresolved
from pydicom.dataset import Dataset
from real_data import need_set

from gateway.cli.main import main
from gateway.conversion.held import Held

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
def test_G3_G20_a_series_that_is_referred_to_is_converted_and_who_refers_to_it_follows(
    sop_class: str, change, tmp_path: Path
) -> None:
    sources = series_of()
    referring = other(sop_class, 1, change(sources[1]))
    save_all([*sources, referring], tmp_path / "in")
    done = CliRunner().invoke(main, ["convert", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    assert every_reference_resolves(tmp_path / "out") == 1
    assert sorted(str(ds.SOPClassUID) for ds in read(tmp_path / "out").values()) == sorted([LEGACY["CT"], sop_class])
    (row,) = [row for row in json.loads(done.output)["series"] if row["companions"]]
    assert (row["kept"], row["copied"]) == ({}, {"not a classic CT, MR or PET image": 1})


def _stuck(*kept: Dataset) -> Held:
    return Held(fixed={str(ds.SOPInstanceUID): "1.2.3.4" for ds in kept})


def test_what_something_distributed_refers_to_stays_classic_with_the_reason(tmp_path: Path) -> None:
    sources, free = series_of(), series_of("MR", series=STUDY + ".3")
    made = made_of([*sources, *free], tmp_path, held=_stuck(sources[2]))
    assert set(made.kept.values()) == {"instance 1.2.3.4 refers to it, whose references cannot be rewritten"}
    assert [ds.Modality for ds in made.objects] == ["MR"]


def test_what_those_refer_to_stays_classic_as_well(tmp_path: Path) -> None:
    far = series_of("MR", series=STUDY + ".3")
    middle = series_of("MR", change={"ReferencedImageSequence": [reference(far[0])]}, series=STUDY + ".4")
    near = series_of(change={"SourceImageSequence": [reference(middle[0])], "LossyImageCompression": "01"})
    made = made_of([*far, *middle, *near], tmp_path, held=_stuck(near[0]))
    assert made.objects == []
    assert len(made.kept) == 9


def test_E36_an_image_kept_for_another_reason_follows_its_targets(tmp_path: Path) -> None:
    sources = series_of()
    localizer = slice_of("CT", 9, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, series=STUDY + ".3")
    localizer.ReferencedImageSequence = [reference(sources[0])]
    made = made_of([localizer, *sources], tmp_path)
    assert made.copy(localizer).ReferencedImageSequence[0].ReferencedSOPInstanceUID == made.objects[0].SOPInstanceUID


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


def test_G14_references_deep_in_an_image_are_rewritten_in_place(tmp_path: Path) -> None:
    targets = series_of("MR", series=STUDY + ".3")
    changes = [_sr(targets[n]) | {"ReferencedInstanceSequence": [reference(targets[0])]} for n in range(3)]
    by_modality = {ds.Modality: ds for ds in made_of([*targets, *series_of(change=changes)], tmp_path).objects}
    ct, mr = by_modality["CT"], by_modality["MR"]
    for frame in range(3):
        (deep,) = unassigned(ct, frame).ContentSequence[0].ContentSequence[0].ContentSequence[0].ReferencedSOPSequence
        assert (deep.ReferencedSOPInstanceUID, deep.ReferencedFrameNumber) == (mr.SOPInstanceUID, frame + 1)
    (shared,) = unassigned_shared(ct).get("ReferencedInstanceSequence") or ct.ReferencedInstanceSequence
    assert (shared.ReferencedSOPClassUID, shared.ReferencedSOPInstanceUID) == (mr.SOPClassUID, mr.SOPInstanceUID)


def test_G14_hierarchical_items_in_an_image_are_rewritten_in_place(tmp_path: Path) -> None:
    targets = series_of("MR", series=STUDY + ".3")
    localizer = slice_of("MR", 9, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, series=STUDY + ".3")
    members = [reference(ds) for ds in (*targets, localizer)]
    series = item(SeriesInstanceUID=STUDY + ".3", ReferencedInstanceSequence=members)
    sources = series_of(change={"ReferencedSeriesSequence": [series]})
    by_modality = {ds.Modality: ds for ds in made_of([*targets, localizer, *sources], tmp_path).objects}
    ct, mr = by_modality["CT"], by_modality["MR"]
    holder = ct if "ReferencedSeriesSequence" in ct else unassigned_shared(ct)
    found = {one.SeriesInstanceUID: one.ReferencedInstanceSequence for one in holder.ReferencedSeriesSequence}
    assert list(found) == [mr.SeriesInstanceUID, localizer.SeriesInstanceUID]
    assert [one.ReferencedFrameNumber for one in found[mr.SeriesInstanceUID]] == [1, 2, 3], "to be turned back"


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


def test_E47_what_nobody_has_is_reported(tmp_path: Path) -> None:
    stranger = slice_of("CT", 9, series="1.2.3")
    made = made_of(series_of(change={"ReferencedImageSequence": [reference(stranger)]}), tmp_path)
    assert made.result.unresolved == {stranger.SOPInstanceUID: STUDY + ".1.1"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("highdicom_refs", 4),
        ("rtutils_ct_rtstruct", 3),
        ("philips_pcasl_gsps", 1),
        ("dcmqi_ct_lce_seg", 6),
        ("lce_mr_seg_ibsi", 0),
    ],
)
def test_G14_G20_every_reference_of_real_sets_resolves_after_conversion(
    name: str, expected: int, tmp_path: Path
) -> None:
    folder = need_set(name)
    done = CliRunner().invoke(main, ["convert", str(folder), "-o", str(tmp_path / "out"), "--json"])
    told = json.loads(done.stdout)
    assert every_reference_resolves(tmp_path / "out", unknown=unresolved(folder)) > 0
    assert sum(len(row["companions"]) for row in told["series"]) == expected
