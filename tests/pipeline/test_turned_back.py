"""Received enhanced objects on the box: classic images for the classic view, whatever comes in which order (K7, Q4)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_tools import HandClock, store_file
from conversion.enhanced_material import ENHANCED_SERIES, enhanced_of, save_enhanced
from conversion.material import CLASSIC, STUDY, made_of, other, reference, save, series_of
from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway.archive.index import Archive
from gateway.archive.jobs import DELIVER
from gateway.archive.views import View
from gateway.objects.part10 import file_meta
from gateway.pipeline.convert import ConversionPolicy, Converter

POLICY = ConversionPolicy(destinations=("PACS",))
KO = "1.2.840.10008.5.1.4.1.1.88.59"


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def settle(archive: Archive, clock: HandClock, *paths: Path, **policy: bool) -> None:
    """Receive files and convert."""
    for path in paths:
        store_file(archive, path, **policy)
    clock.time += archive.quiet + 0.1
    worker = Converter(archive, POLICY)
    while worker.step():
        pass


def view(archive: Archive, name: View) -> list[Dataset]:
    """Return what a view holds, read back."""
    found = []
    for row in archive.study_instances(STUDY, name):
        stream = b"".join(archive.source_of(row).chunks())
        assert len(stream) == row.length
        found.append(dcmread(io.BytesIO(file_meta(row.sop_class, row.sop_instance, row.transfer_syntax) + stream)))
    return found


def uids(archive: Archive, name: View) -> set[str]:
    return {ds.SOPInstanceUID for ds in view(archive, name)}


def test_K7_an_enhanced_object_is_classic_images_in_the_classic_view(
    archive: Archive, files: Path, clock: HandClock
) -> None:
    settle(archive, clock, save_enhanced(enhanced_of("CT"), files / "1.dcm"))
    own = {f"{ENHANCED_SERIES}.1"}
    assert uids(archive, View.RECEIVED) == uids(archive, View.ENHANCED) == own
    images = view(archive, View.CLASSIC)
    assert [image.SOPClassUID for image in images] == [CLASSIC["CT"]] * 4
    assert [image.InstanceNumber for image in images] == [1, 2, 3, 4]
    for number, image in enumerate(images, 1):
        assert image.ConversionSourceAttributesSequence[0].ReferencedFrameNumber == number
    assert [job.destination for job in archive.jobs.listing() if job.kind == DELIVER] == ["PACS"]


def test_K7_a_peer_that_is_not_converted_keeps_its_objects_in_all_views(
    archive: Archive, files: Path, clock: HandClock
) -> None:
    settle(archive, clock, save_enhanced(enhanced_of("CT"), files / "1.dcm"), convert=False)
    assert uids(archive, View.CLASSIC) == uids(archive, View.ENHANCED) == {f"{ENHANCED_SERIES}.1"}


def test_K2_an_object_that_cannot_be_turned_back_stays_in_all_views_with_the_reason(
    archive: Archive, files: Path, clock: HandClock
) -> None:
    def change(ds: Dataset) -> None:
        del ds.CountsSource

    settle(archive, clock, save_enhanced(enhanced_of("PT", change=change), files / "1.dcm"))
    assert uids(archive, View.CLASSIC) == {f"{ENHANCED_SERIES}.1"}
    row = archive.instance(f"{ENHANCED_SERIES}.1")
    assert row is not None
    assert "CountsSource" in row.reason


def test_K6_what_comes_later_goes_on_counting(archive: Archive, files: Path, clock: HandClock) -> None:
    for number in (1, 2):
        settle(archive, clock, save_enhanced(enhanced_of("MR", 3, number=number), files / f"{number}.dcm"))
    images = view(archive, View.CLASSIC)
    assert [int(image.InstanceNumber) for image in images] == [1, 2, 3, 4, 5, 6]
    assert len({image.SeriesInstanceUID for image in images}) == 1


@pytest.mark.parametrize("late", [False, True], ids=["together", "later"])
def test_O1_G20_what_refers_to_its_frames_refers_to_the_images_in_the_classic_view(
    late: bool, archive: Archive, files: Path, clock: HandClock
) -> None:
    enhanced = enhanced_of("CT")

    def change(ds: Dataset) -> None:
        ds.ReferencedImageSequence = [reference(enhanced, ReferencedFrameNumber=[2, 3])]

    first = save_enhanced(enhanced, files / "1.dcm")
    second = save(other(KO, 1, change), files / "2.dcm")
    if late:
        settle(archive, clock, first)
        settle(archive, clock, second)
    else:
        settle(archive, clock, second, first)
    found = view(archive, View.CLASSIC)
    images = {ds.SOPInstanceUID: ds for ds in found if ds.SOPClassUID == CLASSIC["CT"]}
    (copy,) = (ds for ds in found if ds.SOPClassUID == KO)
    targets = [images[one.ReferencedSOPInstanceUID].InstanceNumber for one in copy.ReferencedImageSequence]
    assert targets == [2, 3]
    assert all("ReferencedFrameNumber" not in one for one in copy.ReferencedImageSequence)
    assert len(images) == 4
    assert len(view(archive, View.ENHANCED)) == 2


def _converted(files: Path) -> tuple[list[Dataset], Path]:
    sources = series_of("CT", 3)
    made = made_of(sources, files / "elsewhere")
    return sources, made.files[0].rename(files / "legacy.dcm")


def test_K7_images_come_back_under_their_own_UIDs(archive: Archive, files: Path, clock: HandClock) -> None:
    sources, legacy = _converted(files)
    settle(archive, clock, legacy)
    assert uids(archive, View.CLASSIC) == {source.SOPInstanceUID for source in sources}
    assert len(view(archive, View.ENHANCED)) == 1


def test_S1_originals_that_come_later_take_the_place_of_what_stood_in_for_them(
    archive: Archive, files: Path, clock: HandClock
) -> None:
    sources, legacy = _converted(files)
    settle(archive, clock, legacy)
    settle(archive, clock, *(save(source, files / f"{n}.dcm") for n, source in enumerate(sources[:2])))
    classic = {ds.SOPInstanceUID: ds for ds in view(archive, View.CLASSIC)}
    assert set(classic) == {source.SOPInstanceUID for source in sources}
    stand_in = [uid for uid, ds in classic.items() if "ConversionSourceAttributesSequence" in ds]
    assert stand_in == [sources[2].SOPInstanceUID]
    assert len(view(archive, View.RECEIVED)) == 3
    assert len(view(archive, View.ENHANCED)) == 1


def test_G22_the_index_is_rebuilt_with_everything(
    archive: Archive, files: Path, clock: HandClock, tmp_path: Path
) -> None:
    sources, legacy = _converted(files)
    settle(archive, clock, legacy, save_enhanced(enhanced_of("MR"), files / "1.dcm"))
    settle(archive, clock, save(sources[0], files / "2.dcm"))
    before = {name: uids(archive, name) for name in (View.RECEIVED, View.CLASSIC, View.ENHANCED)}
    root = archive.files.root
    archive.close()
    for path in root.glob("index.sqlite3*"):
        path.unlink()
    again = Archive(root, clock=clock)
    again.recover()
    Converter(again, POLICY).resume()
    assert {name: uids(again, name) for name in before} == before
    again.close()


def test_a_corrected_object_gets_new_images(archive: Archive, files: Path, clock: HandClock) -> None:
    settle(archive, clock, save_enhanced(enhanced_of("CT"), files / "1.dcm"))
    before = uids(archive, View.CLASSIC)

    def change(ds: Dataset) -> None:
        ds.SeriesDescription = "corrected"

    settle(archive, clock, save_enhanced(enhanced_of("CT", change=change), files / "2.dcm"))
    after = uids(archive, View.CLASSIC)
    assert len(after) == 4
    assert not before & after
    assert {ds.SeriesDescription for ds in view(archive, View.CLASSIC)} == {"corrected"}
