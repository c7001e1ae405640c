"""Fixtures for every test: an archive in a folder of its own with a clock that the test moves, and no fault left armed.

The helpers that stand beside this file are importable from every test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one process run what shares fixtures: the tests of a file, or all about one real set, converted once."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        shared = callspec.params.get("name") if callspec and "swept" in item.fixturenames else None
        item.add_marker(pytest.mark.xdist_group(f"set {shared}" if shared else item.nodeid.partition("::")[0]))


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


FIGURES: list[tuple[str, str, dict]] = []


@pytest.fixture(scope="session")
def figures() -> Callable[..., None]:
    """Return what takes down the figures of a set; they are printed at the end unless pytest is to be quiet."""

    def note(kind: str, name: str, /, **values: object) -> None:
        FIGURES.append((kind, name, values))

    return note


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the figures to the process that prints them, when several test."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["figures"] = FIGURES


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the figures of a process that has tested."""
    FIGURES.extend(getattr(node, "workeroutput", {}).get("figures", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.get_verbosity() < 0 or not FIGURES:
        return
    terminalreporter.section("figures")
    for kind, name, values in FIGURES:
        terminalreporter.line(f"{kind:18} {name:24} " + ", ".join(f"{key} {value}" for key, value in values.items()))
