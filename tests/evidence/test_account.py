"""T15 on every set: what was received adds up in both directions, and whatever is no frame has its reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from evidence.sets import Layer, files, names
from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway.conversion import account


@pytest.mark.parametrize("name", names())
def test_T15_what_was_received_adds_up_and_has_its_reasons(
    name: str, swept: Callable[[str], list[Layer]], figures: Callable[..., None]
) -> None:
    for layer in swept(name):
        for report in (layer.report, layer.back):
            whole = account.read(report["account"])
            assert whole.balanced, whole.words()
            assert report["files"] == whole.received + sum(
                len(report[aside]) for aside in ("duplicates", "not_dicom", "failed")
            )
            rows = [account.read(row["account"]) for row in report["series"]]
            assert all(row.balanced for row in rows)
            assert sum(rows, account.Account()) == whole
            for row in report["series"]:
                for part in ("kept", "copied", "left_out"):
                    assert all(reason != account.NO_REASON and reason for reason in row[part]), row
        whole = account.read(layer.report["account"])
        assert whole.received == len(layer.sources) - len(layer.report["failed"])
        # Counted by what was written: a copy has at the top what it was made of, an image in each of its frames.
        made = [dcmread(path, stop_before_pixels=True) for path in layer.made]
        images = [ds for ds in made if not _copied(ds) and "PerFrameFunctionalGroupsSequence" in ds]
        frames = sum(int(ds.NumberOfFrames) for ds in images)
        left_out = sum(sum(row["left_out"].values()) for row in layer.report["series"])
        assert whole.parts[account.COPIED] == sum(map(_copied, made))
        assert whole.parts[account.FRAMES] == frames + left_out
        assert whole.parts[account.UNCHANGED] == len(files(layer.enhanced)) - len(layer.made)
        figures("account", name, sum=whole.words())


def _copied(ds: Dataset) -> bool:
    sources = ds.get("ConversionSourceAttributesSequence") or []
    return len(sources) == 1 and sources[0].ReferencedSOPClassUID == ds.SOPClassUID
