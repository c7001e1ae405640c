"""Compressed frames are passed on byte for byte, whatever their fragments (PS3.5 A.4)."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from conversion.material import convert, save, series_of, turned_back
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_fragments, generate_frames, parse_basic_offsets
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless
from tools import need_module


def _j2k(ds: Dataset) -> bytes:
    image = need_module("PIL.Image")
    target = io.BytesIO()
    image.fromarray(ds.pixel_array).save(target, format="JPEG2000", no_jp2=True, irreversible=False)
    return target.getvalue()


def _compressed(ds: Dataset, path: Path, syntax: str, fragments: int = 1, table: bool = True) -> Path:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    if syntax == JPEG2000Lossless:
        frame = _j2k(ds)
        ds.file_meta.TransferSyntaxUID = syntax
    else:
        if syntax == JPEGLSLossless:
            need_module("jpeg_ls")
        ds.compress(syntax, generate_instance_uid=False)
        frame = next(generate_frames(ds.PixelData, number_of_frames=1))
    ds.PixelData = encapsulate([frame], fragments_per_frame=fragments, has_bot=table)
    ds["PixelData"].is_undefined_length = True
    ds["PixelData"].VR = "OB"
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def _plain_and_compressed(tmp_path: Path, syntax: str, fragments: list[int], table: bool) -> tuple[list, list[Path]]:
    sources = series_of("MR", change=lambda ds: None)
    plain = [np.frombuffer(ds.PixelData, np.uint16).reshape(8, 8) for ds in sources]
    paths = [
        _compressed(ds, tmp_path / f"{n}.dcm", syntax, count, table)
        for n, (ds, count) in enumerate(zip(sources, fragments, strict=True))
    ]
    return plain, paths


@pytest.mark.parametrize("table", [True, False], ids=["table", "no table"])
@pytest.mark.parametrize("fragments", [[1, 1, 1], [1, 3, 2]], ids=str)
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.name)
def test_frames_are_repacked_byte_for_byte(syntax: str, fragments: list[int], table: bool, tmp_path: Path) -> None:
    plain, paths = _plain_and_compressed(tmp_path, syntax, fragments, table)
    made = convert(paths, tmp_path / "out")
    ds = made.one
    assert ds.file_meta.TransferSyntaxUID == syntax
    assert ds["PixelData"].is_undefined_length
    sources = [dcmread(path) for path in paths]
    found = list(generate_fragments(ds.PixelData[8 + 12 :]))
    assert found == [piece for source in sources for piece in list(generate_fragments(source.PixelData))[1:]]
    assert len(found) == sum(fragments)
    assert np.array_equal(ds.pixel_array, np.stack(plain))


@pytest.mark.parametrize("fragments", [[1, 1, 1], [2, 1, 3]], ids=str)
def test_basic_offset_table_points_at_the_first_fragment_of_every_frame(fragments: list[int], tmp_path: Path) -> None:
    _, paths = _plain_and_compressed(tmp_path, RLELossless, fragments, True)
    ds = convert(paths, tmp_path / "out").one
    offsets = parse_basic_offsets(ds.PixelData)
    assert len(offsets) == 3
    first = 8 + 4 * len(offsets)
    frames = list(generate_frames(ds.PixelData, number_of_frames=3))
    for number, offset in enumerate(offsets):
        group, element, length = struct.unpack_from("<HHL", ds.PixelData, first + offset)
        assert (group, element) == (0xFFFE, 0xE000)
        assert frames[number].startswith(ds.PixelData[first + offset + 8 : first + offset + 8 + length])


@pytest.mark.parametrize("fragments", [[1, 1, 1], [2, 1, 3]], ids=str)
def test_compressed_frames_turn_back_into_the_same_fragments(fragments: list[int], tmp_path: Path) -> None:
    plain, paths = _plain_and_compressed(tmp_path, RLELossless, fragments, False)
    made = convert(paths, tmp_path / "out")
    for n, path in enumerate(turned_back(made.files, tmp_path / "back")[0]):
        back = dcmread(path)
        assert list(generate_fragments(back.PixelData))[1:] == list(generate_fragments(dcmread(paths[n]).PixelData))[1:]
        assert np.array_equal(back.pixel_array, plain[n])


def test_a_single_frame_of_several_fragments_without_table(tmp_path: Path) -> None:
    made = convert([_compressed(series_of("MR")[0], tmp_path / "1.dcm", RLELossless, 3, False)], tmp_path / "out")
    # Another converter may leave the table empty.
    ds = made.one
    ds.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0" + ds.PixelData[12:]
    ds.save_as(tmp_path / "empty.dcm")
    (path,), _ = turned_back([tmp_path / "empty.dcm"], tmp_path / "back")
    assert dcmread(path).PixelData == ds.PixelData


def test_pixels_without_a_fragment_stay_classic(tmp_path: Path) -> None:
    ds = series_of("MR")[0]
    path = _compressed(ds, tmp_path / "1.dcm", RLELossless)
    content = path.read_bytes()
    at = content.index(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff") + 12
    path.write_bytes(content[:at] + b"\xfe\xff\x00\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0")
    made = convert([path], tmp_path / "out")
    assert made.kept == {"1.dcm": "its pixel data have no frame"}


def test_native_pixels_under_a_compressed_syntax_stay_classic(tmp_path: Path) -> None:
    path = save(series_of("MR")[0], tmp_path / "1.dcm")
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"))
    made = convert([path], tmp_path / "out")
    assert set(made.kept.values()) == {"its pixel data are not encapsulated as its transfer syntax wants"}


def test_E24_compressed_icons_go_with_their_images(tmp_path: Path) -> None:
    def icon(ds: Dataset) -> None:
        small = Dataset()
        small.Rows = small.Columns = 2
        small.PixelData = encapsulate([b"\1\2\3\4"])
        small["PixelData"].VR = "OB"
        small["PixelData"].is_undefined_length = True
        ds.IconImageSequence = [small]

    paths = [_compressed(ds, tmp_path / f"{n}.dcm", RLELossless) for n, ds in enumerate(series_of("MR", change=icon))]
    made = convert(paths, tmp_path / "out")
    icons = made.one.IconImageSequence
    assert icons[0]["PixelData"].is_undefined_length
    assert icons[0].PixelData == dcmread(paths[0]).IconImageSequence[0].PixelData
    images, _ = turned_back(made.files, tmp_path / "back")
    assert [dcmread(path).IconImageSequence[0].PixelData for path in images] == [icons[0].PixelData] * 3
    native = convert([save(series_of("MR", change=icon)[0], tmp_path / "native.dcm")], tmp_path / "stays")
    assert all("compressed against its transfer syntax" in reason for reason in native.kept.values())
    assert len(native.kept) == 1
