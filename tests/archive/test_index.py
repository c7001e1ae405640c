"""The index: selection in a view, tallies, references, and statements that stay fast (REQUIREMENTS Q5, G20)."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from archive_tools import GSPS, HandClock, commit, counted, ct, debris, derive, python, store, tallies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.archive import status
from gateway.archive.index import Archive
from gateway.archive.rows import Settlement
from gateway.archive.views import ALL_VIEWS, View, fresh_views, name_of, view_named
from gateway.errors import ArchiveError, ConfigError, GatewayError
from gateway.objects.part10 import read_header
from gateway.standard.sop_classes import ENHANCED_CLASSES


def test_views_have_the_names_of_the_configuration() -> None:
    assert [view_named(name) for name in ("received", "classic", "enhanced")] == [1, 2, 4]
    assert [name_of(view) for view in (1, 2, 4, 6, 0)] == [
        "received", "classic", "enhanced", "classic|enhanced", "none",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="received, classic or enhanced"):
        view_named("default")
    assert {fresh_views(uid) for uid in ENHANCED_CLASSES} == {View.RECEIVED}
    assert fresh_views(GSPS) == View.RECEIVED | View.CLASSIC


def test_selection_is_ordered_by_study_series_and_instance_number(archive: Archive) -> None:
    for study, series, number, instance in ((2, 1, 1, 1), (1, 10, 1, 2), (1, 9, 10, 3), (1, 9, 9, 4), (1, 9, 2, 5)):
        uids = {"study": f"1.{study}", "series": f"1.{study}.{series}", "instance": f"1.7.{instance}"}
        store(archive, ct(**uids, number=number, SeriesNumber=series))
    assert [row.sop_instance[-1] for row in archive.select(View.RECEIVED)] == ["5", "4", "3", "2", "1"]


def test_selection_at_every_level(archive: Archive) -> None:
    for patient, study, series, instance in (
        ("A", 1, 1, 1),
        ("A", 1, 1, 2),
        ("A", 1, 2, 3),
        ("A", 2, 3, 4),
        ("B", 3, 4, 5),
    ):
        uids = {"study": f"1.{study}", "series": f"1.9.{series}", "instance": f"1.7.{instance}"}
        store(archive, ct(**uids, number=instance, PatientID=patient))

    def found(**keys: object) -> str:
        return "".join(row.sop_instance[-1] for row in archive.select(View.RECEIVED, **keys))  # type: ignore[arg-type]

    assert found() == "12345"
    assert found(patient="A") == "1234"
    assert found(patient="A", study=("1.2",)) == "4"
    assert found(patient="B", study=("1.2",)) == ""
    assert found(study=("1.1", "1.3")) == "1235"
    assert found(series=("1.9.2", "1.9.4")) == "35"
    assert found(study=("1.1",), series=("1.9.1",), instance=("1.7.2", "1.7.5")) == "2"
    assert found(instance=["1.7.2", "1.7.5"]) == "25"
    assert found(instance="1.7.2") == "2"


def test_Q5_a_converted_study_has_each_image_once_in_every_view(archive: Archive) -> None:
    for n in (1, 2, 3):
        store(archive, ct(f"1.2.3.4.{n}", number=n))
    store(archive, ct("1.2.3.5.1", series="1.2.3.5", sop_class=GSPS))
    made = derive(archive, "1.2.3")
    settled = {row.name: Settlement(View.RECEIVED | View.CLASSIC) for row in archive.unsettled("1.2.3")}
    last = next(row.name for row in archive.unsettled("1.2.3") if row.sop_class == GSPS)
    archive.record_conversion("1.2.3", [made], settled | {last: Settlement(ALL_VIEWS, "refers to nothing converted")})
    assert {row.sop_instance for row in archive.select(View.ENHANCED)} == {"2.25.1", "1.2.3.5.1"}
    assert len(archive.select(View.CLASSIC)) == len(archive.select(View.RECEIVED)) == 4
    assert tallies(archive) == counted(archive) == {("1.2.3", 1): (2, 4), ("1.2.3", 2): (2, 4), ("1.2.3", 4): (2, 2)}
    row = archive.instance("2.25.1")
    assert row is not None
    assert (row.kind, row.frames, row.settled, row.digest) == ("derived", 4, True, made.digest)
    assert sum(len(chunk) for chunk in archive.source_of(row).chunks()) == row.length == made.length
    assert archive.unsettled("1.2.3") == []
    assert len(archive.study_sources("1.2.3")) == 4


def test_a_version_that_arrives_while_its_study_is_converted_stays_unsettled(archive: Archive) -> None:
    store(archive, ct())
    settled = {row.name: Settlement(ALL_VIEWS) for row in archive.unsettled("1.2.3")}
    newer = store(archive, ct(), pixels=b"\1" * 32)
    archive.record_conversion("1.2.3", [], settled)
    assert [row.name for row in archive.unsettled("1.2.3")] == [newer.name]
    assert tallies(archive) == counted(archive)


def test_G20_references_are_known_at_any_depth_but_not_to_conversion_sources(archive: Archive) -> None:
    from gateway.objects.elements import dataset, make, sequence

    deep = sequence(
        "ReferencedSeriesSequence",
        dataset(sequence("ReferencedImageSequence", dataset(make("ReferencedSOPInstanceUID", "1.9.2")))),
    )
    source = sequence("ConversionSourceAttributesSequence", dataset(make("ReferencedSOPInstanceUID", "1.9.3")))
    step = sequence("ReferencedPerformedProcedureStepSequence", dataset(make("ReferencedSOPInstanceUID", "1.9.4")))
    ds = ct(refers_to=("1.9.1", "1.9.1")) | dataset(deep, source, step)
    store(archive, dataset(*ds.values()))
    store(archive, ct("1.2.3.4.2", refers_to=("1.9.2",)))
    found = archive.references_to(["1.9.1", "1.9.2", "1.9.3", "1.9.4"])
    assert sorted((uid, row.sop_instance) for uid, row in found) == [
        ("1.9.1", "1.2.3.4.1"),
        ("1.9.2", "1.2.3.4.1"),
        ("1.9.2", "1.2.3.4.2"),
    ]
    assert archive.references_of(found[0][1]) == ["1.9.1", "1.9.2"]


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(("new", "version", "settle", "derive", "forget")),
        st.integers(0, 1),  # study
        st.integers(0, 2),  # series
        st.integers(0, 3),  # instance
        st.integers(0, 7),  # views
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
def test_Q5_tallies_kept_by_trigger_equal_counts_computed_afresh(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, int, int, int, int]]
) -> None:
    archive = Archive(tmp_path_factory.mktemp("data"), HandClock())
    pixel = 0
    for action, study, series, instance, views in operations:
        uids = {"study": f"1.{study}", "series": f"1.{study}.{series}", "instance": f"1.{study}.{series}.{instance}"}
        if action in ("new", "version"):
            pixel += action == "version"
            store(archive, ct(**uids), pixels=bytes([pixel]) * 32)
        elif action == "settle":
            rows = archive.study_sources(uids["study"])[: instance + 1]
            archive.record_conversion(uids["study"], [], {row.name: Settlement(View(views), "why") for row in rows})
        elif action == "derive" and archive.study_sources(uids["study"]):
            made = derive(archive, uids["study"], f"2.25.{study}.{series}{instance}")
            archive.record_conversion(uids["study"], [made], {})
        elif action == "forget":
            with archive.database.transaction() as connection:
                connection.execute("DELETE FROM instance WHERE sop_instance = ?", (uids["instance"],))
        assert tallies(archive) == counted(archive)
    archive.close()


SCANNED = re.compile(r"SCAN (i|s|t|p|r|m|d|e|instance|series|study|patient|reference|uid_map|derived|job|delivery)\b")


def statements(archive: Archive, act: Callable[[], object]) -> set[str]:
    """Return the SQL that an action runs, as SQLite sees it."""
    seen: set[str] = set()
    archive.database._connection.set_trace_callback(seen.add)
    act()
    archive.database._connection.set_trace_callback(None)
    return {sql for sql in seen if sql.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")}


def test_no_hot_statement_scans_a_table(archive: Archive) -> None:
    for n in range(1, 4):
        store(archive, ct(f"1.2.3.4.{n}", number=n, refers_to=("1.9",)))
    made = derive(archive, "1.2.3")
    name = commit(archive, ct("1.2.3.4.9"))
    settled = {row.name: Settlement(ALL_VIEWS) for row in archive.unsettled("1.2.3")}
    row = archive.unsettled("1.2.3")[0]
    header = read_header(archive.files.intake_path(name))
    hot: dict[str, Callable[[], object]] = {
        "admit": lambda: archive.admit(name, header, peer="CT1"),
        "version": lambda: store(archive, ct("1.2.3.4.9"), pixels=b"\1" * 32),
        "checkpoint": lambda: archive.checkpoint(),
        "record": lambda: archive.record_conversion("1.2.3", [made], settled),
        "study": lambda: archive.select(View.RECEIVED, study=("1.2.3",)),
        "series": lambda: archive.select(View.RECEIVED, series=("1.2.3.4",)),
        "instance": lambda: archive.select(View.RECEIVED, instance=("1.2.3.4.1",)),
        "image": lambda: archive.select(View.RECEIVED, study=("1.2.3",), series=("1.2.3.4",), instance=("1.2.3.4.1",)),
        "patient": lambda: archive.select(View.RECEIVED, patient="P1"),
        "sources": lambda: archive.study_sources("1.2.3"),
        "unsettled": lambda: archive.unsettled("1.2.3"),
        "references": lambda: archive.references_to(["1.9"]),
        "map": lambda: (archive.derived_from("1.2.3.4.1"), archive.sources_of("2.25.1")),
        "take": lambda: archive.jobs.take("convert"),
        "due": lambda: archive.jobs.next_due("deliver", "PACS"),
        "custody": lambda: (
            archive.custody.outstanding("1.2.3", "PACS", [row]),
            archive.custody.delivered("1.2.3", "PACS", row),
        ),
        "status": lambda: status.study_status(archive, "1.2.3"),
    }
    for action, act in hot.items():
        for sql in statements(archive, act):
            if "sqlite_master" in sql or sql.startswith("PRAGMA"):
                continue
            plan = [line[3] for line in archive.database.rows(f"EXPLAIN QUERY PLAN {sql}")]
            assert not any(SCANNED.match(step) for step in plan), (action, sql, plan)


def test_several_threads_share_an_archive(archive: Archive) -> None:
    errors: list[Exception] = []

    def work(worker: int) -> None:
        try:
            for n in range(20):
                store(archive, ct(f"1.2.{worker}.{n}", study=f"1.2.{worker}", series=f"1.2.{worker}.0"))
                archive.select(View.RECEIVED, study=(f"1.2.{worker}",))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(archive.select(View.RECEIVED)) == 80
    assert tallies(archive) == counted(archive)


WORKER = """
import sys
from pathlib import Path
from archive_tools import ct, store
from gateway.archive.index import Archive
archive = Archive(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for n in range(60):
    store(archive, ct(f"1.2.3.{n % 40}.{sys.argv[2] if n < 40 else 0}", number=n))
    if n % 20 == 0:
        archive.checkpoint()
"""


def test_several_processes_open_a_new_archive_at_once_and_store_into_it(archive: Archive) -> None:
    archive.close()
    for path in archive.files.root.glob("index.sqlite3*"):
        path.unlink()
    workers = [python(WORKER, archive.files.root, n) for n in (1, 2, 3)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        _, err = worker.communicate(timeout=60)
        assert worker.returncode == 0, err
    again = Archive(archive.files.root)
    # 40 of each process's own, 20 that all three bring.
    assert len(again.select(View.RECEIVED)) == 3 * 40 + 20
    assert tallies(again) == counted(again)
    assert debris(again) == []
    again.close()


def test_a_reader_in_another_process_sees_what_is_committed_and_cannot_write(archive: Archive) -> None:
    store(archive, ct())
    reader = Archive(archive.files.root, readonly=True)
    assert len(reader.select(View.RECEIVED)) == 1
    assert reader.jobs.changed()
    assert not reader.jobs.changed()
    store(archive, ct("1.2.3.4.2"))
    assert reader.jobs.changed()
    assert len(reader.select(View.RECEIVED)) == 2
    with pytest.raises(Exception, match="read-only"):
        reader.jobs.schedule("convert", "1.2.3")
    reader.close()


def test_an_archive_that_nobody_has_open_can_be_looked_at(archive: Archive) -> None:
    store(archive, ct())
    archive.close()
    reader = Archive(archive.files.root, readonly=True)
    assert len(reader.select(View.RECEIVED)) == 1
    reader.close()


def test_looking_at_an_archive_that_is_not_there_makes_none(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match=r"index\.sqlite3"):
        Archive(tmp_path / "nothing", readonly=True)
    assert not (tmp_path / "nothing").exists()


def test_a_broken_index_is_an_archive_error_that_says_what_to_do(archive: Archive) -> None:
    archive.close()
    for path in archive.files.root.glob("index.sqlite3*"):
        path.unlink()
    (archive.files.root / "index.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(ArchiveError, match="gateway doctor"):
        Archive(archive.files.root)
