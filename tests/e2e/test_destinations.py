"""Storage commitment and fetching with the whole box: Orthanc, DCMTK, and kills in between."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from box import Box, Pacs, ct_study
from commitment_tools import Committer, Notified, committing, references, report
from loopback import eventually, free_port
from peers import Orthanc
from pydicom.dataset import Dataset
from tools import need

from gateway.network.commitment_lists import Result


def status(box: Box) -> dict[str, Any]:
    """What `gateway status --json` says."""
    command = [sys.executable, "-m", "gateway.cli.main", "status", "--json", "--config", str(box.config)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


def at(box: Box) -> dict[str, Any]:
    """How it stands at the only destination of the only study."""
    (study,) = status(box)["studies"]
    (destination,) = study["destinations"]
    return dict(destination)


def committed(box: Box, study: str, title: str) -> bool:
    with box.archive() as archive:
        found = archive.custody.standing(study, title)
    return bool(found) and {one.state for one in found.values()} == {"committed"}


def test_J2_orthanc_commits_to_what_it_was_sent(tmp_path: Path) -> None:
    box_port = free_port()
    address = {"AET": "GATEWAY", "Host": "127.0.0.1", "Port": box_port, "AllowStorageCommitment": True}
    orthanc = Orthanc(tmp_path, modalities={"gateway": address})
    box = Box(tmp_path, {"ORTHANC": orthanc.port})
    box.config.write_text(box.config.read_text().replace(f"port = {box.port}", f"port = {box_port}"))
    box.port = box_port
    study = ct_study(4)
    with orthanc.running():
        box.start()
        assert len(box.store(study)) == 4
        eventually(lambda: committed(box, study[0].StudyInstanceUID, "ORTHANC"))
        box.wait_done()
        told = status(box)
        assert told["idle"]
        assert at(box)["commitment"]["committed"] == at(box)["delivered"] == 1
        assert box.stop() == 0, box.text()


def on_a_new_association(box: Box, over: threading.Event) -> Any:
    """Answers after the association of the request, until the box takes the answer or the test is over."""

    def answer(request: Dataset) -> Result | None:
        def tell() -> None:
            while not over.is_set() and not _report(box, committing(request)):
                over.wait(0.05)

        threading.Thread(target=tell).start()
        return None

    return answer


def _report(box: Box, result: Result) -> bool:
    try:
        return report(box.port, result) is not None
    except (OSError, RuntimeError):
        return False


# Where in the way of a request and its answer a process dies, and whether the answer comes on a new association.
POINTS = [
    ("commit.after_request", False),
    pytest.param("commit.recorded", False, marks=pytest.mark.long),
    pytest.param("commit.before_request", False, marks=pytest.mark.long),
    pytest.param("commit.answer_recorded", False, marks=pytest.mark.long),
    ("commit.answer_recorded", True),
    pytest.param("commit.answered", False, marks=pytest.mark.long),
    pytest.param("commit.answered", True, marks=pytest.mark.long),
    pytest.param("deliver.before_finish", False, marks=pytest.mark.long),
]


@pytest.mark.parametrize(("point", "later"), POINTS)
def test_J2_killed_between_request_and_answer_it_is_committed_in_the_end(
    tmp_path: Path, point: str, later: bool
) -> None:
    committer = Committer()
    pacs = Pacs("PACS", None, 0, committer.add_to).start()
    box = Box(tmp_path, {"PACS": pacs.port})
    over = threading.Event()
    if later:
        committer.answer = on_a_new_association(box, over)
    study = ct_study(4)
    try:
        box.start(f"{point}=kill")
        box.store_persistently(study)
        eventually(lambda: box.logged("process.died", "SIGKILL"))
        box.kill()
        box.start()
        eventually(lambda: committed(box, study[0].StudyInstanceUID, "PACS"))
        box.wait_done()
        assert not pacs.twice()
        uids = [str(request.TransactionUID) for request in committer.requests]
        assert len(set(uids)) == len(uids)
        assert {one.sop_instance for request in committer.requests for one in references(request)} == set(pacs.received)
        assert not box.logged("Traceback"), box.text()
    finally:
        over.set()
        box.kill()
        pacs.stop()


@pytest.mark.parametrize("program", ["movescu", "getscu"])
def test_R1_a_destination_is_notified_fetches_with_dcmtk_and_commits(tmp_path: Path, program: str) -> None:
    committer, notified = Committer(), Notified()
    station = Pacs("STATION", None, 0, committer.add_to, notified.add_to).start()
    box = Box(tmp_path, {"STATION": {"port": station.port, "mode": "pull", "view": "enhanced"}})
    box.config.write_text(box.config.read_text() + '[views]\nGATEWAY_ENH = "enhanced"\n')
    study = ct_study(4)
    try:
        box.start()
        box.store(study)
        eventually(lambda: notified.notifications)
        (item,) = notified.notifications[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
        assert item.RetrieveAETitle == "GATEWAY_ENH"
        eventually(lambda: at(box)["notified"] == 1)
        told = at(box)
        assert (told["mode"], told["form"], told["delivered"]) == ("pull", "enhanced", 0)
        assert not status(box)["idle"]
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study[0].StudyInstanceUID}"]
        titles = ["-aet", "STATION", "-aec", "GATEWAY_ENH"]
        more = ["-aem", "STATION"] if program == "movescu" else ["-od", str(tmp_path)]
        command = [need(program), "-S", *titles, *more, *keys, "127.0.0.1", str(box.port)]
        subprocess.run(command, check=True, timeout=60, capture_output=True)
        eventually(lambda: committed(box, study[0].StudyInstanceUID, "STATION"))
        box.wait_done()
        told = at(box)
        assert (told["notified"], told["delivered"], told["commitment"]["committed"]) == (0, 1, 1)
        assert status(box)["idle"]
        if program == "movescu":
            assert list(station.received) == [str(item.ReferencedSOPInstanceUID)]
        assert [one.sop_instance for one in references(committer.requests[0])] == [str(item.ReferencedSOPInstanceUID)]
        assert box.stop() == 0, box.text()
    finally:
        station.stop()
