"""Overlays in bits of the pixel data, and images whose look only a presentation state can keep (PS3.4 C.3.5)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from conversion.full import full_series
from conversion.material import ENHANCED, series_of, slice_of
from conversion.states import Presented, all_of, bitmap, embedded, frames_shown, overlay, presented, values
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import need
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)


def words_of(made: Presented) -> np.ndarray:
    image = made.one
    return np.frombuffer(image.PixelData, "<u2").reshape(int(image.NumberOfFrames), image.Rows, image.Columns)


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("signed", [0, 1])
def test_E26_high_bits_become_overlays_and_are_zero_in_the_pixels(modality: str, signed: int, tmp_path: Path) -> None:
    changes = [embedded({12: n, 15: 9}, n, signed=signed) for n in range(3)]
    made = presented(series_of(modality, change=changes), tmp_path)
    assert len(made.states) == 3
    for number, state in enumerate(made.states):
        assert frames_shown(state, made.one) == [number + 1]
        assert state.overlay_array(0x6000).tolist() == bitmap(number).tolist()
        assert state.overlay_array(0x6002).tolist() == bitmap(9).tolist()
        assert (state[0x60000100].value, state[0x60000102].value) == (1, 0)
        expected = values(number, made.one, signed=signed) & 0xFFF
        assert (words_of(made)[number] & 0xFFF).tolist() == expected.tolist()
        assert not (words_of(made)[number] >> 12).any()


def test_E26_PET_has_sixteen_bits_stored_and_the_overlays_bits_are_gone(tmp_path: Path) -> None:
    made = presented(series_of("PT", change=embedded({14: 3})), tmp_path)
    assert made.one.BitsStored == 16
    assert words_of(made)[0].tolist() == values(0, made.one).tolist()
    assert made.state.overlay_array(0x6000).tolist() == bitmap(3).tolist()


@settings(max_examples=25, deadline=None)
@given(position=st.integers(12, 15), rows=st.integers(1, 17), columns=st.integers(1, 17), seed=st.integers(0, 1000))
def test_E26_any_bit_of_any_size_comes_back(
    position: int, rows: int, columns: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    change = all_of({"Rows": rows, "Columns": columns}, embedded({position: seed}, seed))
    made = presented([slice_of("CT", 1, change)], tmp_path_factory.mktemp("e"))
    assert made.state.overlay_array(0x6000).tolist() == bitmap(seed, rows, columns).tolist()
    assert words_of(made)[0].tolist() == values(seed, made.one).tolist()


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_E26_from_every_native_syntax(syntax: str, tmp_path: Path) -> None:
    made = presented(series_of(change=embedded({13: 5})), tmp_path, syntax=syntax)
    assert made.state.overlay_array(0x6000).tolist() == bitmap(5).tolist()
    assert words_of(made)[0].tolist() == values(0, made.one).tolist()


def test_E26_E48_high_bits_of_compressed_pixels_stay_classic(tmp_path: Path) -> None:
    made = presented(series_of(change=embedded({13: 5})), tmp_path, syntax=RLELossless)
    assert not made.conversion.files
    assert len(made.conversion.kept) == 3


def test_E26_planes_of_their_own_and_planes_in_the_pixels_may_be_mixed(tmp_path: Path) -> None:
    made = presented(series_of(change=all_of(embedded({12: 1}), overlay(bitmap(2), 0x6002))), tmp_path)
    assert made.state.overlay_array(0x6000).tolist() == bitmap(1).tolist()
    assert made.state.overlay_array(0x6002).tolist() == bitmap(2).tolist()


def test_E26_frames_with_and_without_planes_share_an_object(tmp_path: Path) -> None:
    plain = embedded({}, 1)
    made = presented(series_of(change=[plain, embedded({12: 1}, 2), plain]), tmp_path)
    assert frames_shown(made.state, made.one) == [2]
    assert [words_of(made)[n].tolist() for n in range(3)] == [values(n, made.one).tolist() for n in (1, 2, 1)]


# MONOCHROME1: the values are inverted, the look is not


def test_E7_E43_inverted_frames_keep_their_look_by_a_state(tmp_path: Path) -> None:
    changes = [{"PhotometricInterpretation": "MONOCHROME1"}, None, {"PhotometricInterpretation": "MONOCHROME1"}]
    made = presented(series_of(change=changes), tmp_path)
    state = made.state
    assert made.one.PhotometricInterpretation == "MONOCHROME2"
    assert (state.PresentationLUTShape, state.ContentLabel) == ("INVERSE", "INVERTED")
    assert frames_shown(state, made.one) == [1, 3]
    assert (state.RescaleSlope, state.RescaleIntercept) == (-1, 65535 - 1024)
    assert made.one.ReferencedPresentationStateSequence


def test_E43_an_inverted_frame_with_an_overlay_has_one_state_for_both(tmp_path: Path) -> None:
    change = all_of({"PhotometricInterpretation": "MONOCHROME1"}, overlay(bitmap(1)))
    state = presented(series_of(change=change), tmp_path).state
    assert (state.PresentationLUTShape, state.ContentLabel) == ("INVERSE", "OVERLAYS")
    assert state.overlay_array(0x6000).tolist() == bitmap(1).tolist()


def test_E7_E43_another_reader_shows_an_inverted_frame_as_it_showed_its_source(tmp_path: Path) -> None:
    change = {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": "1000", "WindowWidth": "3000"}
    made = presented([slice_of("CT", 1, change)], tmp_path)
    image, source = made.conversion.files[0], made.conversion.facts[0].path
    before, after = tmp_path / "before.pgm", tmp_path / "after.pgm"
    subprocess.run([need("dcm2pnm"), "+Wi", "1", "+op", source, before], check=True)
    subprocess.run([need("dcmp2pgm"), "-p", made.files[0], image, after], check=True)
    shown = [np.frombuffer(path.read_bytes()[-64:], np.uint8).astype(int) for path in (before, after)]
    assert abs(shown[0] - shown[1]).max() <= 1
    assert len(set(shown[0])) > 20


# True Enhanced objects point at states as legacy converted ones do


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_E1_E25_true_enhanced_objects_have_states_too(modality: str, tmp_path: Path) -> None:
    sources = full_series(modality)
    for ds in sources:
        overlay(bitmap(1))(ds)
    made = presented(sources, tmp_path)
    assert made.one.SOPClassUID == ENHANCED[modality]
    assert frames_shown(made.state, made.one) == list(range(1, len(sources) + 1))
    (study,) = made.one.ReferencedPresentationStateSequence
    assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == (
        made.state.SOPInstanceUID
    )
    done = subprocess.run([need("dciodvfy"), "-new", str(made.files[0])], capture_output=True, text=True)
    assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")] == []
