"""Pixels are compared after decoding, by a process of its own that may fail as it likes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from gateway.archive.decoding import same_decoded
from gateway.errors import ObjectError


def sample(name: str) -> Path:
    return Path(get_testdata_file(name))


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
    crash = tmp_path / "crash"
    crash.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crash.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(crash))
    with pytest.raises(ObjectError, match="status -11"):
        same_decoded(sample("MR_small.dcm"), sample("MR_small_RLE.dcm"))
