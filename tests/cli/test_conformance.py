"""The conformance statement says what the running tables and the configuration say, entity by entity."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydicom.uid import UID

from gateway.cli import conformance
from gateway.cli import conformance_statuses as statuses
from gateway.cli.conformance_tables import GROUPS, OPTIONS
from gateway.cli.conformance_user import NOTIFICATION
from gateway.cli.main import main
from gateway.conversion import frame_lists
from gateway.network import find, move, negotiation, retrieve, storage
from gateway.retrieval import transcript
from gateway.service.config import EXAMPLE, parse
from gateway.standard import commitment as terms
from gateway.standard.query_keys import KEYS

TITLES = {"GATEWAY": "received", "GATEWAY_ENH": "enhanced", "GATEWAY_CLS": "classic"}


@pytest.fixture(scope="module")
def text() -> str:
    return conformance.statement(parse(EXAMPLE))


def chapter(text: str, heading: str) -> str:
    """Return what stands below a heading, up to the next of its level or a higher one."""
    match = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    assert match, heading
    rest = text[match.end() :]
    end = re.search(rf"^#{{1,{len(match[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def test_the_command_prints_the_statement_of_its_configuration(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('[gateway]\nae_title = "BOX"\nport = 4711\n')
    done = CliRunner().invoke(main, ["config", "conformance", "--config", str(path)])
    assert done.exit_code == 0
    assert done.stdout == conformance.statement(parse(path.read_text()))
    assert "#### 3.2.1 BOX" in done.stdout
    assert "3.2.2" not in done.stdout
    assert "| BOX | received | 4711 |" in done.stdout


def test_the_chapters_are_those_of_the_standard_in_their_order(text: str) -> None:
    numbers = re.findall(r"^#+ ([0-9](?:\.[0-9]+)*) ", text, re.MULTILINE)
    assert numbers == sorted(numbers, key=lambda number: [int(part) for part in number.split(".")])
    assert {"1", "2", "3", "3.1", "3.2", "3.3", "3.4", "4", "5", "6", "7"} <= set(numbers)


def test_T7_the_statement_says_what_an_empty_value_matches(text: str) -> None:
    assert "Deviation from PS3.4 C.2.2.1.2" in text
    letter = conformance.statement(parse("[query]\nempty_matches = true\n"))
    assert "Deviation from PS3.4 C.2.2.1.2" not in letter
    assert "matches whatever value is asked for (PS3.4 C.2.2.1.2)" in letter


@pytest.mark.parametrize("title", TITLES)
def test_every_application_entity_has_a_chapter_with_its_view_and_services(text: str, title: str) -> None:
    (heading,) = re.findall(rf"^#### (3\.2\.[0-9] {title})$", text, re.MULTILINE)
    said = chapter(text, heading)
    assert f"Possesses the view *{TITLES[title]}*" in said
    for uid, service in negotiation.SERVICES.items():
        if service.right != "store":
            asked = uid == terms.STORAGE_COMMITMENT_PUSH and title == "GATEWAY"
            assert f"| {UID(uid).name} | {uid} | {'yes' if asked else 'no'} | yes |" in said
    for part in ("SOP classes", "Association policies", "Association initiation", "Association acceptance"):
        assert re.search(rf"^##### 3\.2\.[0-9]\.[0-9] {part}$", said, re.MULTILINE)


def test_every_service_that_runs_is_in_the_overview_and_every_storage_class_in_the_annex(text: str) -> None:
    assert {service.right for service in negotiation.SERVICES.values()} <= {group.right for group in GROUPS}
    overview, annex = chapter(text, "1 Conformance statement overview"), text.partition("## Annex B")[2]
    for uid, service in negotiation.SERVICES.items():
        assert uid in (annex if service.right == "store" else overview)
    for syntax in negotiation.TRANSFER_SYNTAXES:
        assert f"| {syntax} |" in annex


def test_every_status_and_option_has_its_words(text: str) -> None:
    assert {storage.SUCCESS, *(status for _, status in storage.STATUSES)} == set(conformance.STORE_STATUSES)
    assert {meaning for meanings in negotiation.EXTENDED.values() for meaning in meanings if meaning} <= OPTIONS.keys()


@pytest.mark.parametrize(
    ("modules", "tables"),
    [
        ((find,), (statuses.FIND_STATUSES,)),
        ((retrieve, move, transcript), (statuses.RETRIEVE_STATUSES, statuses.MOVE_STATUSES)),
        ((frame_lists,), (statuses.FRAME_STATUSES,)),
    ],
)
def test_M1_F20_every_status_that_a_service_has_is_in_the_statement(
    text: str, modules: tuple[Any, ...], tables: tuple[statuses.Statuses, ...]
) -> None:
    used = {
        value
        for module in modules
        for name, value in vars(module).items()
        if name.isupper() and type(value) is int and (0xA700 <= value <= 0xFFFF or value in (0, 0x0122, 0x0124))
    } - {retrieve.MOST_INSTANCES}
    if frame_lists not in modules:
        used -= statuses.FRAME_STATUSES.keys()
    assert used == {status for table in tables for status in table}
    for table in tables:
        for status, (meaning, said) in table.items():
            assert text.count(f"| {status:04X} | {meaning} | {said} |") >= len(TITLES)


def test_keys_of_queries_are_in_the_annex_when_queries_are_answered(text: str) -> None:
    answered = any(service.right == "query" for service in negotiation.SERVICES.values())
    assert ("## Annex C" in text) == bool(KEYS and answered)
    assert ("Not provided in this version: Query" in text) != answered


def test_peers_and_destinations_are_those_of_the_configuration(text: str) -> None:
    configured = chapter(text, "3.4 Configuration")
    assert "| CT1 | 192.0.2.10 | 104 | store, query, retrieve, commit | converted |" in configured
    assert "| PACS | 192.0.2.20 | 104 | enhanced | classic | sent to, asked to commit |" in configured
    assert "a caller that is none is refused" in configured


def test_M3_the_statement_says_who_is_offered_deflated_objects(text: str) -> None:
    deflated = conformance.statement(parse(EXAMPLE.replace("deflate = false", "deflate = true")))
    said = "To CT1, PACS what is stored in Explicit VR Little Endian is offered in Deflated Explicit VR Little Endian"
    assert said in chapter(deflated, "3.2.1.3 Association initiation")
    assert "| sent to, deflated, asked to commit |" in deflated
    assert "deflated, asked" not in text
    assert "offered in Deflated" not in text


def test_J2_the_statement_says_how_destinations_are_asked_to_commit(text: str) -> None:
    said = chapter(text, "3.2.1.3 Association initiation")
    assert "Activity *ask for storage commitment* (PS3.4 J.3.6.1), of PACS" in said
    for reason, meaning in terms.FAILURE_REASONS.items():
        assert f"| {reason:04X} | {meaning} |" in said
    assert "ask for storage commitment" not in chapter(text, "3.2.2.3 Association initiation")


def test_R1_the_statement_says_what_is_notified_and_by_whom() -> None:
    said = conformance.statement(parse(EXAMPLE.replace('mode = "push"', 'mode = "pull"')))
    enhanced = chapter(said, "3.2.2.3 Association initiation")
    assert "Activity *notify* (Instance Availability Notification, PS3.4 R.3.4.1), of PACS" in enhanced
    assert "Activity *notify*" not in chapter(said, "3.2.1.3 Association initiation")
    for keyword, words in NOTIFICATION:
        assert f"| {keyword.replace('>', '&gt;')} | {words} |" in enhanced
    assert "| 1.2.840.10008.5.1.4.33 | yes | no |" in chapter(said, "3.2.2 GATEWAY_ENH")


def test_tables_are_well_formed(text: str) -> None:
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def commitment_of(text: str) -> str:
    """What the first application entity says of storage commitment."""
    return chapter(text, "Storage Commitment (PS3.4 annex J)")


@pytest.mark.parametrize(
    ("means", "words"),
    [("delivered", ("every destination", "PACS (commits)", "24 hours")), ("stored", ("proved recipe", "C-MOVE"))],
)
def test_J1_level_of_storage_commitment_is_that_of_the_configuration(means: str, words: tuple[str, ...]) -> None:
    said = commitment_of(conformance.statement(parse(EXAMPLE.replace('means = "delivered"', f'means = "{means}"'))))
    for word in words:
        assert word in said
    for status in (0x0000, 0x0112, 0x0115, 0x0118, 0x0123, 0x0213):
        assert f"| {status:04X} |" in said
    for reason in (0x0110, 0x0112, 0x0119):
        assert f"| {reason:04X} |" in said
    assert "until 7 days" in said
    assert "with GATEWAY as calling AE title" in said
