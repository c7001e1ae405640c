"""G1 on real sets: the files of both views, byte for byte, whatever runs the conversion and however its input comes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from evidence.sets import Layer, files, names

ROOT = Path(__file__).parents[2]
# Every kind of result with little work: references and copies, overlays, slopes, several volumes, compressed pixels.
SHORT = ["pydicom", "ct_transfer_syntaxes", "highdicom_refs", "philips_dynamic", "philips_pcasl_gsps",
         "rtutils_ct_rtstruct", "siemens_dualecho"]  # fmt: skip
SETS = [pytest.param(name, marks=() if name in SHORT else pytest.mark.long) for name in names()]

# Converts pairs of input and output folders, there and back, in one process.
SCRIPT = """
import sys
from gateway.cli.main import main
for place in sys.argv[1:]:
    for source, output, target in (("in", "enhanced", "enhanced"), ("enhanced", "classic", "classic")):
        words = ["convert", f"{place}/{source}", "-o", f"{place}/{output}", "--to", target, "--json"]
        try:
            main(words, standalone_mode=False)
        except Exception as error:  # broken files of a set give a status
            assert type(error).__name__ == "Exit", error
"""


def digest(folder: Path) -> str:
    """Return a digest of the names and contents of all files below a folder."""
    found = hashlib.sha256()
    for path in files(folder):
        found.update(str(path.relative_to(folder)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def convert_elsewhere(layers: list[Layer], folder: Path, python: str, environment: dict[str, str]) -> list[Path]:
    """Convert layers in another process, the files under other names in other folders and in another order."""
    places = []
    for number, layer in enumerate(layers):
        places.append(folder / f"other place {number}")
        for count, path in enumerate(layer.sources):
            link = places[-1] / "in" / f"{count % 3}" / f"{hashlib.md5(str(count).encode()).hexdigest()[:8]}.dcm"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
    base = {name: value for name, value in os.environ.items() if name not in ("LANG", "LANGUAGE", "PYTHONPATH")}
    subprocess.run(
        [python, "-c", SCRIPT, *map(str, places)],
        env=base | {"PYTHONPATH": str(ROOT)} | environment,
        check=True,
        capture_output=True,
    )
    return places


def assert_same(layers: list[Layer], places: list[Path]) -> None:
    for layer, place in zip(layers, places, strict=True):
        for made, again in ((layer.enhanced, place / "enhanced"), (layer.classic, place / "classic")):
            assert digest(again) == digest(made), f"{made} is not what another run made"


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHASHSEED": "4711", "TZ": "Pacific/Chatham", "LC_ALL": "C", "PYTHONUTF8": "0"},
        {"PYTHONHASHSEED": "1", "TZ": "America/St_Johns", "LC_ALL": "C.UTF-8", "LANG": "tr_TR.UTF-8"},
    ],
    ids=["Chatham", "Turkish"],
)
def test_G1_another_process_time_zone_locale_and_order_of_files(
    name: str, environment: dict[str, str], swept: Callable[[str], list[Layer]], tmp_path: Path
) -> None:
    layers = swept(name)
    assert_same(layers, convert_elsewhere(layers, tmp_path, sys.executable, environment))


@pytest.mark.parametrize("name", SETS)
def test_G1_another_Python(
    name: str, swept: Callable[[str], list[Layer]], figures: Callable[..., None], tmp_path: Path
) -> None:
    """GATEWAY_OTHER_PYTHON is an interpreter of another version that has what the gateway depends on."""
    other = shutil.which(os.environ.get("GATEWAY_OTHER_PYTHON", ""))
    if not other:
        pytest.skip("GATEWAY_OTHER_PYTHON names no interpreter")
    version = subprocess.run([other, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    layers = swept(name)
    assert_same(layers, convert_elsewhere(layers, tmp_path, other, {}))
    figures("determinism", name, also=version, digest=digest(layers[0].enhanced)[:16])
