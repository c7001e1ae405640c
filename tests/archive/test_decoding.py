"""Pixels are compared and written after decoding, by a process of its own that may fail as it likes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from loopback import alive, eventually, nothing_left_behind
from pydicom import dcmread
from pydicom.data import get_testdata_file

from gateway.archive.decoder import Decoder, decodable, same_decoded
from gateway.errors import ObjectError
from gateway.standard.compression import LOSSLESS


def sample(name: str) -> Path:
    return Path(get_testdata_file(name))


def program(path: Path, *lines: str) -> str:
    """Write a program to be started instead of Python."""
    path.write_text("\n".join(("#!/bin/sh", *lines)) + "\n")
    path.chmod(0o700)
    return str(path)


def native(decoder: Decoder, path: Path, to: Path) -> bytes:
    """Let a file be decoded and return its pixels."""
    with open(path, "rb") as stored, open(to, "w+b") as decoded:
        decoder.ask("native", path.name, stored.fileno(), decoded.fileno())
    return dcmread(to, force=True).PixelData


def test_S6_frames_are_compared_as_pixels_not_as_bytes() -> None:
    assert same_decoded(sample("MR_small.dcm"), sample("MR_small_RLE.dcm"))
    assert not same_decoded(sample("MR_small.dcm"), sample("CT_small.dcm"))


def test_what_cannot_be_decoded_is_an_error_that_says_why(tmp_path: Path) -> None:
    data = sample("MR_small_RLE.dcm").read_bytes()
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(data[:2000] + bytes(len(data) - 2000))
    with pytest.raises(ObjectError, match="cannot be decoded"):
        same_decoded(sample("MR_small.dcm"), broken)


def test_decoder_that_crashes_takes_nobody_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path / "crash", "kill -SEGV $$"))
    with nothing_left_behind(), pytest.raises(ObjectError, match="status -11"):
        same_decoded(sample("MR_small.dcm"), sample("MR_small_RLE.dcm"))


def test_one_process_decodes_many_and_one_that_is_broken_spoils_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    starts = tmp_path / "starts"
    monkeypatch.setattr(
        sys, "executable", program(tmp_path / "counted", f"echo >> {starts}", f'exec {sys.executable} "$@"')
    )
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(sample("MR_small_RLE.dcm").read_bytes()[:4000])
    with nothing_left_behind(), Decoder() as decoder:
        for _ in range(20):
            pixels = native(decoder, sample("MR_small_RLE.dcm"), tmp_path / "native")
            assert np.array_equal(np.frombuffer(pixels, "<i2"), dcmread(sample("MR_small.dcm")).pixel_array.ravel())
            with pytest.raises(ObjectError, match="cannot be decoded"):
                native(decoder, broken, tmp_path / "native")
    assert len(starts.read_text().splitlines()) == 1


def test_a_process_that_crashed_is_followed_by_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    flag = tmp_path / "crashed"
    lines = (f"if [ ! -e {flag} ]; then touch {flag}; kill -KILL $$; fi", f'exec {sys.executable} "$@"')
    monkeypatch.setattr(sys, "executable", program(tmp_path / "once", *lines))
    with Decoder() as decoder:
        with pytest.raises(ObjectError, match="status -9"):
            native(decoder, sample("MR_small_RLE.dcm"), tmp_path / "native")
        assert native(decoder, sample("MR_small_RLE.dcm"), tmp_path / "native")


def test_one_that_hangs_is_killed_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    monkeypatch.setattr(sys, "executable", program(tmp_path / "hang", f"echo $$ > {pid}", "exec sleep 600"))
    started = time.monotonic()
    with nothing_left_behind(), Decoder(longest=0.3) as decoder, pytest.raises(ObjectError, match="takes too long"):
        native(decoder, sample("MR_small_RLE.dcm"), tmp_path / "native")
    assert time.monotonic() - started < 5
    assert not alive(int(pid.read_text()))


def test_whoever_waits_may_give_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def gone() -> None:
        raise ConnectionAbortedError

    monkeypatch.setattr(sys, "executable", program(tmp_path / "hang", "exec sleep 600"))
    with nothing_left_behind(), Decoder(gone) as decoder, pytest.raises(ConnectionAbortedError):
        native(decoder, sample("MR_small_RLE.dcm"), tmp_path / "native")


def test_it_ends_with_the_process_that_has_started_it() -> None:
    script = (
        "import time; from gateway.archive.decoder import Decoder; d = Decoder()\n"
        "try: d.ask('nothing', 'x', 0, 0)\n"
        "except Exception: print(d._process.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        decoder = int(process.stdout.readline())
        assert alive(decoder)
        os.kill(process.pid, signal.SIGKILL)
    eventually(lambda: not alive(decoder))


def test_M3_every_lossless_syntax_is_known_and_only_installed_decoders_count(monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels.decoders.base import _PIXEL_DATA_DECODERS as decoders

    for syntax in LOSSLESS:
        (decoder, _) = decoders[syntax]
        assert decodable(syntax) == decoder.is_available, syntax
    assert not decodable("1.2.840.10008.1.2.4.50")
