"""The engine over real associations: what is proposed, what is sent, and what it says about each instance."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from loopback import nothing_left_behind
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pynetdicom.dsutils import decode
from scripted_peer import ABORT, ScriptedPeer, Talk

from gateway.network.requestor import Timeouts
from gateway.network.sender import Sender
from gateway.objects.part10 import read_header
from gateway.objects.stream import ByteSource, BytesSource, FileSource
from gateway.retrieval.engine import MAX_CONTEXTS, Destination, associations, run
from gateway.retrieval.rendition import choose, offers
from gateway.retrieval.transcript import Fate, Outcome, Transcript

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
JPEG_LS, DEFLATED = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.1.99"


@dataclass
class Row:
    """What the engine looks at of a row of the archive."""

    sop_instance: str
    sop_class: str = CT
    transfer_syntax: str = JPEG_LS


class Store:
    """Where the bytes come from; instances in `broken` cannot be read to their end, in `missing` not at all."""

    def __init__(self, broken: Sequence[str] = (), missing: Sequence[str] = ()) -> None:
        self.broken = broken
        self.missing = missing

    def source_of(self, row: Row) -> ByteSource:
        if row.sop_instance in self.missing:
            raise FileNotFoundError(row.sop_instance)
        source = BytesSource(row.sop_instance.encode() * 500)
        source.length += row.sop_instance in self.broken
        return source


def rows(count: int, **more: str) -> list[Row]:
    return [Row(f"1.2.3.{number}", **more) for number in range(count)]


def retrieve(peer: ScriptedPeer, rows: Sequence[Row], store: Store | None = None, **more: object) -> Transcript:
    timeouts = Timeouts(connect=1, negotiate=1, progress=1, response=1, release=1)
    target = Destination("PEER", "127.0.0.1", peer.port, "GATEWAY")
    return run(store or Store(), rows, target, Sender(timeouts), **more)  # type: ignore[arg-type]


def willing(talk: Talk) -> None:
    talk.accept()
    talk.serve()


def refusing(**refused: str) -> Callable[[Talk], None]:
    def script(talk: Talk) -> None:
        talk.accept(refuse=lambda abstract, transfer: abstract in refused.values() or transfer in refused.values())
        talk.serve()

    return script


def fates(transcript: Transcript) -> list[Fate | None]:
    return [outcome and outcome.fate for outcome in transcript.outcomes]


def test_all_instances_arrive_in_their_order_over_one_association() -> None:
    wanted = rows(20)
    with ScriptedPeer(willing) as peer, nothing_left_behind():
        transcript = retrieve(peer, wanted)
    assert peer.stored == [row.sop_instance for row in wanted]
    assert [data for _, data in peer.talks[0].stored] == [row.sop_instance.encode() * 500 for row in wanted]
    assert (transcript.completed, transcript.final_status(), transcript.broken) == (20, 0, "")
    assert len(peer.talks) == 1


def test_M3_only_what_the_instances_need_is_proposed_stored_syntax_first() -> None:
    wanted = [Row("1.1"), Row("1.2", MR, DEFLATED), Row("1.3", CT, DEFLATED), Row("1.4")]
    with ScriptedPeer(willing) as peer:
        retrieve(peer, wanted)
        contexts = peer.talks[0].request.presentation_context_definition_list
    assert [(c.abstract_syntax, c.transfer_syntax) for c in contexts] == [
        (CT, [JPEG_LS]),
        (CT, [DEFLATED]),
        (MR, [DEFLATED]),
    ]


def test_M3_never_more_than_128_contexts_in_an_association_and_every_instance_in_one() -> None:
    wanted = [
        Row(f"1.{number}.{syntax}", f"1.2.{number}", f"1.9.{syntax}") for number in range(100) for syntax in (1, 2, 3)
    ]
    with ScriptedPeer(willing) as peer:
        transcript = retrieve(peer, wanted)
        counts = [len(talk.request.presentation_context_definition_list) for talk in peer.talks]
    assert max(counts) <= MAX_CONTEXTS
    assert sum(counts) == 300
    assert len(counts) == 3
    assert transcript.completed == len(wanted)
    assert sorted(peer.stored) == sorted(row.sop_instance for row in wanted)


def test_M3_associations_cover_each_row_once() -> None:
    wanted = [Row(str(number), f"1.2.{number % 200}", JPEG_LS) for number in range(1000)]
    parts = list(associations(wanted))  # type: ignore[arg-type]
    assert sorted(index for _, indexes in parts for index in indexes) == list(range(1000))


def test_an_instance_whose_context_is_refused_fails_at_once_in_plain_words_and_the_others_arrive() -> None:
    wanted = [Row("1.1"), Row("1.2", MR), Row("1.3", CT, DEFLATED), Row("1.4")]
    results: list[tuple[str, Outcome]] = []
    started = time.monotonic()
    with ScriptedPeer(refusing(a=MR, b=DEFLATED)) as peer:
        transcript = retrieve(peer, wanted, on_result=lambda row, outcome: results.append((row.sop_instance, outcome)))
    assert time.monotonic() - started < 0.9
    assert peer.stored == ["1.1", "1.4"]
    assert fates(transcript) == [Fate.DELIVERED, Fate.REFUSED, Fate.REFUSED, Fate.DELIVERED]
    assert [outcome.comment for _, outcome in results] == [
        "",
        "peer does not accept MR Image Storage",
        "peer does not accept Deflated Explicit VR Little Endian for CT Image Storage",
        "",
    ]
    assert [instance for instance, _ in results] == ["1.1", "1.2", "1.3", "1.4"]


def test_T11_a_class_of_which_other_syntaxes_are_taken_is_not_said_to_be_refused() -> None:
    def script(talk: Talk) -> None:
        talk.accept(lambda abstract, transfer: 4 if abstract == CT else 3)
        talk.message()

    with ScriptedPeer(script) as peer:
        transcript = retrieve(peer, [Row("1.1", CT, "1.2.840.10008.1.2.1"), Row("1.2", MR)])
    assert [outcome.comment for outcome in transcript.outcomes if outcome] == [
        "peer does not accept CT Image Storage as Explicit VR Little Endian or Implicit VR Little Endian",
        "peer does not accept MR Image Storage",
    ]


def test_M10_everything_refused_is_a_failure() -> None:
    with ScriptedPeer(refusing(a=CT)) as peer:
        transcript = retrieve(peer, rows(3))
    assert transcript.final_status() == 0xA702
    assert transcript.failed_instances() == ["1.2.3.0", "1.2.3.1", "1.2.3.2"]


def test_M1_M2_answers_of_the_peer_are_counted_and_none_stops_the_others() -> None:
    def script(talk: Talk) -> None:
        talk.accept()
        talk.serve((0xB007, "class differs"), (0xA700, "disk full"), (0, ""), (0xC000, "no"))

    with ScriptedPeer(script) as peer:
        transcript = retrieve(peer, rows(6))
    assert (transcript.completed, transcript.warning, transcript.failed, transcript.remaining) == (3, 1, 2, 0)
    assert transcript.failed_instances() == ["1.2.3.1", "1.2.3.3"]
    assert transcript.final_status() == 0xB000
    assert transcript.reason() == "Refused: Out of resources (A700): disk full"


def test_M6_connection_broken_in_mid_object_says_exactly_what_was_acknowledged() -> None:
    def script(talk: Talk) -> None:
        talk.accept()
        talk.respond(talk.message()[0])
        talk.respond(talk.message()[0], 0xB000)
        talk.pdu()
        talk.socket.sendall(ABORT)

    results: list[str] = []
    with ScriptedPeer(script) as peer, nothing_left_behind():
        transcript = retrieve(peer, rows(5), on_result=lambda row, outcome: results.append(row.sop_instance))
    assert fates(transcript) == [Fate.DELIVERED, Fate.WARNING, Fate.INTERRUPTED, Fate.UNSENT, Fate.UNSENT]
    assert results == ["1.2.3.0", "1.2.3.1"]
    assert transcript.broken == "association aborted"
    assert transcript.final_status() == 0xB000


def test_the_caller_hears_of_an_answer_before_the_next_instance_is_sent() -> None:
    told: list[int] = []
    with ScriptedPeer(willing) as peer:
        retrieve(peer, rows(5), on_result=lambda row, outcome: told.append(len(peer.stored)))
    assert told == [1, 2, 3, 4, 5]


def test_a_caller_that_cannot_record_ends_the_retrieval_and_leaves_nothing() -> None:
    def record(row: Row, outcome: Outcome) -> None:
        raise OSError("disk full")

    with ScriptedPeer(willing) as peer, nothing_left_behind(), pytest.raises(OSError, match="disk full"):
        retrieve(peer, rows(5), on_result=record)
    assert len(peer.stored) == 1


def test_a_destination_that_cannot_be_reached_leaves_all_unsent_with_the_reason() -> None:
    def script(talk: Talk) -> None:
        talk.reject(1, 1, 7)

    with ScriptedPeer(script) as peer, nothing_left_behind():
        transcript = retrieve(peer, rows(2))
    assert fates(transcript) == [Fate.UNSENT, Fate.UNSENT]
    assert transcript.broken == "association rejected: called AE title not recognised (PEER)"
    assert transcript.final_status() == 0xA702


@pytest.mark.parametrize("store", [Store(broken=["1.2.3.1"]), Store(missing=["1.2.3.1"])])
def test_one_unreadable_file_does_not_keep_the_others_from_arriving(store: Store) -> None:
    with ScriptedPeer(willing) as peer, nothing_left_behind():
        transcript = retrieve(peer, rows(4), store)
    assert fates(transcript) == [Fate.DELIVERED, Fate.UNREADABLE, Fate.DELIVERED, Fate.DELIVERED]
    assert [instance for instance in peer.stored if instance != "1.2.3.1"] == ["1.2.3.0", "1.2.3.2", "1.2.3.3"]
    assert transcript.failed_instances() == ["1.2.3.1"]


def test_a_file_that_is_moved_while_it_is_looked_for_is_looked_for_again() -> None:
    class Moving(Store):
        def source_of(self, row: Row) -> ByteSource:
            missing, self.missing = self.missing, ()
            return Store(missing=missing).source_of(row)

    with ScriptedPeer(willing) as peer, nothing_left_behind():
        transcript = retrieve(peer, rows(4), Moving(missing=["1.2.3.0"]))
    assert fates(transcript) == [Fate.DELIVERED] * 4


def test_M6_cancel_ends_in_order_after_the_instance_under_way() -> None:
    with ScriptedPeer(willing) as peer, nothing_left_behind():
        transcript = retrieve(peer, rows(10), cancelled=lambda: len(peer.stored) >= 3)
    assert len(peer.stored) == 3
    assert (transcript.completed, transcript.remaining) == (3, 7)
    assert transcript.final_status() == 0xFE00
    assert peer.talks[0].log[-1] == "release"


def test_nothing_to_send_opens_no_association() -> None:
    with ScriptedPeer(willing) as peer:
        assert retrieve(peer, []).final_status() == 0
        assert not peer.talks


def test_M3_native_syntaxes_offer_the_other_vr_encoding_behind_all_stored_ones() -> None:
    wanted: Any = [Row("1", CT, EXPLICIT), Row("2", CT, JPEG_LS), Row("3", MR, IMPLICIT)]
    proposal = {offer.sop_class: offer.transfer_syntaxes for offer in offers(wanted)}
    assert proposal == {CT: (EXPLICIT, JPEG_LS, IMPLICIT), MR: (IMPLICIT, EXPLICIT)}
    assert choose(wanted[0], (IMPLICIT, EXPLICIT)) == EXPLICIT
    assert choose(wanted[0], (IMPLICIT,)) == IMPLICIT
    assert choose(wanted[1], (IMPLICIT, EXPLICIT)) is None


@pytest.mark.parametrize(
    ("name", "stored", "taken"),
    [("CT_small.dcm", EXPLICIT, IMPLICIT), ("MR_small_implicit.dcm", IMPLICIT, EXPLICIT)],
)
def test_M3_a_peer_that_takes_only_the_other_vr_encoding_gets_every_element(name: str, stored: str, taken: str) -> None:
    header = read_header(Path(get_testdata_file(name)))
    assert header.transfer_syntax == stored

    class Files(Store):
        def source_of(self, row: Row) -> ByteSource:
            return FileSource(header.path, header.dataset_offset)

    def script(talk: Talk) -> None:
        talk.accept(refuse=lambda abstract, transfer: transfer != taken)
        talk.serve()

    with ScriptedPeer(script) as peer:
        transcript = retrieve(peer, [Row(header.sop_instance, header.sop_class, stored)], Files())
        ((_, data),) = peer.talks[0].stored
    assert fates(transcript) == [Fate.DELIVERED]
    received = decode(BytesIO(data), taken == IMPLICIT, True)
    original = dcmread(header.path)
    assert received.PixelData == original.PixelData
    assert {element.tag for element in received} == {element.tag for element in original}
    assert all(received[element.tag].value == element.value for element in original if element.VR != "UN")
