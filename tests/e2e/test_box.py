"""The whole box, end to end: real processes, real sockets, real peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from box import LEGACY_CT, Box, Pacs, ct_study


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    peer = Pacs().start()
    yield peer
    peer.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Box]]:
    boxes: list[Box] = []

    def run(destinations: dict[str, Any], **options: Any) -> Box:
        boxes.append(Box(tmp_path, destinations, **options))
        boxes[-1].start()
        return boxes[-1]

    yield run
    for box in boxes:
        if box.process is not None and box.process.poll() is None:
            assert box.stop() == 0, box.text()


def test_classic_series_arrives_as_one_enhanced_object(start: Callable[..., Box], pacs: Pacs) -> None:
    box = start({"PACS": pacs.port})
    study = ct_study(8)
    assert len(box.store(study)) == 8
    box.wait_done()
    assert list(pacs.classes_of.values()) == [LEGACY_CT], box.text()
