"""Fixtures for every test: an archive in a folder of its own with a clock that the test moves, and no fault left armed.

The helpers that stand beside this file are importable from every test.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_tools import HandClock

from gateway import observe
from gateway.archive.index import Archive


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def archive(tmp_path: Path, clock: HandClock) -> Iterator[Archive]:
    made = Archive(tmp_path / "data", clock)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _no_faults() -> Iterator[None]:
    yield
    observe.load_faults("")
