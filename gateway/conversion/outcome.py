"""What became of the instances of a study, and the record of it that outlives index and upgrade (G22)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from gateway.conversion.identity import EDITION, VOLUMES
from gateway.conversion.planned import Companion, Frozen, Planned
from gateway.conversion.suitability import unsuitable
from gateway.objects.recipe import Recipe


@dataclass(frozen=True)
class Converted:
    """An object that was made and proved."""

    recipe: Recipe
    planned: Planned

    def record(self) -> dict:
        """Return what must outlive index and upgrade: the partition of sources into objects, as JSON."""
        planned = self.planned
        return asdict(
            Frozen(
                planned.sop_class,
                planned.sop_instance,
                planned.series,
                planned.source_series,
                planned.instance_number,
                planned.series_attributes,
                planned.series_start,
                tuple((fact.sop_instance, fact.digest) for fact in planned.frames),
                window=planned.window,
            )
        ) | {
            "recipe": self.recipe.path.name,
            "transfer_syntax": self.recipe.transfer_syntax,
            "length": self.recipe.length,
            "digest": self.recipe.digest,
            "names": [fact.name for fact in planned.frames],
            "unsuitable": unsuitable(planned.frames),
        }


@dataclass(frozen=True)
class Made:
    """A companion that was made and proved."""

    recipe: Recipe
    companion: Companion

    def record(self) -> dict:
        """Return what must outlive index and upgrade, as JSON."""
        companion, recipe = self.companion, self.recipe
        return {
            "kind": companion.kind,
            "sop_class": companion.sop_class,
            "sop_instance": companion.sop_instance,
            "study": companion.study,
            "series": companion.series,
            "views": list(companion.views),
            "replaces": companion.replaces,
            "sources": [[fact.sop_instance, fact.digest] for fact in companion.sources],
            "recipe": recipe.path.name,
            "transfer_syntax": recipe.transfer_syntax,
            "length": recipe.length,
            "digest": recipe.digest,
        }


@dataclass
class StudyConversion:
    """What became of the instances of a study.

    Attributes
    ----------
    objects : list of Converted
        New multi-frame images, each with a sealed recipe.
    companions : list of Made
        Other new objects, likewise.
    kept : dict of str to str
        Reason by name for what stays as it is.
    twins : dict of str to str
        SOP Instance UID of the received enhanced twin, by name of the source.
    spare : set of str
        Names of received enhanced objects whose sources were converted before they came.
    withdrawn : tuple of str
        SOP Instance UIDs of older objects that a corrected source, or another state of what they refer to, has made
        obsolete.
    views : dict of str to frozenset of str
        The views, enhanced and classic, that each instance is in from now on, by name; dependants included.
    unresolved : dict of str to str
        References to what nobody has, or that cannot be rewritten, with the SOP Instance UID of the first that has it.
    standing : dict of str to tuple of str
        SOP Instance UIDs of received enhanced objects and of the classic images that their frames are (G23).
    at_hand : frozenset of str
        Names of rewritten copies that are left out of the view that is made, because their sources are at hand.
    four_d : str
        How series of several volumes were laid out, as `Identity` has it.
    unsigned : list of str
        SOP Instance UIDs of sources whose digital signatures what was made of them does not have (G25).
    """

    objects: list[Converted] = field(default_factory=list)
    companions: list[Made] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    twins: dict[str, str] = field(default_factory=dict)
    spare: set[str] = field(default_factory=set)
    withdrawn: tuple[str, ...] = ()
    views: dict[str, frozenset[str]] = field(default_factory=dict)
    unresolved: dict[str, str] = field(default_factory=dict)
    standing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    at_hand: frozenset[str] = frozenset()
    unsigned: list[str] = field(default_factory=list)
    four_d: str = VOLUMES

    def record(self, study: str) -> dict:
        """Return the durable record of this conversion."""
        return {
            "study": study,
            "edition": EDITION,
            "four_d": self.four_d,
            "objects": [converted.record() for converted in self.objects],
            "companions": [made.record() for made in self.companions],
            "kept": self.kept,
            "twins": self.twins,
            "withdrawn": list(self.withdrawn),
            "unresolved": self.unresolved,
            "unsigned": self.unsigned,
        }


def frozen_from(records: Iterable[dict]) -> list[Frozen]:
    """Return what earlier records have decided."""
    records = list(records)
    withdrawn = {uid for record in records for uid in record.get("withdrawn", ())}
    return [
        Frozen(
            item["sop_class"],
            item["sop_instance"],
            item["series"],
            item["source_series"],
            item["instance_number"],
            item["series_attributes"],
            tuple(item["series_start"]),
            tuple((uid, digest) for uid, digest in item["frames"]),
            item["sop_instance"] in withdrawn,
            tuple(item.get("window", ())),  # records of conversion edition 1 have none
        )
        for record in records
        for item in record["objects"]
    ]
