"""Every set is converted once a session, when the first test asks for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from evidence.sets import Layer, convert_set


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Layer]]:
    known: dict[str, list[Layer]] = {}

    def layers_of(name: str) -> list[Layer]:
        if name not in known:
            known[name] = convert_set(name, tmp_path_factory.mktemp(name))
        return known[name]

    return layers_of
