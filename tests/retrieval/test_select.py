"""What the Identifier of a C-MOVE request means (PS3.4 C.4.2.1.4.1, C.4.2.2.1)."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset

from gateway.retrieval.select import IdentifierError, selection

PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1.2"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.2"
PATIENT_STUDY_ONLY = "1.2.840.10008.5.1.4.1.2.3.2"


def identifier(level: str | None, **keys: Any) -> Dataset:
    result = Dataset()
    if level is not None:
        result.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(result, keyword, value)
    return result


UIDS = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3", "SOPInstanceUID": "1.4"}
ALL = {"PatientID": "P1", **UIDS}


@pytest.mark.parametrize(
    ("model", "level", "keys", "expected"),
    [
        (PATIENT_ROOT, "PATIENT", {"PatientID": "P1"}, {"patient": "P1"}),
        (PATIENT_ROOT, "STUDY", {"PatientID": "P1", "StudyInstanceUID": "1.2"}, {"patient": "P1", "study": ("1.2",)}),
        (STUDY_ROOT, "STUDY", {"StudyInstanceUID": "1.2"}, {"study": ("1.2",)}),
        (STUDY_ROOT, "STUDY", {"StudyInstanceUID": ["1.2", "1.5"]}, {"study": ("1.2", "1.5")}),
        (STUDY_ROOT, "STUDY", {"StudyInstanceUID": "1.2", "PatientID": ""}, {"study": ("1.2",)}),
        (STUDY_ROOT, "STUDY", {"StudyInstanceUID": "1.2", "PatientID": "P1"}, {"study": ("1.2",), "patient": "P1"}),
        (
            STUDY_ROOT,
            "SERIES",
            {"StudyInstanceUID": "1.2", "SeriesInstanceUID": ["1.3", "1.6"]},
            {"study": ("1.2",), "series": ("1.3", "1.6")},
        ),
        (STUDY_ROOT, "IMAGE", UIDS, {"study": ("1.2",), "series": ("1.3",), "instance": ("1.4",)}),
        (PATIENT_ROOT, "IMAGE", ALL, {"patient": "P1", "study": ("1.2",), "series": ("1.3",), "instance": ("1.4",)}),
        (PATIENT_STUDY_ONLY, "PATIENT", {"PatientID": "P1"}, {"patient": "P1"}),
        # A key below the level asked for is none of the request.
        (STUDY_ROOT, "STUDY", UIDS, {"study": ("1.2",)}),
    ],
)
def test_levels_and_keys(model: str, level: str, keys: dict[str, Any], expected: dict[str, Any]) -> None:
    found = selection(identifier(level, **keys), model)
    assert (found.level, dict(found.keys)) == (level, expected)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(
    ("model", "level", "keys", "offending"),
    [
        (STUDY_ROOT, None, UIDS, 0x00080052),
        (STUDY_ROOT, "", UIDS, 0x00080052),
        (STUDY_ROOT, "PATIENT", ALL, 0x00080052),
        (STUDY_ROOT, "FRAME", ALL, 0x00080052),
        (PATIENT_STUDY_ONLY, "SERIES", ALL, 0x00080052),
        (PATIENT_ROOT, "PATIENT", {}, 0x00100020),
        (PATIENT_ROOT, "PATIENT", {"PatientID": ["P1", "P2"]}, 0x00100020),
        (PATIENT_ROOT, "STUDY", {"StudyInstanceUID": "1.2"}, 0x00100020),
        (STUDY_ROOT, "STUDY", {}, 0x0020000D),
        (STUDY_ROOT, "STUDY", {"StudyInstanceUID": ""}, 0x0020000D),
        (STUDY_ROOT, "STUDY", {"StudyInstanceUID": "1.2*"}, 0x0020000D),
        (STUDY_ROOT, "SERIES", {"SeriesInstanceUID": "1.3"}, 0x0020000D),
        (STUDY_ROOT, "SERIES", {"StudyInstanceUID": "1.2"}, 0x0020000E),
        (STUDY_ROOT, "SERIES", {"StudyInstanceUID": ["1.2", "1.5"], "SeriesInstanceUID": "1.3"}, 0x0020000D),
        (STUDY_ROOT, "IMAGE", {"StudyInstanceUID": "1.2", "SOPInstanceUID": "1.4"}, 0x0020000E),
        (STUDY_ROOT, "IMAGE", {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3"}, 0x00080018),
        (STUDY_ROOT, "STUDY", {"StudyInstanceUID": "1.2", "QueryRetrieveView": "ENHANCED"}, 0x00080053),
    ],
)
def test_M1_an_identifier_that_does_not_fit_names_the_element(
    model: str, level: str | None, keys: dict[str, Any], offending: int
) -> None:
    with pytest.raises(IdentifierError) as caught:
        selection(identifier(level, **keys), model)
    assert caught.value.tag == offending
