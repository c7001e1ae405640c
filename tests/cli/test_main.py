"""The command line answers quickly, fails with one clear line, and its manual cannot drift."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gateway.cli import manual
from gateway.cli.common import count, span
from gateway.cli.main import COMMANDS, main

HEAVY = ("numpy", "pydicom", "pynetdicom", "sqlite3", "sqlite_utils", "msgspec")


def gateway(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "gateway.cli.main", *arguments], capture_output=True, text=True)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from gateway.cli.main import main\n"
        "main(['--help'], standalone_mode=False)\n"
        f"print('LOADED', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("LOADED []\n")


def test_every_command_is_listed_with_its_help() -> None:
    shown = CliRunner().invoke(main, ["--help"])
    assert shown.exit_code == 0
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\w", shown.stdout, re.MULTILINE), name


def test_wrong_usage_ends_with_status_2() -> None:
    assert gateway("fly").returncode == 2
    assert gateway("status", "--fly").returncode == 2


def test_an_error_is_one_clear_line_on_stderr_and_status_1(tmp_path: Path) -> None:
    done = gateway("status", "--config", str(tmp_path / "none.toml"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"Error: {tmp_path / 'none.toml'}: cannot be read: No such file or directory\n"


def test_serve_refuses_a_wrong_configuration_before_anything_starts(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(f'[gateway]\nport = 70000\ndata_dir = "{tmp_path / "data"}"\n[intake]\nquiet = 1\n')
    done = gateway("serve", "--config", str(config))
    assert done.returncode == 1
    assert f"{config}: gateway.port: impossible value; found 70000" in done.stderr
    assert f"{config}: intake.quiet: unknown key" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("path", sorted(manual.pages()), ids=lambda path: path.name)
def test_the_manual_is_what_the_program_says(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == manual.pages()[path], "run: python -m gateway.cli.manual"


def test_every_command_and_option_says_what_it_is_for() -> None:
    for name, command in manual.commands(main):
        assert command.help, name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.name}"


def test_the_tests_run_by_the_readme_s_command() -> None:
    root = Path(__file__).parents[2]
    script = (root / ".ci/run").read_text()
    (extract,) = re.findall(r"^test_command=\$\((.*)\)$", script, re.MULTILINE)
    found = subprocess.run(["bash", "-c", extract], cwd=root, capture_output=True, text=True, check=True).stdout
    assert found.count("\n") == 1
    assert found.strip().endswith(".venv/bin/pytest")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (40, "40 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (273600, "3 d 4 h"),
    ],
)
def test_times_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_numbers_agree_with_their_nouns() -> None:
    assert [count(1, "image"), count(2, "image"), count(2, "series", "series")] == ["1 image", "2 images", "2 series"]


def test_events_go_to_stderr_as_text_and_to_the_journal_as_fields() -> None:
    import logging

    from gateway.cli.logs import JournalHandler

    sent: list[tuple[str, dict[str, object]]] = []
    handler = JournalHandler(lambda message, **fields: sent.append((message, fields)))
    record = logging.LogRecord("gateway", logging.WARNING, "", 0, "%s", ("x",), None)
    record.gateway_event = "intake.stored"
    record.gateway_fields = {"study": "1.2.3", "instances": 4, "reason": None}
    handler.emit(record)
    ((message, fields),) = sent
    assert message == "x"
    assert fields["PRIORITY"] == 4
    assert fields["GATEWAY_EVENT"] == "intake.stored"
    assert fields["GATEWAY_STUDY"] == "1.2.3"
    assert fields["GATEWAY_INSTANCES"] == "4"
    assert "GATEWAY_REASON" not in fields
    code = "from gateway.cli import logs; from gateway import observe; logs.set_up(); observe.event('a.b', study='1.2')"
    environment = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == ""
    assert done.stderr.endswith("a.b study=1.2\n")
