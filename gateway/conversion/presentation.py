"""Softcopy presentation states for what enhanced images cannot hold themselves (PS3.4 C.3.5; PS3.3 A.33.1, A.33.2).

Overlay planes and graphic annotations of classic images move there, and the inverted look of images that were
MONOCHROME1. The states of one derived image series share a series of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gateway.conversion.identity import EDITION, Identity
from gateway.conversion.looks import Look, shown, transformation
from gateway.conversion.planned import Companion, Planned
from gateway.conversion.presentation_proof import prove_state
from gateway.conversion.related import source_series, with_items
from gateway.conversion.top_level import NO_DATE, NO_TIME, contributing_equipment, copied_elements
from gateway.objects.elements import DataSet, Element, dataset, integer, is_empty, make, sequence, tag_of
from gateway.objects.encode import encode
from gateway.objects.part10 import EXPLICIT_LITTLE, read_header
from gateway.objects.recipe import Recipe, RecipeWriter
from gateway.objects.uids import derived_uid
from gateway.standard.presentation import (
    COLOR_STATE,
    GRAYSCALE_STATE,
    IMAGE_SERIES_ONLY,
    STATE_COMMON,
    STATE_MODULES,
)
from gateway.standard.srgb import srgb_profile

# Objects of one derived series number their states from here on, so that later ones do not collide.
_NUMBERS_EACH = 100_000

# Frame numbers in one item: the value of Referenced Frame Number has 64 KiB at most (PS3.5 table 7.1-2).
_NUMBERS_IN_ITEM = 8_000


def presentation_states(planned: Planned, identity: Identity) -> list[PresentationState]:
    """Return the states of an object whose UIDs are fixed."""
    return [PresentationState(planned, number, identity) for number in range(1, len(planned.looks) + 1)]


def state_reference(states: Sequence[Companion]) -> list[Element]:
    """Return Referenced Presentation State Sequence of an image, nothing where it has none (C.8.15.2, C.17-3)."""
    if not states:
        return []
    references = (
        dataset(make("ReferencedSOPClassUID", state.sop_class), make("ReferencedSOPInstanceUID", state.sop_instance))
        for state in states
    )
    series = dataset(make("SeriesInstanceUID", states[0].series), sequence("ReferencedSOPSequence", *references))
    study = dataset(make("StudyInstanceUID", states[0].study), sequence("ReferencedSeriesSequence", series))
    return [sequence("ReferencedPresentationStateSequence", study)]


class PresentationState(Companion):
    """A state for one look of the frames of an object.

    Its UIDs follow from those of the object, which follow from the sources: neither is made from the other's bytes.

    Parameters
    ----------
    planned : Planned
        The object, its UIDs fixed.
    number : int
        Number of the look, from 1.
    identity : Identity
        Settings for Contributing Equipment.
    """

    kind = "presentation state"
    views = ("enhanced",)

    def __init__(self, planned: Planned, number: int, identity: Identity) -> None:
        self.planned = planned
        self.identity = identity
        self.number = number
        self.look: Look = planned.looks[number - 1]
        self.sop_class = COLOR_STATE if self.look.color else GRAYSCALE_STATE
        self.sop_instance = derived_uid("presentation state", str(EDITION), planned.sop_instance, str(number))
        self.series = derived_uid("presentation series", str(EDITION), planned.series)
        self.study = planned.frames[0].study
        self.sources = [planned.frames[frame - 1] for frame in self.look.frames]

    def build(self, path: Path) -> Recipe:
        """Write the recipe, which is a header and nothing else."""
        with RecipeWriter(path) as writer:
            writer.write(encode(self.dataset()))
        return writer.finish(
            sop_class=self.sop_class,
            sop_instance=self.sop_instance,
            transfer_syntax=EXPLICIT_LITTLE,
            sources=[],
            segments=[],
        )

    def prove(self, recipe: Recipe) -> str:
        """Find every overlay and annotation of every source in the stream again."""
        return prove_state(recipe, self.planned, self.look)

    def dataset(self) -> DataSet:
        """Return the state."""
        header = read_header(self.sources[0].path)
        ds, drawn = header.dataset, shown(header)
        rescale, _ = transformation(ds, self.planned.statements, legacy=self.planned.survey.legacy)
        found = self._entities()
        found.update({tag: ds[tag] for tag in map(tag_of, STATE_COMMON) if tag in ds})
        found.update(self._identification(drawn=bool(drawn)))
        found.update(self._displayed_area(ds))
        found.update(self._color(ds) if self.look.color else self._grayscale(rescale))
        found.update(drawn)
        return dict(sorted(found.items()))

    def _entities(self) -> DataSet:
        """Return patient, study, series and equipment: those of the images, as a series of its own."""
        survey = self.planned.survey
        found = copied_elements(survey, modules=STATE_MODULES)
        for keyword in IMAGE_SERIES_ONLY:
            found.pop(tag_of(keyword), None)
        date, time = self.planned.series_start
        found.update(
            dataset(
                make("Modality", "PR"),
                make("SeriesDescription", "Overlays and look of converted images"),
                *([make("SeriesDate", date)] if date else []),
                *([make("SeriesTime", time)] if time else []),
                *([sequence("RequestAttributesSequence", *survey.requests)] if survey.requests else []),
                contributing_equipment(survey, self.identity),
                with_items(None, source_series(self.study, self.planned.source_series)),
            )
        )
        return found

    def _identification(self, *, drawn: bool) -> DataSet:
        """Return what the state is called and what it refers to (C.10.4, C.11.10, C.11.11, C.12.1)."""
        planned, survey = self.planned, self.planned.survey
        label, description = ("OVERLAYS", "Overlays of the images") if drawn else ("INVERTED", "Low values are white")
        sources = (
            dataset(make("ReferencedSOPClassUID", fact.sop_class), make("ReferencedSOPInstanceUID", fact.sop_instance))
            for fact in self.sources
        )
        series = dataset(
            make("SeriesInstanceUID", planned.series),
            sequence("ReferencedImageSequence", *self._references(self.look.frames)),
        )
        return dataset(
            make("SOPClassUID", self.sop_class),
            make("SOPInstanceUID", self.sop_instance),
            make("SeriesInstanceUID", self.series),
            make("InstanceNumber", (planned.instance_number - 1) * _NUMBERS_EACH + self.number),
            make("QueryRetrieveView", "ENHANCED"),
            sequence("ConversionSourceAttributesSequence", *sources),
            sequence("ReferencedSeriesSequence", series),
            make("ContentLabel", label),
            make("ContentDescription", description),
            make("PresentationCreationDate", survey.content_start[0] or NO_DATE),
            make("PresentationCreationTime", survey.content_start[1] or NO_TIME),
            make("ContentCreatorName"),
        )

    def _references(self, frames: Sequence[int]) -> list[DataSet]:
        """Return items for frames of the image; all of its frames need no numbers (10.3)."""
        planned = self.planned
        image = (
            make("ReferencedSOPClassUID", planned.sop_class),
            make("ReferencedSOPInstanceUID", planned.sop_instance),
        )
        if len(frames) == len(planned.frames):
            return [dataset(*image)]
        return [
            dataset(*image, make("ReferencedFrameNumber", *frames[start : start + _NUMBERS_IN_ITEM]))
            for start in range(0, len(frames), _NUMBERS_IN_ITEM)
        ]

    def _displayed_area(self, ds: DataSet) -> DataSet:
        """Return the whole image as the area to be displayed (C.10.4)."""
        columns, rows = integer(ds, "Columns", 1) or 1, integer(ds, "Rows", 1) or 1
        area = dataset(
            make("DisplayedAreaTopLeftHandCorner", 1, 1),
            make("DisplayedAreaBottomRightHandCorner", columns, rows),
            make("PresentationSizeMode", "SCALE TO FIT"),
            _spacing(ds),
        )
        return dataset(sequence("DisplayedAreaSelectionSequence", area))

    def _grayscale(self, rescale: DataSet) -> DataSet:
        """Return Modality LUT, Softcopy VOI LUT and Presentation LUT (C.11.1, C.11.8, C.11.6)."""
        windows = [
            dataset(*window.values(), sequence("ReferencedImageSequence", *self._references(frames)))
            if len(frames) < len(self.look.frames)
            else window
            for window, frames in self.look.windows.values()
        ]
        return dataset(
            *rescale.values(),
            *([sequence("SoftcopyVOILUTSequence", *windows)] if windows else []),
            make("PresentationLUTShape", "INVERSE" if self.look.inverted else "IDENTITY"),
        )

    def _color(self, ds: DataSet) -> DataSet:
        """Return the images' ICC profile, that of sRGB if they have none (C.11.15)."""
        if not is_empty(ds.get(tag_of("ICCProfile"))):
            return dataset(*(ds[tag] for tag in map(tag_of, ("ICCProfile", "ColorSpace")) if tag in ds))
        return dataset(Element(tag_of("ICCProfile"), "OB", srgb_profile()), make("ColorSpace", "SRGB"))


def _spacing(ds: DataSet) -> Element:
    """Return the size of the pixels, of which a displayed area has to say at least the shape."""
    spacing = ds.get(tag_of("PixelSpacing"))
    if spacing is None or is_empty(spacing):
        return make("PresentationPixelAspectRatio", 1, 1)
    return spacing._replace(tag=tag_of("PresentationPixelSpacing"))
