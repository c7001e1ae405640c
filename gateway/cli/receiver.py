"""The PACS of the demonstration: stock pynetdicom, so that what the box sends is judged by something the box is not.

``python -m gateway.cli.receiver DIR`` prints its port and stores what it is sent in ``DIR/<called AE title>``, with one
line of JSON for each C-STORE in ``DIR/<called AE title>.jsonl``. It ends when its standard input does.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

VERIFICATION = "1.2.840.10008.1.1"
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700


class Shelf:
    """Stores what arrives, in order of arrival.

    Parameters
    ----------
    folder : Path
        Where; each called AE title gets a folder in it.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.lock = threading.Lock()
        self.count = 0
        self.began: dict[Any, float] = {}

    def begin(self, event: Any) -> None:
        """Note when an association was accepted."""
        self.began[event.assoc] = time.time()

    def store(self, event: Any) -> int:
        """Store one instance; the handler of C-STORE requests."""
        called = event.assoc.requestor.primitive.called_ae_title.strip()
        with self.lock:
            self.count += 1
            path = self.root / called / f"{self.count:06d}.dcm"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            data = event.encoded_dataset()
            path.write_bytes(data)
        except OSError:
            return OUT_OF_RESOURCES
        entry = {
            "file": str(path.relative_to(self.root)),
            "sop_class": event.request.AffectedSOPClassUID,
            "sop_instance": event.request.AffectedSOPInstanceUID,
            "transfer_syntax": event.context.transfer_syntax,
            "bytes": len(data),
            "association": self.began[event.assoc],
            "answered": time.time(),
        }
        with self.lock, (self.root / f"{called}.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
        return SUCCESS


def serve(folder: Path) -> None:
    """Listen on a free loopback port until standard input ends."""
    from pynetdicom import AE, _config, evt

    # Every SOP class, private ones too, in whatever transfer syntax is proposed.
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    entity = AE(ae_title="PACS")
    entity.maximum_pdu_size = 1 << 18
    entity.require_called_aet = False
    entity.add_supported_context(VERIFICATION)
    shelf = Shelf(folder)
    handlers: Any = [(evt.EVT_ACCEPTED, shelf.begin), (evt.EVT_C_STORE, shelf.store)]
    server: Any = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    print(server.socket.getsockname()[1], flush=True)
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
