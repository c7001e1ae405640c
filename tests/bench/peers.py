"""Who receives and who sends: the box, DCMTK, Orthanc."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.material import PROJECT
from tests.bench.programs import BenchError, Server, found, run
from tests.loopback import free_port, listening

PYTHON = (sys.executable, "-m")
GATEWAY = (*PYTHON, "gateway.cli.main")

# The application entity of the box that possesses the enhanced view.
ENHANCED = "GATEWAY_ENH"


def box(
    folder: Path,
    *,
    destination_port: int = 0,
    view: str = "enhanced",
    deflate: bool = False,
    quiet: float = 3600,
    movers: Mapping[str, int] | None = None,
    program: Sequence[str] = (),
) -> Server:
    """Return ``gateway serve``.

    Parameters
    ----------
    folder : Path
        Gets configuration and data directory.
    destination_port : int
        Where a PACS listens; without one nothing is delivered.
    view : str
        The view that it gets.
    deflate : bool
        Whether it is offered that deflated.
    quiet : float
        Seconds after which a study is complete.
    movers : mapping
        Ports of peers that C-MOVE may send to, by AE title; there is a further application entity GATEWAY_ENH then.
    program : sequence of str
        Run with the configuration as its argument in place of ``gateway serve``.
    """
    port = free_port()
    lines = ["[gateway]", 'bind = "127.0.0.1"', f"port = {port}", f'data_dir = "{folder / "data"}"']
    lines += ["[intake]", 'unknown_peers = "accept"', f"study_quiet_seconds = {quiet:g}"]
    if destination_port:
        lines += ["[[destination]]", 'ae_title = "PACS"', 'host = "127.0.0.1"', f"port = {destination_port}"]
        lines += [f'view = "{view}"', f"deflate = {str(deflate).lower()}"]
    if movers:
        lines += ["[views]", f'{ENHANCED} = "enhanced"']
    for title, mover in (movers or {}).items():
        lines += ["[[peer]]", f'ae_title = "{title}"', 'host = "127.0.0.1"', f"port = {mover}"]
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "gateway.toml"
    config.write_text("\n".join(lines) + "\n")
    return Server([*(program or (*GATEWAY, "serve", "--config")), str(config)], port, folder, " ready ")


def storescp(folder: Path, *options: str, port: int = 0) -> Server:
    """Return DCMTK's storescp; what it receives goes into ``received``."""
    port = port or free_port()
    (folder / "received").mkdir(parents=True, exist_ok=True)
    return Server([needed("storescp"), *options, "-od", str(folder / "received"), str(port)], port, folder)


class Orthanc(Server):
    """Orthanc, which is asked over HTTP what it holds and told what to send."""

    def __init__(self, command: Sequence[str], port: int, folder: Path, http: int) -> None:
        super().__init__(command, port, folder)
        self.http = http

    def rest(self, path: str, body: Any = None) -> Any:
        """Return the answer to a GET, or to a POST of `body`."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", data, timeout=600) as answer:
            return json.loads(answer.read())

    def instances(self) -> int:
        """Return how many instances it holds."""
        return int(self.rest("/statistics")["CountInstances"])

    def _serves(self) -> bool:
        return super()._serves() and listening(self.http)


def orthanc(
    folder: Path,
    *,
    port: int = 0,
    modalities: Mapping[str, int] | None = None,
    script: str = "",
    stable_seconds: int = 60,
) -> Orthanc:
    """Return Orthanc with storage and index of its own.

    Parameters
    ----------
    folder : Path
        Gets everything.
    port : int
        Where it listens for associations.
    modalities : mapping
        Ports of those it can send to, by AE title.
    script : str
        In Lua; what it does when something has come.
    stable_seconds : int
        Seconds after which a series is complete.
    """
    port, http = port or free_port(), free_port()
    config = {
        "Name": "bench",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpServerEnabled": True,
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": True,
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomModalities": {title: [title, "127.0.0.1", other] for title, other in (modalities or {}).items()},
        "StableAge": stable_seconds,
        "Plugins": [],
    }
    folder.mkdir(parents=True, exist_ok=True)
    if script:
        (folder / "script.lua").write_text(script)
        config["LuaScripts"] = [str(folder / "script.lua")]
    (folder / "orthanc.json").write_text(json.dumps(config))
    return Orthanc([needed("Orthanc"), str(folder / "orthanc.json")], port, folder, http)


def dcmqrscp(folder: Path, movers: Mapping[str, int] | None = None) -> Server:
    """Return DCMTK's dcmqrscp under the AE title QRSCP, with those it can send to by AE title."""
    port, storage = free_port(), folder / "storage"
    storage.mkdir(parents=True)
    lines = [f"NetworkTCPPort = {port}", "MaxPDUSize = 16384", "MaxAssociations = 16", "HostTable BEGIN"]
    lines += [f"{title.lower()} = ({title}, 127.0.0.1, {mover})" for title, mover in (movers or {}).items()]
    lines += ["HostTable END", "VendorTable BEGIN", "VendorTable END", "AETable BEGIN"]
    lines += [f"QRSCP {storage} RW (100000, 100gb) ANY", "AETable END"]
    config = folder / "dcmqrscp.cfg"
    config.write_text("\n".join(lines) + "\n")
    return Server([needed("dcmqrscp"), "-c", str(config)], port, folder)


def send_with_storescu(port: int, slices: Path) -> float:
    """Send a folder with DCMTK's storescu over one association; return the seconds the program took."""
    return run([needed("storescu"), "-aec", "GATEWAY", "+sd", "127.0.0.1", str(port), str(slices)]).seconds


def send_with_gateway(port: int, slices: Path, called: str = "GATEWAY", associations: int = 1) -> float:
    """Send a folder with the gateway's own sender, which does not stall; return the seconds of the associations."""
    command = [*PYTHON, "tests.bench.send", str(port), str(slices), called, str(associations)]
    return float(run(command, cwd=PROJECT).said)


def value_of(file: Path, keyword: str) -> str:
    """Return the value of an attribute at the top level of a file."""
    said = run([needed("dcmdump"), "-q", "-M", "+P", keyword, str(file)]).said
    return said[said.index("[") + 1 : said.index("]")]


def versions() -> list[str]:
    """Return one line for each peer that is installed."""
    lines = []
    for program, option in (("storescu", "--version"), ("Orthanc", "--version")):
        if path := found(program):
            said = subprocess.run([path, option], capture_output=True, text=True, timeout=20).stdout
            lines.append(next(line for line in said.splitlines() if line.strip()).strip("$ "))
    return lines


def needed(program: str) -> str:
    """Return the path of a program without which there is nothing to measure."""
    path = found(program)
    if path is None:
        raise BenchError(f"{program} is not installed")
    return path
