"""Rewritten copies: what refers to converted objects, with references to what those have become (PS3.4 C.3.5, O1-O3).

Same SOP class, new SOP Instance and Series Instance UID; everything else stands as it was. Pixel data and very long
values are segments of the source file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.conversion.facts import Facts
from gateway.conversion.identity import EDITION, Identity
from gateway.conversion.pixels import NATIVE
from gateway.conversion.planned import Companion
from gateway.conversion.references import Became, referenced
from gateway.conversion.related import RELATED_SERIES, apart, source_series, with_items
from gateway.conversion.rewriting import Rewriter
from gateway.conversion.update_proof import prove_update
from gateway.objects.elements import (
    DataSet,
    Element,
    Span,
    dataset,
    items,
    make,
    padded,
    sequence,
    standard_vr,
    tag_of,
)
from gateway.objects.encode import element_head, encode, item_head
from gateway.objects.parse import PIXEL_TAGS, UNDEFINED
from gateway.objects.part10 import EXPLICIT_LITTLE, Header, read_header
from gateway.objects.recipe import Recipe, RecipeWriter, Segment
from gateway.objects.uids import derived_uid

# Signatures are over other references than the copy has (G25).
_DROPPED = frozenset(map(tag_of, ("MACParametersSequence", "DigitalSignaturesSequence")))

# Longest value that is described to an index.
_LONGEST_DESCRIBED = 4096


@dataclass
class Update(Companion):
    """The rewritten copy of one instance in one view.

    Attributes
    ----------
    identity : Identity
        Settings for Contributing Equipment and new UIDs.
    became : Became
        The reference map of its view, known once the whole plan is.
    """

    sources: list[Facts]
    view: str
    identity: Identity
    became: Became = field(default_factory=dict, repr=False)
    sop_instance: str = ""
    kind: str = "rewritten copy"
    replaces: bool = True
    described: DataSet | None = field(default=None, repr=False)
    refers: tuple[str, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        fact = self.sources[0]
        self.sop_class, self.study = fact.sop_class, fact.study
        self.views = (self.view,)
        # All copies of one series share a series, whenever they are made.
        self.series = self.uid("series", fact.study, fact.series)

    @property
    def source(self) -> Facts:
        """The instance it is a copy of."""
        return self.sources[0]

    def uid(self, purpose: str, *parts: str) -> str:
        """Return a UID of this view."""
        return derived_uid(purpose, "copy", self.view, str(EDITION), *self.identity.parts, *parts)

    def build(self, path: Path) -> Recipe:
        """Write the recipe, without a map yet."""
        header = read_header(self.source.path)
        ds = self._dataset(header)
        self.described = {tag: element for tag, element in ds.items() if _is_described(element)}
        self.refers = tuple(sorted({uid for uid, _ in referenced(ds)}))
        with RecipeWriter(path) as writer:
            segments = _Segments(writer)
            for piece in _encoded(ds, header):
                segments.add(piece)
            segments.end()
        # The copy of what is not compressed is in Explicit VR Little Endian.
        native = header.transfer_syntax in NATIVE
        return writer.finish(
            sop_class=self.sop_class,
            sop_instance=self.sop_instance,
            transfer_syntax=EXPLICIT_LITTLE if native else header.transfer_syntax,
            sources=[self.source.name],
            segments=segments.found,
        )

    def prove(self, recipe: Recipe) -> str:
        """Check that everything of the source is in the stream and every reference right; return its digest."""
        return prove_update(recipe, self.source.path, self.became, self.view, self.series)

    def _dataset(self, header: Header) -> DataSet:
        """Return the copy's attributes."""
        before = apart(header.dataset)
        ds = Rewriter(self.became).dataset(before.rest)
        if self.series != before.copied:  # else it is what its source was a copy of
            added = (*before.added, source_series(self.study, self.source.series))
            ds = ds | {RELATED_SERIES: with_items(ds.get(RELATED_SERIES), *added)}
        origin = dataset(
            make("ReferencedSOPClassUID", header.sop_class), make("ReferencedSOPInstanceUID", header.sop_instance)
        )
        equipment = items(ds, "ContributingEquipmentSequence")
        new = dataset(
            make("SOPInstanceUID", self.sop_instance),
            make("SeriesInstanceUID", self.series),
            make("QueryRetrieveView", self.view.upper()),
            sequence("ContributingEquipmentSequence", *equipment, self.identity.equipment("references")),
            sequence("ConversionSourceAttributesSequence", origin),
        )
        return dict(sorted((_cleaned(ds) | new).items()))


def _cleaned(ds: DataSet) -> DataSet:
    """Return a data set without signatures, and with values of even length."""
    found: DataSet = {}
    for tag, element in ds.items():
        if tag in _DROPPED:
            continue
        if isinstance(element.value, tuple):
            element = element._replace(value=tuple(_cleaned(item) for item in element.value))
        elif isinstance(element.value, bytes) and len(element.value) % 2:
            element = element._replace(value=padded(element.value, element.vr))
        found[tag] = element
    return found


def _is_described(element: Element) -> bool:
    return isinstance(element.value, bytes) and len(element.value) <= _LONGEST_DESCRIBED


class _Segments:
    """Where the bytes of a copy come from: runs of its own file between parts of the source."""

    def __init__(self, writer: RecipeWriter) -> None:
        self.found: list[Segment] = []
        self._writer = writer
        self._start = 0

    def add(self, piece: bytes | Span) -> None:
        """Append bytes, or a part of the source file."""
        if isinstance(piece, bytes):
            self._writer.write(piece)
            return
        self.end()
        self.found.append(("f", 0, piece.offset, piece.length))

    def end(self) -> None:
        """End a run of own bytes."""
        if self._writer.header_length > self._start:
            self.found.append(("h", self._start, self._writer.header_length))
            self._start = self._writer.header_length


def _encoded(ds: DataSet, header: Header) -> Iterator[bytes | Span]:
    """Yield the bytes of a data set, explicit VR little endian, and what of the source file stands among them."""
    pixels = header.pixels
    last = pixels.tag if pixels else UNDEFINED
    yield from _elements(element for tag, element in sorted(ds.items()) if tag < last)
    if pixels is None:
        return
    # Implicit VR does not tell float pixel data from others; the tag does.
    vr = "OW" if " or " in standard_vr(pixels.tag) else standard_vr(pixels.tag)
    if not header.implicit:
        vr = pixels.vr
    if pixels.fragments is None:
        yield element_head(pixels.tag, vr, pixels.length + pixels.length % 2)
        yield Span(pixels.offset, pixels.length)
        yield b"\0" * (pixels.length % 2)
    else:
        yield element_head(pixels.tag, vr, UNDEFINED)
        yield Span(pixels.offset, pixels.length)
    yield from _elements(element for tag, element in sorted(ds.items()) if tag > last)


def _elements(elements: Iterable[Element]) -> Iterator[bytes | Span]:
    for element in elements:
        if not _has_spans(element):
            yield encode({element.tag: element})
        elif isinstance(element.value, Span):
            # Compressed pixels of an icon end with a delimiter of their own.
            compressed = element.tag in PIXEL_TAGS
            odd = 0 if compressed else element.value.length % 2
            yield element_head(element.tag, element.vr, UNDEFINED if compressed else element.value.length + odd)
            yield element.value
            yield b"\0" * odd
        else:
            assert isinstance(element.value, tuple)
            yield element_head(element.tag, "SQ", sum(8 + _length(item) for item in element.value))
            for item in element.value:
                yield item_head(_length(item))
                yield from _elements(item[tag] for tag in sorted(item))


def _has_spans(element: Element) -> bool:
    if isinstance(element.value, tuple):
        return any(_has_spans(one) for item in element.value for one in item.values())
    return isinstance(element.value, Span)


def _length(item: DataSet) -> int:
    """Return the encoded length of an item's content."""
    return sum(
        piece.length if isinstance(piece, Span) else len(piece)
        for piece in _elements(item[tag] for tag in sorted(item))
    )
