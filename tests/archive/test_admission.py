"""What becomes of an object that has been received (REQUIREMENTS S6, G23)."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from archive_tools import (
    CT,
    ENHANCED_CT,
    HandClock,
    commit,
    counted,
    ct,
    debris,
    derive,
    store,
    store_file,
    tallies,
)
from blake3 import blake3
from real_data import need_set

from gateway import observe
from gateway.archive import digests, intact
from gateway.archive.comparison import Likeness
from gateway.archive.index import Archive
from gateway.archive.rows import InstanceRow, Settlement
from gateway.archive.views import ALL_VIEWS, NO_VIEW, View
from gateway.errors import ArchiveError, ResourceError
from gateway.objects.elements import Element, make
from gateway.objects.part10 import Header, file_meta, read_header


def settle(archive: Archive, study: str, views: View = ALL_VIEWS) -> None:
    archive.record_conversion(study, [], {row.name: Settlement(views, "why") for row in archive.unsettled(study)})


def test_a_fresh_image_is_received_and_classic_and_its_study_is_due_after_the_quiet_time(
    archive: Archive, clock: HandClock
) -> None:
    admission = store(archive, ct())
    row = archive.instance("1.2.3.4.1")
    assert row is not None
    assert (admission.kind, admission.name, admission.study) == ("stored", row.name, "1.2.3")
    assert (row.views, row.settled, row.kind) == (View.RECEIVED | View.CLASSIC, False, "received")
    assert (row.study, row.series, row.sop_class) == ("1.2.3", "1.2.3.4", CT)
    assert (row.peer, row.convert, row.prior, row.frames, row.instance_number) == ("CT1", True, False, 1, 1)
    assert b"".join(archive.source_of(row).chunks()).endswith(bytes(32))
    (job,) = archive.jobs.listing()
    assert (job.kind, job.study, job.not_before) == ("convert", "1.2.3", clock.time + 120)
    clock.time += 100
    store(archive, ct("1.2.3.4.2"))
    assert [job.not_before for job in archive.jobs.listing()] == [clock.time + 120]


def test_a_fresh_enhanced_image_is_not_in_the_classic_view(archive: Archive) -> None:
    store(archive, ct(sop_class=ENHANCED_CT))
    assert archive.select(View.CLASSIC) == []
    assert len(archive.select(View.RECEIVED)) == 1


def test_admitting_the_same_file_again_changes_nothing(archive: Archive) -> None:
    name = commit(archive, ct())
    header = read_header(archive.files.intake_path(name))
    first = archive.admit(name, header, peer="CT1")
    assert archive.admit(name, header, peer="CT1") == first
    assert len(archive.versions("1.2.3.4.1")) == 1
    assert debris(archive) == []


def test_S6_the_same_object_again_is_one_copy(archive: Archive) -> None:
    first = store(archive, ct())
    second = store(archive, ct())
    assert (second.kind, second.name) == ("duplicate", first.name)
    assert [row.name for row in archive.versions("1.2.3.4.1")] == [first.name]
    assert debris(archive) == []


def test_S6_other_pixels_are_a_new_version_and_both_are_kept(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    first = store(archive, ct())
    settle(archive, "1.2.3")
    with caplog.at_level(logging.WARNING):
        second = store(archive, ct(), pixels=bytes(31) + b"\1")
    assert second.kind == "version"
    assert re.search(f"intake.version .*held={first.name} stored={second.name}", caplog.text)
    new, old = archive.versions("1.2.3.4.1")
    assert (new.name, new.superseded, new.settled) == (second.name, 0, False)
    assert (old.name, old.superseded, old.views) == (first.name, old.id, NO_VIEW)
    assert archive.files.locate(first.name).exists()
    assert archive.instance("1.2.3.4.1") == new
    assert archive.study_sources("1.2.3") == archive.unsettled("1.2.3") == [new]
    assert [job.kind for job in archive.jobs.listing()] == ["convert"]


@pytest.mark.parametrize(
    "change",
    [{"PatientName": "Doe^Joan"}, {"StationName": "CT"}, {"StudyDescription": None}, {"refers_to": ("1.9",)}],
    ids=str,
)
def test_S6_any_other_element_makes_a_new_version(archive: Archive, change: dict) -> None:
    store(archive, ct())
    assert store(archive, ct(**change)).kind == "version"


def test_S6_padding_makes_no_version(archive: Archive) -> None:
    store(archive, ct())
    ds = ct()
    tag = make("PatientName").tag
    ds[tag] = Element(tag, "PN", b"Doe^Jane  ")
    assert store(archive, ds).kind == "duplicate"


@pytest.mark.parametrize("vr", ["OB", "UN"])
def test_S6_zeros_at_the_end_of_bytes_are_data_and_make_a_version(archive: Archive, vr: str) -> None:
    tag = make("ICCProfile").tag
    store(archive, ct() | {tag: Element(tag, vr, b"\1\0")})
    assert store(archive, ct() | {tag: Element(tag, vr, b"\1\0\0\0")}).kind == "version"


def test_S6_a_file_that_vanishes_while_it_is_compared_replaces_nothing(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store(archive, ct())

    def compared_while_another_process_recovers(archive: Archive, held: InstanceRow, header: Header) -> Likeness:
        header.path.unlink()
        return Likeness.VERSION

    monkeypatch.setattr("gateway.archive.admission.likeness", compared_while_another_process_recovers)
    with pytest.raises(ArchiveError, match="gone"):
        store(archive, ct(), pixels=b"\1" * 32)
    assert [row.name for row in archive.select(View.RECEIVED)] == [first.name]


def test_S6_T3_an_old_version_that_comes_again_is_not_stored_again_and_becomes_current(archive: Archive) -> None:
    first = store(archive, ct())
    second = store(archive, ct(), pixels=b"\1" * 32)
    settle(archive, "1.2.3")
    third = store(archive, ct(), peer="WS1")
    assert (third.kind, third.name) == ("again", first.name)
    new, old = archive.versions("1.2.3.4.1")
    assert (new.name, new.superseded, new.settled, new.peer) == (first.name, 0, False, "WS1")
    assert (old.name, old.superseded, old.views) == (second.name, old.id, NO_VIEW)
    assert debris(archive) == []
    assert tallies(archive) == counted(archive)


def test_S6_a_version_in_another_study_has_both_studies_converted_again(archive: Archive) -> None:
    store(archive, ct())
    settle(archive, "1.2.3")
    job = archive.jobs.take("convert")
    assert job is None  # not due yet
    store(archive, ct(study="1.2.99"))
    assert {job.study for job in archive.jobs.listing()} == {"1.2.3", "1.2.99"}


def test_S6_the_only_copy_is_not_dropped_when_the_one_held_has_vanished(archive: Archive) -> None:
    first = store(archive, ct())
    archive.files.remove(first.name)
    second = store(archive, ct())
    assert (second.kind, second.name) == ("duplicate", first.name), "it has taken the place of the one held"
    row = archive.instance("1.2.3.4.1")
    assert row is not None
    assert b"".join(archive.source_of(row).chunks())
    assert archive.files.waiting() == []


@pytest.mark.parametrize("peer", ["CT1", "ANOTHER"])
@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "gone", "meta"])
def test_T9_an_object_that_is_sent_again_takes_the_place_of_its_damaged_copy(
    archive: Archive, harm: str, peer: str
) -> None:
    first = store(archive, ct())
    row = archive.instance("1.2.3.4.1")
    path = archive.path_of(row)
    right = path.read_bytes()
    wrong = bytearray(right)
    wrong[{"meta": 200}.get(harm, -1)] ^= 4
    path.write_bytes({"cut": right[:-7], "empty": b""}.get(harm, bytes(wrong)))
    if harm == "gone":
        path.unlink()
    assert intact.problem_of(archive, row)
    assert [one.name for one in archive.damage.listing()] == [row.name]
    again = store(archive, ct(), peer=peer)
    assert (again.kind, again.name) == ("duplicate", first.name)
    assert archive.path_of(row).read_bytes()[128:] == right[128:]
    assert intact.problem_of(archive, row) == ""
    assert archive.damage.listing() == []
    kept = list(archive.files.quarantine.iterdir())
    assert len(kept) == (harm != "gone"), "damaged bytes are kept to look at"
    assert [one.sop_instance for one in archive.study_sources("1.2.3")] == ["1.2.3.4.1"]


def test_T3_T9_the_file_of_an_image_that_another_peer_sends_again_stays_as_its_own_sender_had_it(
    archive: Archive,
) -> None:
    first = store(archive, ct(), peer="CT1")
    store(archive, ct(PatientName="B"), peer="WS1")
    assert store(archive, ct(), peer="WS1").kind == "again"
    row = archive.instance("1.2.3.4.1")
    assert (row.name, row.peer, row.writer) == (first.name, "WS1", "CT1")
    assert intact.problem_of(archive, row) == ""
    path = archive.path_of(row)
    right = path.read_bytes()
    path.write_bytes(right.replace(b"CT1", b"WS1", 1))
    assert "meta information" in intact.problem_of(archive, row), "nobody but its own sender is named there"
    assert store(archive, ct(), peer="WORKSTATION").kind == "duplicate"
    assert path.read_bytes()[128:] == right[128:]
    assert intact.problem_of(archive, row) == ""


def test_T9_a_damaged_copy_is_equal_to_nothing_not_even_to_what_its_bytes_are_now(archive: Archive) -> None:
    store(archive, ct(), pixels=bytes(32))
    path = archive.path_of(archive.instance("1.2.3.4.1"))
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    assert store(archive, ct(), pixels=bytes(31) + b"\1").kind == "version"


def test_T9_the_index_knows_the_digests_of_pixels_and_header_and_fills_in_what_it_lacks(archive: Archive) -> None:
    pixels = bytes(range(32))
    store(archive, ct(), pixels=pixels)
    row = archive.instance("1.2.3.4.1")
    known = digests.known(archive, row.name)
    assert known is not None
    assert known.pixels == blake3(pixels).digest(length=16)
    whole = b"".join(archive.source_of(row).chunks())
    assert known.head == blake3(whole[:-32]).digest(length=16)
    with archive.database.transaction() as connection:
        connection.execute("UPDATE instance SET pixel_digest = NULL, head_digest = NULL")
    assert digests.known(archive, row.name) is None
    assert intact.problem_of(archive, row) == ""
    assert digests.known(archive, row.name) == known


def syntaxes() -> list[Path]:
    return sorted(need_set("ct_transfer_syntaxes").glob("*.dcm"))


# What is expected of each encoding after the first file. The lossy ones have a UID of their own; the lossless JPEG ones
# carry a derivation description more, and what follows such a version comes again. Whether JPEG 2000 and JPEG-LS can be
# decoded depends on what is installed.
EXPECTED = {
    "BigEndianExplicit": {"duplicate", "again"},
    "DeflatedExplicit": {"duplicate", "again"},
    "LittleEndianExplicit": {"duplicate", "again"},
    "LittleEndianImplicit": {"duplicate", "again"},
    "RLELossless": {"duplicate", "again"},
    "JPEG2000LosslessOnly": {"duplicate", "again", "version"},
    "JPEGLSLossless": {"duplicate", "again", "version"},
    "JPEGProcess14SV1": {"version"},
    "JPEGProcess14Transfer": {"version", "duplicate", "again"},  # equal to the one before where that can be decoded
    "JPEG2000Transfer": {"stored"},
    "JPEGLSLossy": {"stored"},
    "JPEGProcess1": {"stored"},
    "JPEGProcess2": {"stored"},
    "JPEGProcess6": {"stored"},
}


def test_S6_one_slice_in_sixteen_transfer_syntaxes(archive: Archive) -> None:
    store_file(archive, syntaxes()[0])
    for path in syntaxes()[1:]:
        admission = store_file(archive, path)
        expected = next(kinds for part, kinds in EXPECTED.items() if f"_{part}" in path.name)
        assert admission.kind in expected, path.name
        row = archive.instance(read_header(path).sop_instance)
        assert row is not None
        assert archive.path_of(row).exists()
        assert archive.files.locate(admission.name).exists()
    assert debris(archive) == []


def test_S6_an_undecodable_encoding_is_kept_as_a_version(archive: Archive) -> None:
    store_file(archive, syntaxes()[0])
    path = next(path for path in syntaxes() if "RLELossless" in path.name)
    header = read_header(path)
    assert header.pixels is not None
    assert header.pixels.fragments is not None
    data = bytearray(path.read_bytes())
    start, length = header.pixels.fragments[0]
    data[start : start + length] = b"\xff" * length
    broken = file_meta(header.sop_class, header.sop_instance, header.transfer_syntax) + data[header.dataset_offset :]
    target = archive.files.root / "broken.dcm"
    target.write_bytes(broken)
    assert store_file(archive, target).kind == "version"


def test_G23_our_own_object_coming_back_is_not_kept_twice(archive: Archive) -> None:
    store(archive, ct())
    made = derive(archive, "1.2.3")
    source = archive.unsettled("1.2.3")[0]
    archive.record_conversion("1.2.3", [made], {source.name: Settlement(View.RECEIVED | View.CLASSIC)})
    archive.jobs.finish(archive.jobs.listing()[0])
    own = archive.instance(made.sop_instance)
    assert own is not None
    part = archive.files.begin(file_meta(made.sop_class, made.sop_instance, made.transfer_syntax))
    for chunk in archive.source_of(own).chunks():
        part.write(chunk)
    name = part.commit()
    admission = archive.admit(name, read_header(part.path), peer="PACS", prior=True)
    assert (admission.kind, admission.name) == ("own", made.name)
    assert archive.versions(made.sop_instance) == [own]
    assert debris(archive) == []


def test_G23_our_own_object_coming_back_in_another_encoding_is_recognised(archive: Archive) -> None:
    store(archive, ct())
    made = derive(archive, "1.2.3")
    archive.record_conversion("1.2.3", [made], {})
    own = archive.instance(made.sop_instance)
    assert own is not None
    from gateway.objects.encode import encode

    target = archive.files.root / "own.dcm"
    part = archive.files.begin(file_meta(made.sop_class, made.sop_instance, made.transfer_syntax))
    for chunk in archive.source_of(own).chunks():
        part.write(chunk)
    header = read_header(part.path)
    implicit = file_meta(made.sop_class, made.sop_instance, "1.2.840.10008.1.2") + encode(header.dataset, implicit=True)
    target.write_bytes(implicit + b"\xe0\x7f\x10\x00" + (32).to_bytes(4, "little") + bytes(32))
    part.discard()
    assert store_file(archive, target, prior=True).kind == "own"
    assert archive.versions(made.sop_instance) == [own]


def test_G23_our_own_object_coming_back_altered_is_kept_outside_every_view(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    store(archive, ct())
    made = derive(archive, "1.2.3")
    archive.record_conversion("1.2.3", [made], {})
    with caplog.at_level(logging.WARNING):
        admission = store(archive, ct(made.sop_instance, sop_class=made.sop_class), peer="PACS", prior=True)
    assert admission.kind == "own"
    assert "intake.own_changed" in caplog.text
    own, returned = archive.versions(made.sop_instance)
    assert (own.kind, own.name, returned.name) == ("derived", made.name, admission.name)
    assert (returned.views, returned.settled) == (NO_VIEW, True)
    assert archive.files.locate(admission.name).exists()


def test_G23_a_prior_is_in_all_views_at_once_and_nothing_is_scheduled(archive: Archive) -> None:
    store(archive, ct(), peer="PACS", prior=True)
    row = archive.instance("1.2.3.4.1")
    assert row is not None
    assert (row.views, row.settled, row.prior) == (ALL_VIEWS, True, True)
    assert "PACS" in row.reason
    assert archive.jobs.listing() == []


def test_what_a_destination_alters_never_replaces_what_it_was_sent(archive: Archive) -> None:
    first = store(archive, ct())
    admission = store(archive, ct(PatientName="Coerced"), peer="PACS", prior=True)
    assert admission.kind == "version"
    current = archive.instance("1.2.3.4.1")
    assert current is not None
    assert current.name == first.name
    assert not current.settled
    assert archive.files.locate(admission.name).exists()


@pytest.mark.parametrize("point", ["admit.before_commit", "admit.after_commit"])
def test_S4_a_failure_leaves_nothing_half_stored(archive: Archive, point: str) -> None:
    observe.load_faults(f"{point}=ENOSPC")
    with pytest.raises(ResourceError):
        store(archive, ct())
    assert debris(archive) == []
    assert store(archive, ct()).kind == ("stored" if "before" in point else "duplicate")


@pytest.mark.filterwarnings("ignore:Unknown encoding")
def test_numbers_and_texts_that_do_not_fit_do_not_keep_an_object_out(archive: Archive) -> None:
    ds = ct(SpecificCharacterSet="ISO_IR 999", InstanceNumber="9" * 30)
    tag = make("PatientName").tag
    ds[tag] = Element(tag, "PN", b"M\xfcller^\xff ")
    store(archive, ds)
    row = archive.instance("1.2.3.4.1")
    assert row is not None
    assert row.instance_number is None


def test_names_are_indexed_as_unicode(archive: Archive) -> None:
    ds = ct(SpecificCharacterSet="ISO_IR 192")
    tag = make("PatientName").tag
    ds[tag] = Element(tag, "PN", "Müller^Jörg".encode())
    store(archive, ds)
    assert archive.database.row("SELECT name FROM study_keys") == ("Müller^Jörg",)


def test_patients_are_told_apart_by_issuer_and_without_an_id_by_study(archive: Archive) -> None:
    for n, more in enumerate(
        ({}, {}, {"IssuerOfPatientID": "B"}, {"PatientID": None}, {"PatientID": None}, {"PatientID": ""})
    ):
        store(archive, ct(f"1.5.{n}", study=f"1.5.{n}.1", **more))
    assert archive.database.row("SELECT count(*) FROM patient") == (5,)
    assert len(archive.select(View.RECEIVED, patient="P1")) == 3
    assert len(archive.select(View.RECEIVED, patient="P1", issuer="B")) == 1
