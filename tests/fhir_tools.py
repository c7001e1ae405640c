"""ImagingStudy resources checked against an independent model of FHIR R5, and against the objects they describe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from archive_tools import store_file
from conversion.material import save_all
from pydicom.dataset import Dataset
from tools import need_module

from gateway.archive.index import Archive
from gateway.archive.views import View
from gateway.errors import GatewayError
from gateway.objects.part10 import check_identity, read_header
from gateway.pipeline.convert import ConversionPolicy, Converter
from gateway.retrieval.imaging_study import imaging_study

VIEWS = (View.RECEIVED, View.CLASSIC, View.ENHANCED)


def validated(resource: dict[str, Any]) -> Any:
    """Return a resource as a model of FHIR R5 that has checked it, with nothing lost on the way."""
    fhir = need_module("fhir.resources")
    assert fhir.__fhir_version__.startswith("5."), fhir.__fhir_version__
    model = need_module("fhir.resources.imagingstudy").ImagingStudy.model_validate_json(json.dumps(resource))
    assert _normal(json.loads(model.model_dump_json(exclude_none=True))) == _normal(resource)
    _no_empty(resource)
    return model


def _normal(value: Any) -> Any:
    """Return JSON with points in time as the model writes them: it knows them by their value only."""
    if isinstance(value, dict):
        return {name: _time(one) if name == "started" else _normal(one) for name, one in value.items()}
    return [_normal(one) for one in value] if isinstance(value, list) else value


def _time(value: str) -> Any:
    from datetime import datetime

    return datetime.fromisoformat(value) if "T" in value else value


def _no_empty(value: Any) -> None:
    """FHIR has no empty values, lists or objects."""
    assert value not in (None, "", [], {}), value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _no_empty(one)


def receive(archive: Archive, folder: Path, datasets: list[Dataset]) -> str:
    """Store objects and return the Study Instance UID of the first."""
    for path in save_all(datasets, folder):
        store_file(archive, path)
    return str(datasets[0].StudyInstanceUID)


def store_all(archive: Archive, paths: list[Path]) -> int:
    """Store files as far as the archive takes them and return how many that were."""
    stored = 0
    for path in paths:
        try:
            check_identity(read_header(path))
            stored += store_file(archive, path).kind == "stored"
        except GatewayError:  # broken files are part of the sets
            continue
    return stored


def convert_all(archive: Archive) -> None:
    """Convert everything that waits."""
    archive.jobs.retry_now()
    worker = Converter(archive, ConversionPolicy())
    while worker.step():
        pass


def studies(archive: Archive) -> list[str]:
    """Return the Study Instance UIDs of everything held."""
    return [uid for (uid,) in archive.database.rows("SELECT uid FROM study ORDER BY uid")]


def resource_of(archive: Archive, study: str, view: View = View.RECEIVED, **more: Any) -> dict[str, Any]:
    """Return the resource of a study, validated."""
    made = imaging_study(archive, study, view, **more)
    validated(made)
    return made
