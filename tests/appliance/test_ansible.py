"""The role without a machine to run on: what lint says, what it refuses, what it writes, and what it says of a box.

The playbooks run against this machine in a folder of their own, with the gateway of this tree as the program. What
needs systemd is shown in `test_fleet.py`.
"""

from __future__ import annotations

import grp
import importlib.util
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from archive_tools import ct, derive, store
from certificates import Authority
from tools import need

from gateway.archive.index import Archive, Settlement
from gateway.archive.jobs import CONVERT, DELIVER
from gateway.archive.status import box_status
from gateway.archive.views import View
from gateway.service import config

# Most of them start ansible-playbook, which takes seconds each time.
pytestmark = pytest.mark.image

ROOT = Path(__file__).parents[2]
ANSIBLE = ROOT / "ansible"
STUDY = "1.2.3"


def imported(path: Path) -> ModuleType:
    """A module that belongs to no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(program: str, *arguments: object, folder: Path = ANSIBLE, **environment: str) -> Any:
    """Run one of Ansible's programs, which stand beside Python or on the path."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    command = [shutil.which(program, path=path) or need(program), *map(str, arguments)]
    surroundings = os.environ | {"PATH": path, "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"} | environment
    return subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True, timeout=600)


class Fleet:
    """Boxes that are folders on this machine."""

    def __init__(self, folder: Path, hosts: dict[str, dict[str, Any]]) -> None:
        self.folder = folder
        self.hosts = hosts
        program = folder / "gateway"
        program.write_text(
            f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -B -m gateway.cli.main "$@"\n', encoding="utf-8"
        )
        program.chmod(0o755)
        user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
        self.common = {
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_python_interpreter": sys.executable,
            "gateway_bundle": "gateway-0.tar",
            "gateway_support_dir": str(folder / "support"),
            "__gateway_live": False,
            "__gateway_program": str(program),
            "__gateway_owner": user,
            "__gateway_group": group,
            "__gateway_user": user,
            "__gateway_user_group": group,
            "__gateway_etc": f"{folder}/{{{{ inventory_hostname }}}}/etc",
            "__gateway_dropins": f"{folder}/{{{{ inventory_hostname }}}}/units",
        }

    def configure(self, *options: object) -> Any:
        """Run what the role does to configure, after it has looked at its variables."""
        tasks = [{"ansible.builtin.import_role": {"name": "gateway"}, "tags": ["role"]}]
        return self.playbook(tasks, "--tags", "configure", *options)

    def playbook(self, tasks: list[dict[str, Any]], *options: object) -> Any:
        """Run tasks on the boxes."""
        play = {"hosts": "all", "gather_subset": ["min"], "tasks": tasks}
        for name, content in (("play", [play]), ("hosts", {"all": {"hosts": self.hosts}}), ("given", self.common)):
            (self.folder / f"{name}.yml").write_text(json.dumps(content), encoding="utf-8")
        given = ("-i", self.folder / "hosts.yml", self.folder / "play.yml", "-e", f"@{self.folder / 'given.yml'}")
        return run("ansible-playbook", *given, *options, ANSIBLE_FORKS="4")

    def toml(self, host: str) -> config.Config:
        """The configuration that a box has got."""
        return config.load(self.folder / host / "etc" / "gateway.toml")

    def dropin(self, host: str) -> list[str]:
        """What differs from the unit."""
        return (self.folder / host / "units" / "50-fleet.conf").read_text(encoding="utf-8").splitlines()


def called(done: Any, handler: str) -> list[str]:
    """The hosts on which a handler was called; there is no systemd to do what it does."""
    found = re.search(rf"RUNNING HANDLER \[gateway : {handler}\] \**\n(.*?)\n\n", done.stdout, re.S)
    return sorted(re.findall(r"^skipping: \[([^]]+)\]", found[1], re.M)) if found else []


def refusals(done: Any) -> dict[str, str]:
    """What each host was refused with."""
    parts = re.split(r"^fatal: \[([^]]+)\]: FAILED! =>", done.stdout, flags=re.M)
    said = zip(parts[1::2], parts[2::2], strict=True)
    return {host: " ".join(re.split(r"\n\n|\n\[ERROR\]", text)[0].split()) for host, text in said}


def test_lint_finds_nothing_in_its_strictest_profile(tmp_path: Path) -> None:
    copy = shutil.copytree(ANSIBLE, tmp_path / "ansible")  # it leaves a cache behind
    done = run("ansible-lint", "--offline", "--nocolor", folder=copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Profile 'production' was required, and it passed" in done.stdout + done.stderr


def test_every_key_of_the_configuration_is_a_variable_with_its_type() -> None:
    for path, text in imported(ANSIBLE / "specs.py").pages():
        assert path.read_text(encoding="utf-8") == text, "run: python ansible/specs.py"


def test_the_defaults_of_the_role_are_those_of_the_gateway_and_its_unit() -> None:
    text = (ANSIBLE / "roles/gateway/defaults/main.yml").read_text(encoding="utf-8")
    own = config.Config().gateway
    assert f"gateway_port: {own.port}\n" in text
    assert f"gateway_data_dir: {own.data_dir}\n" in text


def test_the_doctor_has_the_checks_that_may_be_tolerated() -> None:
    from gateway.cli.doctor import CONFIGURATION
    from gateway.service.checks import CHECKS

    text = (ANSIBLE / "roles/gateway/meta/argument_specs.yml").read_text(encoding="utf-8")
    codes = ", ".join([CONFIGURATION, *(check.code for check in CHECKS)])
    assert text.count(f"choices: [{codes}]") == 2


# What the role writes: one run for all boxes, since starting Ansible is what takes time

EVERYTHING = {
    "gateway_ae_title": "GWX",
    "gateway_bind": "::",
    "gateway_port": "11113",  # an inventory in INI has only text
    "gateway_views": [{"ae_title": "GW ENH", "view": "enhanced"}],
    "gateway_unknown_peers": "accept",
    "gateway_study_quiet_seconds": "0.5",
    "gateway_query_wait_seconds": 604800,
    "gateway_max_associations": "5",
    "gateway_quota": "200GB",
    "gateway_keep_days": 30,
    "gateway_query_empty_matches": "yes",
    "gateway_conversion_four_d": "one",
    "gateway_commitment_means": "stored",
    "gateway_commitment_patience_hours": 1.5,
    "gateway_commitment_answer_days": 3,
    "gateway_tls_port": 12762,
    "gateway_tls_client_certificates": False,
    "gateway_tls_plain": "loopback",
    "gateway_peers": [
        {"ae_title": 'A"B', "host": "ct.example.org", "port": "104", "may": ["store"], "convert": "no"},
        {"ae_title": "MR 1"},
    ],
    "gateway_destinations": [
        {
            "ae_title": "PACS",
            "host": "2001:db8::20",
            "port": 104,
            "view": "classic",
            "when_refused": "hold",
            "suitability": "standard",
            "commitment": False,
        },
    ],
    "gateway_allowed_addresses": ["10.0.0.0/8"],
    "gateway_memory_max": "1G",
}

# Variables that are wrong, and what is said of them.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "misspelt": ({"gateway_prot": 104}, "unknown variables: gateway_prot. The role reads"),
    "type": ({"gateway_port": "dicom"}, "gateway_port"),
    "choice": ({"gateway_unknown_peers": "maybe"}, "value of gateway_unknown_peers must be one of: accept, reject"),
    "missing": ({"gateway_destinations": [{"ae_title": "PACS", "port": 104}]}, "missing required arguments: host"),
    "key": ({"gateway_peers": [{"ae_title": "CT1", "hots": "ct1"}]}, "gateway_peers.hots"),
    "range": ({"gateway_port": 70000}, "gateway.toml: gateway.port: impossible value; found 70000; expected a port"),
}


def example() -> dict[str, dict[str, Any]]:
    """The boxes of the example inventory with their variables."""
    listed = run("ansible-inventory", "-i", ANSIBLE / "inventory", "--list")
    assert listed.returncode == 0, listed.stderr
    hosts: dict[str, dict[str, Any]] = json.loads(listed.stdout)["_meta"]["hostvars"]
    return hosts


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fleet, Any]:
    folder = tmp_path_factory.mktemp("fleet")
    authority = Authority(folder / "authority")
    pair, other = authority.issue("gateway"), authority.issue("other")
    files = {
        "gateway_tls_certificate": str(pair.certificate),
        "gateway_tls_key": str(pair.key),
        "gateway_tls_authorities": str(authority.certificate),
    }
    everything = EVERYTHING | files | {"gateway_data_dir": str(folder / "archive")}
    wrong = {name: variables for name, (variables, _) in WRONG.items()}
    Archive(folder / "data").close()
    changing = {name: {"gateway_data_dir": str(folder / "data")} for name in ("new", "moved", "left")}
    unfit = files | {"gateway_tls_key": str(other.key)}
    hosts = {"everything": everything, "nothing": {}, "unfit": unfit, **changing, **wrong}
    fleet = Fleet(folder, {**example(), **hosts})
    return fleet, fleet.configure()


def test_the_inventory_of_the_example_becomes_configurations(written: tuple[Fleet, Any]) -> None:
    fleet, _ = written
    north = fleet.toml("north-ct1")
    assert (north.gateway.ae_title, north.gateway.port, north.gateway.bind) == ("GW_CT1", 104, "0.0.0.0")
    assert north.views == {"GATEWAY_ENH": "enhanced", "GATEWAY_CLS": "classic"}
    assert [(peer.ae_title, peer.host, peer.may) for peer in north.peer] == [
        ("CT1", "192.0.2.10", ("store", "commit")),
        ("WORKSTATION", "192.0.2.30", ("query", "retrieve")),
    ]
    assert [(to.ae_title, to.host, to.port, to.when_refused) for to in north.destination] == [
        ("PACS", "192.0.2.20", 104, "classic")
    ]
    assert fleet.toml("north-mr1").intake.study_quiet_seconds == 300
    assert fleet.toml("south-ct1").peer[0].convert is False


def test_a_port_and_addresses_of_its_own_stand_in_a_drop_in(written: tuple[Fleet, Any]) -> None:
    fleet, _ = written
    dropin = fleet.dropin("north-ct1")
    assert dropin[dropin.index("SocketBindAllow=") + 1] == "SocketBindAllow=tcp:104"
    assert {"AmbientCapabilities=CAP_NET_BIND_SERVICE", "PrivateUsers=no", "IPAddressDeny=any"} < set(dropin)
    assert [line for line in dropin if line.startswith("IPAddressAllow=")] == [
        f"IPAddressAllow={one}" for one in ("localhost", "192.0.2.0/24", "192.0.2.10", "192.0.2.20", "192.0.2.30")
    ]
    assert fleet.dropin("south-ct1")[1:] == ["[Service]"]


def test_every_key_can_be_set(written: tuple[Fleet, Any]) -> None:
    fleet, _ = written
    made, defaults = fleet.toml("everything"), config.Config()
    same = {
        f"{table}.{key}"
        for table in config.TABLES
        for key in getattr(made, table).__struct_fields__
        if getattr(getattr(made, table), key) == getattr(getattr(defaults, table), key)
    }
    assert not same
    assert made.views == {"GW ENH": "enhanced"}
    assert made.peer == (
        config.LISTS["peer"](ae_title='A"B', host="ct.example.org", port=104, may=("store",), convert=False),
        config.LISTS["peer"](ae_title="MR 1"),
    )
    assert [(to.view, to.when_refused, to.commitment) for to in made.destination] == [("classic", "hold", False)]
    archive = fleet.folder / "archive"
    assert archive.stat().st_mode & 0o777 == 0o700
    lines = set(fleet.dropin("everything"))
    assert {"MemoryMax=1G", f"ReadWritePaths={archive}", f"RequiresMountsFor={archive}"} < lines
    assert "IPAddressAllow=2001:db8::20" in lines
    assert "IPAddressAllow=ct.example.org" not in lines  # a name: systemd would not take it


def test_a_key_is_for_root_alone_and_comes_as_a_credential(written: tuple[Fleet, Any]) -> None:
    fleet, done = written
    folder = fleet.folder / "everything" / "etc" / "tls"
    assert sorted(path.name for path in folder.iterdir()) == ["gateway.crt", "gateway.key", "peers.crt"]
    assert (folder / "gateway.key").read_text() == (fleet.folder / "authority" / "gateway.key").read_text()
    assert [(folder / name).stat().st_mode & 0o777 for name in ("gateway.crt", "gateway.key")] == [0o644, 0o600]
    tls = fleet.toml("everything").tls
    assert (tls.certificate, tls.key, tls.authorities) == ("gateway.crt", "gateway.key", "peers.crt")
    lines = fleet.dropin("everything")
    assert f"LoadCredential=gateway.key:{folder}/gateway.key" in lines
    assert lines[lines.index("SocketBindAllow=") + 2] == "SocketBindAllow=tcp:12762"
    assert not [line for line in fleet.dropin("nothing") if "LoadCredential" in line]
    assert "PRIVATE KEY" not in done.stdout


def test_a_pair_that_does_not_fit_replaces_nothing(written: tuple[Fleet, Any]) -> None:
    fleet, done = written
    assert "certificate and key do not belong together" in refusals(done)["unfit"]
    assert list((fleet.folder / "unfit" / "etc").rglob("*")) == [fleet.folder / "unfit" / "etc" / "tls"]


def test_what_is_not_set_is_left_to_the_gateway(written: tuple[Fleet, Any]) -> None:
    fleet, _ = written
    assert fleet.toml("nothing") == config.Config()
    text = (fleet.folder / "nothing/etc/gateway.toml").read_text(encoding="utf-8")
    assert [line.partition(" =")[0] for line in text.splitlines() if "=" in line] == ["port", "data_dir"]


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variable_is_refused_by_name_and_nothing_is_written(written: tuple[Fleet, Any], name: str) -> None:
    fleet, done = written
    assert WRONG[name][1] in refusals(done).get(name, "nothing")
    assert not (fleet.folder / name / "etc").exists()


def test_another_run_changes_nothing_and_a_change_reloads_or_restarts(written: tuple[Fleet, Any]) -> None:
    fleet, _ = written
    changed = Fleet(fleet.folder, {name: dict(fleet.hosts[name]) for name in ("nothing", "new", "moved", "left")})
    changed.hosts["new"]["gateway_ae_title"] = "A2"
    changed.hosts["moved"]["gateway_bind"] = "127.0.0.1"
    del changed.hosts["left"]["gateway_data_dir"]
    seen = changed.configure("--check", "--diff")
    assert '+ae_title = "A2"' in seen.stdout
    assert fleet.toml("new").gateway.ae_title == "GATEWAY"
    done = changed.configure()
    for run_through in (seen, done):
        assert re.search(r"^nothing +: ok=\d+ +changed=0 ", run_through.stdout, re.M), run_through.stdout
        assert called(run_through, "Reload the gateway") == ["new"]
        assert called(run_through, "Restart the gateway") == ["moved"]
        left = f"the archive is in {fleet.folder / 'data'}: stop the gateway, move the archive"
        assert left in refusals(run_through)["left"]
    assert fleet.toml("new").gateway.ae_title == "A2"


def test_certificates_are_rotated_where_they_are_new_and_fit(written: tuple[Fleet, Any]) -> None:
    fleet, _ = written
    authority = fleet.folder / "authority"
    pairs = {"everything": ("gateway", "gateway"), "next": ("other", "other"), "wrong": ("gateway", "other")}
    hosts: dict[str, dict[str, Any]] = {}
    for host, (certificate, key) in pairs.items():
        if host != "everything":
            shutil.copytree(fleet.folder / "everything" / "etc", fleet.folder / host / "etc")
        names = {"certificate": authority / f"{certificate}.crt", "key": authority / f"{key}.key"}
        hosts[host] = {f"gateway_tls_{name}": str(path) for name, path in names.items()}
    roles = [{"import_role": {"name": "gateway", "tasks_from": part}} for part in ("found", "certificates")]
    done = Fleet(fleet.folder, hosts).playbook([*roles, {"meta": "flush_handlers"}])
    assert called(done, "Restart the gateway") == ["next"]
    assert re.search(r"^everything +: ok=\d+ +changed=0 ", done.stdout, re.M), done.stdout
    assert "certificate and key do not belong together" in refusals(done)["wrong"]
    for host, name in (("everything", "gateway"), ("next", "other"), ("wrong", "gateway")):
        folder = fleet.folder / host / "etc" / "tls"
        assert sorted(path.name for path in folder.iterdir()) == ["gateway.crt", "gateway.key", "peers.crt"]
        assert (folder / "gateway.key").read_text() == (authority / f"{name}.key").read_text()
        assert (folder / "gateway.crt").read_text() == (authority / f"{name}.crt").read_text()


# What is said of a box


# What names a patient, and may.
WORDS = {
    "PatientName": "Zeppelin^Ottokar",
    "PatientID": "QX77741",
    "AccessionNumber": "QX77742",
    "StudyDescription": "Knee of Zeppelin",
    "SeriesDescription": "axial Zeppelin",
}
PATIENT = re.compile("Zeppelin|Ottokar|QX7774")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Archive]:
    archive = Archive(tmp_path / "data")
    for number in (1, 2):
        store(archive, ct(f"1.2.3.4.{number}", number=number, **WORDS))
    yield archive
    archive.close()


def filters() -> ModuleType:
    return imported(ANSIBLE / "roles/gateway/filter_plugins/gateway.py")


def converted(archive: Archive) -> None:
    made = derive(archive, STUDY)
    sources = archive.study_sources(STUDY)
    archive.record_conversion(STUDY, [made], {row.name: Settlement(View.RECEIVED | View.CLASSIC) for row in sources})
    for job in archive.jobs.listing():
        if job.kind == CONVERT:
            archive.database.rows("DELETE FROM job WHERE id = ?", (job.id,))


def delivered(archive: Archive) -> None:
    archive.custody.decide(STUDY, "PACS", View.ENHANCED)
    for row in archive.study_instances(STUDY, View.ENHANCED):
        archive.custody.delivered(STUDY, "PACS", row)


def test_a_box_may_go_only_when_all_it_has_is_delivered(box: Archive) -> None:
    undelivered = filters().undelivered
    assert undelivered(box_status(box))[0].startswith("busy: ")
    converted(box)
    assert undelivered(box_status(box)) == [f"study {STUDY}: has been delivered nowhere"]
    box.jobs.schedule(DELIVER, STUDY, "PACS")
    assert undelivered(box_status(box))[0].startswith("busy: 0 running, 1 waiting")
    job = box.jobs.take(DELIVER, "PACS")
    assert job
    box.jobs.hold(job, "PACS refuses it")
    assert [line.partition(";")[0] for line in undelivered(box_status(box))] == [
        f"study {STUDY}: 1 not delivered to PACS (held)",
        "1 held",
    ]
    box.database.rows("DELETE FROM job")
    box.custody.decide(STUDY, "PACS", View.ENHANCED)
    assert undelivered(box_status(box)) == [f"study {STUDY}: 1 not delivered to PACS (incomplete)"]
    delivered(box)
    assert undelivered(box_status(box)) == []


def test_what_somebody_has_looked_after_may_stay_behind(box: Archive) -> None:
    undelivered = filters().undelivered
    converted(box)
    box.jobs.schedule(DELIVER, STUDY, "PACS")  # to a destination that is gone for ever
    assert undelivered(box_status(box), [STUDY]) == []
    assert undelivered(box_status(box), [STUDY, "1.9"]) == ["study 1.9: accepted as left behind, and not on this box"]
    job = box.jobs.take(DELIVER, "PACS")
    assert job
    box.jobs.hold(job, "PACS refuses it")
    assert undelivered(box_status(box), [STUDY]) == []
    assert undelivered(box_status(box))[-1].startswith("1 held")


def test_what_the_doctor_tolerates_is_named_by_code() -> None:
    checks = [
        {"code": "clock", "subject": "", "result": "warning", "reason": "late", "remedy": "set it"},
        {"code": "echo", "subject": "PACS", "result": "failed", "reason": "refused", "remedy": "check the port"},
    ]
    ailments = filters().ailments
    assert ailments({"checks": checks}) == ["echo PACS: refused -> check the port"]
    assert ailments({"checks": checks}, ["echo"]) == []


def test_a_support_bundle_names_nobody_unless_it_is_asked_to(tmp_path: Path, box: Archive) -> None:
    fleet = Fleet(tmp_path, {"a": {}})
    converted(box)
    box.jobs.schedule(DELIVER, STUDY, "PACS")
    job = box.jobs.take(DELIVER, "PACS")
    assert job
    box.jobs.retry(job, "Zeppelin^Ottokar is unknown here", 2e9)
    fleet.hosts["b"] = {"gateway_support_patients": True}
    for host in fleet.hosts:
        toml = tmp_path / host / "etc" / "gateway.toml"
        toml.parent.mkdir(parents=True)
        toml.write_text(f'[gateway]\ndata_dir = "{box.files.root}"\n')
    done = fleet.playbook([{"import_role": {"name": "gateway", "tasks_from": "support"}}], "-vvv")
    assert done.returncode == 0, done.stdout
    assert not PATIENT.search(done.stdout)
    kept = {path.name: path.read_text() for path in (tmp_path / "support/a").iterdir()}
    assert {"doctor.txt", "status.json", "config.toml", "journal.txt", "system.yml", "packages.txt"} < set(kept)
    assert not [name for name, text in kept.items() if PATIENT.search(text)]
    (study,) = json.loads(kept["status.json"])["studies"]
    assert (study["study"], study["destinations"][0]["attempts"]) == (STUDY, 1)
    assert PATIENT.search((tmp_path / "support/b/status.json").read_text())
