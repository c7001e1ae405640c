"""The playbooks on a machine with nothing but Debian 13: to delivering in one run, through upgrades, to the end.

One box lives through all of it, in the order of this file. Emulated, on two busy cores: a run of `site.yml` takes two
to five minutes, all of it half an hour, which is why it is the long form of what `test_image.py` shows of a playbook.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from appliance.playing import Controller, copy_of_tree, release
from appliance.using import wait_arrived
from appliance.vm import Vm
from box import Pacs, ct_study
from pynetdicom import AE
from pynetdicom.sop_class import Verification
from tools import need

pytestmark = [pytest.mark.image, pytest.mark.long]

MIRROR = "deb http://deb.debian.org/debian trixie main"
# What a freshly installed Debian server has; the role brings everything else.
PACKAGES = "systemd-sysv,dbus,udev,kmod,linux-image-amd64,initramfs-tools,openssh-server,iproute2,python3,python3-apt"
PREPARE = """
set -eu
root=$1
install -D -m 600 {key} "$root/root/.ssh/authorized_keys"
printf '[Match]\\nName=en* eth*\\n[Network]\\nDHCP=yes\\n' > "$root/etc/systemd/network/10-dhcp.network"
chroot "$root" systemctl enable systemd-networkd
echo nameserver 10.0.2.3 > "$root/etc/resolv.conf"
echo plain > "$root/etc/hostname"
echo '127.0.0.1 localhost plain' > "$root/etc/hosts"
echo 'LABEL=root / ext4 noatime 0 1' > "$root/etc/fstab"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fleet")


def plain(folder: Path) -> Vm:
    """A machine with Debian 13, to be reached over SSH."""
    kernel, initrd, disk, root = (folder / name for name in ("kernel", "initrd", "disk.img", "root"))
    vm = Vm(disk, folder, kernel=kernel, initrd=initrd, append="root=LABEL=root rw console=ttyS0,115200 panic=5")
    prepare = folder / "prepare.sh"
    prepare.write_text(PREPARE.format(key=vm.key.with_suffix(".pub")), encoding="utf-8")
    hook = f'--customize-hook=sh {prepare} "$1"'
    command = [
        need("mmdebstrap"),
        "--quiet",
        "--variant=minbase",
        f"--include={PACKAGES}",
        hook,
        "trixie",
        root,
        MIRROR,
    ]
    if os.geteuid() != 0:
        pytest.skip("a root file system with the right owners is made as root")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for path, name in ((kernel, "vmlinuz-*"), (initrd, "initrd.img-*")):
        shutil.copy(next((root / "boot").glob(name)), path)
    with open(disk, "wb") as file:
        file.truncate(4 << 30)
    subprocess.run([need("mke2fs"), "-q", "-t", "ext4", "-L", "root", "-d", root, disk], check=True)
    shutil.rmtree(root)
    return vm


def echo(entity: AE) -> list[Any]:
    """The doctor asks for it."""
    entity.add_supported_context(Verification)
    return []


@pytest.fixture(scope="module")
def pacs() -> Iterator[Pacs]:
    made = Pacs("PACS", None, 0, echo).start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def vm(folder: Path, pacs: Pacs) -> Iterator[Vm]:
    made = plain(folder)
    yield made.start().connect()
    made.close()


@pytest.fixture(scope="module")
def controller(vm: Vm, folder: Path, pacs: Pacs) -> Controller:
    return Controller(vm, folder, release(folder, "1.0"), pacs)


def send(vm: Vm, folder: Path) -> tuple[str, list[str]]:
    """Send a study as a scanner does, and return its UID and those of its images."""
    study = ct_study(count=4, size=64)
    files = folder / str(study[0].StudyInstanceUID)
    files.mkdir()
    for number, ds in enumerate(study):
        ds.save_as(files / f"{number}.dcm", enforce_file_format=True)
    command = [need("storescu"), "-aet", "CT1", "-aec", "GATEWAY", "+sd", "127.0.0.1", str(vm.dicom_port), str(files)]
    subprocess.run(command, check=True, timeout=600)
    return files.name, [str(ds.SOPInstanceUID) for ds in study]


def delivers(vm: Vm, pacs: Pacs, folder: Path) -> None:
    """A study goes through the box."""
    _, uids = send(vm, folder)
    wait_arrived(pacs, uids)
    assert set(pacs.classes_of.values()) == {"1.2.840.10008.5.1.4.1.1.2.2"}


def in_use(vm: Vm) -> str:
    return vm.say("gateway --version").split()[-1]


def test_check_mode_tells_what_would_be_done_to_a_machine_without_a_gateway(vm: Vm, controller: Controller) -> None:
    done = controller.play("site.yml", "--check", "--diff")
    assert done.returncode == 0, done.stdout
    assert "from nothing to 1.0" in done.stdout
    assert 'ae_title = "PACS"' in done.stdout
    assert vm.say("ls -d /opt/gateway /etc/gateway /var/cache/gateway-release 2>/dev/null | wc -l") == "0"


def test_one_run_leads_from_nothing_to_delivering(vm: Vm, controller: Controller, pacs: Pacs, folder: Path) -> None:
    assert controller.changed("site.yml") > 0
    assert in_use(vm) == "1.0"
    assert vm.say("systemctl is-enabled gateway; systemctl is-active gateway") == "enabled\nactive"
    assert "10.0.2.0/24" in vm.say("systemctl show -p IPAddressAllow gateway")
    delivers(vm, pacs, folder)


def test_another_run_changes_nothing(controller: Controller) -> None:
    assert controller.changed("site.yml") == 0
    assert controller.changed("site.yml", "--check", "--diff") == 0


def test_a_wrong_variable_is_refused_before_anything_is_done(controller: Controller) -> None:
    done = controller.play("site.yml", gateway_unknown_peers="maybe")
    assert done.returncode != 0
    assert "value of gateway_unknown_peers must be one of: accept, reject, got: maybe" in done.stdout


def test_a_changed_configuration_is_reloaded(vm: Vm, controller: Controller, pacs: Pacs, folder: Path) -> None:
    before = vm.say("systemctl show -p MainPID gateway")
    controller.host["gateway_views"] = [{"ae_title": "GATEWAY_ENH", "view": "enhanced"}]
    assert controller.changed("site.yml", "--tags", "configure") == 2  # the file, and the reload
    assert vm.say("systemctl show -p MainPID gateway") == before
    assert "reloading" in vm.say("journalctl -u gateway --no-pager")
    delivers(vm, pacs, folder)


def test_an_upgrade_goes_through(vm: Vm, controller: Controller, pacs: Pacs, folder: Path) -> None:
    controller.host["gateway_bundle"] = str(release(folder, "1.1"))
    assert controller.changed("upgrade.yml") == 2  # brought and installed
    assert in_use(vm) == "1.1"
    delivers(vm, pacs, folder)


def test_a_broken_release_ends_the_roll_out_and_the_former_one_is_in_use(
    vm: Vm, controller: Controller, pacs: Pacs, folder: Path
) -> None:
    tree = copy_of_tree(folder)
    (tree / "gateway/cli/serve.py").write_text('raise RuntimeError("broken")\n', encoding="utf-8")
    done = controller.play("upgrade.yml", gateway_bundle=str(release(folder, "1.2", tree)), gateway_patience=120)
    assert done.returncode != 0
    assert "1.1 is in use again; 1.2 was not taken" in " ".join(done.stdout.split())
    assert in_use(vm) == "1.1"
    assert vm.say("ls /var/cache/gateway-release 2>/dev/null | wc -l") == "0"
    delivers(vm, pacs, folder)


def test_a_support_bundle_says_how_it_is_and_names_nobody(controller: Controller, folder: Path) -> None:
    assert controller.play("support.yml").returncode == 0
    kept = {path.name: path.read_text() for path in (folder / "support" / "plain").iterdir()}
    assert "echo PACS" in kept["doctor.txt"]
    assert "1.1" in kept["version.txt"]
    assert "50-fleet.conf" in kept["unit.txt"]
    assert "GATEWAY_STUDY" in kept["journal.txt"]
    assert "Started gateway.service" in kept["manager.txt"]
    (name, *_) = ct_study(count=1)[0].PatientName.components
    assert [file for file, text in kept.items() if name in text] == []


def test_a_box_is_not_put_out_of_service_while_something_is_undelivered(
    vm: Vm, controller: Controller, pacs: Pacs, folder: Path
) -> None:
    pacs.stop()
    study, uids = send(vm, folder)
    vm.wait(f"gateway status {study} | grep -q 'not delivered'")
    done = controller.play("decommission.yml", "--limit", "plain")
    assert done.returncode != 0
    assert f"study {study}: " in done.stdout
    assert vm.say("systemctl is-active gateway") == "active"
    assert not (folder / "decommissioned").exists()
    pacs.start()
    vm.ssh("gateway queue retry")
    wait_arrived(pacs, uids)


def test_then_it_is_with_the_proof_and_nothing_is_left(vm: Vm, controller: Controller, folder: Path) -> None:
    vm.wait("gateway status | grep -q '^idle'")
    assert controller.play("decommission.yml").returncode != 0  # without the name of a box
    options = ("--limit", "plain")
    assert controller.changed("decommission.yml", *options, "--check", gateway_decommission_wipe=True) > 0
    assert vm.say("systemctl is-active gateway") == "active"
    assert controller.changed("decommission.yml", *options, gateway_decommission_wipe=True) > 0
    proof = json.loads((folder / "decommissioned" / "plain.json").read_text())
    assert proof["idle"] is True
    assert len(proof["studies"]) == 5
    left = "ls -A /var/lib/gateway; ls -d /opt/gateway /etc/gateway /etc/systemd/system/gateway* 2>/dev/null || true"
    assert vm.say(left) == ""
    assert controller.changed("decommission.yml", *options, gateway_decommission_wipe=True) == 0
