"""Segmentations and structure sets drawn over the images they refer to, classic or enhanced, with pydicom and numpy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import png
from pydicom import dcmread
from pydicom.dataset import Dataset

RED = np.array([255, 40, 40], np.float64)


@dataclass
class View:
    """The data sets of a view by instance."""

    held: dict[str, Dataset]

    @classmethod
    def of(cls, paths: Iterable[Path]) -> View:
        """Read files."""
        return cls({ds.SOPInstanceUID: ds for ds in map(dcmread, paths)})

    def image(self, reference: Dataset, place: list | None = None) -> tuple[Dataset, int] | None:
        """Return the image a reference points at, if it is here, and the number of the frame (from 0).

        A reference to all frames means the one that lies at `place`.
        """
        ds = self.held.get(reference.ReferencedSOPInstanceUID)
        if ds is None or ds.SOPClassUID != reference.ReferencedSOPClassUID or "PixelData" not in ds:
            return None
        count, number = int(ds.get("NumberOfFrames", 1)), reference.get("ReferencedFrameNumber")
        if number or count == 1:
            return ds, int(number or 1) - 1
        return next(
            (
                (ds, frame)
                for frame in range(count)
                if place and np.allclose(attribute(ds, frame, "PlanePositionSequence", "ImagePositionPatient"), place)
            ),
            None,
        )

    def pictures(self) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
        """Yield each drawing with the object it is of, as it was received, and which of its drawings it is."""
        for ds in self.held.values():
            sources = ds.get("ConversionSourceAttributesSequence")
            name = sources[0].ReferencedSOPInstanceUID if sources else ds.SOPInstanceUID
            drawn = {"SEG": self._segments, "RTSTRUCT": self._contours}.get(ds.Modality)
            for which, picture in drawn(ds) if drawn else ():
                yield (name, which), picture

    def _segments(self, ds: Dataset) -> Iterator[tuple[str, np.ndarray]]:
        masks = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
        for number, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
            shared = ds.SharedFunctionalGroupsSequence[0]
            place = frame.PlanePositionSequence[0].ImagePositionPatient if "PlanePositionSequence" in frame else None
            for derivation in (*frame.get("DerivationImageSequence", ()), *shared.get("DerivationImageSequence", ())):
                for reference in derivation.SourceImageSequence:
                    found = self.image(reference, place)
                    if found and gray(*found).shape == masks[number].shape:
                        yield f"frame {number}", blend(gray(*found), masks[number] / max(1, masks.max()))

    def _contours(self, ds: Dataset) -> Iterator[tuple[str, np.ndarray]]:
        for roi in ds.get("ROIContourSequence", ()):
            for number, contour in enumerate(roi.get("ContourSequence", ())):
                for reference in contour.get("ContourImageSequence", ()):
                    if found := self.image(reference):
                        points = np.array(contour.ContourData, np.float64).reshape(-1, 3)
                        picture = gray(*found)
                        inside = filled(in_pixels(points, *found), picture.shape)
                        yield f"roi {roi.ReferencedROINumber} contour {number}", blend(picture, inside)


def gray(ds: Dataset, frame: int) -> np.ndarray:
    """Return the stored pixels of a frame as gray between 0 and 255, over their own range."""
    pixels = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)[frame].astype(np.float64)
    low, high = pixels.min(), pixels.max()
    return (pixels - low) / max(1.0, high - low) * 255


def blend(picture: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Return a gray picture with red where something lies over it, as bytes of red, green, blue."""
    weight = 0.5 * strength[..., None]
    return np.round(picture[..., None] * (1 - weight) + RED * weight).astype(np.uint8)


def in_pixels(points: np.ndarray, ds: Dataset, frame: int) -> np.ndarray:
    """Return points of the patient as columns and rows of an image (PS3.3 C.7.6.2.1.1)."""
    position, orientation, spacing = (
        np.array(attribute(ds, frame, *names), np.float64)
        for names in (
            ("PlanePositionSequence", "ImagePositionPatient"),
            ("PlaneOrientationSequence", "ImageOrientationPatient"),
            ("PixelMeasuresSequence", "PixelSpacing"),
        )
    )
    away = points - position
    return np.stack([away @ orientation[:3] / spacing[1], away @ orientation[3:] / spacing[0]], axis=1)


def attribute(ds: Dataset, frame: int, group: str, keyword: str) -> list:
    """Return a value of a frame: from its group, else that of all frames, else the image itself."""
    if "PerFrameFunctionalGroupsSequence" not in ds:
        return ds[keyword].value
    groups = ds.PerFrameFunctionalGroupsSequence[frame]
    return (groups if group in groups else ds.SharedFunctionalGroupsSequence[0])[group].value[0][keyword].value


def filled(corners: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return 1 for the pixels whose middle is inside a closed line: an odd number of its sides lies to the left."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    inside = np.zeros(shape, bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 != y2:
            crosses = (y1 > rows) != (y2 > rows)
            inside ^= crosses & (columns < (x2 - x1) * (rows - y1) / (y2 - y1) + x1)
    return inside.astype(np.float64)


def save(picture: np.ndarray, path: Path) -> None:
    """Write a picture for people to look at."""
    with open(path, "wb") as file:
        png.Writer(picture.shape[1], picture.shape[0], greyscale=False).write(file, picture.reshape(len(picture), -1))
