"""A PACS to deliver to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from box import Pacs


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    peer = Pacs().start()
    yield peer
    peer.stop()
