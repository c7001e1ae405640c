"""A disk that changes bits, under a whole box: nothing of it reaches a peer, and everything is named (T9)."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from box import Box, Pacs, ct_study
from loopback import eventually, free_port

from gateway.archive.index import Archive
from gateway.archive.jobs import CONVERT
from gateway.archive.rows import DERIVED
from gateway.archive.status import box_status
from gateway.archive.views import View

KINDS = ("received before conversion", "received", "recipe", "record")


class Flipped:
    """One changed bit.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    study, series : str
        Of what it concerns.
    file : str
        Name of the file, which may be moved from the intake folder to its place.
    """

    def __init__(self, kind: str, study: str, series: str, path: Path, chance: random.Random) -> None:
        self.kind, self.study, self.series = kind, study, series
        self.file = path.name
        data = bytearray(path.read_bytes())
        self.place = chance.randrange(len(data))
        self.bit = chance.randrange(8)
        data[self.place] ^= 1 << self.bit
        with path.open("r+b") as file:
            file.write(data)

    def __repr__(self) -> str:
        return f"{self.kind}: bit {self.bit} at {self.place} of {self.file}"


def quiet(box: Box, seconds: float) -> None:
    """Configure when a study counts as complete."""
    lines = box.config.read_text().splitlines()
    lines = [f"study_quiet_seconds = {seconds}" if "quiet" in line else line for line in lines]
    box.config.write_text("\n".join(lines) + "\n")


def gateway(box: Box, *arguments: str) -> Any:
    """What a command says in JSON."""
    command = [sys.executable, "-m", "gateway.cli.main", *arguments, "--json", "--config", str(box.config)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)


def send(box: Box, count: int) -> list[tuple[str, str]]:
    """Send studies of two series; return study and first series of each."""
    sent = []
    for _ in range(count):
        first = ct_study(3)
        study = first[0].StudyInstanceUID
        images = first + ct_study(2, study=study)
        assert len(box.store(images)) == len(images)
        sent.append((str(study), str(first[0].SeriesInstanceUID)))
    return sent


def harm(box: Box, kind: str, study: str, series: str, chance: random.Random) -> Flipped:
    archive = Archive(box.data)
    try:
        rows = [row for row in archive.study_sources(study) if row.series == series]
        path = archive.path_of(chance.choice(rows))
        if kind == "recipe":
            made = [uid for uid, _ in archive.derived_from(rows[0].sop_instance)]
            path = archive.files.recipe(archive.instance(made[0]).name)
        elif kind == "record":
            (path,) = (one for one in archive.files.records.glob("partition-*") if study.encode() in one.read_bytes())
        return Flipped(kind, study, series, path, chance)
    finally:
        archive.close()


def idle(box: Box) -> bool:
    with box.archive() as archive:
        return box_status(archive)["idle"]


def converted(box: Box, studies: int) -> bool:
    with box.archive() as archive:
        done = {row.study for row in archive.select(View.ENHANCED) if row.kind == DERIVED}
    return len(done) == studies and not any(job.kind == CONVERT for job in box.jobs())


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    peer = Pacs(port=free_port())
    yield peer
    peer.stop()


def go_through(folder: Path, pacs: Pacs, each: int, seed: int) -> dict[str, int]:
    """Change bits at random places in `each` files of each kind; see what arrives and what is said."""
    chance = random.Random(seed)
    box = Box(folder, {"PACS": pacs.port}, quiet=0.5)
    box.start()
    try:
        studies = send(box, 3 * each)
        eventually(lambda: converted(box, len(studies)), 300)
        box.stop()
        quiet(box, 3600)
        box.start()
        late = send(box, each)
        box.stop()
        wanted = zip([KINDS[0]] * each + list(KINDS[1:]) * each, late + studies, strict=True)
        flips = [harm(box, kind, *where, chance) for kind, where in wanted]
        quiet(box, 0.5)
        with_index = Archive(box.data)
        with_index.jobs.retry_now()
        right = {row.digest for row in with_index.select(View.RECEIVED)}
        right |= {row.digest for row in with_index.select(View.ENHANCED)}
        with_index.close()
        pacs.start()
        box.start()
        return compared(box, pacs, flips, right)
    finally:
        if box.process is not None and box.process.poll() is None:
            box.stop()


def compared(box: Box, pacs: Pacs, flips: list[Flipped], right: set[str]) -> dict[str, int]:
    """Wait until all is said and done, and compare what the destination has and what the box says."""

    def unnamed() -> list[Flipped]:
        with box.archive() as archive:
            named = {Path(one["file"]).name for one in archive.damage.described()}
        # The box itself has put right what was made again; then the log has it.
        return [one for one in flips if one.file not in named and not box.logged("archive.damaged", one.file)]

    eventually(lambda: idle(box) and not unnamed(), 300)
    status = {Path(one["file"]).name for one in gateway(box, "status")["damaged"]}
    doctor = {Path(one["subject"]).name for one in gateway(box, "doctor")["checks"] if one["code"] == "damage"}
    counts = dict.fromkeys(("flips", "delivered", "wrong", "in part", "not named", "made again"), 0)
    with box.archive() as archive:
        right |= {row.digest for row in archive.select(View.ENHANCED) if row.kind == DERIVED}
        for flip in flips:
            counts["flips"] += 1
            sources = {row.sop_instance for row in archive.study_sources(flip.study) if row.series == flip.series}
            made = {uid for source in sources for uid, _ in archive.derived_from(source)}
            arrived = [archive.instance(uid) for uid in made & pacs.objects.keys()]
            counts["delivered"] += len(arrived)
            counts["in part"] += any(set(archive.sources_of(row.sop_instance)) != sources for row in arrived)
            counts["in part"] += bool(sources & pacs.objects.keys())
            if flip.kind == KINDS[0]:
                assert not arrived, flip
            again = flip.kind == "recipe" and bool(box.logged("convert.remade", flip.study))
            counts["made again"] += again
            counts["not named"] += not again and not (flip.file in status and flip.file in doctor)
        others = {row.series for row in archive.select(View.RECEIVED)} - {flip.series for flip in flips}
        for series in others:
            sources = {row.sop_instance for row in archive.select(View.RECEIVED, series=(series,))}
            made = {uid for source in sources for uid, _ in archive.derived_from(source)}
            assert made & pacs.objects.keys(), "the other series of the study goes on"
    for _, data in pacs.objects.values():
        counts["wrong"] += blake3(data).digest(length=16).hex() not in right
    assert counts["wrong"] == counts["in part"] == counts["not named"] == 0, (counts, flips)
    return counts


def test_T9_a_flipped_bit_never_leaves_the_box_and_is_named(tmp_path: Path, pacs: Pacs) -> None:
    assert go_through(tmp_path, pacs, 2, seed=1)["flips"] == 8


@pytest.mark.long
def test_T9_flipped_bits_at_200_random_places_never_leave_the_box_and_are_named(tmp_path: Path, pacs: Pacs) -> None:
    counts = go_through(tmp_path, pacs, 50, seed=random.randrange(1 << 30))
    print(counts)
    assert counts["flips"] == 200
