"""What a box says compared with what its peers hold, instance by instance: `gateway status --json` against files."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from box import Box, Pacs
from click.testing import CliRunner

from gateway.cli import evidence, material
from gateway.cli.elements import data_set_digest
from gateway.cli.main import main
from gateway.conversion import account
from gateway.network.sender import Sender
from gateway.retrieval.engine import Destination, run

# Each with the view it is sent; all take everything, in whatever transfer syntax.
EVERYTHING = {"ENH": "enhanced", "CLS": "classic", "REC": "received"}
# Stock pynetdicom: native transfer syntaxes, and of images only classic ones.
LIMITED = "LIMITED"
CLASSIC = ["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.128"]


@dataclass
class Peers:
    """What each destination holds: SOP Instance UIDs by study, and the files of those that take everything."""

    folder: Path
    limited: Pacs
    sent: dict[str, list[Path]] = field(default_factory=dict)

    def held(self, destination: str) -> dict[str, set[str]]:
        """SOP Instance UIDs by Study Instance UID."""
        found: dict[str, set[str]] = {}
        if destination == LIMITED:
            for uid in list(self.limited.objects):
                found.setdefault(str(self.limited.dataset(uid).StudyInstanceUID), set()).add(uid)
            return found
        for path in self.files(destination):
            ds = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID", "StudyInstanceUID"])
            found.setdefault(str(ds.StudyInstanceUID), set()).add(str(ds.SOPInstanceUID))
        return found

    def files(self, destination: str) -> list[Path]:
        """The file of each object, the last one of its UID."""
        log = self.folder / f"{destination}.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        last = {entry["sop_instance"]: self.folder / entry["file"] for entry in map(json.loads, lines)}
        return list(last.values())


@contextmanager
def reconciled(folder: Path) -> Iterator[tuple[Box, Peers]]:
    """Run a box with destinations of every kind."""
    (folder / "peers").mkdir()
    command = [sys.executable, "-m", "gateway.cli.receiver", str(folder / "peers")]
    receiver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert receiver.stdout is not None
    assert receiver.stdin is not None
    port = int(receiver.stdout.readline())
    limited = Pacs(LIMITED, CLASSIC).start()
    tables: dict[str, Any] = {title: {"port": port, "view": view} for title, view in EVERYTHING.items()}
    box = Box(folder, tables | {LIMITED: {"port": limited.port}}, quiet=2.0)
    box.start()
    try:
        yield box, Peers(folder / "peers", limited)
    finally:
        assert box.stop() == 0
        receiver.stdin.close()
        receiver.wait(60)
        receiver.stdout.close()
        limited.stop()


def send(box: Box, paths: Iterable[Path], peers: Peers) -> None:
    """Send files as they are; what the box refuses is broken, and counts as not sent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = material.collect(paths)
    destination = Destination("GATEWAY", "127.0.0.1", box.port, "CT1")
    done = run(found, found.rows, destination, Sender())
    for row, outcome in zip(done.rows, done.outcomes, strict=True):
        if outcome is not None and outcome.delivered:
            peers.sent.setdefault(row.sop_instance, []).append(Path(row.name))


def status_of(box: Box) -> dict[str, Any]:
    """What `gateway status --json` says."""
    done = CliRunner().invoke(main, ["status", "--json", "--limit", "100000", "--config", str(box.config)])
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def differences(status: Mapping[str, Any], peers: Peers) -> Iterator[str]:
    """Yield where the status of a box and what its peers hold differ."""
    held = {destination: peers.held(destination) for destination in (*EVERYTHING, LIMITED)}
    studies = {study["study"]: study for study in status["studies"]}
    obsolete = obsolete_at(status)
    held = {name: {uid: uids - obsolete[name] for uid, uids in found.items()} for name, found in held.items()}
    for destination, found in held.items():
        yield from (f"{destination} has study {uid}, of which nothing is said" for uid in found.keys() - studies.keys())
    total = sum((account.read(study["account"]) for study in studies.values()), account.Account())
    if total.received != len(peers.sent):
        yield f"{total.received} are said to be received, {len(peers.sent)} were sent"
    for uid, study in studies.items():
        here = {name: found.get(uid, set()) for name, found in held.items()}
        yield from (f"study {uid}: {what}" for what in _of_study(study, here))
    yield from _instance_by_instance(studies, peers, obsolete["ENH"])


def obsolete_at(status: Mapping[str, Any]) -> dict[str, set[str]]:
    """What each destination may have still though something else has taken its place."""
    found: dict[str, set[str]] = {destination: set() for destination in (*EVERYTHING, LIMITED)}
    for study in status["studies"]:
        for one in study["destinations"]:
            found[one["destination"]].update(one["obsolete"])
    return found


def _of_study(study: Mapping[str, Any], held: Mapping[str, set[str]]) -> Iterator[str]:
    found = account.read(study["account"])
    if not found.balanced:
        yield f"{found.words()} does not add up"
    entries = [entry for one in study["series"] for entry in one["became"]]
    for entry in entries:
        if entry["fate"] != account.FRAMES and entry.get("reason") in (None, "", account.NO_REASON):
            yield f"{entry} has no reason"
    made = {entry["sop_instance"] for entry in entries if entry["fate"] == account.FRAMES and entry["made"]}
    apart = sum(entry["instances"] for entry in entries if entry.get("in_view") is False)
    parts = found.parts
    whole = len(made) + parts[account.UNCHANGED] - apart + parts[account.COPIED] + study["presentation_states"]
    if whole != len(held["ENH"]):
        yield f"{whole} objects are said to be in the enhanced view, ENH has {len(held['ENH'])}"
    if not made <= held["ENH"]:
        yield f"{len(made - held['ENH'])} objects that are said to be made are not at ENH"
    for destination, view in EVERYTHING.items():
        said = study["views"].get(view, {"instances": 0})["instances"]
        if said != len(held[destination]):
            yield f"{said} instances are said to be in the {view} view, {destination} has {len(held[destination])}"
    told = {one["destination"]: one for one in study["destinations"]}
    for destination in held:
        if destination not in told:
            yield f"nothing is said of {destination}"
        else:
            yield from _of_destination(told[destination], held[destination], study)


def _of_destination(one: Mapping[str, Any], held: set[str], study: Mapping[str, Any]) -> Iterator[str]:
    name = one["destination"]
    if one["delivered"] != len(held):
        yield f"{one['delivered']} are said to be delivered to {name}, it has {len(held)}"
    due = study["views"].get(one["form"] or "", {"instances": 0})["instances"]
    missing = one["refused"] + one["failed"] + one["outstanding"]
    # Some series may go in another form than the rest, each with the reason.
    other = [entry for entry in one["exceptions"] if not entry["reason"]]
    # Of what is the same in every form none is decided on.
    due = due if one["form"] and not one["exceptions"] else one["total"]
    if other or one["delivered"] + missing != one["total"] or one["total"] != due:
        yield f"{name}: {one['delivered']} delivered, {missing} not, of {one['total']}, {due} in {one['form']}"
    for kind, number in (("refusals", "refused"), ("failures", "failed")):
        if any(not entry["reason"] for entry in one[kind]):
            yield f"{name}: {kind} without a reason"
        if sum(entry["instances"] for entry in one[kind]) != one[number]:
            yield f"{name}: {kind} do not add up"
    if name in EVERYTHING and (missing or one["form"] not in (None, EVERYTHING[name])):
        yield f"{name}: {missing} not delivered, as {one['form']}"
    if name == LIMITED and one["form"] == "classic" and not one["form_reason"]:
        yield f"{name}: it goes as classic without a reason"


def _instance_by_instance(studies: Mapping[str, Any], peers: Peers, obsolete: set[str]) -> Iterator[str]:
    """Yield what of the instances sent is not where it is said to be; by pydicom alone."""
    once = {uid: paths[-1] for uid, paths in peers.sent.items() if len({data_set_digest(path) for path in paths}) == 1}
    received = {_uid(path): path for path in peers.files("REC")}
    for uid, path in once.items():
        if uid not in received or data_set_digest(received[uid]) != data_set_digest(path):
            yield f"{uid} is not at REC with the bytes it was sent with"
    if received.keys() != peers.sent.keys():
        yield f"REC has {len(received)} instances, {len(peers.sent)} were sent"
    several = peers.sent.keys() - once.keys()
    sent = {uid: paths[-1] for uid, paths in peers.sent.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        findings = evidence.examine([path for path in peers.files("ENH") if _uid(path) not in obsolete], sent)
    about = {uid for found in findings.received if found.stands_for & several for uid in found.stands_for}
    # Which version of an instance with several is at a peer is told apart elsewhere; where they are counts.
    for problem in findings.problems:
        counts = "is not at the PACS" in problem or "times at the PACS" in problem
        if counts or not any(uid in problem for uid in about):
            yield f"ENH: {problem}"
    fates: Counter[str] = Counter()
    themselves = {found.sop_instance for found in findings.received}
    carried = {uid for found in findings.received for uid in found.carries}
    copied = {found.source for found in findings.received}
    for uid in sent:
        where = {"in_view": uid in themselves, "as_frame": uid in carried, "as_copy": uid in copied}
        fates[account.fate_of(settled=True, **where)] += 1
    total = sum((account.read(study["account"]) for study in studies.values()), account.Account())
    measured = account.Account(len(sent), fates)
    if total.as_json() != measured.as_json():
        yield f"the box says {total.words()}; at ENH it is {measured.words()}"


def _uid(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
