"""G1 in the box: what is made of a study does not depend on the order in which its instances arrived."""

from __future__ import annotations

from pathlib import Path

import pytest
from archive_tools import HandClock
from conversion.material import GSPS, STUDY, item, other, reference, series_of
from pipeline.test_late_references import arrive, settle, written
from pydicom.dataset import Dataset

from gateway.archive.index import Archive
from gateway.archive.views import View


def study() -> list[Dataset]:
    """Return two series, one that refers to the other, and a presentation state of both."""
    mr = series_of("MR", count=4, series=STUDY + ".2")
    ct = series_of(count=5, change=[{"ReferencedImageSequence": [reference(ds)]} for ds in (*mr, mr[0])])
    shown = [
        item(SeriesInstanceUID=part[0].SeriesInstanceUID, ReferencedImageSequence=[reference(ds) for ds in part[:2]])
        for part in (mr, ct)
    ]
    return [*mr, *ct, other(GSPS, 1, {"Modality": "PR", "ReferencedSeriesSequence": shown})]


def enhanced_view(objects: list[Dataset], folder: Path) -> dict[str, bytes]:
    """Receive and convert objects in a box of their own; return its enhanced view as files."""
    archive = Archive(folder / "data", HandClock(), quiet=0)
    try:
        arrive(archive, objects)
        settle(archive)
        rows = archive.select(View.ENHANCED)
        return {row.sop_instance: written(archive, row, folder / "out").read_bytes() for row in rows}
    finally:
        archive.close()


@pytest.mark.parametrize("step", [-1, 3, 7])
def test_G1_the_order_of_arrival_does_not_matter(step: int, tmp_path: Path) -> None:
    objects = study()
    again = [objects[(number * step) % len(objects)] for number in range(len(objects))]
    assert sorted(ds.SOPInstanceUID for ds in again) == sorted(ds.SOPInstanceUID for ds in objects)
    first = enhanced_view(objects, tmp_path / "first")
    assert len(first) == 3
    assert enhanced_view(again, tmp_path / "again") == first
