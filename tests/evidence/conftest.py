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


FIGURES: list[tuple[str, str, dict]] = []


@pytest.fixture(scope="session")
def figures() -> Callable[..., None]:
    """Return what takes down the figures of a set; they are printed at the end unless pytest is to be quiet."""

    def note(kind: str, name: str, /, **values: object) -> None:
        FIGURES.append((kind, name, values))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.get_verbosity() < 0 or not FIGURES:
        return
    terminalreporter.section("figures")
    for kind, name, values in FIGURES:
        terminalreporter.line(f"{kind:18} {name:24} " + ", ".join(f"{key} {value}" for key, value in values.items()))
