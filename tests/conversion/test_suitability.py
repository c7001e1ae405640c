"""What most readers cannot show right of an object (E54)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conversion.material import STUDY, item, made_of, other, reference, save_all, series_of
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from real_data import DATA, needs_data

from gateway.cli.main import main
from gateway.conversion.facts import Facts
from gateway.conversion.suitability import unsuitable

KO = "1.2.840.10008.5.1.4.1.1.88.59"


def judged(change: list[dict[str, Any]], folder: Path, modality: str = "CT") -> str:
    made = made_of(series_of(modality, change=change), folder)
    (converted,) = made.result.objects
    assert converted.record()["unsuitable"] == unsuitable(converted.planned.frames)
    return unsuitable(converted.planned.frames)


def at(*positions: tuple[float, float, float]) -> list[dict[str, Any]]:
    return [{"ImagePositionPatient": [f"{value:.6f}" for value in position]} for position in positions]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (at((0, 0, 0), (0, 0, 3), (0, 0, 6)), ""),
        (at((0, 0, 6), (0, 0, 3), (0, 0, 0)), ""),
        (at((0, 0, 0), (0, 0, 3), (0, 0, 6.001)), ""),
        (at((0, 0, 0), (0, 0, 3), (0, 0, 6.003)), "the distance of its slices varies from 3 to 3.003 mm, by 0.1"),
        (at((0, 0, 0), (0, 0, 3), (0, 0, 9)), "the distance of its slices varies from 3 to 6 mm, by 100 %"),
        (at((0, 0, 0), (0, 0.05, 3), (0, 0.09, 6)), ""),
        (at((0, 0, 0), (0, 1, 3), (0, 2, 6)), "its slices lie up to 2.0 mm beside the normal of the first one"),
        (at((0, 0, 0)), ""),
    ],
)
def test_E54_geometry_that_is_no_regular_stack(change: list, reason: str, tmp_path: Path) -> None:
    found = judged(change, tmp_path)
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_E54_rescaling_that_differs_between_slices(modality: str, tmp_path: Path) -> None:
    slopes = [{"RescaleSlope": slope, "RescaleIntercept": "0"} for slope in ("1", "2", "1.0")]
    assert judged(slopes, tmp_path / "1", modality) == "Rescale Slope differs between its slices, from 1 to 2"
    same = [{"RescaleSlope": slope, "RescaleIntercept": "0"} for slope in ("1", "1.0", "1.00")]
    assert judged(same, tmp_path / "2", modality) == ""


@given(
    st.integers(2, 12), st.floats(0.1, 20), st.floats(-500, 500),
    st.sampled_from([(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (0.6, 0.8, 0, 0, 0, 1)]),
)  # fmt: skip
def test_E54_every_regular_stack_is_suitable_whatever_its_direction(
    count: int, step: float, begin: float, orientation: tuple[float, ...]
) -> None:
    from gateway.conversion.spacing import normal_of

    normal = normal_of(orientation)
    frames = [_fact(orientation, tuple(begin + n * step * cosine for cosine in normal)) for n in range(count)]
    assert unsuitable(frames) == ""
    if step > 0.5 and count > 2:
        frames[1] = _fact(orientation, tuple(begin + (1.3 * step) * cosine for cosine in normal))
        assert unsuitable(frames).startswith("the distance of its slices varies")


def _fact(orientation: tuple[float, ...], position: tuple[float, ...]) -> Facts:
    made = object.__new__(Facts)
    for name, value in (("orientation", orientation), ("position", position), ("rescale", (1.0, 0.0))):
        object.__setattr__(made, name, value)
    return made


# Set, and how what is made of it begins to be unsuitable, by Series Number; empty: suitable.
REAL = {
    "ct_ge_tilt28": {"its slices lie up to 48.2 mm beside the normal of the first one"},
    "ct_philips28_localizer": {""},
    "mr_ge_fmri150": {""},
    "ge_dynamic": {""},
    "philips_pcasl_gsps": {""},
    "siemens_dualecho": {""},
    "pet_ge_crop/STS_001_PET": {"Rescale Slope differs between its slices"},
}


@needs_data
@pytest.mark.parametrize("name", REAL)
def test_E54_real_series_are_judged_by_what_readers_make_of_them(name: str, tmp_path: Path) -> None:
    from conversion.material import convert

    found = {unsuitable(one.planned.frames) for one in convert(_images(DATA / name), tmp_path).result.objects}
    assert {next((start for start in REAL[name] if one.startswith(start)), one) for one in found} == REAL[name]


def _images(folder: Path) -> list[Path]:
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".txt", ".md", ".json"):
            found.append(path)
    return found


def test_E54_convert_keeps_series_classic_with_what_they_are_tied_to(tmp_path: Path) -> None:
    tilted = series_of("CT", change=at((0, 0, 0), (0, 1, 3), (0, 2, 6)))
    regular = series_of("MR", series=STUDY + ".60")
    alone = series_of("MR", series=STUDY + ".61")
    content = [item(ValueType="IMAGE", ReferencedSOPSequence=[reference(one)]) for one in (tilted[0], regular[0])]
    key = other(KO, 1, {"Modality": "KO", "ContentSequence": content})
    save_all([*tilted, *regular, *alone, key], tmp_path / "in")
    made = {}
    for suitability in ("standard", "safe"):
        arguments = ["convert", str(tmp_path / "in"), "-o", str(tmp_path / suitability), "--suitability", suitability]
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
        made[suitability] = sorted(dcmread(path).SOPClassUID.name for path in (tmp_path / suitability).rglob("*.dcm"))
    assert made["standard"] == [
        "Key Object Selection Document Storage",
        "Legacy Converted Enhanced CT Image Storage",
        *["Legacy Converted Enhanced MR Image Storage"] * 2,
    ]
    assert made["safe"] == [
        *["CT Image Storage"] * 3,
        "Key Object Selection Document Storage",
        "Legacy Converted Enhanced MR Image Storage",
        *["MR Image Storage"] * 3,
    ]
    assert "which most readers show wrongly" in done.output
    assert f"tied by references to series {tilted[0].SeriesInstanceUID}" in done.output, done.output
