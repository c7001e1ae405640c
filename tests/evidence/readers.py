"""What readers that know nothing of the gateway make of files: dcm2niix, GDCM through SimpleITK."""

from __future__ import annotations

import re
import struct
import subprocess
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from tools import need_module

# Data types of NIfTI-1 that are met: code -> numpy.
_TYPES = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8", 256: "i1", 512: "<u2", 768: "<u4"}
_RGB = 128

Volume = tuple[np.ndarray, np.ndarray]  # voxels (x, y, z) as scaled values; affine (3, 4)


def nifti_volumes(path: Path) -> Iterator[Volume]:
    """Yield the 3-D volumes of a NIfTI-1 file."""
    content = path.read_bytes()
    dims = struct.unpack_from("<8h", content, 40)
    kind, offset = struct.unpack_from("<h", content, 70)[0], int(struct.unpack_from("<f", content, 108)[0])
    slope, intercept = struct.unpack_from("<2f", content, 112)
    affine = np.frombuffer(content, "<f4", 12, 280).reshape(3, 4)
    x, y, z = (max(1, size) for size in dims[1:4])
    count = int(np.prod([max(1, size) for size in dims[4 : dims[0] + 1]], dtype=int))
    shape = (count, z, y, x, 3) if kind == _RGB else (count, z, y, x)
    voxels = np.frombuffer(content, "u1" if kind == _RGB else _TYPES[kind], int(np.prod(shape)), offset).reshape(shape)
    for volume in voxels:
        yield volume.astype(np.float64) * (slope or 1) + intercept, affine


def dcm2niix_volumes(paths: Iterable[Path], folder: Path) -> list[Volume]:
    """Return the volumes that dcm2niix makes of files, without those it adds: resampled ones, overlays."""
    program = need_module("dcm2niix").bin
    (folder / "in").mkdir(parents=True)
    (folder / "out").mkdir()
    for number, path in enumerate(paths):
        (folder / "in" / f"{number:05d}.dcm").symlink_to(path.resolve())
    command = [program, "-b", "n", "-z", "n", "-f", "%n_%p_%s", "-o", str(folder / "out"), str(folder / "in")]
    subprocess.run(command, capture_output=True, check=False)
    made = sorted(path for path in (folder / "out").glob("*.nii") if not re.search(r"_(Eq|Tilt|ROI)", path.stem))
    return [volume for path in made for volume in nifti_volumes(path)]


def same_volumes(first: list[Volume], second: list[Volume], *, affine: bool = True) -> bool:
    """Tell whether both have the same volumes, in whatever order."""
    left = list(second)
    for voxels, place in first:
        for number, (others, other_place) in enumerate(left):
            same_place = not affine or np.allclose(place, other_place, rtol=0, atol=1e-4)
            if same_place and np.array_equal(voxels, others):
                del left[number]
                break
        else:
            return False
    return not left


def itk_frames(path: Path) -> tuple[np.ndarray, list[tuple[float, ...]]]:
    """Return the frames that SimpleITK reads, rescaled, and the positions it computes."""
    sitk = need_module("SimpleITK")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(path))
        image = reader.Execute()
    depth = image.GetSize()[2] if image.GetDimension() == 3 else 1
    positions = [image.TransformIndexToPhysicalPoint((0, 0, number)) for number in range(depth)]
    return sitk.GetArrayFromImage(image).reshape(depth, image.GetSize()[1], image.GetSize()[0], -1), positions
