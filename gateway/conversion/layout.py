"""How the frames of a group are laid out: which of them form an object, and in which order (PS3.4 C.3.5).

The standard leaves it open whether four dimensions are one object or several. Readers decide: of dcm2niix, highdicom
and SimpleITK all read an object that holds one volume, and only the first one that holds several (manual,
``conversion.md``, has the table). So a group is split into volumes - unless there are more of them than each has
slices: then it stays whole, as a thousand objects are no better than a thousand slices.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gateway.conversion.axes import AXES, CONTRAST
from gateway.conversion.dimensions import Columns, Indices, columns_of
from gateway.conversion.facts import Facts
from gateway.conversion.identity import ONE, VOLUMES

# An object stays below 2 GiB, its header included: many readers count in signed 32-bit numbers.
LARGEST_PIXELS = (2 << 30) - (64 << 20)

# What tells volumes of one object apart for readers (E55): echo, diffusion weighting with its direction, and time.
TELLING = frozenset(
    (
        "EchoTime", "DiffusionBValue", "DiffusionGradientOrientation", "TemporalPositionIdentifier",
        "TemporalPositionIndex", "TriggerTime",
    )
)  # fmt: skip

# How the volumes of one series are told apart in Image Comments, by axis; others by their keyword.
_WORDS = {
    "EchoTime": "echo time {} ms",
    "EchoNumbers": "echo {}",
    "InversionTime": "inversion time {} ms",
    "FlipAngle": "flip angle {} degrees",
    "KVP": "{} kV",
    "DiffusionBValue": "b-value {} s/mm2",
    "DiffusionGradientOrientation": "gradient direction {}",
    "ConvolutionKernel": "kernel {}",
    "ContrastBolusAgent": "contrast agent {}",
    "ASLContext": "label {}",
    "ImageType": "image type {}",
}
# GE adds this to b-values (private (0043,xx39)).
_GE_CONSTANT = 1_000_000_000


@dataclass(frozen=True)
class Part:
    """Frames of one object in their order.

    Attributes
    ----------
    frames : list of Facts
        The frames.
    indices : Indices
        Their dimensions and index values.
    why : str
        What sets this part apart from others of its group, empty if the group is one object.
    comment : str
        The same for readers, as Image Comments.
    """

    frames: list[Facts]
    indices: Indices
    why: str = ""
    comment: str = ""


def laid_out(group: Sequence[Facts], four_d: str = VOLUMES) -> Iterator[Part]:
    """Split a group of instances that can share an object into the objects they become.

    Parameters
    ----------
    group : sequence of Facts
        In order of Instance Number.
    four_d : {"volumes", "one"}
        ``"one"`` leaves a group whole whose volumes are all told apart by attributes of `TELLING`.
    """
    columns = columns_of(group)
    volumes = volumes_of(columns)
    # Contrasts come first in the table, so that they are the first numbers of volumes as well.
    kinds = _zipped([values for axis, _, values in columns.axes if axis.role == CONTRAST], len(group))
    order = _order(columns, volumes)
    apart: list[tuple[int, ...]] = [()] * len(group)
    if four_d == ONE and _all_told(columns):
        pass
    elif _splits(columns, volumes):
        apart = volumes
    elif _splits(columns, kinds):
        apart = kinds
    indices = columns.indices(organization_of(group))
    yield from _told_apart(list(_parts(group, columns, volumes, order, apart, indices)))


def _parts(
    group: Sequence[Facts],
    columns: Columns,
    volumes: Sequence[tuple[int, ...]],
    order: Sequence[int],
    apart: Sequence[tuple[int, ...]],
    indices: Indices,
) -> Iterator[Part]:
    """Yield the objects of a group, each with the dimensions of all."""
    for key in sorted(set(apart)):
        members = [which for which in order if apart[which] == key]
        why = _what(columns, members[0], len(key))
        comment = _comment(columns, members[0], len(key))
        pieces = list(_sized(columns, volumes, members))
        for number, piece in enumerate(pieces, 1):
            size = f"part {number} of {len(pieces)} by size" if len(pieces) > 1 else ""
            reason = ", ".join(filter(None, (why, size)))
            yield Part([group[which] for which in piece], indices.part(piece), reason, comment)


def _all_told(columns: Columns) -> bool:
    """Tell whether standard attributes that readers know tell all volumes apart: no number, and nothing private."""
    known = all(dimension is not None and axis.keyword in TELLING for axis, dimension, _ in columns.axes)
    moment = not columns.time_is_dimension or columns.moment in TELLING
    return known and moment and not columns.repeats and (bool(columns.axes) or columns.time_is_dimension)


def _told_apart(parts: list[Part]) -> Iterator[Part]:
    """Yield parts of which no two frames share all index values within one Dimension Organization (C.7.6.17).

    Objects of one group count along the same dimensions in one organization. Where nothing that can be a dimension
    tells their frames apart, only a private attribute, each object has one of its own.
    """
    values = [value for part in parts for value in part.indices.values]
    own = len(parts) > 1 and len(set(values)) < len(values)
    for part in parts:
        indices = part.indices
        if own:
            first = part.frames[0]
            indices = replace(indices, organization=f"{indices.organization} {first.sop_instance} {first.digest}")
        yield replace(part, indices=indices.numbered([fact.instance_number for fact in part.frames]))


def organization_of(group: Sequence[Facts]) -> str:
    """Return what identifies a group: objects made of one group count along the same dimensions (C.7.6.17)."""
    contents = hashlib.blake2b(digest_size=16)
    for fact in group:
        contents.update(f"{fact.sop_instance} {fact.digest};".encode())
    return contents.hexdigest()


def volumes_of(columns: Columns) -> list[tuple[int, ...]]:
    """Return which volume every frame belongs to, as numbers that order volumes."""
    found = [values for _, _, values in columns.axes]
    if columns.time_is_dimension:
        found.append(columns.times)
    elif columns.repeats:
        found.append(columns.repeats)
    return _zipped(found, len(columns.frames))


def _zipped(found: Sequence[Sequence[int]], count: int) -> list[tuple[int, ...]]:
    return [tuple(values[which] for values in found) for which in range(count)]


def _what(columns: Columns, frame: int, count: int) -> str:
    """Return in words what the first `count` numbers of a frame's volume stand for."""
    found = [f"{axis.keyword} {columns.frames[frame].dimensions[AXES.index(axis)]}" for axis, _, _ in columns.axes]
    if columns.time_is_dimension:
        found.append(f"time {columns.times[frame]}")
    elif columns.repeats:
        found.append(f"repetition {columns.repeats[frame]}")
    return ", ".join(found[:count])


def _comment(columns: Columns, frame: int, count: int) -> str:
    """Return what tells the volume of a frame apart, in words of ASCII: b-value, echo, time."""
    found = []
    for axis, _, _ in columns.axes:
        value = columns.frames[frame].dimensions[AXES.index(axis)]
        if isinstance(value, float):
            value = f"{value - _GE_CONSTANT if value >= _GE_CONSTANT else value:g}"
        said = str(value).replace("\\", "/").encode("ascii", "replace").decode("ascii")
        found.append(_WORDS.get(axis.keyword, axis.keyword + " {}").format(said or "none"))
    if columns.time_is_dimension:
        found.append(f"temporal position {columns.times[frame]}")
    elif columns.repeats:
        found.append(f"repetition {columns.repeats[frame]}")
    return ", ".join(found[:count])


def _splits(columns: Columns, apart: Sequence[tuple[int, ...]]) -> bool:
    """Tell whether a group falls into a few objects that each hold most of the places.

    A slice that was taken twice is no volume of its own.
    """
    places = len(set(columns.places))
    sizes: dict[tuple[int, ...], set[tuple[int, int]]] = defaultdict(set)
    for key, place in zip(apart, columns.places, strict=True):
        sizes[key].add(place)
    return 1 < len(sizes) <= places and all(2 * len(found) >= places for found in sizes.values())


def _order(columns: Columns, volumes: Sequence[tuple[int, ...]]) -> list[int]:
    """Return the order of frames: volume by volume, each by Instance Number if its slices run one way, else by place.

    Users page through a series by Instance Number; readers that take frames as they come want volumes one after the
    other and slices in a row.
    """
    last: dict[tuple[tuple[int, ...], int], int] = {}
    in_a_row = True
    for volume, stack, position in zip(volumes, columns.stacks, columns.positions, strict=True):
        in_a_row &= last.get((volume, stack), 0) <= position
        last[volume, stack] = position
    if in_a_row:
        return sorted(range(len(volumes)), key=lambda which: (volumes[which], which))
    return sorted(range(len(volumes)), key=lambda which: (volumes[which], columns.places[which], which))


def _sized(columns: Columns, volumes: Sequence[tuple[int, ...]], members: list[int]) -> Iterator[list[int]]:
    """Split frames that are too large for one object: between volumes, else between stacks, else anywhere."""
    frames = columns.frames
    if sum(frames[which].pixel_bytes for which in members) <= LARGEST_PIXELS:
        yield members
        return
    for keys in (volumes, columns.stacks):
        units: dict[object, list[int]] = defaultdict(list)
        for which in members:
            units[keys[which]].append(which)
        if len(units) > 1:
            yield from _packed(columns, volumes, list(units.values()))
            return
    parts = -(-sum(frames[which].pixel_bytes for which in members) // LARGEST_PIXELS)
    each = -(-len(members) // parts)
    for start in range(0, len(members), each):
        yield members[start : start + each]


def _packed(columns: Columns, volumes: Sequence[tuple[int, ...]], units: list[list[int]]) -> Iterator[list[int]]:
    """Put as many units in a row as fit into one object; a unit that is too large is split itself."""
    packed: list[int] = []
    taken = 0
    for unit in units:
        size = sum(columns.frames[which].pixel_bytes for which in unit)
        if packed and taken + size > LARGEST_PIXELS:
            yield packed
            packed, taken = [], 0
        if size > LARGEST_PIXELS:
            yield from _sized(columns, volumes, unit)
            continue
        packed += unit
        taken += size
    if packed:
        yield packed
