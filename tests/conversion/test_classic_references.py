"""References when an enhanced view is turned back: everything follows, and what was a copy is itself again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from conversion.material import GSPS, STUDY, item, reference, save_all, series_of
from conversion.resolving import every_reference_resolves, read, unresolved
from conversion.test_updates import KO, gsps, key_object
from pydicom.dataset import Dataset
from real_data import need_set

from gateway.cli.main import main


def gateway(*arguments: object) -> dict:
    done = CliRunner().invoke(main, ["convert", *map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def there_and_back(objects: list[Dataset], folder: Path) -> dict[str, Dataset]:
    save_all(objects, folder / "in")
    gateway(folder / "in", "-o", folder / "enhanced")
    every_reference_resolves(folder / "enhanced")
    gateway(folder / "enhanced", "-o", folder / "classic", "--to", "classic")
    every_reference_resolves(folder / "classic")
    return read(folder / "classic")


def test_G20_O1_objects_refer_to_the_classic_images_again_under_their_own_UIDs(tmp_path: Path) -> None:
    sources = series_of()
    state, document = gsps(sources[1:]), key_object(sources)
    found = there_and_back([*sources, state, document], tmp_path)
    assert set(found) == {ds.SOPInstanceUID for ds in (*sources, state, document)}, "K7"
    back = found[state.SOPInstanceUID]
    assert back.SOPClassUID == GSPS
    assert back.QueryRetrieveView == "CLASSIC"
    (series,) = back.ReferencedSeriesSequence
    assert series == state.ReferencedSeriesSequence[0]
    document_back = found[document.SOPInstanceUID]
    assert document_back.ContentSequence == document.ContentSequence
    (origin,) = back.ConversionSourceAttributesSequence
    assert origin.ReferencedSOPInstanceUID in read(tmp_path / "enhanced"), "O2: what it was made of now"


def test_G14_references_at_any_depth_of_an_image_are_turned_back(tmp_path: Path) -> None:
    targets = series_of("MR", series=STUDY + ".9")
    state = gsps(targets)
    deep = item(ContentSequence=[item(ReferencedSOPSequence=[reference(targets[1])])])
    change = {"ContentSequence": [deep], "ReferencedPresentationStateSequence": [reference(state)]}
    sources = series_of(change=change)
    found = there_and_back([*targets, *sources, state], tmp_path)
    for ds in sources:
        back = found[ds.SOPInstanceUID]
        assert back.ContentSequence == ds.ContentSequence
        assert back.ReferencedPresentationStateSequence == ds.ReferencedPresentationStateSequence


def test_G20_one_reference_to_several_frames_becomes_one_for_each_image(tmp_path: Path) -> None:
    sources = series_of()
    save_all(sources, tmp_path / "in")
    gateway(tmp_path / "in", "-o", tmp_path / "enhanced")
    (made,) = read(tmp_path / "enhanced").values()
    document = key_object([made])
    document.ContentSequence[0].ReferencedSOPSequence[0].ReferencedFrameNumber = ["1", "3"]
    save_all([document], tmp_path / "enhanced" / "more")
    told = gateway(tmp_path / "enhanced", "-o", tmp_path / "classic", "--to", "classic")
    every_reference_resolves(tmp_path / "classic")
    (copy,) = [ds for ds in read(tmp_path / "classic").values() if ds.SOPClassUID == KO]
    images = [content.ReferencedSOPSequence[0] for content in copy.ContentSequence]
    assert [one.ReferencedSOPInstanceUID for one in images] == [sources[0].SOPInstanceUID, sources[2].SOPInstanceUID]
    assert not any("ReferencedFrameNumber" in one for one in images)
    assert sum(len(row["companions"]) for row in told["series"]) == 1


def test_copies_whose_source_is_at_hand_are_left_out(tmp_path: Path) -> None:
    sources = series_of()
    state = gsps(sources)
    save_all([*sources, state], tmp_path / "in")
    gateway(tmp_path / "in", "-o", tmp_path / "enhanced")
    told = gateway(tmp_path / "in", tmp_path / "enhanced", "-o", tmp_path / "classic", "--to", "classic")
    assert set(read(tmp_path / "classic")) == {ds.SOPInstanceUID for ds in (*sources, state)}
    assert "QueryRetrieveView" not in read(tmp_path / "classic")[state.SOPInstanceUID]
    reasons = [reason for row in told["series"] for reason in row["left_out"]]
    assert "what it is a copy of is at hand" in reasons


@pytest.mark.parametrize(
    "name", ["highdicom_refs", "rtutils_ct_rtstruct", "philips_pcasl_gsps", "dcmqi_ct_lce_seg", "lce_mr_seg_ibsi"]
)
def test_G20_every_reference_of_real_sets_resolves_after_turning_back(name: str, tmp_path: Path) -> None:
    folder = need_set(name)
    gateway(folder, "-o", tmp_path / "enhanced")
    gateway(tmp_path / "enhanced", "-o", tmp_path / "classic", "--to", "classic")
    unknown = unresolved(folder) | unresolved(tmp_path / "enhanced")
    assert every_reference_resolves(tmp_path / "classic", unknown=unknown) > 0
