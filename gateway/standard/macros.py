"""How functional group macros are written down (PS3.3 C.7.6.16.2, C.8.13.5, C.8.15.3, C.8.22.5)."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

# The columns of a usage: Legacy Converted Enhanced CT, MR and PET, then Enhanced CT, MR and PET.
COLUMNS = ("legacy CT", "legacy MR", "legacy PT", "enhanced CT", "enhanced MR", "enhanced PT")

# Macros whose sequence is never in the shared functional groups, and those whose sequence is nowhere else.
PER_FRAME_ONLY = frozenset(
    (
        "FrameContentSequence",
        "UnassignedPerFrameConvertedAttributesSequence",
        "ConversionSourceAttributesSequence",
    )
)
# Macros whose sequence is an attribute of classic images too: it stays one when a frame is unfolded. The attributes of
# any other group come to the top level if it has exactly one item, else its sequence does as it is.
CLASSIC_SEQUENCES = frozenset(
    (
        "ReferencedImageSequence",
        "RealWorldValueMappingSequence",
        "CTAdditionalXRaySourceSequence",
        "MultienergyCTCharacteristicsSequence",
        "MultienergyCTProcessingSequence",
    )
)
SHARED_ONLY = frozenset(("UnassignedSharedConvertedAttributesSequence",))


class Attribute(NamedTuple):
    """An attribute of a macro.

    Attributes
    ----------
    path : tuple of str
        Keywords from the item of the group down to it: one, unless it is inside a further sequence.
    type : str
        ``1``, ``1C``, ``2``, ``2C`` or ``3``.
    """

    path: tuple[str, ...]
    type: str

    @property
    def keyword(self) -> str:
        """Its own keyword."""
        return self.path[-1]


class Macro:
    """A functional group macro.

    Attributes
    ----------
    sequence : str
        Keyword of its sequence.
    name, section : str
        Its name and the section of PS3.3 that defines it (``FG``: numbers of Supplement 157).
    """

    def __init__(self, sequence: str, name: str, section: str, usage: str, attributes: str) -> None:
        self.sequence = sequence
        self.name = name
        self.section = section
        self._usage = usage.replace(" ", "")
        self._attributes = attributes

    def usage(self, modality: str, *, legacy: bool) -> str:
        """Return ``M``, ``C``, ``U``, or nothing where the IOD does not have the macro.

        Parameters
        ----------
        modality : {"CT", "MR", "PT"}
            Row of PS3.4 table C.3.5-1.
        legacy : bool
            The Legacy Converted IOD's usage (A.70 to A.72), not that of the Enhanced one (A.36, A.38, A.56).
        """
        return self._usage[COLUMNS.index(f"{'legacy' if legacy else 'enhanced'} {modality}")].replace("-", "")

    @property
    def shareable(self) -> bool:
        """Whether it may be a shared functional group."""
        return self.sequence not in PER_FRAME_ONLY

    @cached_property
    def attributes(self) -> tuple[Attribute, ...]:
        """Its attributes, those inside its sequences after the sequence.

        What a code sequence, a reference with its own macro or a content item consists of is not repeated.
        """
        pairs = (entry.rpartition(":") for entry in self._attributes.split())
        return tuple(Attribute(tuple(path.split("/")), kind) for path, _, kind in pairs)
