"""Overlays and graphic annotations of classic images become presentation states of the enhanced ones (PS3.4 C.3.5)."""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from conversion.material import SERIES, STUDY, convert, item, made_of, reference, save, series_of, slice_of
from conversion.states import all_of, bitmap, elements_of, frames_shown, overlay, packed, presented
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian
from tools import need, need_module

from gateway.conversion.outcome import frozen_from
from gateway.conversion.overlays import packed_bit
from gateway.conversion.presentation import PresentationState
from gateway.standard.srgb import srgb_profile

GRAYSCALE, COLOR = "1.2.840.10008.5.1.4.1.1.11.1", "1.2.840.10008.5.1.4.1.1.11.2"
PURPOSE = ("109106", "DCM", "Enhanced Multi-frame Conversion Equipment")
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files" / "examples_overlay.dcm"


def dciodvfy(path: Path) -> list[str]:
    found = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
    return [line for line in (found.stdout + found.stderr).splitlines() if line.startswith("Error")]


# E25, E27, E28: the image


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_E25_E43_overlays_leave_the_image_which_points_at_their_state(modality: str, tmp_path: Path) -> None:
    changes = [overlay(bitmap(n)) for n in range(3)]
    made = presented(series_of(modality, change=changes), tmp_path)
    image = made.one
    assert not [tag for tag in elements_of(image) if tag.group & 0xFF00 == 0x6000]
    (study,) = image.ReferencedPresentationStateSequence
    (series,) = study.ReferencedSeriesSequence
    assert study.StudyInstanceUID == STUDY
    named = [(one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID) for one in series.ReferencedSOPSequence]
    assert named == [(GRAYSCALE, state.SOPInstanceUID) for state in made.states]
    assert {state.SeriesInstanceUID for state in made.states} == {series.SeriesInstanceUID}
    assert [frames_shown(state, image) for state in made.states] == [[1], [2], [3]]


def test_E25_no_state_where_there_is_no_overlay(tmp_path: Path) -> None:
    made = presented(series_of(), tmp_path)
    assert made.states == []
    assert "ReferencedPresentationStateSequence" not in made.one


@settings(max_examples=20, deadline=None)
@given(bits=arrays.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.integers(0, 1)))
def test_E25_bitmaps_of_any_size_come_back_bit_for_bit(
    bits: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = presented(series_of(change=[overlay(bits), None]), tmp_path_factory.mktemp("o"))
    assert made.state.overlay_array(0x6000).tolist() == bits.tolist()
    assert len(made.state[0x60003000].value) % 2 == 0


def test_E25_unused_bits_behind_the_last_pixel_are_kept(tmp_path: Path) -> None:
    data = packed(bitmap(1, 3, 3))
    data = bytes([data[0], data[1] | 0xFE])
    made = presented(series_of(change=[overlay(bitmap(1, 3, 3), e3000=("OW", data))] * 2), tmp_path)
    assert made.state[0x60003000].value == data


def test_E25_all_attributes_of_all_planes_are_carried(tmp_path: Path) -> None:
    extra = {
        "e22": ("LO", "Befund J\xf6rg"),
        "e40": ("CS", "R"),
        "e45": ("LO", "USER"),
        "e50": ("SS", [-3, 12]),
        "e1301": ("IS", "37"),
        "e1302": ("DS", "12.50"),
        "e1303": ("DS", "0.1"),
        "e1500": ("LO", "ROI 1"),
    }
    one, two = bitmap(1, 5, 9), bitmap(2)
    change = all_of(overlay(one, 0x6002, **extra), overlay(two, 0x601E))
    state = presented(series_of(change=change), tmp_path).state
    for number, (vr, value) in extra.items():
        element = state[0x60020000 | int(number[1:], 16)]
        assert (element.VR, element.value) == (vr, value)
    assert state.overlay_array(0x6002).tolist() == one.tolist()
    assert state.overlay_array(0x601E).tolist() == two.tolist()
    assert [state[group << 16 | 0x100].value for group in (0x6002, 0x601E)] == [1, 1]
    assert [state[group << 16 | 0x102].value for group in (0x6002, 0x601E)] == [0, 0]


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.5"])
def test_E25_whatever_the_transfer_syntax(syntax: str, tmp_path: Path) -> None:
    made = presented(series_of(change=overlay(bitmap(1))), tmp_path, syntax=syntax)
    assert made.state.overlay_array(0x6000).tolist() == bitmap(1).tolist()


@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_E25_words_of_big_endian_overlays_are_turned_round(vr: str, tmp_path: Path) -> None:
    data = packed(bitmap(1, 5, 9))
    data += bytes(len(data) % 2)
    turned = np.frombuffer(data, ">u2").astype("<u2").tobytes() if vr == "OW" else data
    change = overlay(bitmap(1, 5, 9), e3000=(vr, turned))
    made = presented(series_of(change=change), tmp_path, syntax=ExplicitVRBigEndian)
    assert made.state.overlay_array(0x6000).tolist() == bitmap(1, 5, 9).tolist()


def test_E25_overlays_are_displayed(tmp_path: Path) -> None:
    change = all_of(overlay(bitmap(1)), overlay(bitmap(2), 0x6002))
    state = presented(series_of(change=change), tmp_path).state
    layers = {layer.GraphicLayer: layer.GraphicLayerOrder for layer in state.GraphicLayerSequence}
    active = [state[0x60001001].value, state[0x60021001].value]
    assert len(layers) == len(set(layers.values())) == len(set(active)) == 2
    assert set(active) == set(layers)
    (area,) = state.DisplayedAreaSelectionSequence
    assert area.DisplayedAreaTopLeftHandCorner == [1, 1]
    assert area.DisplayedAreaBottomRightHandCorner == [8, 8]
    assert area.PresentationPixelSpacing == [0.5, 0.5]


def test_E27_curves_keep_an_image_classic(tmp_path: Path) -> None:
    made = made_of(series_of(change=[None, None, lambda ds: ds.add_new(0x50020005, "US", 8)]), tmp_path)
    assert made.kept == {"002.dcm": "it has curves"}
    assert not [tag for tag in elements_of(made.objects[0]) if tag.group & 0xFF00 == 0x5000]


def annotated(ds: Dataset, **more: object) -> None:
    line = item(
        GraphicAnnotationUnits="PIXEL", GraphicDimensions=2, NumberOfGraphicPoints=2, GraphicData=[1.0, 2.0, 3.0, 4.5],
        GraphicType="POLYLINE", GraphicFilled="N",
    )  # fmt: skip
    ds.GraphicAnnotationSequence = [item(GraphicLayer="DRAWN", GraphicObjectSequence=[line], **more)]
    ds.GraphicLayerSequence = [item(GraphicLayer="DRAWN", GraphicLayerOrder="3", GraphicLayerDescription="by hand")]


def test_E28_E48_graphic_annotations_go_into_the_state(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        annotated(ds, ReferencedImageSequence=[reference(ds)])

    sources = series_of(change=[change, change, None])
    made = presented(sources, tmp_path)
    tags = elements_of(made.one)
    assert not {pydicom.tag.Tag(k) for k in ("GraphicAnnotationSequence", "GraphicLayerSequence")} & set(tags)
    assert frames_shown(made.state, made.one) == [1, 2]
    (note,) = made.state.GraphicAnnotationSequence
    assert note.GraphicObjectSequence == sources[0].GraphicAnnotationSequence[0].GraphicObjectSequence
    assert "ReferencedImageSequence" not in note  # it applies to all that the state refers to
    assert made.state.GraphicLayerSequence == sources[0].GraphicLayerSequence
    assert not dciodvfy(made.files[0])


def test_E28_overlays_are_drawn_above_the_layers_of_an_image(tmp_path: Path) -> None:
    state = presented(series_of(change=all_of(annotated, overlay(bitmap(1)))), tmp_path).state
    assert [(one.GraphicLayer, one.GraphicLayerOrder) for one in state.GraphicLayerSequence] == [
        ("DRAWN", 3),
        (state[0x60001001].value, 4),
    ]


def test_E28_an_overlay_stays_in_the_layer_it_names(tmp_path: Path) -> None:
    state = presented(series_of(change=all_of(annotated, overlay(bitmap(1), e1001=("CS", "DRAWN")))), tmp_path).state
    assert state[0x60001001].value == "DRAWN"
    assert len(state.GraphicLayerSequence) == 1


# E43: the state


def test_E43_states_have_a_series_of_their_own_and_say_what_they_are_made_of(tmp_path: Path) -> None:
    sources = series_of(
        change=[overlay(bitmap(1), e22=("LO", "J\xf6rg")), None, overlay(bitmap(1), e22=("LO", "J\xf6rg"))]
    )
    made = presented(sources, tmp_path)
    state, image = made.state, made.one
    assert (state.SOPClassUID, state.Modality, state.QueryRetrieveView) == (GRAYSCALE, "PR", "ENHANCED")
    assert state.SeriesInstanceUID not in (image.SeriesInstanceUID, SERIES)
    assert (state.SeriesNumber, state.SeriesDate, state.SeriesTime) == (7, "20240102", "101600")
    assert (state.PresentationCreationDate, state.PresentationCreationTime) == ("20240102", "101701.5")
    assert (state.InstanceNumber, state.ContentLabel, str(state.ContentCreatorName)) == (1, "OVERLAYS", "")
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "StudyDate", "AccessionNumber", "Manufacturer",
                    "ReferringPhysicianName", "SpecificCharacterSet"):  # fmt: skip
        assert state[keyword].value == image[keyword].value == sources[0][keyword].value
    found = [
        (one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID) for one in state.ConversionSourceAttributesSequence
    ]
    assert found == [(one.SOPClassUID, one.SOPInstanceUID) for one in (sources[0], sources[2])]
    (equipment,) = state.ContributingEquipmentSequence
    (purpose,) = equipment.PurposeOfReferenceCodeSequence
    assert (purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning) == PURPOSE
    assert equipment.ContributionDescription == "Legacy Enhanced Image created from Classic Images"
    assert "ContributionDateTime" not in equipment
    assert not dciodvfy(made.files[0])


def test_E43_equal_overlays_share_a_state_and_all_frames_need_no_numbers(tmp_path: Path) -> None:
    made = presented(series_of(change=[overlay(bitmap(1))] * 3), tmp_path)
    assert "ReferencedFrameNumber" not in made.state.ReferencedSeriesSequence[0].ReferencedImageSequence[0]
    some = presented(series_of(change=[overlay(bitmap(n)) if n else None for n in (1, 2, 0, 1, 2)]), tmp_path / "some")
    assert [frames_shown(state, some.one) for state in some.states] == [[1, 4], [2, 5]]


@pytest.mark.parametrize(
    "different",
    [
        overlay(bitmap(1), e1500=("LO", "other")),
        overlay(bitmap(1), 0x6002),
        all_of(overlay(bitmap(1)), {"RescaleIntercept": "-1000"}),
        all_of(overlay(bitmap(1)), {"PixelSpacing": ["0.5", "0.25"]}),
    ],
    ids=["label", "group", "rescale", "spacing"],
)
def test_E43_what_one_state_cannot_say_is_said_by_two(different: object, tmp_path: Path) -> None:
    made = presented(series_of(change=[overlay(bitmap(1)), different, overlay(bitmap(1))]), tmp_path)
    assert [frames_shown(state, made.one) for state in made.states] == [[1, 3], [2]]
    assert [state.InstanceNumber for state in made.states] == [1, 2]


def test_E43_a_state_has_the_rescaling_and_the_windows_of_its_frames(tmp_path: Path) -> None:
    changes = [
        all_of(overlay(bitmap(1)), {"WindowCenter": center, "WindowWidth": width})
        for center, width in (("40", "400"), (["50", "600"], ["350", "1500"]), ("40", "400"))
    ]
    made = presented(series_of(change=changes), tmp_path)
    state = made.state
    assert (state.RescaleSlope, state.RescaleIntercept, state.RescaleType) == (1, -1024, "HU")
    assert state.PresentationLUTShape == "IDENTITY"
    found = [
        (one.WindowCenter, one.WindowWidth, one.ReferencedImageSequence[0].ReferencedFrameNumber)
        for one in state.SoftcopyVOILUTSequence
    ]
    assert found == [(40, 400, [1, 3]), (50, 350, 2)]
    assert not dciodvfy(made.files[0])


def test_E43_an_image_without_rescaling_has_a_state_without(tmp_path: Path) -> None:
    state = presented(series_of("MR", change=overlay(bitmap(1))), tmp_path).state
    assert "RescaleSlope" not in state
    assert "SoftcopyVOILUTSequence" not in state


def test_E43_colour_images_get_a_colour_state(tmp_path: Path) -> None:
    def colour(ds: Dataset) -> None:
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.PixelData = 7, bytes(range(192))

    made = presented(series_of("MR", change=all_of(colour, overlay(bitmap(1)))), tmp_path)
    assert made.state.SOPClassUID == COLOR
    assert made.state.ICCProfile == srgb_profile()
    assert "PresentationLUTShape" not in made.state
    assert not dciodvfy(made.files[0])


def test_E43_the_profile_of_colour_states_is_sRGB() -> None:
    cms = need_module("PIL.ImageCms")
    image = need_module("PIL.Image").frombytes("RGB", (16, 16), bytes(range(256)) * 3)
    profile = cms.ImageCmsProfile(io.BytesIO(srgb_profile()))
    assert cms.profileToProfile(image, profile, cms.createProfile("sRGB")).tobytes() == image.tobytes()


def test_E43_G1_states_are_the_same_whatever_the_order_and_other_where_the_contents_are(tmp_path: Path) -> None:
    def uids(folder: str, datasets: list[Dataset]) -> list[tuple[str, str]]:
        made = presented(datasets, tmp_path / folder)
        return [(one.recipe.sop_instance, one.recipe.digest) for one in made.conversion.result.companions]

    sources = series_of(change=[overlay(bitmap(n)) for n in range(3)])
    one = uids("one", sources)
    assert uids("two", sources[::-1]) == one
    other = uids("other", series_of(change=[overlay(bitmap(n)) for n in (0, 1, 3)]))
    assert not {uid for uid, _ in one} & {uid for uid, _ in other}


def test_E43_states_of_late_objects_join_the_series_under_other_numbers(tmp_path: Path) -> None:
    sources = series_of(change=[overlay(bitmap(n)) for n in range(4)])
    first = presented(sources[:2], tmp_path / "first")
    frozen = frozen_from([first.conversion.result.record(STUDY)])
    late = presented(sources[2:], tmp_path / "late", frozen=frozen)
    every = [*first.states, *late.states]
    assert len({state.SeriesInstanceUID for state in every}) == 1
    assert len({state.InstanceNumber for state in every}) == len({state.SOPInstanceUID for state in every}) == 4


# E48: what stays classic

PLANE = bitmap(1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (overlay(PLANE, e10=("US", 0)), "its overlay 6000 has no rows or columns"),
        (overlay(PLANE, e3000=("OW", bytes(10))), "its overlay 6000 has 10 bytes of data instead of 8"),
        (overlay(PLANE, e15=("IS", "2")), "its overlay 6000 has several frames or is compressed: (6000,0015) is 2"),
        (overlay(PLANE, e51=("US", 3)), "its overlay 6000 has several frames or is compressed: (6000,0051) is 3"),
        (overlay(PLANE, e40=("CS", "X")), "its overlay 6000 has the type X instead of G or R"),
        (overlay(PLANE, e50=None), "its overlay 6000 has no origin"),
        (overlay(PLANE, e102=("US", 4)), "its overlay 6000 has data and claims to be bit 4 of 1"),
        (overlay(PLANE, e110=("CS", "GRAY")), "its overlay 6000 has the retired element (6000,0110)"),
        (overlay(PLANE, e10=("IS", "8")), "its overlay 6000 has (6000,0010) as IS instead of US"),
        (overlay(PLANE, 0x6020), "its overlay 6020 is beyond the sixteen that a presentation state can have"),
        (overlay(PLANE, 0x6001), "it has private elements in the groups of overlays"),
        (
            overlay(PLANE, e3000=None, e100=("US", 16), e102=("US", 3)),
            "its overlay 6000 is in bit 3, which belongs to the pixel values",
        ),
        (all_of(overlay(PLANE), {"ShutterOverlayGroup": 0x6000}), "one of its overlays is a display shutter"),
        (
            lambda ds: annotated(ds, ReferencedImageSequence=[reference(slice_of(number=9))]),
            "its graphic annotations are those of another image",
        ),
        ({"GraphicAnnotationSequence": [Dataset()]}, "its graphic annotations are in no layer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_E48_what_a_state_cannot_carry_stays_classic(change: object, reason: str, tmp_path: Path) -> None:
    made = presented(series_of(change=[None, overlay(bitmap(2)), change]), tmp_path)
    assert made.conversion.kept == {"002.dcm": reason}
    assert made.one.NumberOfFrames == 2
    assert frames_shown(made.state, made.one) == [2]


def test_E48_elements_that_say_what_their_absence_says_are_no_obstacle(tmp_path: Path) -> None:
    change = overlay(PLANE, e15=("IS", "1"), e51=("US", 1), e60=("CS", "NONE"), e1500=("LO", ""))
    state = presented(series_of(change=change), tmp_path).state
    assert state.overlay_array(0x6000).tolist() == PLANE.tolist()
    assert not {0x60000015, 0x60000051, 0x60000060} & set(state.keys())


# The proof


@pytest.mark.parametrize(
    ("tag", "value", "said"),
    [
        (0x60003000, b"\0" * 8, "other bits"),
        (0x60000022, None, r"\(6000,0022\) cannot be got back"),
        (0x60001500, b"OTHER ", r"\(6000,1500\) cannot be got back"),
        (0x60001001, b"NOWHERE ", "in no layer"),
        (0x00281052, b"-1000 ", "another rescaling"),
        (0x00283110, None, "another window"),
        (0x00209172, None, "other sources"),
        (0x00081115, None, "other frames"),
        (0x00700001, None, "another number of graphic annotations"),
    ],
)
def test_E25_E48_the_proof_of_a_state_finds_what_is_missing(
    tag: int, value: bytes | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = PresentationState.dataset

    def broken(self: PresentationState) -> dict:
        found = original(self)
        if value is None:
            del found[tag]
        else:
            found[tag] = found[tag]._replace(value=value)
        return found

    change = all_of(annotated, overlay(PLANE, e22=("LO", "description"), e1500=("LO", "LABEL")))
    folder = tmp_path / "in"
    paths = [save(ds, folder / f"{n}.dcm") for n, ds in enumerate(series_of(change=[change, None]))]
    monkeypatch.setattr(PresentationState, "dataset", broken)
    made = convert(paths, tmp_path / "out")
    assert list(made.kept) == ["0.dcm"]
    assert re.search(said, made.kept["0.dcm"]), made.kept
    assert [one.NumberOfFrames for one in made.objects] == [1]


@settings(max_examples=50)
@given(octets=st.binary(min_size=1, max_size=70), bit=st.integers(0, 7))
def test_E26_bits_are_packed_the_first_pixel_lowest(octets: bytes, bit: int) -> None:
    bits = np.frombuffer(octets, np.uint8) >> bit & 1
    assert packed_bit(octets, bit) == np.packbits(bits, bitorder="little").tobytes()


# Real data and other readers


def test_E43_another_reader_finds_the_active_overlay(tmp_path: Path) -> None:
    made = presented(series_of(change=[None, overlay(bitmap(1))]), tmp_path)
    image = tmp_path / "out" / f"{made.one.SOPInstanceUID}.dcm"
    command = [need("dcmp2pgm"), "-v", "-p", made.files[0], "-f", "2", image, tmp_path / "frame.pgm"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "Number of activated overlays: 1" in said.stdout + said.stderr
    head, bits = (tmp_path / "ovl_0101.pgm").read_bytes().split(b" 255\n")
    assert head.split() == [b"P5", b"8", b"8"]
    assert (np.frombuffer(bits, np.uint8) > 0).astype(int).tolist() == bitmap(1).ravel().tolist()


def test_E25_E43_a_real_image_with_an_overlay(tmp_path: Path) -> None:
    source = dcmread(BUNDLED)
    made = presented([source], tmp_path)
    assert made.state.overlay_array(0x6000).tolist() == source.overlay_array(0x6000).tolist()
    assert made.state[0x60000022].value == "Siemens MedCom Object Graphics"
    assert made.one.pixel_array.tolist() == source.pixel_array.tolist()
    assert (made.state.SoftcopyVOILUTSequence[0].WindowCenter, made.state.SoftcopyVOILUTSequence[0].WindowWidth) == (
        450,
        790,
    )
    assert not dciodvfy(made.files[0])
