"""Orthanc as the peer that asks: it queries the box, and has what it finds sent to itself (PS3.4 C.4.2)."""

from __future__ import annotations

import json
import urllib.request
from itertools import product
from pathlib import Path
from typing import Any

from box import ct_study
from loopback import eventually
from peers import Orthanc
from retrieving import Box, box, saved

from gateway.archive.views import View

VIEWS = {"GATEWAY": View.RECEIVED, "GATEWAY_ENH": View.ENHANCED, "GATEWAY_CLS": View.CLASSIC}


def tell(orthanc: Orthanc, method: str, path: str, content: Any = None) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{orthanc.http}{path}", data=json.dumps(content).encode() if content else None, method=method
    )
    with urllib.request.urlopen(request, timeout=60):
        pass


def held(orthanc: Orthanc) -> set[str]:
    """Return the SOP Instance UIDs that Orthanc has."""
    return {orthanc.get(f"/instances/{name}/tags?simplify")["SOPInstanceUID"] for name in orthanc.get("/instances")}


def fetch(orthanc: Orthanc, gateway: Box, study: str, called: str, level: str) -> None:
    """Let Orthanc query an application entity and retrieve every answer; compare with what its view has."""
    rows = gateway.archive.study_instances(study, VIEWS[called])
    query = {"StudyInstanceUID": study, f"NumberOf{level}RelatedInstances": ""}
    asked = orthanc.post(f"/modalities/{called}/query", {"Level": level, "Query": query})["ID"]
    answers = orthanc.get(f"/queries/{asked}/answers")
    found = [orthanc.get(f"/queries/{asked}/answers/{one}/content?simplify") for one in answers]
    named = {one["StudyInstanceUID" if level == "Study" else "SeriesInstanceUID"] for one in found}
    assert named == ({study} if level == "Study" else {row.series for row in rows})
    assert sum(int(one[f"NumberOf{level}RelatedInstances"]) for one in found) == len(rows)
    for one in answers:
        orthanc.post(f"/queries/{asked}/answers/{one}/retrieve", {"TargetAet": "WORKSTATION", "Synchronous": True})
    eventually(lambda: len(orthanc.get("/instances")) == len(rows))
    assert held(orthanc) == {row.sop_instance for row in rows}


def test_Q6_M1_Orthanc_finds_and_fetches_exactly_what_each_view_has(tmp_path: Path) -> None:
    slices = ct_study(6)
    study = str(slices[0].StudyInstanceUID)
    orthanc = Orthanc(tmp_path, "WORKSTATION")
    with orthanc.running(), box(tmp_path, {"WORKSTATION": orthanc.port}) as gateway:
        gateway.admit_files(*[saved(ds, tmp_path) for ds in slices])
        gateway.convert_all()
        for called, level in product(VIEWS, ("Study", "Series")):
            tell(orthanc, "PUT", f"/modalities/{called}", [called, "127.0.0.1", gateway.port])
            fetch(orthanc, gateway, study, called, level)
            for patient in orthanc.get("/patients"):
                tell(orthanc, "DELETE", f"/patients/{patient}")
