"""T16: the conformance statement says what a real association comes to, with the box as acceptor and as requestor."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from box import Box, Pacs, ct_study
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from gateway.cli.conformance import statement
from gateway.network.echo import echo
from gateway.retrieval.engine import Destination
from gateway.service import config

CT, IMPLICIT, JPEG_BASELINE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.50"
STUDY_FIND, PUSH, VERIFICATION = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.1.20.1", "1.2.840.10008.1.1"

# Of other services: worklist, MPPS, UPS, print, notification, hanging protocol, query of a private model.
NOT_PROVIDED = (
    "1.2.840.10008.5.1.4.31", "1.2.840.10008.3.1.2.3.3", "1.2.840.10008.5.1.4.34.6.1", "1.2.840.10008.5.1.1.9",
    "1.2.840.10008.5.1.4.33", "1.2.840.10008.5.1.4.38.2", "1.3.6.1.4.1.99999.1",
)  # fmt: skip


class Said:
    """A box, a PACS, and what the statement of the box says."""

    def __init__(self, box: Box, pacs: Pacs) -> None:
        self.box = box
        self.pacs = pacs
        self.text = statement(config.load(box.config))

    def chapter(self, heading: str) -> str:
        match = re.search(rf"^(#+) {re.escape(heading)}$", self.text, re.MULTILINE)
        assert match, heading
        rest = self.text[match.end() :]
        end = re.search(rf"^#{{1,{len(match[1])}}} ", rest, re.MULTILINE)
        return rest[: end.start()] if end else rest

    def rows(self, heading: str) -> list[list[str]]:
        """The cells of all tables of a chapter."""
        lines = [line for line in self.chapter(heading).splitlines() if line.startswith("| ")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    def value(self, name: str) -> str:
        return next(row[1] for row in self.rows("7.1.1 General association parameters") if row[0] == name)

    def call(self, contexts: list[Any], called: str = "GATEWAY", **options: Any) -> Association:
        entity = AE("CT1")
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 60
        return entity.associate("127.0.0.1", self.box.port, contexts=contexts, ae_title=called, **options)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Said]:
    folder = tmp_path_factory.mktemp("statement")
    pacs = Pacs().start()
    box = Box(folder, {"PACS": {"port": pacs.port, "commitment": True}})
    box.config.write_text(box.config.read_text() + '[views]\nGATEWAY_ENH = "enhanced"\nGATEWAY_CLS = "classic"\n')
    box.start()
    yield Said(box, pacs)
    assert box.stop() == 0
    pacs.stop()


def accepted(association: Association) -> set[tuple[str, str]]:
    assert association.is_established
    found = {(str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in association.accepted_contexts}
    association.release()
    return found


def test_T16_every_storage_class_and_transfer_syntax_of_the_statement_is_accepted(said: Said) -> None:
    classes = [row[1] for row in said.rows("1.1 Content and transfer") if row[1].startswith("1.2.")]
    acceptance = said.chapter("7.2.2 Association acceptance").partition("Transfer syntaxes of storage")[2]
    syntaxes = re.findall(r"^\| [^|]+ \| (1\.2[0-9.]+) \|$", acceptance, re.MULTILINE)
    assert len(classes) > 150
    assert len(syntaxes) > 40
    wanted = [(uid, IMPLICIT) for uid in classes] + [(CT, syntax) for syntax in syntaxes]
    for start in range(0, len(wanted), 128):
        some = wanted[start : start + 128]
        assert accepted(said.call([build_context(*pair) for pair in some])) == set(some)


@pytest.mark.parametrize("called", ["GATEWAY", "GATEWAY_ENH", "GATEWAY_CLS"])
def test_T16_every_other_class_is_accepted_in_its_syntaxes_and_no_other_by_each_entity(said: Said, called: str) -> None:
    rows = [row for row in said.rows("7.2.2 Association acceptance") if len(row) == 6 and row[2].startswith("1.2.")]
    assert {VERIFICATION, STUDY_FIND, PUSH} <= {row[2] for row in rows}
    for syntax, name in (
        (IMPLICIT, "Implicit VR Little Endian"),
        ("1.2.840.10008.1.2.1", "Explicit VR Little Endian"),
        ("1.2.840.10008.1.2.1.99", "Deflated Explicit VR Little Endian"),
        ("1.2.840.10008.1.2.2", "Explicit VR Big Endian"),
        (JPEG_BASELINE, "JPEG Baseline (Process 1)"),
    ):
        offered = [(row[2], syntax) for row in rows]
        # One that is accepted in any case keeps the association alive.
        found = accepted(said.call([build_context(*pair) for pair in [*offered, (CT, IMPLICIT)]], called))
        stated = {(row[2], syntax) for row in rows if name in row[3].split(", ")}
        assert found - {(CT, IMPLICIT)} == stated, name


def test_T16_what_the_statement_does_not_name_is_not_accepted(said: Said) -> None:
    assert not [uid for uid in NOT_PROVIDED[:4] if uid in said.text]
    contexts = [build_context(uid, IMPLICIT) for uid in (*NOT_PROVIDED, VERIFICATION)]
    assert accepted(said.call(contexts)) == {(VERIFICATION, IMPLICIT)}


def test_T16_the_answer_to_an_association_says_what_the_statement_says_of_it(said: Said) -> None:
    offered = SOPClassExtendedNegotiation()
    offered.sop_class_uid, offered.service_class_application_information = STUDY_FIND, b"\1" * 9
    roles = [build_role(CT, scu_role=True, scp_role=True), build_role(VERIFICATION, scu_role=True, scp_role=True)]
    association = said.call(
        [build_context(CT, IMPLICIT), build_context(STUDY_FIND, IMPLICIT), build_context(VERIFICATION, IMPLICIT)],
        ext_neg=[offered, *roles],
    )
    assert association.is_established
    acceptor = association.acceptor
    assert said.value("Maximum PDU size received, as acceptor") == f"{acceptor.maximum_length} bytes"
    assert said.value("Implementation Class UID") == str(acceptor.implementation_class_uid)
    assert said.value("Implementation Version Name") == str(acceptor.implementation_version_name)
    assert acceptor.asynchronous_operations == (1, 1)
    options = [row for row in said.rows("5.2.7.1 Query (PS3.4 annex C)") if len(row) == 4 and row[1] == STUDY_FIND]
    assert acceptor.sop_class_extended[STUDY_FIND] == bytes(1 for _ in options)
    assert [row[2] for row in options] == [str(byte) for byte in range(1, len(options) + 1)]
    assert acceptor.role_selection[CT].scp_role is True
    assert VERIFICATION not in acceptor.role_selection
    association.release()


def test_T16_what_the_box_proposes_as_requestor_is_what_the_statement_says(said: Said) -> None:
    asked: list[Any] = []

    def note(event: Any) -> int:
        asked.append(event.assoc.requestor)
        return 0

    said.pacs.answer = note
    said.box.store(ct_study(3))
    said.box.wait_done()
    requestor = asked[-1]
    assert requestor.ae_title == "GATEWAY"
    assert said.value("Maximum PDU size received, as initiator") == f"{requestor.maximum_length} bytes"
    assert said.value("Implementation Class UID") == str(requestor.implementation_class_uid)
    contexts = requestor.requested_contexts
    assert all(len(context.transfer_syntax) == 1 for context in contexts)
    storage = {row[1] for row in said.rows("1.1 Content and transfer")}
    assert {str(context.abstract_syntax) for context in contexts} <= storage
    assert not requestor.sop_class_extended
    assert not requestor.sop_class_common_extended
    assert not requestor.role_selection
    assert not requestor.user_identity
    initiation = {row[0]: row for row in said.rows("7.2.1 Association initiation")}
    assert initiation["deliver"][1] == "GATEWAY"
    assert PUSH in initiation["ask for storage commitment"][2]


def test_T16_the_box_is_SCU_of_Verification_as_the_statement_says(said: Said) -> None:
    seen: list[Any] = []
    peer = AE("PEER")
    peer.add_supported_context(VERIFICATION)

    def note(event: Any) -> int:
        seen.append(event.assoc.requestor)
        return 0

    server: Any = peer.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_ECHO, note)])
    try:
        echo(Destination("PEER", "127.0.0.1", server.socket.getsockname()[1], "GATEWAY"))
    finally:
        server.shutdown()
    (requestor,) = seen
    found = [
        (str(one.abstract_syntax), [str(uid) for uid in one.transfer_syntax]) for one in requestor.requested_contexts
    ]
    assert found == [(VERIFICATION, [IMPLICIT])]
    (row,) = [row for row in said.rows("1.2.1 Verification") if row[1] == VERIFICATION]
    assert row[2:] == ["yes", "yes"]
    (look,) = [row for row in said.rows("7.2.1 Association initiation") if row[0].startswith("look at peers")]
    assert (look[1], VERIFICATION in look[2], IMPLICIT in look[3]) == ("GATEWAY", True, True)


def test_T16_rejections_have_the_numbers_of_the_statement(said: Said, tmp_path: Path) -> None:
    rows = [row[:3] for row in said.rows("7.2.2 Association acceptance") if len(row) == 4 and row[0].isdigit()]
    association = said.call([build_context(VERIFICATION)], "NOBODY")
    assert association.is_rejected
    rejection = association.acceptor.primitive
    assert [str(rejection.result), str(rejection.result_source), str(rejection.diagnostic)] in rows
    assert ["1", "1", "7"] in rows
