"""Using a box in QEMU from outside, as a scanner and a PACS do."""

from __future__ import annotations

import os
import time

from appliance.vm import HOST, Vm, put_on_card
from box import Pacs
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts
from pynetdicom.sop_class import Verification

CONFIG = """
[gateway]
ae_title = "GATEWAY"
bind = "0.0.0.0"
[views]
GATEWAY_ENH = "enhanced"
[intake]
study_quiet_seconds = 5
[[peer]]
ae_title = "CT1"
[[destination]]
ae_title = "PACS"
host = "{host}"
port = {port}
"""


def as_root(command: list[str]) -> list[str]:
    """An image belongs to root, whoever tests it."""
    return command if os.geteuid() == 0 else ["sudo", "-E", *command]


def answering_pacs() -> Pacs:
    """A PACS on the host that answers C-ECHO, too."""
    classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    return Pacs(classes=[*classes, Verification]).start()


def prepare_card(vm: Vm, pacs: Pacs) -> None:
    """Put configuration and key on the card, with the ends of lines of another system."""
    put_on_card(vm.disk, "gateway.toml", CONFIG.format(host=HOST, port=pacs.port).replace("\n", "\r\n"))
    put_on_card(vm.disk, "authorized_keys", vm.public_key)


def send(vm: Vm, instances: list[Dataset], until: int = 0) -> list[str]:
    """Send instances as a modality and return what was acknowledged; after `until` of them the power goes."""
    entity = AE("CT1")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 120
    for ds in instances[:1]:
        entity.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", vm.dicom_port, ae_title="GATEWAY")
    assert association.is_established
    acknowledged = []
    for ds in instances:
        answer = association.send_c_store(ds)
        if "Status" not in answer:
            break
        assert answer.Status == 0x0000, answer
        acknowledged.append(str(ds.SOPInstanceUID))
        if len(acknowledged) == until:
            vm.cut_power()
            break
    association.abort() if until else association.release()
    return acknowledged


def wait_arrived(pacs: Pacs, uids: list[str], seconds: float = 600) -> None:
    """Wait until every image is at the PACS, as a frame or as itself; it looks seldom: the box needs the processor."""
    deadline = time.monotonic() + seconds
    while missing := set(uids) - {uid for uid, _ in pacs.images()}:
        assert time.monotonic() < deadline, f"{len(missing)} of {len(uids)} images not at the PACS in {seconds:.0f} s"
        time.sleep(1)


def ready(vm: Vm) -> None:
    """Wait until the box takes studies."""
    vm.connect()
    vm.wait("systemctl is-active --quiet gateway")
