"""Who receives and who sends: the box, DCMTK, Orthanc."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.material import PROJECT
from tests.bench.programs import BenchError, Server, found, free_port, run

GATEWAY = (sys.executable, "-m", "gateway.cli.main")


def box(folder: Path, *, destination_port: int = 0, quiet: float = 3600, program: Sequence[str] = ()) -> Server:
    """Return ``gateway serve``.

    Parameters
    ----------
    folder : Path
        Gets configuration and data directory.
    destination_port : int
        Where a PACS listens; without one nothing is delivered.
    quiet : float
        Seconds after which a study is complete.
    program : sequence of str
        Run with the configuration as its argument in place of ``gateway serve``.
    """
    port = free_port()
    lines = ["[gateway]", 'bind = "127.0.0.1"', f"port = {port}", f'data_dir = "{folder / "data"}"']
    lines += ["[intake]", 'unknown_peers = "accept"', f"study_quiet_seconds = {quiet:g}"]
    if destination_port:
        lines += ["[[destination]]", 'ae_title = "PACS"', 'host = "127.0.0.1"', f"port = {destination_port}"]
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "gateway.toml"
    config.write_text("\n".join(lines) + "\n")
    return Server([*(program or (*GATEWAY, "serve", "--config")), str(config)], port, folder, " ready ")


def storescp(folder: Path, *options: str) -> Server:
    """Return DCMTK's storescp; what it receives goes into ``received``."""
    port = free_port()
    (folder / "received").mkdir(parents=True, exist_ok=True)
    return Server([_needed("storescp"), *options, "-od", str(folder / "received"), str(port)], port, folder)


def orthanc(folder: Path) -> Server:
    """Return Orthanc with storage and index of its own."""
    port = free_port()
    config = {
        "Name": "bench",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpServerEnabled": False,
        "RemoteAccessAllowed": False,
        "DicomServerEnabled": True,
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "Plugins": [],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(config))
    return Server([_needed("Orthanc"), str(folder / "orthanc.json")], port, folder)


def send_with_storescu(port: int, slices: Path) -> float:
    """Send a folder with DCMTK's storescu over one association; return the seconds the program took."""
    return run([_needed("storescu"), "-aec", "GATEWAY", "+sd", "127.0.0.1", str(port), str(slices)]).seconds


def send_with_gateway(port: int, slices: Path) -> float:
    """Send a folder with the gateway's own sender, which does not stall; return the seconds of the association."""
    return float(run([sys.executable, "-m", "tests.bench.send", str(port), str(slices)], cwd=PROJECT).said)


def versions() -> list[str]:
    """Return one line for each peer that is installed."""
    lines = []
    for program, option in (("storescu", "--version"), ("Orthanc", "--version")):
        if path := found(program):
            said = subprocess.run([path, option], capture_output=True, text=True, timeout=20).stdout
            lines.append(next(line for line in said.splitlines() if line.strip()).strip("$ "))
    return lines


def _needed(program: str) -> str:
    path = found(program)
    if path is None:
        raise BenchError(f"{program} is not installed")
    return path
