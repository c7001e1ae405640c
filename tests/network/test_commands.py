"""Command sets of the C-STORE service, read and written as bytes, beside pydicom's way through data sets."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from pydicom.uid import UID
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode, encode
from scripted_caller import CT, command

from gateway.network.commands import StoreRequest, request_of, store_request, store_request_command, store_response

NUMBER, LONG_NUMBER = struct.pack("<HHIH", 0, 0x110, 2, 7), struct.pack("<HHII", 0, 0x110, 4, 7)
USUAL = {"field": 1, "id": 7, "priority": 0, "data": 1, "instance": "1.2.3", "class": CT}


def test_a_request_says_what_pydicom_reads_in_it() -> None:
    request = C_STORE()
    request.MessageID, request.Priority = 0xFFFF, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CT, "1.2.3.4"
    request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID = "PACS", 3
    request.DataSet = BytesIO(b"x")
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    body = encode(message.command_set, True, True)
    assert body is not None
    assert store_request(body) == StoreRequest(0xFFFF, CT, "1.2.3.4") == request_of(message.command_set)


@pytest.mark.parametrize("originator", [None, ("PACS", 3), ("WS1", 0xFFFF)])
@pytest.mark.parametrize("priority", [0, 1, 2])
@pytest.mark.parametrize("instance", ["1.2.3", "1.2.3.4"])
def test_a_request_is_sent_as_pydicom_writes_it(
    instance: str, priority: int, originator: tuple[str, int] | None
) -> None:
    request = C_STORE()
    request.MessageID, request.Priority = 0xFFFE, priority
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = UID(CT), UID(instance)
    if originator is not None:
        request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID = originator
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    message.command_set.CommandDataSetType = 1
    assert store_request_command(0xFFFE, CT, instance, priority, originator) == encode(message.command_set, True, True)


@pytest.mark.parametrize("instance", ["1.2.3", "1.2.3.4", "letters", "1.2..3", "../../etc", "1." + "3" * 99])
def test_what_is_read_of_a_UID_is_what_pydicom_reads(instance: str) -> None:
    body = command(**{**USUAL, "instance": instance})
    assert store_request(body) == request_of(decode(BytesIO(body), True, True))


ODD = {
    "another request": command(**{**USUAL, "field": 0x30}),
    "a response": command(**{**USUAL, "field": 0x8001}),
    "no data set": command(**{**USUAL, "data": 0x0101}),
    "no instance": command(**{**USUAL, "instance": ""}),
    "several instances": command(**{**USUAL, "instance": "1.2\\1.3"}),
    "space before": command(**{**USUAL, "instance": " 1.2.3"}),
    "not ASCII": command(**USUAL).replace(b"1.2.3\0", b"1.2.\xe9\0"),
    "cut off": command(**USUAL)[:-1],
    "something behind": command(**USUAL) + b"\0\0",
    "a value beyond the end": command(**USUAL) + struct.pack("<HHI", 0, 0x1030, 5000),
    "another group": command(**USUAL) + struct.pack("<HHI", 8, 0x18, 0),
    "out of order": command(**USUAL) + struct.pack("<HHI", 0, 0x2, 0),
    "a long number": command(**USUAL).replace(
        struct.pack("<HHIH", 0, 0x110, 2, 7), struct.pack("<HHII", 0, 0x110, 4, 7)
    ),
    "nothing": b"",
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_not_of_the_usual_form_is_left_to_the_general_way(case: str) -> None:
    assert store_request(ODD[case]) is None


@pytest.mark.parametrize("comment", ["", "no space left on device", "odd"])
def test_a_response_is_the_one_that_pynetdicom_writes(comment: str) -> None:
    response = C_STORE()
    response.MessageIDBeingRespondedTo, response.Status = 7, 0xA700
    response.AffectedSOPClassUID, response.AffectedSOPInstanceUID = CT, "1.2.3.4"
    if comment:
        response.ErrorComment = comment
    message = C_STORE_RSP()
    message.primitive_to_message(response)
    assert store_response(7, 0xA700, comment, CT, "1.2.3.4") == encode(message.command_set, True, True)


def test_a_response_leaves_out_what_the_request_did_not_say() -> None:
    answer = decode(BytesIO(store_response(1, 0xC000, "why", "", "")), True, True)
    assert [element.keyword for element in answer] == [
        "CommandGroupLength",
        "CommandField",
        "MessageIDBeingRespondedTo",
        "CommandDataSetType",
        "Status",
        "ErrorComment",
    ]
