"""Several images under one SOP Instance UID beside images that are converted, and what refers to them (T3)."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
from archive_tools import HandClock, store_file
from conversion.material import save, series_of
from conversion.test_updates import KO, key_object
from pydicom.dataset import Dataset

from gateway.archive import collisions
from gateway.archive.index import Archive
from gateway.archive.views import ALL_VIEWS, View
from gateway.pipeline.convert import ConversionPolicy, Converter


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    made = Archive(tmp_path / "data", HandClock(), quiet=0)
    yield made
    made.close()


def receive(archive: Archive, objects: list[Dataset]) -> None:
    for ds in objects:
        store_file(archive, save(ds, archive.files.root.parent / "one.dcm"))
    while Converter(archive, ConversionPolicy()).step():
        archive.clock.time += 5  # type: ignore[attr-defined]


def elsewhere(ds: Dataset) -> Dataset:
    """Another image under the same UID."""
    found = deepcopy(ds)
    found.InstanceNumber = int(ds.InstanceNumber) + 100
    found.PixelData = bytes(len(ds.PixelData))
    return found


def delivered(archive: Archive, study: str, view: View = View.ENHANCED) -> set[str]:
    return {row.sop_instance for row in collisions.to_deliver(archive, study, view)}


def references(archive: Archive, study: str) -> set[str]:
    """What the key object that destinations get refers to."""
    (row,) = [row for row in collisions.to_deliver(archive, study, View.ENHANCED) if row.sop_class == KO]
    return set(archive.references_of(row))


def test_T3_the_rest_of_a_series_is_converted_and_references_lead_to_what_destinations_get(archive: Archive) -> None:
    sources = series_of(count=4)
    study, uid = str(sources[0].StudyInstanceUID), str(sources[1].SOPInstanceUID)
    receive(archive, [*sources, elsewhere(sources[1]), key_object(sources)])
    (made,) = [row for row in archive.select(View.ENHANCED) if row.frames > 1]
    assert made.frames == 3
    assert uid not in archive.sources_of(made.sop_instance)
    row = archive.instance(uid)
    assert row is not None
    assert (row.views, row.instance_number) == (ALL_VIEWS, elsewhere(sources[1]).InstanceNumber)
    assert "2 different images" in row.reason
    assert references(archive, study) == {made.sop_instance, uid} <= delivered(archive, study)


def test_T3_references_lead_to_the_object_that_was_made_before_another_image_came(archive: Archive) -> None:
    sources = series_of(count=4)
    study, uid = str(sources[0].StudyInstanceUID), str(sources[1].SOPInstanceUID)
    receive(archive, sources)
    (made,) = archive.select(View.ENHANCED)
    receive(archive, [elsewhere(sources[1]), key_object(sources)])
    assert made.sop_instance in references(archive, study)
    assert uid not in references(archive, study)
    assert uid not in delivered(archive, study)
    assert uid in delivered(archive, study, View.CLASSIC)
    # And when the first comes again nothing changes for anybody who has it.
    before = delivered(archive, study)
    receive(archive, [sources[1]])
    row = archive.instance(uid)
    assert row is not None
    assert row.views == View.RECEIVED | View.CLASSIC
    assert delivered(archive, study) == before
    # A correction of another frame: the object is made anew without the image in doubt, which goes as it is now.
    mended = deepcopy(sources[2])
    mended.ImageComments = "mended"
    receive(archive, [mended])
    (anew,) = [row for row in archive.select(View.ENHANCED) if row.frames > 1]
    assert (anew.frames, anew.sop_instance != made.sop_instance) == (3, True)
    assert uid in delivered(archive, study)
    assert references(archive, study) == {anew.sop_instance, uid}
