"""The main job with real peers and real series: DCMTK and a box, DCMTK's storescp and Orthanc as PACS."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from box import Box
from loopback import free_port
from peers import Orthanc, dicom_files, errors_of, rendered, repeated, send, sources_of, storescp
from real_data import DATA, need_set
from tools import need

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"

# Sets of ../shared/data and how many enhanced objects each becomes; None: only that everything arrives.
SETS = {
    "ct_ge_tilt28": 1,
    "ct_philips28_localizer": 1,
    "dcmqi_ct_lce_seg": None,
    "ge_dynamic": 10,
    "highdicom_refs": None,
    "lce_mr_seg_ibsi": 0,
    "mr_ge_fmri150": 10,
    "pet_ge_crop": 2,
    "philips_dynamic": 3,
    "philips_pair_asl1901": 1,
    "philips_pcasl_gsps": 1,
    "rtutils_ct_rtstruct": 1,
    "siemens_9_syntaxes": 0,
    "siemens_dualecho": 2,
    "dicom2nifti_vendors/generic": None,
    "dicom2nifti_vendors/siemens": None,
}


@contextlib.contextmanager
def running_site(folder: Path) -> Iterator[tuple[Box, Path]]:
    """A box that delivers to one storescp, and another storescp that may fetch from it."""
    port, workstation = free_port(), free_port()
    box = Box(folder, {"PACS": port})
    views = '[views]\nGATEWAY_ENH = "enhanced"\nGATEWAY_CLS = "classic"\n'
    station = f'[[peer]]\nae_title = "STATION"\nhost = "127.0.0.1"\nport = {workstation}\n'
    box.config.write_text(f"{box.config.read_text()}{views}{station}")
    with storescp(folder / "pacs", port), storescp(folder / "station", workstation):
        box.start()
        yield box, folder
        assert box.stop() == 0, box.text()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Box, Path]]:
    """A site for the sets of real series."""
    with running_site(tmp_path_factory.mktemp("shared")) as found:
        yield found


@pytest.fixture(scope="module")
def bundled_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Box, Path]]:
    """A site for pydicom's files: one of their studies is also in a set, with other contents."""
    with running_site(tmp_path_factory.mktemp("bundled")) as found:
        yield found


def arrived(folder: Path, study: set[str]) -> list[Path]:
    """Files of some studies in a folder of storescp."""
    found = []
    for path in sorted(folder.iterdir()):
        if str(pydicom.dcmread(path, specific_tags=["StudyInstanceUID"]).StudyInstanceUID) in study:
            found.append(path)
    return found


def studies_of(files: dict[str, Path]) -> set[str]:
    return {str(pydicom.dcmread(path, specific_tags=["StudyInstanceUID"]).StudyInstanceUID) for path in files.values()}


def data_set_of(path: Path) -> bytes:
    """The bytes behind the meta information."""
    content = path.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]


def usable(files: dict[str, Path]) -> dict[str, Path]:
    """Without those that DCMTK cannot send or the box refuses for their UIDs."""
    return {uid: path for uid, path in files.items() if uid.replace(".", "").isdigit() and "too_short" not in path.name}


def held(box: Box, instance: str) -> bytes:
    """The bytes of a data set as the box took it off the wire: senders choose encodings of their own."""
    with box.archive() as archive:
        row = archive.instance(instance)
        assert row is not None
        return b"".join(archive.source_of(row).chunks())


def check_errors(path: Path, sources: list[Path]) -> None:
    """Nothing is wrong with an object that was not wrong with its sources."""
    before = set().union(*(errors_of(source) for source in sources))
    missing = {error.partition(":")[0] for error in before}
    after = {error for error in errors_of(path) - before if error.partition(":")[0] not in missing}
    assert not after, f"{path}: {after}"


def check_companion(path: Path, ds: pydicom.Dataset, files: dict[str, Path]) -> list[str]:
    """What a rewritten copy or a presentation state of overlays stands for: what it is a copy of, or nothing."""
    sources = [str(item.ReferencedSOPInstanceUID) for item in ds.ConversionSourceAttributesSequence]
    classes = {str(item.ReferencedSOPClassUID) for item in ds.ConversionSourceAttributesSequence}
    check_errors(path, [files[uid] for uid in sources])
    if classes != {str(ds.SOPClassUID)}:
        assert ds.Modality == "PR"
        return []
    assert len(sources) == 1
    return [*sources, *(uid for uid in sources_of(ds) if uid in files)]


def check_delivery(box: Box, files: dict[str, Path], delivered: list[Path]) -> int:
    """Every instance is there once: in a frame with its pixels, or unchanged; return the number of new objects."""
    carried: list[str] = []
    made = 0
    for path in delivered:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        if str(ds.SOPInstanceUID) in files:
            assert data_set_of(path) == held(box, str(ds.SOPInstanceUID)), path
            carried += [str(ds.SOPInstanceUID), *(uid for uid in sources_of(ds) if uid in files)]
            continue
        if "ConversionSourceAttributesSequence" in ds:
            carried += check_companion(path, ds, files)
            continue
        made += 1
        sources = sources_of(ds)
        assert len(sources) == ds.NumberOfFrames
        carried += sources
        seen = {0, len(sources) // 2, len(sources) - 1}
        check_errors(path, [files[sources[at]] for at in seen])
        for at in seen:
            assert rendered(path, at + 1) == rendered(files[sources[at]]), f"{path} frame {at + 1}"
    assert sorted(carried) == sorted(files), "something is missing or there twice"
    return made


@pytest.mark.parametrize("name", SETS)
def test_every_set_arrives_enhanced_once_or_unchanged(site: tuple[Box, Path], name: str) -> None:
    real = need_set(name)
    box, folder = site
    files = usable(dicom_files(real))
    send(list(files.values()), box.port)
    box.wait_done()
    made = check_delivery(box, files, arrived(folder / "pacs", studies_of(files)))
    assert SETS[name] in (made, None)
    with box.archive() as archive:
        for study in studies_of(files):
            for row in archive.study_sources(study):
                converted = row.views == 3  # received and classic: its enhanced form is another object
                assert row.settled
                assert converted or row.reason, f"{row.sop_instance}: unchanged without a reason"


def test_pydicom_series_arrive_enhanced_once_or_unchanged(bundled_site: tuple[Box, Path]) -> None:
    box, folder = bundled_site
    files = usable(dicom_files(BUNDLED / "dicomdirtests"))
    files |= usable({uid: path for uid, path in dicom_files(BUNDLED).items() if path.name in ("MR_small_RLE.dcm",)})
    send(list(files.values()), box.port)
    box.wait_done()
    assert check_delivery(box, files, arrived(folder / "pacs", studies_of(files))) > 5


@pytest.fixture(scope="module")
def converted(bundled_site: tuple[Box, Path]) -> dict[str, Path]:
    """A study of which one series is converted and one is not, in the box."""
    files = usable(dicom_files(BUNDLED / "dicomdirtests" / "77654033"))
    send(list(files.values()), bundled_site[0].port)
    bundled_site[0].wait_done()
    return files


def move(box: Box, called: str, folder: Path, *keys: str, model: str = "-S") -> tuple[set[str], str]:
    """Let DCMTK's movescu fetch to the station; return what came and what movescu said."""
    for path in folder.iterdir():
        path.unlink()
    command = [need("movescu"), "-v", model, "-aet", "STATION", "-aem", "STATION", "-aec", called]
    for key in keys:
        command += ["-k", key]
    result = subprocess.run([*command, "127.0.0.1", str(box.port)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return {
        str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in folder.iterdir()
    }, result.stderr


def test_movescu_fetches_the_classic_and_the_enhanced_study(
    bundled_site: tuple[Box, Path], converted: dict[str, Path]
) -> None:
    box, folder = bundled_site
    station = folder / "station"
    for study in studies_of(converted):
        keys = ("0008,0052=STUDY", f"0020,000d={study}")
        sent = {uid for uid, path in converted.items() if studies_of({uid: path}) == {study}}
        for called in ("GATEWAY", "GATEWAY_CLS"):
            assert move(box, called, station, *keys)[0] == sent
        enhanced, _ = move(box, "GATEWAY_ENH", station, *keys)
        carried = []
        for path in station.iterdir():
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            carried += sources_of(ds) or [str(ds.SOPInstanceUID)]
        assert set(carried) == sent
        assert not repeated(carried), "an instance in two guises"
        assert enhanced == {
            str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
            for path in arrived(folder / "pacs", {study})
        }, "what is fetched is what was delivered"


@pytest.mark.parametrize("level", ["PATIENT", "SERIES", "IMAGE"])
def test_movescu_fetches_at_every_level(bundled_site: tuple[Box, Path], converted: dict[str, Path], level: str) -> None:
    box, folder = bundled_site
    path = next(iter(converted.values()))
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    keys = [f"0010,0020={ds.PatientID}", f"0020,000d={ds.StudyInstanceUID}", f"0020,000e={ds.SeriesInstanceUID}"]
    keys = keys[: {"PATIENT": 1, "SERIES": 3, "IMAGE": 3}[level]]
    if level == "IMAGE":
        keys.append(f"0008,0018={ds.SOPInstanceUID}")
    came, _ = move(box, "GATEWAY", folder / "station", f"0008,0052={level}", *keys, model="-P")
    expected = {
        "PATIENT": set(converted),
        "SERIES": {
            uid
            for uid, other in converted.items()
            if pydicom.dcmread(other, stop_before_pixels=True).SeriesInstanceUID == ds.SeriesInstanceUID
        },
        "IMAGE": {str(ds.SOPInstanceUID)},
    }
    assert came == expected[level]


def test_Orthanc_as_PACS_gets_every_series_once(tmp_path: Path) -> None:
    orthanc = Orthanc(tmp_path)
    # It commits only to callers that it has an address of: see test_destinations.
    box = Box(tmp_path, {"ORTHANC": {"port": orthanc.port, "commitment": False}})
    files = usable(dicom_files(BUNDLED / "dicomdirtests"))
    for name in ("pet_ge_crop", "philips_dynamic"):
        if (DATA / name).is_dir():
            files |= usable(dicom_files(DATA / name))
    delivered = tmp_path / "delivered"
    delivered.mkdir()
    with orthanc.running():
        box.start()
        send(list(files.values()), box.port)
        box.wait_done()
        for instance in orthanc.get("/instances"):
            (delivered / f"{instance}.dcm").write_bytes(orthanc.file(f"/instances/{instance}/file"))
        assert check_delivery(box, files, sorted(delivered.iterdir())) > 5
        assert box.stop() == 0
