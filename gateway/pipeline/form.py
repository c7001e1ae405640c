"""In which form each series of a study goes to a destination: as enhanced objects or as classic images.

The images alone decide, by an association that proposes their enhanced classes, for each group of series that are tied
by references: in another form those would name what the destination never gets. What refers to images goes along, and
nothing about it decides; but overlays of the images themselves that are in presentation states now may not get lost, so
that a destination that does not take these gets the images as they were (REQUIREMENTS T12).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from gateway.archive.custody import DELIVERED, Decision, Form
from gateway.archive.due import both_forms, origins
from gateway.archive.index import Archive
from gateway.archive.rows import InstanceRow
from gateway.archive.views import View, name_of
from gateway.observe import event, fault
from gateway.pipeline.visits import Held, Target
from gateway.standard.sop_classes import ENHANCED_CLASSES

_REFERENCES = """SELECT from_instance, sop_instance FROM reference
    WHERE from_instance IN (SELECT value FROM json_each(?))"""
_TWINS = "SELECT DISTINCT sop_instance, source FROM twin WHERE sop_instance IN (SELECT value FROM json_each(?))"
_STATES = """SELECT sop_instance FROM derived
    WHERE kind = 'companion' AND sop_instance IN (SELECT value FROM json_each(?))"""

_WRONGLY = "which most readers show wrongly as an enhanced object"

# What does not get a destination's consent, by SOP Instance UID: the reason in plain words.
Refusals = dict[str, str]


@dataclass
class Group:
    """Series that have to go in one form, and what of them is in one of both views only.

    Attributes
    ----------
    series : set of str
        Series Instance UIDs as received.
    images, states, others, classic : list of InstanceRow
        Of the enhanced view: enhanced images, presentation states that hold their overlays, what else refers to
        images; and of the classic view whatever it is.
    elsewhere : set of str
        What is referred to and not in this study.
    unfit : dict of str to str
        Why most readers cannot show images right as enhanced objects, by series; nothing for those they can.
    """

    series: set[str] = field(default_factory=set)
    images: list[InstanceRow] = field(default_factory=list)
    states: list[InstanceRow] = field(default_factory=list)
    others: list[InstanceRow] = field(default_factory=list)
    classic: list[InstanceRow] = field(default_factory=list)
    elsewhere: set[str] = field(default_factory=set)
    unfit: dict[str, str] = field(default_factory=dict)

    def forms(self, form: Form) -> dict[str, Form]:
        """Return the form of each series, with the reason that is its own where readers cannot show one right."""
        if form.view != View.CLASSIC or form.reason not in self.unfit.values():
            return dict.fromkeys(self.series, form)
        tied = f"tied by references to series {min(self.unfit)}, {_WRONGLY}"
        return {uid: Form(form.view, self.unfit.get(uid, tied)) for uid in self.series}

    @property
    def enhanced(self) -> list[InstanceRow]:
        """What is in the enhanced view only."""
        return [*self.images, *self.states, *self.others]


class Forms:
    """Decides in which form series go to one destination.

    Parameters
    ----------
    archive : Archive
        Holds them.
    target : Target
        The destination.
    refusals : callable
        Asks the destination which of some instances it takes, and returns why it does not take the others.
    """

    def __init__(self, archive: Archive, target: Target, refusals: Callable[[list[InstanceRow]], Refusals]) -> None:
        self._archive = archive
        self._custody = archive.custody
        self._target = target
        self._refusals = refusals

    def view(self, study: str) -> View:
        """Return the view that a study goes in, but for series decided otherwise, after asking what is not decided.

        Raises
        ------
        Held
            If the destination does not take what it shall get, and nothing else is allowed.
        NetworkError
            If it cannot be asked.
        """
        return self._decided(study, frozenset())

    def _decided(self, study: str, asking: frozenset[str]) -> View:
        known = self._custody.decision(study, self._target.name)
        if known is None and self._target.view != View.ENHANCED:
            return self._decide(study, self._target.view, "as configured", {})
        view = known.view if known else self._target.view
        if view == View.RECEIVED or self._target.view != View.ENHANCED:
            return view
        groups = self._groups(study, known)
        forms: dict[str, Form] = {}
        open_groups = []
        for group in groups:
            form = self._known(study, group, known)
            if form is None:
                open_groups.append(group)
            else:
                forms |= group.forms(form)
        made = self._ask(open_groups, asking | {study})
        for group, form in zip(open_groups, made, strict=True):
            forms |= group.forms(form)
        if not forms or (known and forms.keys() <= known.series.keys()):
            return view  # both forms are the same so far, or everything is decided
        if known is None:
            view, reason = max(forms.values(), key=lambda form: form.view == View.ENHANCED)
        else:
            reason = known.reason
        return self._decide(study, view, reason, forms)

    def _decide(self, study: str, view: View, reason: str, forms: dict[str, Form]) -> View:
        fault("deliver.before_decision")
        decision = self._custody.decide(study, self._target.name, view, reason, forms)
        fault("deliver.after_decision")
        fields: dict[str, Any] = {"study": study, "destination": self._target.name}
        event("deliver.decided", **fields, view=name_of(decision.view), reason=decision.reason)
        for form, count in Counter(decision.exceptions.values()).items():
            event("deliver.decided", **fields, series=count, view=name_of(form.view), reason=form.reason)
        return decision.view

    # What is tied

    def _groups(self, study: str, known: Decision | None) -> list[Group]:
        """Return what of a study is in one of both views only, in groups; nothing if all of it is decided."""
        rows = both_forms(self._archive, self._target.name, study)
        rows = [row for row in rows if (row.views & View.CLASSIC == 0) != (row.views & View.ENHANCED == 0)]
        origin = origins(self._archive, rows)
        if known is not None and set(origin.values()) <= known.series.keys():
            return []
        ids = {row.id: origin[row.sop_instance] for row in rows}
        places = dict(origin)  # of instances and of whole series
        for row in rows:
            places.setdefault(row.series, origin[row.sop_instance])
        ties = _Ties(origin.values())
        elsewhere: dict[str, set[str]] = {}
        for source, uid in self._archive.database.rows(_REFERENCES, (json.dumps(list(ids)),)):
            if uid in places:
                ties.tie(ids[source], places[uid])
            else:
                elsewhere.setdefault(ids[source], set()).add(uid)
        for uid, source in self._archive.database.rows(_TWINS, (json.dumps(list(origin)),)):
            if source in origin:
                ties.tie(origin[uid], origin[source])
        return self._gathered(rows, origin, ties, elsewhere, self._unfit(study))

    def _unfit(self, study: str) -> dict[str, str]:
        """Return why most readers cannot show enhanced images of a study right, by SOP Instance UID (E54)."""
        if not self._target.safe:
            return {}
        objects = (one for record in self._archive.partitions(study) for one in record["objects"])
        # Records of conversion edition 1 do not say it.
        return {one["sop_instance"]: one["unsuitable"] for one in objects if one.get("unsuitable")}

    def _gathered(
        self,
        rows: list[InstanceRow],
        origin: dict[str, str],
        ties: _Ties,
        elsewhere: dict[str, set[str]],
        unfit: dict[str, str],
    ) -> list[Group]:
        states = {uid for (uid,) in self._archive.database.rows(_STATES, (json.dumps(list(origin)),))}
        groups: dict[str, Group] = {}
        for row in rows:
            series = origin[row.sop_instance]
            group = groups.setdefault(ties.of(series), Group())
            group.series.add(series)
            group.elsewhere |= elsewhere.get(series, set())
            if row.sop_instance in unfit:
                group.unfit[series] = f"{unfit[row.sop_instance]}, {_WRONGLY}"
            if row.views & View.CLASSIC:
                group.classic.append(row)
            elif row.sop_instance in states:
                group.states.append(row)
            else:
                (group.images if row.sop_class in ENHANCED_CLASSES else group.others).append(row)
        # Where the enhanced view has nothing instead, the form makes no difference yet.
        return [group for group in groups.values() if group.enhanced]

    # What is decided

    def _known(self, study: str, group: Group, known: Decision | None) -> Form | None:
        """Return in which form a group goes already: by a decision, or by what the destination has of it."""
        if known is None:
            return None
        forms = [known.series[uid] for uid in sorted(group.series) if uid in known.series]
        if forms:
            return next((form for form in forms if form.view == View.CLASSIC), forms[0])
        there = {
            one.sop_instance for one in self._custody.deliveries(study, self._target.name) if one.state == DELIVERED
        }
        has = any(row.sop_instance in there for row in [*group.enhanced, *group.classic])
        return Form(known.view, known.reason) if has else None

    def _ask(self, groups: list[Group], asking: frozenset[str]) -> list[Form]:
        """Return the form of each group, in order."""
        rows = [row for group in groups if group.images for row in [*group.images, *group.states]]
        refusals = self._refusals(rows) if rows else {}
        return [self._form(group, refusals, asking) for group in groups]

    def _form(self, group: Group, refusals: Refusals, asking: frozenset[str]) -> Form:
        name = self._target.name
        if not group.images:
            return self._following(group, asking)
        refused = _first(refusals, group.images)
        if group.unfit and (refused or len(self._refusals(group.classic)) < len(group.classic)):
            # As configured for the destination, and nothing to hold: the images are taken as they were.
            return Form(View.CLASSIC, group.unfit[min(group.unfit)])
        if refused:
            return self._instead(f"{refused}; the study goes as classic images, as configured", refused)
        refused = _first(refusals, group.states)
        if not refused:
            return Form(View.ENHANCED, f"{name} takes every enhanced class of the study")
        lost = f"{refused}, and overlays of the images are in such objects"
        if len(self._refusals(group.classic)) == len(group.classic):
            return Form(View.ENHANCED, f"{lost}; but it takes none of the classic images")
        return self._instead(f"{lost}; these images go as classic ones with their overlays", lost)

    def _instead(self, reason: str, refused: str) -> Form:
        if self._target.when_refused == "hold":
            raise Held(f"{refused}; the study is held, as configured")
        return Form(View.CLASSIC, reason)

    def _following(self, group: Group, asking: frozenset[str]) -> Form:
        """Return the form of what has no images of its own: that which its targets in other studies have gone in."""
        name = self._target.name
        found: Counter[View] = Counter()
        for row in self._archive.instances(sorted(group.elsewhere)):
            if row.views & View.CLASSIC and not row.views & View.ENHANCED:
                found[self._gone(row, asking)] += 1
        if found[View.CLASSIC] > found[View.ENHANCED]:
            return Form(View.CLASSIC, f"what it refers to has gone to {name} as classic images")
        return Form(View.ENHANCED, f"{name} has what it refers to as enhanced objects")

    def _gone(self, row: InstanceRow, asking: frozenset[str]) -> View:
        """Return the form in which a destination has a classic image that was converted, or will have it."""
        if row.prior or row.peer == self._target.name:
            return View.CLASSIC  # it has sent it itself
        if row.study not in asking:
            self._decided(row.study, asking)
        decision = self._custody.decision(row.study, self._target.name)
        return decision.form_of(row.series).view if decision else View.ENHANCED


class _Ties:
    """Sets of series that grow together."""

    def __init__(self, series: Iterable[str]) -> None:
        self._above = {uid: uid for uid in series}

    def of(self, series: str) -> str:
        """Return one of the set that a series is in, the same for all in it."""
        while (above := self._above[series]) != series:
            series = above
        return series

    def tie(self, one: str, other: str) -> None:
        """Make one set of two."""
        self._above[self.of(one)] = self.of(other)


def _first(refusals: Refusals, rows: list[InstanceRow]) -> str:
    return next((refusals[row.sop_instance] for row in rows if row.sop_instance in refusals), "")
