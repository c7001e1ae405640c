"""C-MOVE requests reach their service, and the association stays what it was (PS3.4 C.4.2)."""

from __future__ import annotations

import subprocess
from pathlib import Path

from intake import running, sample
from scripted_caller import CT, Caller
from tools import need

from gateway.retrieval.engine import Destination

HEADER, BYTES = sample()


def test_DCMTK_movescu_has_a_study_sent_to_another_gateway(tmp_path: Path) -> None:
    movescu = need("movescu")
    with running(tmp_path / "there") as there:
        to = {"THERE": Destination("GATEWAY", "127.0.0.1", there.port, "CT1")}
        with running(tmp_path / "here", destinations=to) as here:
            there.server.settings = here.server.settings.__class__("GATEWAY", unknown_peers="accept")
            with Caller(here.port) as caller:
                caller.associate()
                assert caller.store(BYTES, CT, HEADER.sop_instance)["status"] == 0
                caller.release()
            keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={HEADER.study}")
            call = ("-S", "-aet", "CT1", "-aec", "GATEWAY", "-aem", "THERE", *keys, "127.0.0.1", str(here.port))
            done = subprocess.run([movescu, *call], capture_output=True, text=True, timeout=60)
            assert (done.returncode, done.stderr) == (0, "")
        assert there.stored_bytes() == BYTES
