"""What most readers cannot show right goes to a safe destination as classic images, with all it is tied to (E54)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_tools import HandClock, store_file
from box import Pacs
from conversion.material import STUDY, item, other, reference, save_all, series_of
from conversion.resolving import every_reference_resolves
from pydicom.dataset import Dataset

from gateway.archive.index import Archive
from gateway.archive.jobs import CONVERT, DELIVER
from gateway.archive.status import study_status
from gateway.archive.views import View
from gateway.cli.status import describe_study
from gateway.network.sender import Sender
from gateway.objects.part10 import file_meta
from gateway.pipeline.convert import ConversionPolicy, Converter
from gateway.pipeline.deliver import Deliverer
from gateway.pipeline.retry import Backoff
from gateway.pipeline.visits import Target
from gateway.retrieval.engine import Destination
from gateway.service import rooms
from gateway.service.checks.suitability import KeptClassic
from gateway.service.config import parse

CT, MR, PT = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "4", "128"))
LEGACY_CT, LEGACY_MR, LEGACY_PT = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2.2", "4.4", "128.1"))
KO, RTSTRUCT = "1.2.840.10008.5.1.4.1.1.88.59", "1.2.840.10008.5.1.4.1.1.481.3"


@pytest.fixture
def archive(tmp_path: Path, clock: HandClock) -> Iterator[Archive]:
    made = Archive(tmp_path / "data", clock, quiet=0)
    yield made
    made.close()


@pytest.fixture
def peers() -> Iterator[dict[str, Pacs]]:
    made = {title: Pacs(title).start() for title in ("SAFE", "STANDARD")}
    yield made
    for peer in made.values():
        peer.stop()


def arrive(archive: Archive, folder: Path, datasets: list[Dataset], peers: dict[str, Pacs]) -> dict[str, Any]:
    """Receive, convert and deliver to both; return what `status` says of each destination."""
    for path in save_all(datasets, folder):
        store_file(archive, path)
    archive.jobs.retry_now(CONVERT)
    converter = Converter(archive, ConversionPolicy(destinations=tuple(peers)))
    while converter.step():
        pass
    for title, peer in peers.items():
        archive.jobs.schedule(DELIVER, STUDY, title)
        target = Target(Destination(title, "127.0.0.1", peer.port, "GATEWAY"), View.ENHANCED, safe=title == "SAFE")
        deliverer = Deliverer(archive, target, Sender(), backoff=Backoff(random=lambda: 0.5))
        while deliverer.step():
            pass
    return {one["destination"]: one for one in study_status(archive, STUDY)[0]["destinations"]}


def held(peer: Pacs, folder: Path) -> Path:
    """Write what a peer has as files."""
    folder.mkdir()
    for uid, (syntax, data) in peer.objects.items():
        (folder / f"{uid}.dcm").write_bytes(file_meta(peer.classes_of[uid], uid, syntax) + data)
    return folder


def classes(peer: Pacs) -> list[str]:
    return sorted(peer.classes_of.values())


def pet(**change: Any) -> list[Dataset]:
    changes = [{"RescaleSlope": slope, **change} for slope in ("1.5", "2.5", "3.5")]
    return series_of("PT", change=changes, series=STUDY + ".60")


def key_object(images: list[Dataset]) -> Dataset:
    content = [item(RelationshipType="CONTAINS", ValueType="IMAGE", ReferencedSOPSequence=[reference(one)])
               for one in images]  # fmt: skip
    return other(KO, 1, {"Modality": "KO", "ContentSequence": content}, series=STUDY + ".71")


def structure_set(images: list[Dataset]) -> Dataset:
    contours = [item(ContourImageSequence=[reference(one)]) for one in images]
    change = {"Modality": "RTSTRUCT", "ROIContourSequence": [item(ContourSequence=contours)]}
    return other(RTSTRUCT, 2, change, series=STUDY + ".72")


def test_E54_pet_with_differing_slopes_stays_classic_where_it_is_to_be_safe(
    archive: Archive, peers: dict[str, Pacs], tmp_path: Path
) -> None:
    magnetic = series_of("MR", series=STUDY + ".61")
    told = arrive(archive, tmp_path / "in", [*pet(), *magnetic], peers)
    assert classes(peers["SAFE"]) == sorted([PT] * 3 + [LEGACY_MR])
    assert classes(peers["STANDARD"]) == sorted([LEGACY_PT, LEGACY_MR])
    assert told["STANDARD"]["kept_classic"] == {"images": 0, "of": 0}
    assert told["SAFE"]["kept_classic"] == {"images": 3, "of": 6}
    (exception,) = told["SAFE"]["exceptions"]
    assert exception["series"] == STUDY + ".60"
    assert exception["reason"].startswith("Rescale Slope differs between its slices, from 1.5 to 3.5")
    text = "\n".join(describe_study(study_status(archive)[0], 0))
    assert "3 of 6 converted images kept classic" in text
    assert "Rescale Slope differs between its slices" in text


def test_E54_all_that_is_tied_by_references_follows_and_nothing_dangles(
    archive: Archive, peers: dict[str, Pacs], tmp_path: Path
) -> None:
    computed = series_of("CT", series=STUDY + ".62")
    emission = pet()
    magnetic = series_of("MR", series=STUDY + ".61")
    several = key_object([emission[0], computed[0]])
    told = arrive(archive, tmp_path / "in", [*emission, *computed, *magnetic, several, structure_set(computed)], peers)
    # The key object ties the CT to the PET, and the structure set is of the CT.
    assert classes(peers["SAFE"]) == sorted([PT] * 3 + [CT] * 3 + [LEGACY_MR, KO, RTSTRUCT])
    assert classes(peers["STANDARD"]) == sorted([LEGACY_PT, LEGACY_CT, LEGACY_MR, KO, RTSTRUCT])
    assert {several.SOPInstanceUID} <= peers["SAFE"].objects.keys()
    assert several.SOPInstanceUID not in peers["STANDARD"].objects
    for title, peer in peers.items():
        assert every_reference_resolves(held(peer, tmp_path / title)) >= 5
    assert told["SAFE"]["kept_classic"] == {"images": 6, "of": 9}
    reasons = {one["series"]: one["reason"] for one in told["SAFE"]["exceptions"]}
    assert reasons.pop(STUDY + ".60").startswith("Rescale Slope differs between its slices")
    assert set(reasons.values()) == {
        f"tied by references to series {STUDY}.60, which most readers show wrongly as an enhanced object"
    }
    assert told["SAFE"]["form"] == "enhanced"


@pytest.mark.parametrize(
    ("stated", "safe"), [("", True), ('suitability = "safe"', True), ('suitability = "standard"', False)]
)
def test_E54_a_destination_is_safe_unless_the_configuration_says_otherwise(stated: str, safe: bool) -> None:
    text = f'[[destination]]\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 104\n{stated}\n'
    (target,) = rooms.targets(parse(text))
    assert target.safe == safe


def test_E54_doctor_says_how_much_goes_classic(archive: Archive, peers: dict[str, Pacs], tmp_path: Path) -> None:
    arrive(archive, tmp_path / "in", [*pet(), *series_of("MR", series=STUDY + ".61")], peers)
    places = "".join(f'[[destination]]\nae_title = "{title}"\nhost = "127.0.0.1"\nport = 1\n' for title in peers)
    asked = parse(f'[gateway]\ndata_dir = "{tmp_path / "data"}"\n{places}')
    said = {finding.subject: finding.reason for finding in KeptClassic().look(asked)}
    assert said["SAFE"].startswith("3 of 6 converted images went there classic, in 1 of the last 1 studies")
    assert said["STANDARD"].startswith("none of the converted images")


def test_E54_the_enhanced_view_has_the_twin_all_the_same(
    archive: Archive, peers: dict[str, Pacs], tmp_path: Path
) -> None:
    arrive(archive, tmp_path / "in", pet(), peers)
    (twin,) = archive.study_instances(STUDY, View.ENHANCED)
    assert twin.sop_class == LEGACY_PT


def test_E54_a_safe_destination_that_takes_no_classic_images_gets_what_it_takes(
    archive: Archive, peers: dict[str, Pacs], tmp_path: Path
) -> None:
    peers["SAFE"].stop()
    peers["SAFE"].classes = [LEGACY_PT]
    peers["SAFE"].start()
    arrive(archive, tmp_path / "in", pet(), peers)
    assert classes(peers["SAFE"]) == [LEGACY_PT]


def test_E54_what_an_earlier_edition_recorded_without_judging_it_stays_as_it_is(
    archive: Archive, peers: dict[str, Pacs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Archive.partitions

    def without(self: Archive, study: str) -> list[dict]:
        records = known(self, study)
        for record in records:
            for one in record["objects"]:
                one.pop("unsuitable")
        return records

    monkeypatch.setattr(Archive, "partitions", without)
    arrive(archive, tmp_path / "in", pet(), peers)
    assert classes(peers["SAFE"]) == [LEGACY_PT]
