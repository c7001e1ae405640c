"""Running the playbooks on a box in QEMU, and making the releases that they bring."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from appliance.vm import HOST, Vm
from box import Pacs
from tools import need

ROOT = Path(__file__).parents[2]
ANSIBLE = ROOT / "ansible"


def release(folder: Path, version: str, tree: Path = ROOT) -> Path:
    """Make a release of a tree for the emulated machine."""
    command = [sys.executable, "-m", "image.release", "-o", str(folder), "--version", version, "--tree", str(tree)]
    subprocess.run([*command, "--target", "x86_64-3.13"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder / f"gateway-{version}.tar"


def copy_of_tree(folder: Path) -> Path:
    """Copy what a release is made of, to break it."""
    tree = folder / "broken"
    for name in ("gateway", "systemd"):
        shutil.copytree(ROOT / name, tree / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    return tree


class Controller:
    """Where the playbooks run.

    Parameters
    ----------
    vm : Vm
        The box.
    folder : Path
        For the inventory and what is fetched.
    bundle : Path
        The release that the box is to have.
    pacs : Pacs
        Its destination.

    Attributes
    ----------
    host : dict of str to Any
        Variables of the box.
    """

    def __init__(self, vm: Vm, folder: Path, bundle: Path, pacs: Pacs) -> None:
        self.vm, self.folder = vm, folder
        options = " ".join(option for option in vm.ssh_options() if option not in ("-i", str(vm.key)))
        self.host: dict[str, Any] = {
            "ansible_host": "127.0.0.1",
            "ansible_port": vm.ssh_port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(vm.key),
            "ansible_ssh_common_args": options,
            "gateway_bundle": str(bundle),
            "gateway_peers": [{"ae_title": "CT1"}],
            "gateway_destinations": [{"ae_title": "PACS", "host": HOST, "port": pacs.port}],
            "gateway_study_quiet_seconds": 2,
            "gateway_allowed_addresses": ["10.0.2.0/24"],
            "gateway_support_dir": str(folder / "support"),
            "gateway_decommission_dir": str(folder / "decommissioned"),
        }

    def play(self, playbook: str, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        """Run a playbook of ours on the box."""
        hosts = self.folder / "hosts.yml"
        hosts.write_text(json.dumps({"gateways": {"hosts": {"plain": self.host | variables}}}), encoding="utf-8")
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
        program = shutil.which("ansible-playbook", path=path) or need("ansible-playbook")
        # It uses the connection that is there; ten seconds for another are too few.
        self.vm.connect()
        surroundings = os.environ | {"PATH": path, "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_TIMEOUT": "60"}
        command = [program, "-i", str(hosts), playbook, *options]
        return subprocess.run(command, cwd=ANSIBLE, env=surroundings, capture_output=True, text=True, timeout=1800)

    def changed(self, playbook: str, *options: str, **variables: Any) -> int:
        """Run a playbook that has to succeed, and return how many tasks have changed something."""
        done = self.play(playbook, *options, **variables)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr
        return int(re.findall(r"changed=(\d+)", done.stdout)[-1])
