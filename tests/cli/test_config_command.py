"""`gateway config` checks, shows and starts a configuration."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from gateway.cli.main import main
from gateway.service.config import EXAMPLE


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["config", *map(str, arguments)])


def test_the_example_passes_its_own_check(tmp_path: Path) -> None:
    printed = run("example")
    assert (printed.exit_code, printed.stdout) == (0, EXAMPLE)
    path = tmp_path / "gateway.toml"
    path.write_text(printed.stdout)
    checked = run("check", path)
    assert (checked.exit_code, checked.stdout) == (0, f"{path}: ok\n")


def test_check_says_everything_that_is_wrong_and_fails(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('[gateway]\nport = 0\n[[destination]]\nae_title = "PACS"\nport = 104\n')
    checked = run("check", path)
    assert checked.exit_code == 1
    assert "gateway.port" in checked.stderr
    assert "destination[1].host: missing" in checked.stderr


def test_check_notes_a_box_that_nobody_can_use(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("")
    checked = run("check", path)
    assert checked.exit_code == 0
    assert "note: nobody may send" in checked.stdout
    assert "note: nothing is delivered" in checked.stdout


def test_check_without_a_file_is_wrong_usage() -> None:
    assert run("check").exit_code == 2


def test_show_fills_in_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('[gateway]\nae_title = "BOX"\n')
    assert 'ae_title = "BOX"\nbind = "0.0.0.0"\nport = 11112\n' in run("show", "--config", path).stdout
    shown = json.loads(run("show", "--config", path, "--json").stdout)
    assert shown["intake"] == {
        "unknown_peers": "reject",
        "study_quiet_seconds": 120,
        "query_wait_seconds": 2,
        "max_associations": 20,
    }
