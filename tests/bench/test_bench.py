"""What measurements are made of: the table and its chart, the slow line, the slow disk. Nothing is measured here."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from tools import need, need_module

from tests.bench import latency, link, slow_fsync, start, summary
from tests.bench.measurements import MEASUREMENTS
from tests.bench.report import OURS, Measure, Table


def _line(lines: list[summary.Line], work: str, peer: str = "") -> summary.Line:
    return next(line for line in lines if line.work == work and line.peer == peer)


def _tables() -> list[Table]:
    came = Table("Intake of 140 CT slices, sender: DCMTK storescu", (Measure("slices/s", rising=True),))
    for ours, theirs in ((80, 10), (100, 10), (90, 11)):
        came.add(OURS, ours)
        came.add("Orthanc", theirs)
    slow = Table(f"{link.TITLE}: 700 CT slices", link.MEASURES)
    slow.add(OURS, 30, 1, 368)
    slow.add(link.DEFLATED, 15, 1, 155)
    slow.add(link.CLASSIC, 60, 700, 370)
    begun = Table(start.TITLE, start.MEASURES)
    begun.add(start.EMPTY, 0.8, 0.7)
    begun.add(f"{OURS}, 1000000 instances", 1.25, 1.2)
    return [came, slow, begun]


def test_the_table_compares_medians_with_what_is_aimed_at() -> None:
    lines = summary.summarize(_tables())
    came = _line(lines, "intake, sender with Nagle's algorithm", "Orthanc")
    assert (came.figure, came.theirs, came.ratio, came.reached) == (90, 10, 9, True)
    slow = _line(lines, "delivery over a slow line", link.CLASSIC)
    assert (slow.ratio, slow.reached) == (0.5, False)
    slow = _line(lines, "delivery over a slow line, deflated", link.CLASSIC)
    assert (slow.ratio, slow.reached) == (0.25, True)
    assert _line(lines, "start, empty").reached is True
    assert _line(lines, "start, large index").reached is False
    missing = _line(lines, "last slice received to stored at Orthanc", latency.EACH)
    assert (missing.figure, missing.reached) == (None, None)
    said = summary.text(lines, ["a machine"])
    assert re.search(r"sender with Nagle.* 90\.0 .*Orthanc .*9\.00x .*>= 8x .*reached", said)
    assert re.search(r"sender with Nagle.*DCMTK storescp .*not measured", said)
    assert "MISSED" in said


def test_what_the_table_needs_is_measured() -> None:
    assert set(MEASUREMENTS) >= summary.MEASURED


def test_the_chart_shows_what_was_measured(tmp_path: Path) -> None:
    image_of = need_module("PIL.Image")
    summary.draw(summary.summarize(_tables()), ["a machine"], tmp_path / "chart.png")
    with image_of.open(tmp_path / "chart.png") as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}
    assert {(0x2E, 0x7D, 0x32), (0xC6, 0x28, 0x28)} <= colours


def test_the_slow_line_delays_and_throttles(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as target:
        threading.Thread(target=_answer_in_the_end, args=(target, 500_000), daemon=True).start()
        with (
            link.slow_link(tmp_path, target.getsockname()[1], delay_ms=50, mbit=20) as line,
            socket.create_connection(("127.0.0.1", line.port)) as sender,
        ):
            began = time.monotonic()
            sender.sendall(bytes(500_000))
            assert sender.recv(4) == b"done"
            took = time.monotonic() - began
    # 0.2 s of bytes, there and back twice: once to connect, once for the answer. Timers may end a moment early.
    assert took > 0.39


def _answer_in_the_end(listener: socket.socket, count: int) -> None:
    while count:
        connection, _ = listener.accept()
        with connection:
            while count and (data := connection.recv(1 << 16)):
                count -= len(data)
            if not count:
                connection.sendall(b"done")


def test_every_fsync_takes_longer(tmp_path: Path) -> None:
    need("cc")
    code = (
        "import os, sys, time; file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY); began = time.monotonic()\n"
        "for sync in (os.fsync, os.fdatasync): os.write(file, b'a'); sync(file)\n"
        "print(time.monotonic() - began)"
    )
    command = [sys.executable, "-S", "-c", code, str(tmp_path / "file")]
    slow = os.environ | slow_fsync.environment(tmp_path, 200)
    assert float(subprocess.run(command, env=slow, check=True, capture_output=True).stdout) >= 0.4
