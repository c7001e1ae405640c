"""Among the transfer syntaxes of one context the box takes one that it can hand on, and refuses none for that."""

from __future__ import annotations

from pathlib import Path

import pytest
from archive_tools import HandClock
from pynetdicom.presentation import build_context
from scripted_peer import ScriptedPeer, Talk

from gateway.archive.index import Archive
from gateway.network.negotiation import ACCEPTED, deliverable, negotiate
from gateway.network.sender import Sender
from gateway.pipeline.learning import Learning
from gateway.retrieval.engine import Destination
from gateway.retrieval.rendition import Offer

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
BASELINE, JPEG_LOSSLESS, RLE = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.5"
MPEG = "1.2.840.10008.1.2.4.100"


def chosen(proposed: list[str], taken: set[str]) -> str:
    (answer,) = negotiate([build_context(CT, proposed)], {}, {"store"}, deliverable=deliverable(taken))
    assert answer.result == ACCEPTED
    return str(answer.transfer_syntax[0])


@pytest.mark.parametrize(
    ("proposed", "taken", "first"),
    [
        ([BASELINE, EXPLICIT, IMPLICIT], set(), EXPLICIT),  # nobody is known to take what cannot be decoded
        ([BASELINE, EXPLICIT, IMPLICIT], {BASELINE}, BASELINE),  # where it is taken the caller's order holds
        ([BASELINE, IMPLICIT, EXPLICIT], set(), IMPLICIT),
        ([JPEG_LOSSLESS, EXPLICIT], set(), JPEG_LOSSLESS),  # it can be decoded
        ([RLE, JPEG_LOSSLESS], set(), RLE),
        ([MPEG, BASELINE], set(), MPEG),  # never refused for a destination's sake
        ([MPEG, BASELINE], {BASELINE}, BASELINE),
    ],
)
def test_T11_S5_what_can_be_handed_on_comes_first_and_nothing_is_refused(
    proposed: list[str], taken: set[str], first: str
) -> None:
    assert chosen(proposed, taken) == first


def test_T11_what_destinations_take_is_remembered_from_associations_with_them(tmp_path: Path) -> None:
    def willing(talk: Talk) -> None:
        talk.accept(refuse=lambda abstract, transfer: transfer == BASELINE and len(asked) == 1)
        talk.serve()

    asked: list[int] = []
    archive = Archive(tmp_path / "data", HandClock())
    with ScriptedPeer(willing) as peer:
        learning = Learning(Sender(), archive.taken)
        target = Destination("PACS", "127.0.0.1", peer.port, "GATEWAY")
        for number in (1, 2):
            asked.append(number)
            learning.connect(target, [Offer(CT, (BASELINE, EXPLICIT))]).release()
            now = archive.taken.by_all({"PACS"})
            assert now == ({EXPLICIT} if number == 1 else {EXPLICIT, BASELINE})
    assert archive.taken.by_all({"PACS", "OTHER"}) == frozenset()
    again = Archive(tmp_path / "data", HandClock(), readonly=True)
    assert again.taken.by_all({"PACS"}) == {EXPLICIT, BASELINE}
