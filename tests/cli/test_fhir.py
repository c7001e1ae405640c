"""`gateway fhir` prints one resource of a study in an archive that a running box may be writing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from archive_tools import ct, store
from click.testing import CliRunner, Result
from conversion.material import STUDY, series_of
from fhir_tools import convert_all, receive, validated

from gateway.archive.index import Archive
from gateway.archive.views import View
from gateway.cli.fhir import local_offset
from gateway.cli.main import main


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Archive]:
    (tmp_path / "gateway.toml").write_text(
        f'[gateway]\nae_title = "BOX"\ndata_dir = "{tmp_path / "data"}"\n[views]\nBOX_ENH = "enhanced"\n'
    )
    archive = Archive(tmp_path / "data", quiet=0)
    receive(archive, tmp_path / "files", series_of(count=3))
    convert_all(archive)
    yield archive
    archive.close()


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["fhir", *arguments, "--config", str(folder / "gateway.toml")])


def test_H4_H7_the_command_prints_one_valid_resource_of_the_view_asked(box: Archive, tmp_path: Path) -> None:
    for options, view, title in (
        ([], View.RECEIVED, ["BOX"]),
        (["--view", "received"], View.RECEIVED, ["BOX"]),
        (["--view", "classic"], View.CLASSIC, []),
        (["--view", "enhanced"], View.ENHANCED, ["BOX_ENH"]),
    ):
        done = run(tmp_path, STUDY, *options)
        assert (done.exit_code, done.stderr) == (0, "")
        resource = json.loads(done.stdout)
        validated(resource)
        assert resource["numberOfInstances"] == len(box.study_instances(STUDY, view))
        assert [one["identifier"]["value"] for one in resource.get("endpoint", ())] == title


def test_H7_a_study_is_found_by_its_accession_number_if_that_is_of_one_study_only(box: Archive, tmp_path: Path) -> None:
    assert json.loads(run(tmp_path, "A1").stdout)["id"] == STUDY
    store(box, ct("1.5.5.1", study="1.5", series="1.5.5"))
    done = run(tmp_path, "A1")
    assert done.exit_code == 1
    assert f"A1: is the Accession Number of several studies; found '{STUDY}, 1.5'; name one by its UID" in done.stderr
    assert json.loads(run(tmp_path, "1.5").stdout)["id"] == "1.5"


def test_H4_the_command_searches_a_view_and_links_what_follows(box: Archive, tmp_path: Path) -> None:
    store(box, ct("1.5.5.1", study="1.5", series="1.5.5", PatientID="P9"))
    done = run(tmp_path, "--search", "modality=CT&_count=1", "--view", "enhanced", "--base", "http://box/fhir")
    assert (done.exit_code, done.stderr) == (0, "")
    bundle = json.loads(done.stdout)
    (entry,) = bundle["entry"]
    validated(entry["resource"])
    assert (entry["fullUrl"], entry["resource"]["numberOfInstances"]) == (f"http://box/fhir/ImagingStudy/{STUDY}", 1)
    following = {link["relation"]: link["url"] for link in bundle["link"]}["next"]
    rest = run(tmp_path, "--search", following.partition("?")[2], "--view", "enhanced")
    assert [entry["resource"]["id"] for entry in json.loads(rest.stdout)["entry"]] == ["1.5"]
    assert json.loads(run(tmp_path, "--search", "patient=P9").stdout)["entry"][0]["resource"]["id"] == "1.5"


def test_H4_a_search_that_is_none_is_wrong_usage(box: Archive, tmp_path: Path) -> None:
    done = run(tmp_path, "--search", "colour=red")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--search: colour: is unknown; expected _id, identifier" in done.stderr
    assert run(tmp_path).exit_code == 2
    assert run(tmp_path, STUDY, "--search", "modality=CT").exit_code == 2


def test_a_study_that_is_not_here_or_a_view_that_is_none_is_refused(box: Archive, tmp_path: Path) -> None:
    done = run(tmp_path, "1.9")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "1.9: no such study here; expected a Study Instance UID or an Accession Number" in done.stderr
    assert run(tmp_path, STUDY, "--view", "legacy").exit_code == 2


def test_H1_times_without_a_zone_are_those_of_this_machine(box: Archive, tmp_path: Path) -> None:
    moment = datetime(2024, 1, 2, 10, 15)
    assert json.loads(run(tmp_path, STUDY).stdout)["started"] == moment.astimezone().isoformat()
    assert local_offset(datetime(1, 1, 1)) is None or local_offset(moment) is not None
