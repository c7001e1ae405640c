"""The query examples of Supplement 157, annex ZZZC: the study of annex ZZZB asked in its views, by attribute."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from archive_tools import store_file
from conversion.material import save
from conversion.test_worked_example import listed
from find_tools import VIEW, Box, ask, association, box, identifier
from pydicom.dataset import Dataset

from gateway.pipeline.convert import ConversionPolicy, Converter

ACCESSION = "2263295914110886"
PATIENT = "RIDER-2357766186"

# The request as it is listed: keys without a value, but for these three.
ASKED = (
    *("StudyDate", "StudyTime", "ModalitiesInStudy", "SOPClassesInStudy", "ReferringPhysicianName", "StudyDescription"),
    *("PhysiciansOfRecord", "NameOfPhysiciansReadingStudy", "AdmittingDiagnosesDescription", "PatientName"),
    *("PatientBirthDate", "PatientBirthTime", "PatientSex", "PatientAge", "PatientSize", "PatientWeight", "Occupation"),
    *("AdditionalPatientHistory", "PatientComments", "StudyInstanceUID", "StudyID", "OtherStudyNumbers"),
    *("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
)

# The responses as they are listed; keys of the request that are not here have no value. The listing has the name
# without the delimiter at its end that the images of annex ZZZB have.
LISTED = {
    "StudyDate": "20061230",
    "StudyTime": "100000",
    "AccessionNumber": ACCESSION,
    "QueryRetrieveLevel": "STUDY",
    "ModalitiesInStudy": "CT\\PR",
    "PatientName": "277654^",
    "PatientID": PATIENT,
    "PatientBirthDate": "19301018",
    "StudyInstanceUID": "1.3.6.1.4.1.9328.50.1.3314291219905667794753890494847167759 37".replace(" ", ""),
    "StudyID": "1234",
    "NumberOfStudyRelatedSeries": "2",
}
VIEWS = {
    "CLASSIC": {
        "SOPClassesInStudy": "1.2.840.10008.5.1.4.1.1.11.1\\1.2.840.10008.5.1.4.1.1.2",
        "NumberOfStudyRelatedInstances": "3",
    },
    "ENHANCED": {
        "SOPClassesInStudy": "1.2.840.10008.5.1.4.1.1.11.1\\1.2.840.10008.5.1.4.1.1.2.2",
        "NumberOfStudyRelatedInstances": "2",
    },
}

# What a response must (C.4.1.1.3.2) or may say besides; the listings leave both out.
BESIDES = {"RetrieveAETitle", "InstanceAvailability"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A box that has received the study of annex ZZZB and converted it."""
    folder = tmp_path_factory.mktemp("example")
    with box(folder) as made:
        for number, name in enumerate(("first_slice", "second_slice", "presentation_state")):
            ds = listed(name)
            if "Rows" in ds:  # the listing has no pixels
                pixels = np.random.default_rng(number).integers(-1024, 3071, (512, 512), dtype=np.int16)
                ds.PixelData = pixels.tobytes()
            path = folder / f"{name}.dcm"
            save(ds, path)
            store_file(made.archive, path)
        made.archive.jobs.retry_now()
        worker = Converter(made.archive, ConversionPolicy())
        while worker.step():
            pass
        yield made


def request(view: str) -> Dataset:
    asked = identifier("STUDY", AccessionNumber=ACCESSION, PatientID=PATIENT)
    for keyword in ASKED:
        setattr(asked, keyword, None)
    if view:
        asked.QueryRetrieveView = view
    return asked


@pytest.mark.parametrize("view", ["CLASSIC", "ENHANCED"])
def test_Q4_Q5_Q10_F11_the_listed_query_gets_the_listed_answer(gateway: Box, view: str) -> None:
    with association(gateway.port, (VIEW,)) as made:
        answer = ask(made, request(view))
    assert (answer.status, answer.pending) == (0x0000, [0xFF00])
    (match,) = answer.matches
    found = {one.keyword: "" if one.is_empty else _text(one.value) for one in match if one.keyword not in BESIDES}
    expected = dict.fromkeys((*ASKED, "AccessionNumber", "PatientID"), "")
    assert found == expected | LISTED | VIEWS[view] | {"QueryRetrieveView": view}
    assert {one.keyword for one in match} >= BESIDES


def test_Q2_Q3_without_a_view_the_answer_is_that_of_what_was_received(gateway: Box) -> None:
    """As in the classic view, "except for the presence of or value returned in Query/Retrieve View" (ZZZC.1)."""
    with association(gateway.port, (VIEW,)) as made:
        (classic,) = ask(made, request("CLASSIC")).matches
    with association(gateway.port) as made:
        (received,) = ask(made, request("")).matches
    assert "QueryRetrieveView" not in received
    del classic.QueryRetrieveView
    del classic.RetrieveAETitle, received.RetrieveAETitle
    assert received == classic


def _text(value: object) -> str:
    return "\\".join(map(str, value)) if isinstance(value, (list, tuple)) or hasattr(value, "append") else str(value)
