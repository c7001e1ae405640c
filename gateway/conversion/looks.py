"""What presentation states have to show of the frames of an object, so that equal ones are made once.

A conversion that made a state for every frame with an overlay would flood a study with them (PS3.4 C.3.5 note); frames
with the same bitmaps, annotations, rescaling and pixel spacing share one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from gateway.conversion.groups import frame_groups
from gateway.conversion.overlays import (
    GRAPHIC_ANNOTATION,
    GRAPHIC_LAYER,
    LAYER,
    graphic_annotations,
    overlay_groups,
    overlay_planes,
    presentation_tags,
)
from gateway.conversion.pixels import described
from gateway.conversion.statements import Statements
from gateway.objects.elements import DataSet, Element, dataset, is_empty, items, make, sequence, tag_of, text, texts
from gateway.objects.encode import encode
from gateway.objects.part10 import Header

FRAME_VOI_LUT = tag_of("FrameVOILUTSequence")
PIXEL_VALUE_TRANSFORMATION = tag_of("PixelValueTransformationSequence")

# White, for overlays that say nothing about how they look: as a P-value and as CIELab (PS3.3 C.10.7).
_WHITE_GRAY = 65535
_WHITE_LAB = (65535, 32896, 32896)


@dataclass
class Look:
    """What one presentation state applies to.

    Attributes
    ----------
    frames : list of int
        Numbers of the frames, from 1.
    windows : dict
        Item of Softcopy VOI LUT Sequence and the frames that have it, by its encoding.
    plain : list of int
        Frames without a window.
    color, inverted : bool
        Whether the frames are in colour, and whether they are shown inverted because they were MONOCHROME1.
    """

    color: bool
    inverted: bool
    frames: list[int] = field(default_factory=list)
    windows: dict[bytes, tuple[DataSet, list[int]]] = field(default_factory=dict)
    plain: list[int] = field(default_factory=list)


class Looks:
    """The looks of the frames of one object, found in one pass.

    Parameters
    ----------
    statements : Statements
        What the object says of its frames.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self.count = 0
        self._found: dict[bytes, Look] = {}

    def add(self, header: Header, *, inverted: bool = False) -> None:
        """Take in one more frame; one that is fully shown by the image itself needs no state.

        Parameters
        ----------
        header : Header
            Header of its source.
        inverted : bool
            Whether it was MONOCHROME1 and its pixel values were inverted.
        """
        self.count += 1
        ds = header.dataset
        if not inverted and not presentation_tags(ds):
            return
        color = is_color(ds)
        content = dict(shown(header))
        for keyword in ("SpecificCharacterSet", "PixelSpacing", "ICCProfile"):
            if not is_empty(ds.get(tag_of(keyword))):
                content[tag_of(keyword)] = ds[tag_of(keyword)]
        rescale, window = transformation(ds, self._statements)
        digest = hashlib.blake2b(encode(content) + b"|" + encode(rescale), digest_size=16)
        digest.update(bytes((color, inverted)))
        look = self._found.setdefault(digest.digest(), Look(color, inverted))
        look.frames.append(self.count)
        if window:
            look.windows.setdefault(encode(window), (window, []))[1].append(self.count)
        else:
            look.plain.append(self.count)

    def found(self) -> list[Look]:
        """Return the looks in the order of their first frames."""
        return list(self._found.values())


def is_color(ds: DataSet) -> bool:
    """Tell whether an image is in colour, so that its state is a Color Softcopy one."""
    return not text(ds, "PhotometricInterpretation").startswith("MONOCHROME")


def transformation(ds: DataSet, statements: Statements, *, legacy: bool = True) -> tuple[DataSet, DataSet]:
    """Return Modality LUT and Softcopy VOI LUT of a frame: without them a state would show stored values.

    Both are those of the frame's functional groups; of several windows the first, which is the one that is shown.
    """
    if is_color(ds):
        return {}, {}
    groups = frame_groups(statements.of(ds, described(ds)), statements.modality, legacy=legacy)[0]
    rescale = (items(groups, PIXEL_VALUE_TRANSFORMATION) or ({},))[0]
    window: DataSet = {}
    for item in items(groups, FRAME_VOI_LUT):
        centers, widths = texts(item, "WindowCenter"), texts(item, "WindowWidth")
        window = dataset(make("WindowCenter", centers[0]), make("WindowWidth", widths[0]))
        kept = ("VOILUTFunction",) if len(centers) > 1 else ("VOILUTFunction", "WindowCenterWidthExplanation")
        window.update((tag_of(keyword), item[tag_of(keyword)]) for keyword in kept if tag_of(keyword) in item)
    return rescale, window


def shown(header: Header) -> DataSet:
    """Return overlay planes, graphic annotations and the layers that they are drawn in, as a state has them."""
    ds = header.dataset
    found = overlay_planes(header)
    layers = list(items(ds, GRAPHIC_LAYER)) if presentation_tags(ds) else []
    names = {text(layer, "GraphicLayer") for layer in layers}
    for group in overlay_groups(ds):
        tag = group << 16 | LAYER
        if tag not in found:
            name = next(name for name in map("OVERLAY {}".format, range(1, 99)) if name not in names)
            found[tag] = make("GraphicLayer", name)._replace(tag=tag)
        _add_layer(text(found, tag), layers, names, is_color(ds))
    notes = graphic_annotations(ds)
    for item in notes:
        _add_layer(text(item, "GraphicLayer"), layers, names, is_color(ds))
    if notes:
        found[GRAPHIC_ANNOTATION] = Element(GRAPHIC_ANNOTATION, "SQ", notes)
    if layers:
        found[GRAPHIC_LAYER] = sequence("GraphicLayerSequence", *layers)
    return dict(sorted(found.items()))


def _add_layer(name: str, layers: list[DataSet], names: set[str], color: bool) -> None:
    """Add a layer on top of the others unless there is one of that name."""
    if name in names:
        return
    names.add(name)
    order = max((int(text(layer, "GraphicLayerOrder") or 0) for layer in layers), default=0) + 1
    white = make("GraphicLayerRecommendedDisplayGrayscaleValue", _WHITE_GRAY)
    if color:
        white = make("GraphicLayerRecommendedDisplayCIELabValue", *_WHITE_LAB)
    layers.append(dataset(make("GraphicLayer", name), make("GraphicLayerOrder", order), white))
