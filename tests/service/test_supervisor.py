"""The whole box as processes: start, ready, stop, and what must not bring it down."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_tools import is_blank
from box import PROGRAM, Box, ct_study
from loopback import alive, eventually, free_port
from pynetdicom import AE

from gateway.archive.status import box_status
from gateway.archive.views import View


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path, {})
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()


def echo(box: Box) -> bool:
    entity = AE("CT1")
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", box.port, ae_title="GATEWAY")
    if not association.is_established:
        return False
    status = association.send_c_echo()
    association.release()
    return status.Status == 0x0000


def every_child(box: Box) -> list[int]:
    return [*box.pids("intake"), *box.pids("convert"), *box.pids("deliver")]


def test_ready_names_who_listens_where_and_is_true(box: Box) -> None:
    box.start()
    assert box.logged(" ready ", "ae_title=GATEWAY", "address=127.0.0.1", f"port={box.port}")
    assert echo(box)


def test_two_intake_processes_one_that_converts_at_low_priority_and_one_that_delivers(box: Box) -> None:
    box.start()
    eventually(lambda: len(every_child(box)) == 4)
    assert len(box.pids("intake")) == 2
    (converter,) = box.pids("convert")
    assert os.getpriority(os.PRIO_PROCESS, converter) - os.getpriority(os.PRIO_PROCESS, box.process.pid) == 10


def test_only_the_intake_listens_and_nobody_but_the_parent_holds_its_life(box: Box) -> None:
    box.start()
    eventually(lambda: len(every_child(box)) == 4)
    inode = next(
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()
        if line.split()[1] == f"0100007F:{box.port:04X}" and line.split()[3] == "0A"
    )
    holders = {pid for pid in every_child(box) if f"socket:[{inode}]" in links(pid)}
    assert holders == set(box.pids("intake"))


def links(pid: int) -> list[str]:
    folder = Path(f"/proc/{pid}/fd")
    found = []
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # it has been closed since
            found.append(os.readlink(folder / name))
    return found


def test_stop_is_ordered_and_successful_and_frees_the_port(box: Box) -> None:
    box.start()
    eventually(lambda: len(every_child(box)) == 4)
    children = every_child(box)
    assert box.stop() == 0
    assert not any(map(alive, children))
    assert box.logged("stopped")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", box.port))


def test_stop_lets_the_object_on_its_way_arrive(box: Box) -> None:
    box.start("intake.before_sync=sleep:1")
    store = subprocess.Popen(
        [sys.executable, "-c", STORE_ONE, str(box.port)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    eventually(lambda: [path for path in box.data.glob("intake/.*.part") if not is_blank(path)])
    assert box.stop() == 0
    assert store.wait(60) == 0
    assert len(list(box.data.glob("intake/*.dcm")) + list(box.data.glob("received/*/*.dcm"))) == 1
    assert not list(box.data.glob("intake/.*"))


STORE_ONE = """
import sys
from pathlib import Path
from box import Box, ct_study
box = Box.__new__(Box)
box.port = int(sys.argv[1])
assert len(box.store(ct_study(1))) == 1
"""


def test_killed_intake_process_is_replaced_and_its_associations_do_not_count_any_more(box: Box) -> None:
    box.config.write_text(box.config.read_text().replace("[intake]", "[intake]\nmax_associations = 1"))
    box.start()
    entity = AE("CT1")
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", box.port, ae_title="GATEWAY")
    assert association.is_established
    assert not echo(box)
    before = set(box.pids("intake"))
    for pid in before:
        os.kill(pid, 9)
    eventually(lambda: len(set(box.pids("intake")) - before) == 2)
    eventually(lambda: echo(box))


def test_children_go_with_a_parent_that_is_killed_and_the_next_box_starts_at_once(box: Box) -> None:
    box.start()
    eventually(lambda: len(every_child(box)) == 4)
    children = every_child(box)
    box.kill()
    box.start()
    assert echo(box)
    assert not any(map(alive, children))


def test_second_box_on_one_data_directory_is_refused(box: Box, tmp_path: Path) -> None:
    box.start()
    (tmp_path / "other").mkdir()
    other = Box(tmp_path / "other", {})
    other.config.write_text(other.config.read_text().replace(str(other.data), str(box.data)))
    error = refusal(other)
    assert "another gateway is running on this data directory" in error
    assert f"process {box.process.pid}" in error
    assert echo(box)


def test_address_in_use_by_another_program_is_a_clear_error(box: Box) -> None:
    with socket.create_server(("127.0.0.1", box.port)):
        error = refusal(box)
    assert f"127.0.0.1:{box.port}: cannot listen there" in error
    assert "gateway.port" in error


def refusal(box: Box) -> str:
    program = PROGRAM.replace("grace=3.0", "grace=3.0, patience=0.3")
    process = subprocess.run(
        [sys.executable, "-c", program, box.config, "{}"], capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 1
    return process.stderr


def test_address_that_is_freed_in_time_is_waited_for(box: Box) -> None:
    held = socket.create_server(("127.0.0.1", box.port))
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(box.config), "{}"], stderr=subprocess.PIPE)
    time.sleep(1)
    assert process.poll() is None
    held.close()
    eventually(lambda: echo(box))
    process.terminate()
    assert process.wait(60) == 0
    process.communicate()


def test_deliveries_to_a_destination_that_was_removed_do_not_keep_the_box_busy(tmp_path: Path) -> None:
    box = Box(tmp_path, {"PACS2": free_port()})
    box.start()
    box.store(ct_study(2))
    eventually(lambda: [job.reason for job in box.jobs()] == ["connection refused"])
    assert box.stop() == 0
    box.config.write_text(box.config.read_text().partition("[[destination]]")[0])
    box.start()
    with box.archive() as archive:
        status = box_status(archive)
    assert box.stop() == 0
    (study,) = status["studies"]
    (destination,) = study["destinations"]
    assert (status["idle"], status["held"], destination["state"]) == (True, 1, "held")
    assert destination["reason"] == "PACS2 is no longer in the configuration"


def test_what_was_acknowledged_before_a_power_cut_is_there_after_it(box: Box) -> None:
    box.start()
    acknowledged = box.store(ct_study(3))
    box.kill()
    box.start()
    with box.archive() as archive:
        assert {row.sop_instance for row in archive.select(View.RECEIVED)} == set(acknowledged)


def test_idle_box_takes_less_than_60_MB_and_has_no_decoders_in_memory(box: Box) -> None:
    box.start()
    eventually(lambda: len(every_child(box)) == 4)
    processes = [box.process.pid, *every_child(box)]
    eventually(lambda: sum(map(proportional, processes)) < 60_000)
    for pid in processes:
        assert "numpy" not in Path(f"/proc/{pid}/maps").read_text()


def proportional(pid: int) -> int:
    """The memory of a process in kB, what it shares with others in proportion (PSS)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
