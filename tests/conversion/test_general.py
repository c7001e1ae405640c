"""What holds for every new instance: the lines G of the requirements (PS3.4 C.3.5)."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conversion.material import (
    STUDY,
    Conversion,
    coded,
    convert,
    frames_of,
    item,
    made_of,
    reference,
    save_all,
    series_of,
    shared_of,
    slice_of,
    unassigned,
    unassigned_shared,
)
from pydicom.dataset import Dataset
from pydicom.uid import UID
from tools import need_module

from gateway.conversion.identity import EDITION, Identity
from gateway.conversion.outcome import frozen_from

CONTRIBUTION = "Legacy Enhanced Image created from Classic Images"


def _uids(ds: Dataset) -> list[str]:
    return [str(element.value) for element in ds.iterall() if element.VR == "UI" and element.VM == 1]


def test_G2_no_new_uid_is_an_old_one_with_a_suffix(tmp_path: Path) -> None:
    sources = series_of()
    made = made_of(sources, tmp_path).one
    old = {uid for ds in sources for uid in _uids(ds)}
    new = set(_uids(made)) - old - {made.SOPClassUID}
    assert made.SOPInstanceUID in new
    assert len(new) == 3  # instance, series, dimension organization
    for uid in new:
        assert re.fullmatch(r"2\.25\.(0|[1-9]\d*)", uid)
        assert len(uid) <= 64
        assert not [one for one in old if uid.startswith(one)]


def test_G4_G11_new_instance_and_series_uid(tmp_path: Path) -> None:
    sources = series_of()
    made = made_of(sources, tmp_path).one
    assert made.SOPInstanceUID not in {ds.SOPInstanceUID for ds in sources}
    assert made.SeriesInstanceUID != sources[0].SeriesInstanceUID
    assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID
    assert made.file_meta.MediaStorageSOPClassUID == made.SOPClassUID


def test_G5_type_1_and_2_attributes_are_there(tmp_path: Path) -> None:
    sparse = dict.fromkeys(
        ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID", "PatientBirthDate",
         "PatientSex", "PatientName", "Manufacturer", "SeriesNumber", "ContentDate", "ContentTime", "AcquisitionDate",
         "AcquisitionTime", "SeriesDate", "SeriesTime", "BodyPartExamined")
    )  # fmt: skip
    made = made_of(series_of(change=sparse), tmp_path).one
    type_2 = ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID", "PatientBirthDate",
              "PatientSex", "PatientName", "Manufacturer", "SeriesNumber")  # fmt: skip
    for keyword in type_2:
        assert keyword in made, keyword
    assert made.ContentDate
    assert made.ContentTime


def test_G6_G7_contributing_equipment(tmp_path: Path) -> None:
    identity = Identity(manufacturer="Maker", model="Box", institution="Here", station="Cellar")
    made = made_of(series_of(), tmp_path, identity=identity).one
    (equipment,) = made.ContributingEquipmentSequence
    (purpose,) = equipment.PurposeOfReferenceCodeSequence
    assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("109106", "DCM")
    assert purpose.CodeMeaning == "Enhanced Multi-frame Conversion Equipment"
    assert equipment.ContributionDescription == CONTRIBUTION
    assert equipment.Manufacturer == "Maker"
    block = equipment.private_block(0x0021, "GATEWAY CONVERSION")
    assert (block[0x05].value, block[0x06].value) == (f"conversion edition {EDITION}", "Box")
    assert (equipment.InstitutionName, equipment.StationName) == ("Here", "Cellar")
    assert "ContributionDateTime" not in equipment


def sidecar(files: list[Path], folder: Path) -> dict[str, Any]:
    """Return what dcm2niix says of a series beside its voxels."""
    (folder / "in").mkdir(parents=True)
    for number, path in enumerate(files):
        (folder / "in" / f"{number}.dcm").symlink_to(path.resolve())
    program = need_module("dcm2niix").bin
    subprocess.run([program, "-ba", "n", "-o", str(folder), str(folder / "in")], capture_output=True, check=False)
    (found,) = folder.glob("*.json")
    return json.loads(found.read_text())


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_G6_dcm2niix_takes_nothing_of_the_converter_for_the_scanner(modality: str, tmp_path: Path) -> None:
    scanner = {"Manufacturer": "SIEMENS", "ManufacturerModelName": "Scanner", "SoftwareVersions": "syngo X",
               "DeviceSerialNumber": "12", "StationName": "S1", "InstitutionName": "Hospital",
               "ProtocolName": "Head", "InstitutionalDepartmentName": "Department"}  # fmt: skip
    sources = series_of(modality, change=scanner)
    made = made_of(sources, tmp_path)
    files = sorted((tmp_path / "in").glob("*.dcm"))
    classic, enhanced = sidecar(files, tmp_path / "1"), sidecar(made.files, tmp_path / "2")
    names = ("Manufacturer", "ManufacturersModelName", "SoftwareVersions", "DeviceSerialNumber", "StationName",
             "InstitutionName", "ProtocolName", "InstitutionalDepartmentName", "Modality")  # fmt: skip
    assert {name: enhanced.get(name) for name in names} == {name: classic.get(name) for name in names}
    assert enhanced["SoftwareVersions"] == "syngo X"
    assert enhanced["SeriesInstanceUID"] == made.one.SeriesInstanceUID


def _equipment(name: str, time: str) -> Dataset:
    purpose = [coded("109103", "DCM", "Modifying Equipment")]
    return item(Manufacturer=name, ContributionDateTime=time, PurposeOfReferenceCodeSequence=purpose)


def test_G8_equipment_that_agrees_but_for_its_time_is_kept(tmp_path: Path) -> None:
    changes = [{"ContributingEquipmentSequence": [_equipment("Cleaner", f"2024010{n}")]} for n in (1, 2, 3)]
    found = made_of(series_of(change=changes), tmp_path).one.ContributingEquipmentSequence
    assert [part.Manufacturer for part in found] == ["Cleaner", "Gateway"]


@pytest.mark.parametrize("others", [[{"Manufacturer": "Other"}], [None]], ids=["different", "absent"])
def test_G8_G18_equipment_that_differs_goes_to_the_frames(others: list, tmp_path: Path) -> None:
    first = {"ContributingEquipmentSequence": [_equipment("Cleaner", "20240101")]}
    changes = [first, *({"ContributingEquipmentSequence": [item(**o)]} if o else None for o in others), first]
    made = made_of(series_of(change=changes), tmp_path).one
    assert [part.Manufacturer for part in made.ContributingEquipmentSequence] == ["Gateway"]
    assert made.ContributingEquipmentSequence[0].ContributionDescription == CONTRIBUTION
    assert unassigned(made, 0).ContributingEquipmentSequence[0].Manufacturer == "Cleaner"
    assert unassigned(made, 0).ContributingEquipmentSequence[0].ContributionDateTime == "20240101"
    assert "ContributingEquipmentSequence" not in unassigned_shared(made)


def test_G9_patient_and_study_stay(tmp_path: Path) -> None:
    change = {
        "IssuerOfPatientID": "Hospital",
        "PatientAge": "054Y",
        "PatientWeight": "80",
        "OtherPatientIDsSequence": [item(PatientID="X", IssuerOfPatientID="Y")],
        "ProcedureCodeSequence": [coded("1", "99A", "one")],
        "ClinicalTrialSponsorName": "S",
        "ClinicalTrialProtocolID": "T",
    }
    sources = series_of(change=change)
    made = made_of(sources, tmp_path).one
    keywords = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate",
                "StudyTime", "AccessionNumber", "StudyID", "StudyDescription", "ReferringPhysicianName")  # fmt: skip
    for keyword in (*keywords, *change):
        assert made.get(keyword) == sources[0].get(keyword), keyword
    assert made.SpecificCharacterSet == "ISO_IR 100"
    assert made.PatientName == "Doe^J\xf6rg"


def test_G10_frame_of_reference_and_synchronization_stay(tmp_path: Path) -> None:
    change = {
        "SynchronizationFrameOfReferenceUID": "1.2.3.4",
        "SynchronizationTrigger": "NO TRIGGER",
        "AcquisitionTimeSynchronized": "Y",
    }
    made = made_of(series_of(change=change), tmp_path).one
    assert made.FrameOfReferenceUID == STUDY + ".99"
    assert made.PositionReferenceIndicator == "SN"
    for keyword, value in change.items():
        assert made.get(keyword) == value


def test_G11_objects_that_share_series_attributes_share_the_series(tmp_path: Path) -> None:
    changes = [
        None,
        None,
        {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
        {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
    ]
    objects = made_of(series_of(change=changes), tmp_path).objects
    assert len(objects) == 2
    assert len({ds.SeriesInstanceUID for ds in objects}) == 1
    assert sorted(ds.InstanceNumber for ds in objects) == [1, 2]


def test_G11_objects_of_different_series_attributes_do_not(tmp_path: Path) -> None:
    kind = ["DERIVED", "SECONDARY", "MPR"]
    changes = [None, None, {"ImageType": kind, "SeriesDescription": "other"}]
    objects = made_of(series_of(change=changes), tmp_path).objects
    assert len({ds.SeriesInstanceUID for ds in objects}) == len(objects) == 2


def test_G11_two_source_series_are_two_series(tmp_path: Path) -> None:
    objects = made_of([*series_of(), *series_of(series=STUDY + ".2")], tmp_path).objects
    assert len({ds.SeriesInstanceUID for ds in objects}) == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([("20240103", "080000"), ("20240102", "235959.5"), ("20240102", "2359")], ("20240102", "2359")),
        ([("20240103", "08"), ("20240102", ""), ("20240102", "09")], ("20240102", "09")),
        ([("", ""), ("20240104", "08"), ("", "")], ("20240104", "08")),
        ([("", ""), ("", ""), ("", "")], ("", "")),
    ],
)
def test_G12_series_time_is_earliest(values: list, expected: tuple, tmp_path: Path) -> None:
    changes = [{"SeriesDate": date, "SeriesTime": time} for date, time in values]
    made = made_of(series_of(change=changes), tmp_path).one
    assert (made.get("SeriesDate", ""), made.get("SeriesTime", "")) == expected


def test_G12_holds_for_the_whole_new_series(tmp_path: Path) -> None:
    kind = {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}
    changes = [{"SeriesTime": "12"}, {"SeriesTime": "11"} | kind, {"SeriesTime": "10"} | kind]
    objects = made_of(series_of(change=changes), tmp_path).objects
    assert [ds.SeriesTime for ds in objects] == ["10", "10"]


def test_G13_request_attributes_of_any_source_are_kept(tmp_path: Path) -> None:
    requests = [item(RequestedProcedureID=f"R{n}", ScheduledProcedureStepID=f"S{n}") for n in (1, 2)]
    changes = [None, {"RequestAttributesSequence": requests[:1]}, {"RequestAttributesSequence": requests}]
    made = made_of(series_of(change=changes), tmp_path).one
    assert [request.RequestedProcedureID for request in made.RequestAttributesSequence] == ["R1", "R2"]


def test_G16_view_is_stated(tmp_path: Path) -> None:
    made = made_of(series_of(change=[{"QueryRetrieveView": "CLASSIC"}, None]), tmp_path).one
    assert made["QueryRetrieveView"].tag == 0x00080053
    assert made.QueryRetrieveView == "ENHANCED"
    assert [element.value for element in made.iterall() if element.tag == 0x00080053] == ["ENHANCED"]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", "P2"),
        ("PatientName", "Doe^Jane"),
        ("PatientBirthDate", "19710101"),
        ("IssuerOfPatientID", "X"),
        ("AccessionNumber", "A2"),
        ("StudyDescription", "Feet"),
        ("ReferringPhysicianName", "B"),
        ("PatientAge", "053Y"),
        ("FrameOfReferenceUID", STUDY + ".98"),
        ("PositionReferenceIndicator", "XY"),
        ("ProcedureCodeSequence", [coded("1", "99A", "one")]),
        ("PatientWeight", 81),
    ],
)
def test_G17_what_differs_above_the_series_never_shares_an_object(keyword: str, value: object, tmp_path: Path) -> None:
    sources = series_of(change=[None, None, {keyword: value}])
    objects = made_of(sources, tmp_path).objects
    assert sorted(int(ds.NumberOfFrames) for ds in objects) == [1, 2]
    for ds in objects:
        changed = int(ds.NumberOfFrames) == 1
        assert (ds.get(keyword) == value) is changed
        assert keyword not in unassigned_shared(ds)


def test_G19_an_older_conversion_source_is_replaced(tmp_path: Path) -> None:
    older = item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", ReferencedSOPInstanceUID="1.2.3.4")
    older.ReferencedFrameNumber = 3
    sources = series_of(change={"ConversionSourceAttributesSequence": [older]})
    made = made_of(sources, tmp_path).one
    assert "1.2.3.4" not in _uids(made)
    assert "ConversionSourceAttributesSequence" not in made
    named = [frame.ConversionSourceAttributesSequence[0].ReferencedSOPInstanceUID for frame in frames_of(made)]
    assert named == [ds.SOPInstanceUID for ds in sources]


def _twin(tmp_path: Path, sources: list[Dataset]) -> tuple[list[Path], Conversion]:
    paths = save_all(sources, tmp_path / "in")
    return paths, convert(paths, tmp_path / "first")


def test_G23_a_received_object_whose_sources_are_held_is_their_twin(tmp_path: Path) -> None:
    paths, first = _twin(tmp_path, series_of())
    again = convert([*paths, *first.files], tmp_path / "second")
    assert again.objects == []
    uid = first.one.SOPInstanceUID
    assert again.result.twins == {path.name: uid for path in paths}
    assert again.kept[first.files[0].name] == "received enhanced; its sources are held"


def test_G23_of_an_object_with_only_some_sources_held_these_are_not_converted_again(tmp_path: Path) -> None:
    paths, first = _twin(tmp_path, series_of())
    again = convert([*paths[:2], *first.files], tmp_path / "second")
    assert again.objects == []
    assert again.result.twins == {path.name: first.files[0].stem for path in paths[:2]}
    assert [made.companion.kind for made in again.result.companions] == ["restored image"]


def test_G23_own_output_that_comes_back_is_recognised(tmp_path: Path) -> None:
    _, first = _twin(tmp_path, series_of())
    frozen = frozen_from([first.result.record(STUDY)])
    again = convert(first.files, tmp_path / "second", frozen=frozen)
    assert again.objects == []
    assert again.result.spare == {first.files[0].name}


def test_one_series_that_stays_one_keeps_what_people_know_it_by(tmp_path: Path) -> None:
    sources = series_of(change={"ProtocolName": "Thorax"})
    made = made_of(sources, tmp_path).one
    for keyword in ("SeriesNumber", "SeriesDescription", "ProtocolName", "BodyPartExamined"):
        assert made.get(keyword) == sources[0].get(keyword)


def test_frames_go_by_instance_number(tmp_path: Path) -> None:
    def number(ds: Dataset) -> None:
        ds.InstanceNumber = {1: 10, 2: 9, 3: 2}[int(ds.InstanceNumber)]

    made = made_of(series_of(change=number), tmp_path).one
    assert [unassigned(made, n).InstanceNumber for n in range(3)] == [2, 9, 10]


def test_shared_groups_are_not_repeated_in_frames(tmp_path: Path) -> None:
    made = made_of([slice_of("CT", n, {"ReferencedImageSequence": [reference(slice_of(series="1.2.3"))]})
                    for n in (1, 2)], tmp_path).one  # fmt: skip
    shared = {element.tag for element in shared_of(made)}
    for frame in frames_of(made):
        assert not shared & {element.tag for element in frame}


def test_G24_performed_procedure_step_is_kept_and_none_is_made(tmp_path: Path) -> None:
    step = item(ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.3", ReferencedSOPInstanceUID=STUDY + ".77")
    made = made_of(series_of(change={"ReferencedPerformedProcedureStepSequence": [step]}), tmp_path)
    assert made.one.ReferencedPerformedProcedureStepSequence[0] == step
    assert all("ProcedureStep" not in UID(ds.SOPClassUID).keyword for ds in made.objects)
