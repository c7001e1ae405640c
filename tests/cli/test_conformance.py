"""The conformance statement says what the running tables and the configuration say, entity by entity."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli import conformance
from gateway.cli import conformance_network as network
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
    assert "| BOX | received | 4711 |" in done.stdout
    assert "GATEWAY_ENH" not in done.stdout


def test_T7_the_statement_says_what_an_empty_value_matches(text: str) -> None:
    assert "Deviation from PS3.4 C.2.2.1.2" in text
    letter = conformance.statement(parse("[query]\nempty_matches = true\n"))
    assert "Deviation from PS3.4 C.2.2.1.2" not in letter
    assert "matches whatever value is asked for (PS3.4 C.2.2.1.2)" in letter


# The sections of PS3.2 annex N, without the letter.
CHAPTERS = {
    "1": "Overview", "1.1": "Content and transfer", "1.2": "DIMSE services", "1.3": "DICOM Web Services",
    "1.4": "Media services", "1.5": "Real-Time Video service", "1.6": "De-identification profiles",
    "1.7": "Specific Character Sets", "2": "Table of contents", "3": "Introduction", "3.1": "Revision history",
    "3.2": "Audience", "3.3": "Remarks", "3.4": "Terms and definitions", "3.5": "Abbreviations", "3.6": "References",
    "4": "Implementation model", "4.1": "Application entities and data flow",
    "5": "Service and interoperability description", "5.1": "Mapping of services to application entities",
    "5.2": "DIMSE services", "5.3": "DICOM Web Services", "5.4": "Media services", "5.5": "Real-Time Video services",
    "5.6": "Cross-service considerations", "5.7": "Specific Character Sets", "6": "Configuration",
    "6.1": "General configuration parameters", "6.2": "Configuration of DIMSE services",
    "7": "Network and media communication details", "7.1": "General", "7.2": "Specifications", "7.3": "Status codes",
    "8": "Security", "8.1": "Introduction", "8.2": "External network requirements", "8.3": "TCP port configuration",
    "8.4": "DICOM security profiles", "8.5": "User Identity Negotiation",
}  # fmt: skip


def test_T16_the_chapters_are_those_of_annex_N_in_their_order(text: str) -> None:
    found = re.findall(r"^#+ ([0-9](?:\.[0-9]+)*) (.+)$", text, re.MULTILINE)
    numbers = [number for number, _ in found]
    assert numbers == sorted(numbers, key=lambda number: [int(part) for part in number.split(".")])
    assert CHAPTERS.items() <= dict(found).items()
    contents = chapter(text, "2 Table of contents")
    assert all(f"- {number} {title}" in contents for number, title in CHAPTERS.items() if number != "2")


def test_T16_application_entities_that_differ_in_their_view_alone_are_one_section_with_a_table(text: str) -> None:
    for heading in ("4.1 Application entities and data flow", "5.2.7 Query/Retrieve", "7.2 Specifications"):
        for title, view in TITLES.items():
            assert re.search(rf"^\| {title} \| {view} \|", chapter(text, heading), re.MULTILINE), heading
    assert not re.search(rf"^#+ .*({'|'.join(TITLES)})$", text, re.MULTILINE)
    for heading in ("##### Storage as SCU", "#### 7.2.2 Association acceptance"):
        assert text.count(heading) == 1


def test_every_service_that_runs_is_in_the_overview(text: str) -> None:
    assert {service.right for service in negotiation.SERVICES.values()} <= {group.right for group in GROUPS}
    overview = chapter(text, "1 Overview")
    for uid, service in negotiation.SERVICES.items():
        used = service.right == "store" or uid in (terms.STORAGE_COMMITMENT_PUSH, negotiation.VERIFICATION)
        roles = rf"\| {'yes' if used else 'no'} \| yes \|$"
        assert re.search(rf"\| {re.escape(uid)} (?:\|.*)?{roles}", overview, re.MULTILINE), uid
    for syntax in negotiation.TRANSFER_SYNTAXES:
        assert f"| {syntax} |" in chapter(text, "7.2.2 Association acceptance")


def test_T16_every_UID_is_named(text: str) -> None:
    named = re.compile(r"\| ([^|]*[A-Za-z][^|]*) \| (1\.2\.840\.10008[0-9.]*) \|")
    known = {uid for _, uid in named.findall(text)} | {
        uid for _, uid in re.findall(r"([A-Za-z][A-Za-z ]+) \((1\.2\.840\.10008[0-9.]*)\)", text)
    }
    known |= {uid for _, uid in re.findall(r"\| (Application Context Name) \| ([0-9.]+) \|", text)}
    assert set(re.findall(r"\b1\.2\.840\.10008[0-9.]*[0-9]", text)) <= known


def test_every_status_and_option_has_its_words(text: str) -> None:
    assert {storage.SUCCESS, *(status for _, status in storage.STATUSES)} == set(network.STORE_STATUSES)
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
            assert f"| {status:04X} | {meaning} | {said} |" in text


def test_keys_of_queries_are_in_the_annex_when_queries_are_answered(text: str) -> None:
    answered = any(service.right == "query" for service in negotiation.SERVICES.values())
    assert ("U: unique, R: required" in chapter(text, "5.2.7 Query/Retrieve")) == bool(KEYS and answered)
    assert ("Not provided in this version: Query" in text) != answered


def test_peers_and_destinations_are_those_of_the_configuration(text: str) -> None:
    configured = chapter(text, "6 Configuration")
    assert "| CT1 | 192.0.2.10 | 104 | store, query, retrieve, commit | converted |" in configured
    assert "| PACS | 192.0.2.20 | 104 | enhanced | classic | safe | sent to, asked to commit |" in configured
    assert "a caller that is none is refused" in configured


def test_M3_the_statement_says_who_is_offered_deflated_objects(text: str) -> None:
    deflated = conformance.statement(parse(EXAMPLE.replace("deflate = false", "deflate = true")))
    said = "To CT1, PACS what is stored in Explicit VR Little Endian is offered in Deflated Explicit VR Little Endian"
    assert said in chapter(deflated, "5.2.5.1 SCU of the Storage SOP classes")
    assert "| sent to, deflated, asked to commit |" in deflated
    assert "deflated, asked" not in text
    assert "offered in Deflated" not in text


def test_J2_the_statement_says_how_destinations_are_asked_to_commit(text: str) -> None:
    said = chapter(text, "5.2.6.1 SCU of storage commitment")
    assert "GATEWAY asks PACS (PS3.4 J.3.6.1)" in said
    for reason, meaning in terms.FAILURE_REASONS.items():
        assert f"| {reason:04X} | {meaning} |" in chapter(text, "Storage commitment as SCU")
    unasked = conformance.statement(parse(EXAMPLE.replace("commitment = true", "commitment = false")))
    assert "No destination of this configuration is asked." in unasked
    assert "ask for storage commitment" not in chapter(unasked, "7.2.1 Association initiation")


def test_R1_the_statement_says_what_is_notified_and_by_whom() -> None:
    said = conformance.statement(parse(EXAMPLE.replace('mode = "push"', 'mode = "pull"')))
    notified = chapter(said, "5.2.4 Instance Availability Notification")
    assert "GATEWAY_ENH notifies PACS (PS3.4 R.3.4.1)" in notified
    for keyword, words in NOTIFICATION:
        assert f"| {keyword.replace('>', '&gt;')} | {words} |" in notified
    assert "| 1.2.840.10008.5.1.4.33 | yes | no |" in chapter(said, "1.2.3 Workflow management")
    assert "| deliver |" not in said


def test_tables_are_well_formed(text: str) -> None:
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def commitment_of(text: str) -> str:
    """What is said of storage commitment as SCP."""
    return chapter(text, "5.2.6.2 SCP of storage commitment") + chapter(text, "Storage commitment as SCP")


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
    assert "with the AE title that was asked as calling AE title" in said
