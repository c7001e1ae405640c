"""`gateway status` and `gateway queue` say in plain words how it stands, and have waiting work done now."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_tools import ct, derive, store
from click.testing import CliRunner, Result

from gateway.archive.index import Archive, Settlement
from gateway.archive.jobs import CONVERT, DELIVER
from gateway.archive.promises import Verdict
from gateway.archive.views import ALL_VIEWS, View
from gateway.cli.main import main

STUDY = "1.2.3"


class Box:
    """An archive with a configuration, as a command line sees it."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "gateway.toml"
        self.config.write_text(
            f'[gateway]\ndata_dir = "{folder / "data"}"\n'
            '[[destination]]\nae_title = "PACS"\nhost = "192.0.2.20"\nport = 104\n'
        )
        self.archive = Archive(folder / "data")

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "--config", str(self.config)])

    def says(self) -> str:
        done = self.run("status")
        assert done.exit_code == 0, done.stderr
        return done.stdout

    def receive(self, images: int = 3) -> None:
        for number in range(1, images + 1):
            store(self.archive, ct(f"1.2.3.4.{number}", number=number))

    def convert(self) -> None:
        """Make one enhanced object of all but the last image, which stays as it is."""
        *sources, last = self.archive.study_sources(STUDY)
        made = derive(self.archive, STUDY)
        settled = {row.name: Settlement(View.RECEIVED | View.CLASSIC) for row in sources}
        settled[last.name] = Settlement(ALL_VIEWS, "a localizer")
        made = type(made)(**{**vars(made), "frames": made.frames[:-1]})
        self.archive.record_conversion(STUDY, [made], settled)
        for job in self.archive.jobs.listing():
            if job.kind == CONVERT:
                self.archive.database.rows("DELETE FROM job WHERE id = ?", (job.id,))

    def deliver_job(self) -> None:
        self.archive.jobs.schedule(DELIVER, STUDY, "PACS")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.archive.close()


def test_a_fresh_box_is_idle(box: Box) -> None:
    assert box.says() == "idle: nothing is pending\n"
    assert json.loads(box.run("status", "--json").stdout)["idle"] is True


def test_a_study_that_still_comes_waits_for_more_images(box: Box) -> None:
    box.receive()
    box.archive.jobs.schedule(CONVERT, STUDY, not_before=time.time() + 40)
    said = box.says()
    assert said.startswith("busy: ")
    assert "Doe^Jane (P1), 20240131, Thorax, accession A1\n" in said
    assert "received: 3 objects in 1 series\n" in said
    assert "waiting 40 s for more images, 3 objects not converted yet\n" in said
    assert json.loads(box.run("status", "--json").stdout)["idle"] is False


def test_a_conversion_says_what_it_became_and_why_not(box: Box) -> None:
    box.receive()
    box.convert()
    said = box.says()
    assert (
        "converted: 1 series into 1 enhanced object (2 frames); 1 object of converted series unchanged: a localizer"
        in said
    )


def test_a_delivery_in_progress_tells_how_far_it_is(box: Box) -> None:
    box.receive()
    box.convert()
    box.deliver_job()
    assert box.archive.jobs.take(DELIVER, "PACS")
    assert "PACS: asking what it takes\n" in box.says()
    box.archive.custody.decide(STUDY, "PACS", View.ENHANCED)
    rows = box.archive.study_instances(STUDY, View.ENHANCED)
    box.archive.custody.delivered(STUDY, "PACS", rows[0])
    assert f"PACS: delivering enhanced 1 of {len(rows)}\n" in box.says()


def test_an_unreachable_destination_tells_reason_next_attempt_and_attempts(box: Box) -> None:
    box.receive()
    box.convert()
    for _ in range(3):
        box.deliver_job()
        box.archive.jobs.retry_now()
        job = box.archive.jobs.take(DELIVER, "PACS")
        assert job
        box.archive.jobs.retry(job, "connection refused", time.time() + 35)
    assert "PACS: not delivered (connection refused), next attempt in 35 s, 3 attempts so far\n" in box.says()


def test_a_held_study_says_why_and_what_to_do(box: Box) -> None:
    box.receive()
    box.convert()
    box.deliver_job()
    job = box.archive.jobs.take(DELIVER, "PACS")
    assert job
    box.archive.jobs.hold(job, "PACS refuses Legacy Converted Enhanced CT Image Storage")
    said = box.says()
    assert "idle: nothing is pending; 1 job held\n" in said
    assert (
        "PACS: held: PACS refuses Legacy Converted Enhanced CT Image Storage; after mending it, `gateway queue" in said
    )


def test_a_delivery_to_a_destination_that_was_removed_says_so_and_the_box_is_idle(box: Box) -> None:
    box.receive()
    box.convert()
    box.archive.jobs.schedule(DELIVER, STUDY, "PACS2")
    box.archive.jobs.match_destinations(["PACS"])
    assert "0 jobs due now" in box.run("queue", "retry").stdout
    said = box.says()
    assert "idle: nothing is pending; 1 job held\n" in said
    assert "PACS2: held: PACS2 is no longer in the configuration; name it there again and restart" in said


def test_a_delivered_study_says_in_which_form_and_why(box: Box) -> None:
    box.receive()
    box.convert()
    box.archive.custody.decide(STUDY, "PACS", View.CLASSIC, "PACS does not accept Legacy Converted Enhanced CT")
    for row in box.archive.study_instances(STUDY, View.CLASSIC):
        box.archive.custody.delivered(STUDY, "PACS", row)
    assert "PACS: delivered 3 objects as classic: PACS does not accept Legacy Converted Enhanced CT\n" in box.says()


def test_a_delivery_says_how_much_went_out_decoded(box: Box) -> None:
    box.receive()
    box.convert()
    for row in box.archive.study_instances(STUDY, View.RECEIVED):
        box.archive.custody.delivered(STUDY, "PACS", row, 0, "decoded from RLE Lossless")
    assert "PACS: delivered 3 objects, 3 of them decoded without loss\n" in box.says()


def test_one_study_is_found_by_uid_and_by_accession_number(box: Box) -> None:
    box.receive()
    store(box.archive, ct("1.5.5", study="1.5", series="1.5.1", AccessionNumber="B2"))
    for key in ("1.5", "B2"):
        (study,) = json.loads(box.run("status", key, "--json").stdout)["studies"]
        assert study["study"] == "1.5"
    missing = box.run("status", "C3")
    assert missing.exit_code == 1
    assert "C3: no such study here" in missing.stderr


def test_looking_at_a_box_that_never_ran_makes_nothing(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(f'[gateway]\ndata_dir = "{tmp_path / "data"}"\n')
    for command in (["status"], ["queue", "list"], ["queue", "retry"]):
        done = CliRunner().invoke(main, [*command, "--config", str(config)])
        assert done.exit_code == 1
        assert "no gateway has run here yet" in done.stderr
    assert not (tmp_path / "data").exists()


def test_T16_a_data_directory_that_cannot_be_looked_at_is_one_line(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(f'[gateway]\ndata_dir = "{tmp_path / ("x" * 300)}"\n')
    for command in (["status"], ["queue", "list"], ["queue", "retry"], ["fhir", STUDY], ["serve"]):
        done = CliRunner().invoke(main, [*command, "--config", str(config)])
        assert done.exit_code == 1
        assert "File name too long" in done.stderr
        assert "check the path" in done.stderr
        assert done.stderr.count("\n") == 1


def test_T16_the_queue_of_a_study_that_is_not_here_is_no_empty_one(box: Box) -> None:
    for command in ("list", "retry"):
        done = box.run("queue", command, "--study", "1.2.3.4")
        assert done.exit_code == 1
        assert "1.2.3.4: no such study here" in done.stderr


def test_the_queue_lists_work_and_retry_makes_it_due(box: Box) -> None:
    assert box.run("queue", "list").stdout == "nothing waits\n"
    box.receive(1)
    box.archive.jobs.schedule(DELIVER, STUDY, "PACS", not_before=time.time() + 100, reason="not reachable")
    listed = box.run("queue", "list", "--destination", "PACS")
    assert listed.stdout == f"deliver to PACS: {STUDY}: due in 1 min 40 s: not reachable\n"
    assert json.loads(box.run("queue", "list", "--json").stdout)[-1]["kind"] == DELIVER
    assert box.archive.jobs.take(DELIVER, "PACS") is None
    assert box.run("queue", "retry", "--study", STUDY, "--destination", "PACS").stdout == "1 job due now\n"
    assert box.archive.jobs.take(DELIVER, "PACS") is not None


def test_T13_answers_about_commitment_that_are_owed_are_in_the_queue_and_are_hurried(box: Box) -> None:
    box.receive(1)
    promises = box.archive.promises
    promise = promises.ask("CT9", "GATEWAY", "2.25.9", [("1.2", "1.2.3")])
    assert promise is not None
    promises.settle(promise)
    promises.hold(promise, "CT9 has no host and port in its [[peer]] entry")
    box.archive.commitments.ask(STUDY, "PACS", box.archive.study_sources(STUDY))
    lines = box.run("queue", "list").stdout.splitlines()
    assert any(line.startswith(f"PACS owes an answer: {STUDY}: asked ") for line in lines), lines
    held = "held: CT9 has no host and port in its [[peer]] entry"
    assert any(line.startswith("answer CT9: commitment to 1 instance, asked ") and held in line for line in lines)
    told = json.loads(box.run("queue", "list", "--json").stdout)
    assert [(one["kind"], one["destination"]) for one in told][-2:] == [("awaited", "PACS"), ("answer", "CT9")]
    assert json.loads(box.run("queue", "retry", "--destination", "CT9", "--json").stdout) == {"due": 0, "answers": 1}
    (again,) = promises.owed()
    assert (again.state, again.due) == ("ready", 0)
    assert promises.due("ready") == [again]


def test_a_destination_nobody_configured_is_refused(box: Box) -> None:
    done = box.run("queue", "retry", "--destination", "PAX")
    assert done.exit_code == 1
    assert "PAX: there is no such destination in the configuration; expected one of PACS" in done.stderr


def test_J1_requests_for_storage_commitment_are_told_as_they_stand(box: Box) -> None:
    box.receive()
    promises = box.archive.promises
    references = [("1.2.840.10008.5.1.4.1.1.2", f"1.2.3.4.{number}") for number in (1, 2, 3)]
    asked = promises.ask("CT1", "GATEWAY", "1.2.99", references)
    assert asked is not None

    def said() -> str:
        (line,) = (line for line in box.says().splitlines() if line.startswith("commitment asked by CT1"))
        return line.partition(" ago: ")[2]

    promises.decide(asked, {0: Verdict(0), 1: Verdict(0x0112, "is not held here")})
    promises.look_again(asked, 0, "1 of 3 wait: the first waits for its delivery to PACS")
    assert said() == "1 of 3 objects committed, 1 not; 1 of 3 wait: the first waits for its delivery to PACS"
    promises.decide(asked, {2: Verdict(0)})
    promises.settle(asked)
    assert said() == "2 of 3 objects committed, 1 not; to be answered"
    promises.retry(asked, "connection refused", time.time() + 35.5)
    assert said().endswith("not answered (connection refused), next attempt in 35 s, 1 attempt so far")
    promises.hold(asked, "CT1 has no host and port in its [[peer]] entry")
    assert said().endswith("not answered: CT1 has no host and port in its [[peer]] entry")
    known = promises.get(asked)
    assert known is not None
    promises.give_up(known)
    assert "given up, nobody took the answer: CT1 has no host" in said()


def test_request_for_storage_commitment_is_pending_until_its_answer_was_taken(box: Box) -> None:
    promises = box.archive.promises
    asked = promises.ask("CT1", "GATEWAY", "1.2.99", [("1.2", "1.3")])
    assert asked is not None
    for state in ("open", "ready"):
        status = json.loads(box.run("status", "--json").stdout)
        assert (status["idle"], status["promises"][state]) == (False, 1)
        promises.decide(asked, {0: Verdict(0)})
        promises.settle(asked)
    promises.answered(asked, "test")
    status = json.loads(box.run("status", "--json").stdout)
    assert (status["idle"], status["promises"]["answered"]) == (True, 1)
    (request,) = status["promises"]["requests"]
    assert (request["transaction"], request["state"], request["committed"]) == ("1.2.99", "answered", 1)
    assert "commitment" not in box.says()
