"""Every set goes through an archive; what the box says of it as FHIR is valid R5 and true in every view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from evidence.sets import layers, names
from fhir_tools import VIEWS, convert_all, resource_of, store_all, studies
from pydicom import dcmread
from tools import need_module

from gateway.archive.index import Archive
from gateway.archive.views import View


@pytest.mark.parametrize("name", names())
def test_H2_H4_resources_of_real_sets_validate_and_count_what_a_view_has(
    name: str, tmp_path: Path, figures: Callable[..., None]
) -> None:
    need_module("fhir.resources")
    made: Counter[str] = Counter()
    for number, paths in enumerate(layers(name)):
        archive = Archive(tmp_path / f"{number}", quiet=0)
        store_all(archive, paths)
        convert_all(archive)
        for study in studies(archive):
            for view in VIEWS:
                _check(archive, study, view)
                made[view.name or ""] += 1
        archive.close()
    figures("fhir", name, **made)


def _check(archive: Archive, study: str, view: View) -> None:
    rows = archive.study_instances(study, view)
    resource = resource_of(archive, study, view)
    listed = {
        (series["uid"], instance["uid"], instance["sopClass"]["code"].removeprefix("urn:oid:"))
        for series in resource.get("series", ())
        for instance in series["instance"]
    }
    assert listed == {(row.series, row.sop_instance, row.sop_class) for row in rows}
    assert resource["numberOfInstances"] == len(rows)
    assert resource["numberOfSeries"] == len({row.series for row in rows}) == len(resource.get("series", ()))
    titles = {one["uid"]: one.get("title") for series in resource.get("series", ()) for one in series["instance"]}
    for row in rows[:3]:
        if row.kind == "received":
            ds = dcmread(archive.path_of(row), stop_before_pixels=True, specific_tags=["ImageType", "DocumentTitle"])
            image_type = ds.get("ImageType") or ds.get("DocumentTitle") or ""
            parts = [image_type] if isinstance(image_type, str) else image_type
            expected = "\\".join(part.strip() for part in parts)
            assert (titles[row.sop_instance] or "") == expected
