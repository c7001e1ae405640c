"""Which of several versions and images under one SOP Instance UID is current, and that none is lost (S6, T3)."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from archive_tools import HandClock, commit, counted, ct, debris, hand_in, store, tallies
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.archive import collisions
from gateway.archive.index import Archive
from gateway.archive.registrar import Registrar
from gateway.archive.rows import Settlement
from gateway.archive.status import box_status
from gateway.archive.succession import RESTORED
from gateway.archive.views import ALL_VIEWS, View
from gateway.objects.elements import DataSet

UID, STUDY = "1.2.3.4.1", "1.2.3"


def image(pixels: int = 0, place: int = 0, **more: Any) -> tuple[DataSet, bytes]:
    return ct(UID, number=place, ImagePositionPatient=f"0\\0\\{place}", **more), bytes([pixels]) * 32


def send(archive: Archive, pixels: int = 0, place: int = 0, *, peer: str = "CT1", **more: Any) -> str:
    ds, data = image(pixels, place, **more)
    return store(archive, ds, pixels=data, peer=peer, prior=peer == "PACS").kind


def current(archive: Archive) -> Any:
    row = archive.instance(UID)
    assert row is not None
    return row


PLACES: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "position": ({"ImagePositionPatient": "0\\0\\1"}, {"ImagePositionPatient": "0\\0\\2"}, True),
    "the same position": ({"ImagePositionPatient": "0\\0\\1"}, {"ImagePositionPatient": "0.0\\-0\\01.000"}, False),
    "rounded": ({"ImagePositionPatient": "0\\0\\1.23456789"}, {"ImagePositionPatient": "0\\0\\1.23457"}, False),
    "no numbers": ({"ImagePositionPatient": "a\\b\\c"}, {"ImagePositionPatient": "a\\b\\d"}, True),
    "NaN": ({"ImagePositionPatient": "nan\\0\\0"}, {"ImagePositionPatient": "nan\\0\\0"}, False),
    "slice location": ({"SliceLocation": "1"}, {"SliceLocation": "2"}, True),
    "position known, location moved": (
        {"ImagePositionPatient": "0\\0\\1", "SliceLocation": "1"},
        {"ImagePositionPatient": "0\\0\\1", "SliceLocation": "9"},
        False,
    ),
    "position in one only": ({"ImagePositionPatient": "0\\0\\1"}, {}, False),
    "number": ({"InstanceNumber": "1"}, {"InstanceNumber": "2"}, True),
    "number written otherwise": ({"InstanceNumber": "1"}, {"InstanceNumber": "+01"}, False),
    "number in one only": ({"InstanceNumber": None}, {"InstanceNumber": "2"}, False),
    "empty number": ({"InstanceNumber": ""}, {"InstanceNumber": "2"}, False),
    "acquisition": ({"AcquisitionNumber": "1"}, {"AcquisitionNumber": "2"}, True),
    "acquisition time": ({"AcquisitionTime": "101500"}, {"AcquisitionTime": "101501"}, True),
    "the same time": ({"AcquisitionTime": "101500"}, {"AcquisitionTime": "101500.000"}, False),
    "a coarser time": ({"AcquisitionTime": "1015"}, {"AcquisitionTime": "101530"}, False),
    "acquisition date and time": (
        {"AcquisitionDateTime": "20260102101500"},
        {"AcquisitionDateTime": "20260102101600"},
        True,
    ),
    "another zone": (
        {"AcquisitionDateTime": "20260102101500+0100"},
        {"AcquisitionDateTime": "20260102091500+0000"},
        False,
    ),
    "zone in one only": (
        {"AcquisitionDateTime": "20260102101500+0100"},
        {"AcquisitionDateTime": "20260102101500"},
        False,
    ),
    "series": ({}, {"series": "1.2.3.5"}, True),
    "study": ({}, {"study": "1.2.4"}, True),
    "name": ({}, {"PatientName": "Doe^Joan"}, False),
    "nothing": ({}, {}, False),
}


@pytest.mark.parametrize("case", PLACES)
def test_T3_other_pixels_are_another_image_where_the_place_is_another_one(archive: Archive, case: str) -> None:
    one, other, apart = PLACES[case]
    store(archive, ct(UID, **one))
    assert store(archive, ct(UID, **other), pixels=b"\1" * 32).kind == ("other" if apart else "version")
    assert collisions.images(archive, [UID]) == ({UID: 2} if apart else {})
    assert archive.files.locate(archive.versions(UID)[1].name).exists()


@pytest.mark.parametrize("case", [name for name in PLACES if PLACES[name][2]])
def test_T3_the_same_pixels_elsewhere_are_a_correction(archive: Archive, case: str) -> None:
    one, other, _ = PLACES[case]
    store(archive, ct(UID, **one))
    assert store(archive, ct(UID, **other)).kind == "version"
    assert collisions.count(archive) == 0


def test_T3_pixels_of_another_shape_are_other_pixels(archive: Archive) -> None:
    store(archive, ct(UID, number=1, Rows=4, Columns=4))
    assert store(archive, ct(UID, number=2, Rows=2, Columns=8)).kind == "other"


def test_T3_a_correction_of_one_of_several_images_belongs_to_it(archive: Archive) -> None:
    assert [send(archive, n, n) for n in range(6)] == ["stored", *["other"] * 5]
    assert send(archive, 9, 0) == "version"
    assert send(archive, 8, 4) == "version"
    one = collisions.of_study(archive, STUDY)[UID]
    assert (one.images, one.current.image, one.first.instance_number) == (6, 4, 0)
    assert b"".join(archive.source_of(one.first).chunks()).endswith(b"\x09" * 32), "the newest version of the first"


def test_T3_one_of_each_uid_is_shown_and_the_first_is_delivered(archive: Archive) -> None:
    for n in range(6):
        send(archive, n, n)
    for view in View:
        assert len(archive.select(view)) <= 1
    assert tallies(archive)[STUDY, View.RECEIVED] == (1, 1)
    assert collisions.to_deliver(archive, STUDY, View.RECEIVED) == [], "nothing was decided yet"
    archive.record_conversion(STUDY, [], {current(archive).name: Settlement(ALL_VIEWS, "why")})
    (row,) = collisions.to_deliver(archive, STUDY, View.ENHANCED)
    assert (row.instance_number, current(archive).instance_number) == (0, 5)


def test_T3_what_has_fetched_one_of_several_images_is_not_told_of_another(archive: Archive) -> None:
    send(archive, 0, 0)
    fetched = current(archive)
    archive.custody.delivered(STUDY, "PACS", fetched)
    send(archive, 1, 1)
    archive.record_conversion(STUDY, [], {current(archive).name: Settlement(ALL_VIEWS, "why")})
    rows = collisions.to_fetch(archive, "PACS", STUDY, View.RECEIVED)
    assert [row.name for row in rows] == [fetched.name]
    assert archive.custody.outstanding(STUDY, "PACS", rows) == []
    (row,) = collisions.to_fetch(archive, "OTHER", STUDY, View.RECEIVED)
    assert row.name == current(archive).name


def test_T3_images_of_one_uid_in_two_studies_are_shown_in_one_and_delivered_with_the_other(archive: Archive) -> None:
    send(archive, 0, 0)
    send(archive, 1, 1, study="1.2.9", series="1.2.9.1")
    for study in (STUDY, "1.2.9"):
        archive.record_conversion(study, [], {row.name: Settlement(ALL_VIEWS) for row in archive.unsettled(study)})
    assert [row.study for row in archive.select(View.RECEIVED)] == ["1.2.9"]
    assert [row.study for row in collisions.to_deliver(archive, STUDY, View.RECEIVED)] == [STUDY]
    assert collisions.to_deliver(archive, "1.2.9", View.RECEIVED) == []


def test_T3_a_retry_that_another_process_registers_late_is_no_last_word(archive: Archive, clock: HandClock) -> None:
    slow, quick = Registrar(archive), Registrar(archive)
    send(archive, 0)
    clock.time += 1
    hand_in(slow, *image(0)[:1], pixels=bytes(32))
    clock.time += 1
    second = hand_in(quick, image(1)[0], pixels=b"\1" * 32)
    for registrar in (quick, slow):
        registrar.start()
        registrar.close()
    assert current(archive).name == second


def test_T3_another_image_that_is_registered_late_is_noticed(archive: Archive, clock: HandClock) -> None:
    slow, quick = Registrar(archive), Registrar(archive)
    hand_in(slow, image(0, 0)[0], pixels=bytes(32))
    clock.time += 1
    second = hand_in(quick, image(1, 1)[0], pixels=b"\1" * 32)
    quick.start()
    quick.close()
    archive.record_conversion(STUDY, [], {second: Settlement(ALL_VIEWS)})
    slow.start()
    slow.close()
    assert collisions.images(archive, [UID]) == {UID: 2}
    assert current(archive).name == second
    assert [row.name for row in archive.unsettled(STUDY)] == [second], "it is looked at again"


def test_T3_what_came_before_is_no_last_word_for_a_recovery(archive: Archive, clock: HandClock) -> None:
    """A process died with an object that it had not registered, and another had registered a later one."""
    name = commit(archive, image(0)[0])
    clock.time = os.stat(archive.files.intake_path(name)).st_mtime + 5
    send(archive, 1)
    later = current(archive).name
    clock.time += 3600
    archive.recover()
    assert current(archive).name == later


def test_T3_what_a_destination_returns_is_no_image_of_the_sender(archive: Archive) -> None:
    send(archive, 0, 0)
    assert send(archive, 1, 1, peer="PACS") == "version"
    assert collisions.count(archive) == 0
    assert send(archive, 0, 0, peer="PACS") == "duplicate"
    # The sender sends it, too: then it is one, and its last word.
    assert send(archive, 1, 1) == "again"
    assert (current(archive).peer, current(archive).prior, current(archive).image) == ("CT1", False, 1)
    assert send(archive, 0, 0, peer="PACS") == "duplicate", "a destination has no last word"


def test_T2_T3_what_is_said_of_the_patient_follows_the_last_word(archive: Archive, clock: HandClock) -> None:
    for name in ("Doe^Jane", "Doe^Joan", "Doe^Jane", "Doe^Jane", "Doe^Joan"):
        clock.time += 1
        send(archive, PatientName=name)
        (study,) = box_status(archive)["studies"]
        assert study["patient"]["name"] == name


# Whatever is sent, by whom, and however the box dies in between.


class Content(NamedTuple):
    pixels: int
    place: int
    name: str

    def data(self) -> tuple[DataSet, bytes]:
        return image(self.pixels, self.place, PatientName=self.name)


@dataclass
class Model:
    """What a sender would think: his words in their order, each content once, by its last time."""

    words: list[Content] = field(default_factory=list)
    images: dict[Content, int] = field(default_factory=dict)
    returned: set[Content] = field(default_factory=set)

    def say(self, content: Content) -> None:
        if content not in self.images:
            same = (one for one in reversed(self.words) if one.pixels == content.pixels or one.place == content.place)
            fresh = 1 + max(self.images.values(), default=-1)
            self.images[content] = next((self.images[one] for one in same), fresh)
        self.words = [one for one in self.words if one != content] + [content]
        self.returned.discard(content)

    def give_back(self, content: Content) -> None:
        if content not in self.images:
            self.returned.add(content)


CONTENTS = st.builds(Content, st.integers(0, 2), st.integers(0, 1), st.just("A"))
STEPS = st.one_of(
    st.tuples(st.just("send"), CONTENTS, st.sampled_from(["CT1", "WS1"])),
    st.tuples(st.just("return"), CONTENTS),
    st.tuples(st.just("leave"), CONTENTS),
    st.tuples(st.sampled_from(["convert", "checkpoint", "kill", "cut", "rebuild"])),
)


class Life:
    """An archive beside its model."""

    def __init__(self, folder: Path) -> None:
        self.clock = HandClock()
        self.folder, self.copy = folder / "data", folder / "copy"
        self.archive = Archive(self.folder, self.clock, quiet=0)
        self.model = Model()
        self.checkpoint()

    def checkpoint(self) -> None:
        self.archive.checkpoint()
        shutil.copy(self.folder / "index.sqlite3", self.copy)

    def start(self) -> None:
        self.archive = Archive(self.folder, self.clock, quiet=0)
        self.archive.recover(lambda peer: (True, peer == "PACS"))

    def do(self, what: str, content: Content | None = None, peer: str = "CT1") -> None:
        self.clock.time += 1
        if what == "send" and content:
            self.model.say(content)
            send(self.archive, *content[:2], peer=peer, PatientName=content.name)
        elif what == "return" and content and self.model.words:
            self.model.give_back(content)
            send(self.archive, *content[:2], peer="PACS", PatientName=content.name)
        elif what == "leave" and content:  # acknowledged, and the process dies before it is registered
            self.model.say(content)
            ds, data = content.data()
            commit(self.archive, ds, pixels=data)
            self.archive.recover()
        elif what == "convert":
            rows = self.archive.unsettled(STUDY)
            settled = {row.name: Settlement(ALL_VIEWS, "why") for row in rows}
            if rows:
                self.archive.record_conversion(STUDY, [], settled, {"n": self.clock.time})
        elif what == "checkpoint":
            self.checkpoint()
        elif what in ("kill", "cut", "rebuild"):
            self.die(what)

    def die(self, how: str) -> None:
        self.archive.close()
        if how == "cut":  # the log of the index was not synced
            for path in self.folder.glob("index.sqlite3-*"):
                path.unlink()
            shutil.copy(self.copy, self.folder / "index.sqlite3")
        if how == "rebuild":
            for path in self.folder.glob("index.sqlite3*"):
                path.unlink()
            (self.folder / RESTORED).touch()
        self.start()
        self.check()
        # In which order older words were said is known to the index only, and so is which image they belong to.
        found = [row for row in self.archive.versions(UID) if row.spoken]
        names = {self.content(row.name): row.image for row in reversed(found)}
        self.model.words, self.model.images = list(names), names
        # That the sender had said the same as a destination has returned, too.
        self.model.returned = {self.content(row.name) for row in self.archive.versions(UID) if not row.spoken}
        self.checkpoint()

    def content(self, name: str) -> Content:
        data = self.archive.files.locate(name).read_bytes()
        place = int(data[data.index(b"0\\0\\") + 4 : data.index(b"0\\0\\") + 5])
        return Content(data[-1], place, "A")

    def check(self) -> None:
        archive, model = self.archive, self.model
        assert debris(archive) == []
        assert tallies(archive) == counted(archive)
        found = {self.content(row.name): row for row in archive.versions(UID)}
        assert set(found) == set(model.words) | model.returned, "nothing is lost, nothing is held twice"
        assert len(found) == len(archive.versions(UID))
        if model.words:
            row = archive.instance(UID)
            assert row is not None
            assert self.content(row.name) == model.words[-1], "the last word"
            assert not row.prior

    def check_images(self) -> None:
        found = {self.content(row.name): row.image for row in self.archive.versions(UID) if row.spoken}
        assert found == self.model.images
        several = collisions.of_study(self.archive, STUDY)
        assert bool(several) == (max(found.values(), default=0) > 0)
        if several:
            first = [one for one in self.model.words if self.model.images[one] == 0][-1]
            assert self.content(several[UID].first.name) == first
            assert several[UID].images == len(set(found.values()))


# The second sender sends the first one's image again: its file keeps the name of the first, and is not damaged.
AGAIN_FROM_ANOTHER = [
    ("send", Content(0, 0, "A"), "CT1"),
    ("send", Content(2, 0, "A"), "WS1"),
    ("send", Content(0, 0, "A"), "WS1"),
    ("send", Content(1, 1, "A"), "CT1"),
]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@example(AGAIN_FROM_ANOTHER)
@given(st.lists(STEPS, max_size=12))
def test_S6_T3_whatever_is_sent_and_however_the_box_dies_the_last_word_counts_and_nothing_is_lost(
    steps: list[tuple],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder))
        for step in steps:
            life.do(*step)
            life.check()
            life.check_images()
        life.archive.close()
