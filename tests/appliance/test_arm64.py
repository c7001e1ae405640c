"""The image for a Raspberry Pi: its system starts on an emulated board of another make, and a study goes through.

What the firmware of a Raspberry Pi does before that needs one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from appliance.using import answering_pacs, as_root, prepare_card, ready, send, wait_arrived
from appliance.vm import Vm, card_of, files_on_card, kernel_of
from box import ct_study
from tools import need

pytestmark = [pytest.mark.image, pytest.mark.long]

ROOT = Path(__file__).parents[2]
APPEND = "root=LABEL=gw-root rw console=ttyAMA0 panic=10 audit=0"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of this tree; or the one that GATEWAY_TEST_IMAGE_ARM64 names."""
    if given := os.environ.get("GATEWAY_TEST_IMAGE_ARM64"):
        return Path(given)
    need("mmdebstrap")
    folder = tmp_path_factory.mktemp("arm64")
    command = [sys.executable, "-m", "image.build", "--arch", "arm64", "--raw", "-o", str(folder)]
    subprocess.run(as_root(command), cwd=ROOT, check=True)
    (made,) = folder.glob("*.img")
    return made


def test_the_firmware_of_the_board_finds_what_it_starts(image: Path) -> None:
    names = files_on_card(image)
    assert {"config.txt", "cmdline.txt", "start4.elf", "bcm2711-rpi-4-b.dtb"} <= set(names)
    assert [name for name in names if name.startswith("vmlinuz-")]
    assert [name for name in names if name.startswith("initrd.img-")]


def test_its_system_starts_and_a_study_goes_through(image: Path, tmp_path: Path) -> None:
    card = card_of(image, tmp_path)
    names = files_on_card(card)
    kernel, initrd = (next(name for name in names if name.startswith(kind)) for kind in ("vmlinuz-", "initrd.img-"))
    paths = kernel_of(card, tmp_path, (kernel, initrd))
    vm = Vm(card, tmp_path, arch="arm64", kernel=paths[0], initrd=paths[1], append=APPEND)
    pacs = answering_pacs()
    prepare_card(vm, pacs)
    try:
        vm.start().wait_console(r"addresses +10\.0\.2\.15(.|\n)*AE title +GATEWAY", 1200)
        ready(vm)
        assert vm.say("uname -m") == "aarch64"
        uids = send(vm, ct_study(count=4, size=64))
        wait_arrived(pacs, uids)
    finally:
        vm.close()
        pacs.stop()
