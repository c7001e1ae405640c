"""Fixtures for every test: an archive in a folder of its own with a clock that the test moves, and no fault left armed.

The helpers that stand beside this file are importable from every test.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pynetdicom.ae
import pytest
from archive_tools import HandClock
from steady import SteadyAssociation

from gateway import observe
from gateway.archive.index import Archive

if TYPE_CHECKING:
    from certificates import Authority, Pair

# Whoever requests an association in a test; acceptors are made by the transport, and the gateway makes its own.
pynetdicom.ae.Association = SteadyAssociation


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def archive(tmp_path: Path, clock: HandClock) -> Iterator[Archive]:
    made = Archive(tmp_path / "data", clock)
    yield made
    made.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs certificates."""
    from certificates import Authority  # with it comes OpenSSL, which most tests have no use for

    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def own(authority: Authority) -> Pair:
    """The certificate of the box."""
    return authority.issue("gateway")


@pytest.fixture(scope="module")
def scanner(authority: Authority) -> Pair:
    """That of a caller."""
    return authority.issue("ct1")


@pytest.fixture(autouse=True)
def _no_faults() -> Iterator[None]:
    yield
    observe.load_faults("")
