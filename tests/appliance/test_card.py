"""What the appliance takes from the first partition of its card, and what it says on the console."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / "image/overlay/usr/lib/gateway/appliance.py"


@pytest.fixture
def appliance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, with its places in a folder and the gateway of this tree."""
    spec = importlib.util.spec_from_file_location("appliance_program", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    check = [sys.executable, "-m", "gateway.cli.main", "config", "check"]
    places = (
        ("gateway.toml", tmp_path / "etc/gateway.toml", 0o644, check),
        ("authorized_keys", tmp_path / "root/.ssh/authorized_keys", 0o600, []),
    )
    monkeypatch.setattr(module, "TAKEN", places)
    monkeypatch.setattr(module, "CONFIG", tmp_path / "etc/gateway.toml")
    monkeypatch.setattr(module, "ISSUE", tmp_path / "run/gateway.issue")
    monkeypatch.setattr(module, "SCRATCH", tmp_path)
    (tmp_path / "card").mkdir()
    return module


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_on_the_card_is_taken_once(appliance: ModuleType, tmp_path: Path) -> None:
    card = tmp_path / "card"
    (card / "gateway.toml").write_bytes(b'\xef\xbb\xbf[gateway]\r\nae_title = "BOX"\r\n')
    (card / "authorized_keys").write_text("ssh-ed25519 AAAA\n")
    appliance.take(card)
    assert names(card) == ["authorized_keys.taken", "gateway.toml.taken"]
    assert (tmp_path / "etc/gateway.toml").read_bytes() == b'[gateway]\nae_title = "BOX"\n'
    assert (tmp_path / "root/.ssh/authorized_keys").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "root/.ssh").stat().st_mode & 0o777 == 0o700
    # What is configured later stays.
    (tmp_path / "etc/gateway.toml").write_text("# by somebody else")
    appliance.take(card)
    assert (tmp_path / "etc/gateway.toml").read_text() == "# by somebody else"


def test_a_wrong_configuration_is_refused_with_the_reason_on_the_card(appliance: ModuleType, tmp_path: Path) -> None:
    card = tmp_path / "card"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/gateway.toml").write_text("# the one in use")
    (card / "gateway.toml").write_text("[gateway]\nport = 99999\n")
    appliance.take(card)
    assert names(card) == ["gateway.toml.refused", "gateway.toml.why.txt"]
    assert "gateway.toml: gateway.port: impossible value; found 99999" in (card / "gateway.toml.why.txt").read_text()
    assert (tmp_path / "etc/gateway.toml").read_text() == "# the one in use"
    # The next one is right, and the reason goes.
    (card / "gateway.toml").write_text("[gateway]\n")
    appliance.take(card)
    assert names(card) == ["gateway.toml.refused", "gateway.toml.taken"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "waits for its configuration: put gateway.toml on the first partition"),
        ('[gateway]\nae_title = "BOX"\nport = 104\n', "AE title     BOX\n  port         104"),
        ("[gateway]\n", "AE title     GATEWAY\n  port         11112"),
        ("[gateway", "gateway.toml: "),
    ],
)
def test_the_console_says_how_the_box_is_reached_or_what_it_waits_for(
    appliance: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, said: str
) -> None:
    monkeypatch.setattr(appliance, "run", lambda *command: "gateway 0.1.0")
    asked: list[Any] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **options: asked.append(command))
    if text is not None:
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/gateway.toml").write_text(text)
    appliance.console()
    shown = (tmp_path / "run/gateway.issue").read_text()
    assert "DICOM edge gateway 0.1.0\n  addresses    \\4" in shown
    assert said in shown
    assert asked == [["agetty", "--reload"]]
