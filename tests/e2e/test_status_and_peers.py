"""T15, T16: `gateway status` says what each peer holds, instance by instance, for every set of data."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import reconciliation
from conversion.material import STUDY, save_all, series_of, slice_of
from evidence.sets import layers, names
from loopback import eventually
from reconciliation import LIMITED, differences, reconciled, send, status_of

from gateway.conversion import account

# One with everything that is no image, one with overlays, a twin and a presentation state.
SHORT = ["highdicom_refs", "philips_pcasl_gsps"]
SETS = [pytest.param(name, marks=() if name in SHORT else pytest.mark.long) for name in names()]


def settled(status: dict) -> bool:
    """Whether nothing but what is held is left to do."""
    return status["idle"] and not status["running"] and not status["waiting"]


@pytest.mark.parametrize("name", SETS)
def test_T15_status_says_what_each_peer_holds(name: str, tmp_path: Path) -> None:
    with reconciled(tmp_path) as (box, peers):
        for number, paths in enumerate(layers(name)):
            send(box, paths, peers)
            if number == 0:
                eventually(lambda: settled(status_of(box)), seconds=300)
        eventually(lambda: settled(status_of(box)), seconds=300)
        status = status_of(box)
        found = list(differences(status, peers))
        assert not found, "\n".join([*found, box.text()[-3000:]])
        told(name, status, peers)


def told(name: str, status: dict, peers: reconciliation.Peers) -> None:
    """Print a row of the table of all sets."""
    total = sum((account.read(study["account"]) for study in status["studies"]), account.Account())
    held = {to: sum(map(len, peers.held(to).values())) for to in (*reconciliation.EVERYTHING, LIMITED)}
    left = sum(to["total"] - to["delivered"] for study in status["studies"] for to in study["destinations"])
    print(f"| {name} | {total.words()} | {' | '.join(map(str, held.values()))} | {left} |")


LIES = {
    "received": lambda study: study["account"].update(received=99),
    "frames": lambda study: study["account"].update(frames=1, unchanged=4),
    "reason": lambda study: study["series"][0]["became"].append({"fate": "unchanged", "reason": "", "instances": 0}),
    "delivered": lambda study: study["destinations"][0].update(delivered=1),
    "outstanding": lambda study: study["destinations"][-1].update(outstanding=3),
    "refused": lambda study: study["destinations"][-1].update(refused=2, total=study["destinations"][-1]["total"] + 2),
    "form": lambda study: study["destinations"][0].update(form="received"),
    "views": lambda study: study["views"]["classic"].update(instances=77),
    "missing": lambda study: study["destinations"].clear(),
}


def test_T15_every_lie_of_a_status_is_found(tmp_path: Path) -> None:
    change = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    paths = save_all([*series_of(count=4), slice_of(number=9, change=change, series=STUDY + ".3")], tmp_path / "in")
    with reconciled(tmp_path) as (box, peers):
        send(box, paths, peers)
        eventually(lambda: settled(status_of(box)), seconds=120)
        status = status_of(box)
        assert list(differences(status, peers)) == []
        for what, lie in LIES.items():
            told_otherwise = copy.deepcopy(status)
            lie(told_otherwise["studies"][0])
            assert list(differences(told_otherwise, peers)), what
        peers.files("ENH")[0].unlink()
        (peers.folder / "ENH.jsonl").write_text(
            "\n".join((peers.folder / "ENH.jsonl").read_text().splitlines()[1:]) + "\n"
        )
        assert list(differences(status, peers))
