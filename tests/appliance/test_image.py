"""The appliance itself: an image is built, started, used from outside and configured; power is cut; it is upgraded.

One box lives through all of it, in the order of this file: a start costs a minute, making a box costs two.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from appliance.playing import ROOT, Controller, copy_of_tree, release
from appliance.using import answering_pacs, as_root, prepare_card, ready, send, wait_arrived
from appliance.vm import Vm, card_of, get_from_card, read_root
from box import Pacs, ct_study
from certificates import Authority
from tools import need

pytestmark = pytest.mark.image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("appliance")


@pytest.fixture(scope="module")
def image(folder: Path) -> Path:
    """An image of this tree, by the command in the manual; or the one that GATEWAY_TEST_IMAGE names."""
    if given := os.environ.get("GATEWAY_TEST_IMAGE"):
        return Path(given)
    for tool in ("mmdebstrap", "genimage"):
        need(tool)
    command = [sys.executable, "-m", "image.build", "--arch", "amd64", "--raw", "-o", str(folder / "image")]
    subprocess.run(as_root(command), cwd=ROOT, check=True)
    (made,) = (folder / "image").glob("*.img")
    return made


@pytest.fixture(scope="module")
def pacs() -> Iterator[Pacs]:
    """A PACS on the host."""
    made = answering_pacs()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def vm(image: Path, folder: Path, pacs: Pacs) -> Iterator[Vm]:
    """A box with the image on a card of 8 GB, prepared as the manual says."""
    made = Vm(card_of(image, folder), folder)
    prepare_card(made, pacs)
    yield made.start()
    made.close()


def settings(vm: Vm, *names: str) -> list[str]:
    options = " ".join(f"-p {name}" for name in names)
    lines = vm.say(f"systemctl show gateway {options}").splitlines()
    return [dict(line.split("=", 1) for line in lines)[name] for name in names]


def test_the_image_has_no_identity_and_no_secret(image: Path) -> None:
    assert read_root(image, "/etc/machine-id") == "uninitialized\n"
    assert read_root(image, "/etc/ssh/ssh_host_ed25519_key") == ""
    assert read_root(image, "/root/.ssh/authorized_keys") == ""
    fields = [line.split(":") for line in read_root(image, "/etc/shadow").splitlines()]
    assert [line[0] for line in fields if line[1] not in ("*", "!", "!*")] == []


def test_the_bill_of_materials_names_what_is_in_the_image(image: Path) -> None:
    bill = json.loads(next(image.parent.glob("*.cdx.json")).read_text())
    names = {one["name"] for one in bill["components"]}
    assert {"systemd", "linux-image-amd64", "openssh-server", "pynetdicom", "numpy", "gateway"} <= names


def test_the_first_start_shows_where_it_is_and_makes_it_a_box_of_its_own(vm: Vm) -> None:
    vm.wait_console(r"addresses +10\.0\.2\.15(.|\n)*AE title +GATEWAY(.|\n)*port +11112")
    ready(vm)
    assert vm.say("cat /etc/machine-id") != "uninitialized"
    assert "ED25519" in vm.say("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
    assert int(vm.say("findmnt -bno SIZE /var/lib/gateway")) > 3 << 30
    assert vm.say("systemctl list-units --failed --plain --no-legend") == ""
    assert vm.say("ls /boot/efi/*.taken") == "/boot/efi/authorized_keys.taken\n/boot/efi/gateway.toml.taken"


def test_a_study_goes_through_the_box(vm: Vm, pacs: Pacs, folder: Path) -> None:
    study = ct_study(count=6, size=64)
    files = folder / "study"
    files.mkdir()
    for number, ds in enumerate(study):
        ds.save_as(files / f"{number}.dcm", enforce_file_format=True)
    command = [need("storescu"), "-aet", "CT1", "-aec", "GATEWAY", "+sd", "127.0.0.1", str(vm.dicom_port), str(files)]
    subprocess.run(command, check=True, timeout=300)
    wait_arrived(pacs, [str(ds.SOPInstanceUID) for ds in study])
    assert list(pacs.classes_of.values()) == ["1.2.840.10008.5.1.4.1.1.2.2"]
    report = json.loads(vm.ssh("gateway doctor --json", check=False).stdout)
    failed = [one for one in report["checks"] if one["result"] == "failed"]
    assert [one["code"] for one in failed] in ([], ["clock"])  # an emulated machine may have no time server


def test_it_did_so_under_its_hardening(vm: Vm) -> None:
    assert settings(vm, "ProtectSystem", "NoNewPrivileges", "User") == ["strict", "yes", "gateway"]
    score = vm.say("systemd-analyze security --no-pager gateway | grep 'Overall exposure'")
    assert float(score.split(":")[1].split()[0]) <= 1.5


OVER_TLS = """
[tls]
certificate = "gateway.crt"
key = "gateway.key"
authorities = "authority.crt"
"""
CREDENTIAL = "[Service]\nLoadCredential=gateway.key:/etc/gateway/tls/gateway.key\n"


def test_it_serves_over_TLS_with_a_key_that_root_alone_can_read(vm: Vm, folder: Path) -> None:
    authority = Authority(folder / "tls")
    certificate, key = authority.issue("gateway")
    (folder / "tls.toml").write_text(vm.say("cat /etc/gateway/gateway.toml") + OVER_TLS)
    (folder / "tls.conf").write_text(CREDENTIAL)
    drop_in = "/etc/systemd/system/gateway.service.d/tls.conf"
    vm.say("mkdir -p /etc/gateway/tls /etc/systemd/system/gateway.service.d")
    vm.say("cp -a /etc/gateway/gateway.toml /etc/gateway/plain.toml")
    vm.put([certificate, key, authority.certificate], "/etc/gateway/tls")
    vm.put([folder / "tls.toml"], "/etc/gateway/gateway.toml")
    vm.put([folder / "tls.conf"], drop_in)
    vm.say("chown root: /etc/gateway/tls/* && chmod 600 /etc/gateway/tls/gateway.key")
    assert vm.ssh("runuser -u gateway -- cat /etc/gateway/tls/gateway.key", check=False).returncode == 1
    vm.say("systemctl daemon-reload && systemctl restart gateway")
    report = json.loads(vm.ssh("gateway doctor --json", check=False).stdout)
    found = [one for one in report["checks"] if one["code"] == "tls"]
    assert [one["result"] for one in found] == ["ok", "ok"], found
    assert "served" in found[1]["reason"]
    vm.say(f"mv /etc/gateway/plain.toml /etc/gateway/gateway.toml && rm {drop_in}")
    vm.say("systemctl daemon-reload && systemctl restart gateway")


def test_a_power_cut_while_it_receives_loses_nothing_that_was_acknowledged(vm: Vm, pacs: Pacs) -> None:
    study = ct_study(count=60, size=128)
    acknowledged = send(vm, study, until=25)
    vm.start()
    ready(vm)
    wait_arrived(pacs, acknowledged)
    # What was not acknowledged is sent again, as a modality does.
    assert len(send(vm, study)) == 60
    wait_arrived(pacs, [str(ds.SOPInstanceUID) for ds in study])
    assert pacs.twice() == []


def in_use(vm: Vm) -> str:
    return vm.say("gateway --version").split()[-1]


def studies(vm: Vm) -> dict[str, int]:
    """How many instances of each study the box says it has."""
    status = json.loads(vm.say("gateway status --json --limit 100"))
    return {one["study"]: one["received"]["instances"] for one in status["studies"]}


def works(vm: Vm, pacs: Pacs) -> None:
    """A study goes through, and nothing is waiting."""
    study = ct_study(count=3)
    uids = send(vm, study)
    wait_arrived(pacs, uids)


def test_a_playbook_configures_it_and_finds_nothing_to_do_the_next_time(vm: Vm, pacs: Pacs, folder: Path) -> None:
    # The release is the one in the image; an emulated machine may have no time server.
    controller = Controller(vm, folder, folder / f"gateway-{in_use(vm)}.tar", pacs)
    controller.host |= {"gateway_keep_days": 45, "gateway_tolerate": ["clock"]}
    assert controller.changed("site.yml") > 0
    assert "keep_days = 45" in vm.say("gateway config show")
    assert "10.0.2.0/24" in vm.say("systemctl show -p IPAddressAllow gateway")
    assert controller.changed("site.yml") == 0
    assert controller.changed("site.yml", "--check", "--diff") == 0
    works(vm, pacs)


def unpack(vm: Vm, bundle: Path) -> str:
    vm.put([bundle], "/root/")
    vm.ssh(f"cd /root && tar xf {bundle.name} && rm {bundle.name}")
    return f"python3 /root/{bundle.stem}/install.py --patience 300"


def test_an_upgrade_keeps_everything(vm: Vm, pacs: Pacs, folder: Path) -> None:
    before = studies(vm)
    assert len(before) >= 2
    done = vm.ssh(unpack(vm, release(folder, "0.1.1")))
    assert "upgraded from 0.1.0 to 0.1.1" in done.stdout
    assert in_use(vm) == "0.1.1"
    assert studies(vm) == before
    assert "is in use" in vm.say("python3 /root/gateway-0.1.1/install.py")
    works(vm, pacs)


def test_a_broken_release_is_put_back_and_what_it_has_received_is_not_lost(vm: Vm, pacs: Pacs, folder: Path) -> None:
    tree = copy_of_tree(folder)
    # It does everything but say that it is ready.
    module = tree / "gateway/service/sd.py"
    text = module.read_text().replace("        daemon.notify(state)", '        daemon.notify("STATUS=nearly")')
    module.write_text(text)
    command = unpack(vm, release(folder, "0.1.2", tree)).replace("300", "90")
    line = vm.ssh_line(command)
    upgrade = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    vm.wait(
        "test -e /opt/gateway/switch.json && ss -ltn | grep -q :11112 && readlink /opt/gateway/current | grep 0.1.2"
    )
    study = ct_study(count=4)
    uids = send(vm, study)
    said, _ = upgrade.communicate(timeout=900)
    assert upgrade.returncode == 1, said
    assert "0.1.1 is in use again; 0.1.2 was not taken" in said
    assert in_use(vm) == "0.1.1"
    wait_arrived(pacs, uids)
    assert studies(vm)[str(study[0].StudyInstanceUID)] == len(study)
    works(vm, pacs)


def test_a_power_cut_while_it_is_upgraded_leaves_a_working_box(vm: Vm, pacs: Pacs, folder: Path) -> None:
    before = in_use(vm)
    command = unpack(vm, release(folder, "0.1.3"))
    vm.ssh(f"systemd-run --unit=upgrade {command}")
    # Then the installer stands still: how long it takes until the host cuts the power does not matter.
    halfway = "test -e /opt/gateway/switch.json && readlink /opt/gateway/current | grep 0.1.3"
    vm.wait(f"{halfway} && sleep 1 && systemctl kill --signal=STOP upgrade && {halfway}")
    vm.cut_power()
    vm.start()
    ready(vm)
    assert in_use(vm) == before
    assert vm.ssh("test -e /opt/gateway/switch.json", check=False).returncode == 1
    works(vm, pacs)
    # And then it can be upgraded.
    assert f"upgraded from {before} to 0.1.3" in vm.say(command)
    works(vm, pacs)


@pytest.mark.long
def test_a_worker_that_is_stuck_makes_the_watchdog_start_the_gateway_again(vm: Vm, pacs: Pacs) -> None:
    # A fault point in a drop-in: the thread of the deliveries sleeps before it decides anything.
    drop_in = "[Service]\\nEnvironment=GATEWAY_FAULTS=deliver.before_decision=sleep:100000\\nWatchdogSec=20\\n"
    vm.ssh(
        f"mkdir -p /run/systemd/system/gateway.service.d; printf '{drop_in}' "
        "> /run/systemd/system/gateway.service.d/stuck.conf; systemctl daemon-reload; systemctl restart gateway"
    )
    study = ct_study(count=3)
    uids = send(vm, study)
    vm.wait("journalctl -u gateway -b --no-pager | grep -q worker.stuck", 900)
    vm.ssh("rm /run/systemd/system/gateway.service.d/stuck.conf; systemctl daemon-reload")
    vm.wait("journalctl -u gateway -b --no-pager | grep -qi watchdog.timeout", 300)
    vm.wait("systemctl is-active --quiet gateway", 300)
    assert int(settings(vm, "NRestarts")[0]) >= 1
    wait_arrived(pacs, uids)


def test_what_is_wrong_with_a_configuration_is_said_on_the_card(vm: Vm) -> None:
    vm.ssh(
        "printf '[gateway]\\nport = 99999\\n' > /boot/efi/gateway.toml; sync; systemctl restart gateway-card || true"
    )
    vm.power_off()
    why = get_from_card(vm.disk, "gateway.toml.why.txt").decode()
    assert "gateway.toml: gateway.port: impossible value; found 99999" in why
