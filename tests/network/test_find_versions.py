"""Corrections and studies of two patients, asked for by DCMTK's findscu: only what is in force is found (T2)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_tools import ct, store
from find_tools import Box, box
from tools import need

from gateway.cli.disagreements import disagreements


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Box]:
    with box(tmp_path) as made:
        yield made


def findscu(box: Box, model: str, level: str, *keys: str) -> str:
    """Return what findscu says of the responses."""
    command = [need("findscu"), model, "-aet", "WORKSTATION", "-aec", "GATEWAY", "127.0.0.1", str(box.port)]
    asked = [one for key in (f"QueryRetrieveLevel={level}", *keys) for one in ("-k", key)]
    done = subprocess.run([*command, *asked], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return (done.stdout + done.stderr).split("Received Final Find Response")[0].split("Find Response:", 1)[-1]


@pytest.mark.parametrize(("model", "level"), [("-P", "PATIENT"), ("-P", "STUDY"), ("-S", "STUDY")])
def test_T2_after_a_correction_findscu_finds_the_new_name_and_not_the_old(gateway: Box, model: str, level: str) -> None:
    store(gateway.archive, ct(PatientName="Old^Name", AccessionNumber="A1"))
    store(gateway.archive, ct(PatientName="New^Name", AccessionNumber="A2"))
    above = ["PatientID=P1"] if (model, level) == ("-P", "STUDY") else ["PatientID"]
    assert "New^Name" in findscu(gateway, model, level, *above, "PatientName=NEW*")
    assert "P1" not in findscu(gateway, model, level, *above, "PatientName=OLD*").replace("PatientID=P1", "")
    if level == "STUDY":
        assert "A2" in findscu(gateway, model, level, *above, "AccessionNumber=A2", "StudyInstanceUID")


def test_T2_both_patients_of_one_study_find_it_and_status_says_so(gateway: Box) -> None:
    from gateway.archive.status import box_status

    store(gateway.archive, ct("1.2.3.4.1", PatientName="One^Name"))
    store(gateway.archive, ct("1.2.3.4.2", PatientName="Two^Name", PatientID="P2"))
    for model in ("-P", "-S"):
        for patient in ("P1", "P2"):
            assert "1.2.3" in findscu(gateway, model, "STUDY", f"PatientID={patient}", "StudyInstanceUID")
    lines = list(disagreements(box_status(gateway.archive)["conflicts"]))
    assert len(lines) == 2
    assert "One^Name (P1), Two^Name (P2) (study 1.2.3)" in lines[0]
