"""OHIF as hospitals have it: its built application, a DICOMweb archive behind it, and a browser without a screen.

The application and the driver of the browser are packages of npm at fixed versions; they are fetched once, into the
cache of the user who runs the tests.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import tarfile
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from loopback import free_port
from tools import need

OHIF, PLAYWRIGHT = ("@ohif/app", "3.13.2"), ("playwright-core", "1.65.1")
PLUGINS = Path("/usr/share/orthanc/plugins")
DRIVER = Path(__file__).with_name("ohif.mjs")

CONFIG = """\
window.config = {
  routerBasename: "/", extensions: [], modes: [], showStudyList: true, showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: false, showLoadingIndicator: true, strictZSpacingForVolumeViewport: true,
  investigationalUseDialog: { option: "never" }, maxNumberOfWebWorkers: 2, defaultDataSourceName: "dicomweb",
  dataSources: [{
    namespace: "@ohif/extension-default.dataSourcesModule.dicomweb", sourceName: "dicomweb",
    configuration: {
      friendlyName: "archive", name: "archive", qidoRoot: "/dicom-web", wadoRoot: "/dicom-web", wadoUriRoot: "/wado",
      qidoSupportsIncludeField: false, imageRendering: "wadors", thumbnailRendering: "wadors",
      enableStudyLazyLoad: true, supportsFuzzyMatching: false, supportsWildcard: true,
      omitQuotationForMultipartRequest: true, bulkDataURI: { enabled: true },
    },
  }],
};
"""


def lacking(reason: str) -> Any:
    """Skip the test, or fail where everything has to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def package(name: str, version: str) -> Path:
    """Return the unpacked folder of a package of npm."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gateway-viewers"
    folder = cache / f"{name.replace('/', '-').lstrip('@')}-{version}"
    if not (folder / "package").is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [need("npm"), "pack", "--silent", f"{name}@{version}"],
            cwd=cache,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode:
            lacking(f"npm cannot fetch {name}@{version}: {done.stderr.strip()[-300:]}")
        archive = cache / done.stdout.split()[-1]
        with tarfile.open(archive) as packed:
            # Python 3.11.2 of Debian 12 knows no filters yet.
            packed.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        archive.unlink()
    return folder / "package"


class Archive:
    """Orthanc with its DICOMweb plugin on the loopback."""

    def __init__(self, folder: Path) -> None:
        if not (PLUGINS / "libOrthancDicomWeb.so").exists():
            lacking("Orthanc's DICOMweb plugin is not installed (Debian package orthanc-dicomweb)")
        self.port = free_port()
        settings = {
            "Name": "archive", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
            "HttpPort": self.port, "DicomServerEnabled": False, "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False, "Plugins": [str(PLUGINS / "libOrthancDicomWeb.so")],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True, "Host": "127.0.0.1"},
        }  # fmt: skip
        path = folder / "orthanc.json"
        path.write_text(json.dumps(settings))
        with (folder / "orthanc.log").open("wb") as log:
            self.process = subprocess.Popen([need("Orthanc"), str(path)], stdout=log, stderr=log)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                if self.request("GET", "/system")[0] == 200:
                    return
            except OSError:
                time.sleep(0.2)
        raise AssertionError((folder / "orthanc.log").read_text())

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return status and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request(method, path, body)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    def take(self, path: Path) -> None:
        """Keep a file."""
        status, said = self.request("POST", "/instances", path.read_bytes())
        assert status == 200, said

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(timeout=30)


class Viewer:
    """OHIF in front of an archive."""

    def __init__(self, archive: Archive) -> None:
        dist = package(*OHIF) / "dist"

        class Handler(SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments, directory=str(dist))

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

            def end_headers(self) -> None:
                # What browsers want before they share memory between threads.
                self.send_header("Cross-Origin-Opener-Policy", "same-origin")
                self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
                super().end_headers()

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path.startswith(("/dicom-web", "/wado")):
                    self._pass_on("GET")
                elif path == "/app-config.js":
                    self._answer(200, "application/javascript", CONFIG.encode())
                elif path == "/" or not (dist / path.lstrip("/")).is_file():
                    self._answer(200, "text/html", (dist / "index.html").read_bytes())
                else:
                    super().do_GET()

            def do_POST(self) -> None:
                self._pass_on("POST")

            def _pass_on(self, method: str) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
                kept = ("Accept", "Content-Type")
                headers = {name: self.headers[name] for name in kept if self.headers.get(name)}
                connection = http.client.HTTPConnection("127.0.0.1", archive.port, timeout=120)
                connection.request(method, self.path, body, headers)
                answer = connection.getresponse()
                self._answer(answer.status, answer.getheader("Content-Type") or "text/plain", answer.read())
                connection.close()

            def _answer(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


def used(viewer: Viewer, study: str, folder: Path) -> dict[str, Any]:
    """Open a study as a person does, and return what was seen; pictures are left in `folder`."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        lacking("chromium is not installed (Debian package chromium)")
    assert chromium is not None
    driver = package(*PLAYWRIGHT)
    command = [need("node"), str(DRIVER), str(driver), chromium, viewer.url, str(folder), study]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
