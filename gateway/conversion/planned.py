"""What a plan consists of: objects to be made, what stays as it is, and what was decided earlier on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.conversion.dimensions import Indices
from gateway.conversion.facts import Facts
from gateway.conversion.looks import Look
from gateway.conversion.pixels import PixelPlan
from gateway.conversion.references import Became, Target
from gateway.conversion.statements import Statements
from gateway.conversion.survey import Survey
from gateway.conversion.true_enhanced import Missing
from gateway.errors import ConversionError
from gateway.objects.elements import DataSet
from gateway.objects.recipe import Recipe


class Unplannable(ConversionError):
    """An instance cannot become a frame, which shows only when it is looked at closely; `subject` is its name."""


@dataclass(frozen=True)
class Frozen:
    """A derived object that was decided on earlier and stays as it is.

    Attributes
    ----------
    sop_class, sop_instance, series, source_series : str
        Its identity, and the series its sources came from.
    instance_number : int
        Its number in the derived series.
    series_attributes : str
        Digest of its series-level attributes, Series Date and Time apart.
    series_start : tuple of str
        Its Series Date and Time.
    frames : tuple of (str, str)
        Source SOP Instance UID and digest of every frame.
    withdrawn : bool
        Whether a corrected source has made it obsolete: only its place in its series counts still.
    window : tuple of str
        The default window of its frames (E42), empty if they have their own.
    """

    sop_class: str
    sop_instance: str
    series: str
    source_series: str
    instance_number: int
    series_attributes: str
    series_start: tuple[str, str]
    frames: tuple[tuple[str, str], ...]
    withdrawn: bool = False
    window: tuple[str, ...] = ()


@dataclass
class Planned:
    """An object to be made.

    Attributes
    ----------
    modality : str
        Row of table C.3.5-1.
    frames : list of Facts
        Its sources in frame order.
    survey : Survey
        What they have in common.
    pixels : PixelPlan
        How their pixels become alike.
    indices : Indices
        Their dimension index values.
    demanded : DataSet
        Top-level attributes of the true Enhanced class, if that is what it becomes.
    missing : tuple of Missing
        What its sources lack for the true Enhanced class.
    looks : list of Look
        What presentation states have to show of them.
    states : sequence of Companion
        These states, once the UIDs are fixed.
    organization : str
        Dimension Organization UID, that of all objects whose indices count alike.
    why : str
        What sets the object apart from others of its group, for people.
    statements : Statements
        What it says of its frames though their sources do not.
    """

    modality: str
    frames: list[Facts]
    survey: Survey
    pixels: PixelPlan
    indices: Indices
    sop_class: str
    statements: Statements
    sop_instance: str = ""
    series: str = ""
    instance_number: int = 1
    series_attributes: str = ""
    series_start: tuple[str, str] = ("", "")
    demanded: DataSet = field(default_factory=dict)
    missing: tuple[Missing, ...] = ()
    looks: list[Look] = field(default_factory=list)
    states: Sequence[Companion] = ()
    organization: str = ""
    why: str = ""

    @property
    def source_series(self) -> str:
        """Series Instance UID of the sources."""
        return self.frames[0].series

    @property
    def study(self) -> str:
        """Study Instance UID."""
        return self.frames[0].study

    @property
    def window(self) -> tuple[str, ...]:
        """The default window of its frames, empty if all have their own."""
        window = self.statements.window
        return () if window is None or all(fact.window is None for fact in self.frames) else tuple(window)


class Companion(ABC):
    """An object derived beside the multi-frame images, of which each kind knows how it is written and proved.

    Attributes
    ----------
    kind : str
        What it is, in records.
    sop_class, sop_instance, study, series : str
        Its identity.
    views : tuple of str
        ``"enhanced"`` or ``"classic"``: the views it is in.
    sources : list of Facts
        The instances it was made of.
    replaces : bool
        Whether its sources leave the views that it is in.
    described : DataSet or None
        Attributes of its top level for an index, once it is built; None has them read from the recipe.
    refers : tuple of str or None
        UIDs that it refers to, once it is built; None has them read from the recipe.
    """

    kind: str
    sop_class: str
    sop_instance: str
    study: str
    series: str
    views: tuple[str, ...]
    sources: list[Facts]
    replaces: bool = False
    described: DataSet | None = None
    refers: tuple[str, ...] | None = None

    @abstractmethod
    def build(self, path: Path) -> Recipe:
        """Write the recipe, without a map yet."""

    @abstractmethod
    def prove(self, recipe: Recipe) -> str:
        """Check that nothing of the sources was lost and return the digest of the stream.

        Raises
        ------
        ConversionError
            If anything is missing or different.
        """


@dataclass
class Plan:
    """What becomes of a set of instances.

    Attributes
    ----------
    objects : list of Planned
        Multi-frame images to be made.
    companions : list of Companion
        Other objects to be made.
    kept : dict of str to str
        Reason by name, for every instance that stays as it is.
    twins : dict of str to str
        SOP Instance UID of the received enhanced twin by name, for every instance that has one (G23).
    spare : set of str
        Names of received enhanced objects whose sources were converted before they came: second guises.
    targets : dict of str to Target
        What became of every converted source, by SOP Instance UID.
    became : Became
        The reference map of the enhanced view: of converted sources and of everything else that is another there.
    turned_back : dict of str to tuple of Target
        What each frame of a received enhanced object is in the classic view, by name of the object (K7).
    at_hand : set of str
        Names of rewritten copies of the enhanced view whose sources are at hand, when that view alone is turned back.
    views : dict of str to frozenset of str
        The views, enhanced and classic, that each instance is in from now on, by name.
    obsolete : list of str
        SOP Instance UIDs of rewritten copies made earlier that others take the place of.
    unresolved : dict of str to str
        References to what nobody has (E47), with the SOP Instance UID of the first that refers to it.
    """

    objects: list[Planned] = field(default_factory=list)
    companions: list[Companion] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    twins: dict[str, str] = field(default_factory=dict)
    spare: set[str] = field(default_factory=set)
    targets: dict[str, Target] = field(default_factory=dict)
    became: Became = field(default_factory=dict)
    turned_back: dict[str, tuple[Target, ...]] = field(default_factory=dict)
    at_hand: set[str] = field(default_factory=set)
    views: dict[str, frozenset[str]] = field(default_factory=dict)
    obsolete: list[str] = field(default_factory=list)
    unresolved: dict[str, str] = field(default_factory=dict)


def frozen_targets(frozen: Sequence[Frozen], study: str) -> dict[str, Target]:
    """Return the reference map of derived objects that exist already."""
    return {
        uid: Target(item.sop_class, item.sop_instance, item.series, study, number, len(item.frames))
        for item in frozen
        if not item.withdrawn
        for number, (uid, _) in enumerate(item.frames, 1)
    }
