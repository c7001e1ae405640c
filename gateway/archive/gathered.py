"""Matching and values of the attributes that are counted or gathered (PS3.4 C.3.4)."""

from __future__ import annotations

from gateway.archive import forms
from gateway.archive.matching import (
    NOTHING,
    Asked,
    Options,
    Sql,
    any_of,
    compare,
    item_condition,
    joined,
    matching_items,
    span_of,
    suits_nothing,
    wanted,
)
from gateway.archive.places import COMPUTED_KEYS, HOME, is_pending, pending, regions
from gateway.archive.views import View

_REGIONS = "AnatomicRegionsInStudyCodeSequence"

# Microseconds at the beginning of 1970, as `gateway.archive.forms` counts them.
EPOCH = 719_163 * forms.DAY


def condition(asked: Asked, keyword: str, view: View, options: Options) -> tuple[Sql | None, bool]:
    """Return the condition of a key, None if everything matches, and whether what was asked is matched at all."""
    found, matched = _condition(asked, keyword, view, options)
    if found is not None and COMPUTED_KEYS[keyword].settled and view != View.RECEIVED and not options.empty_matches:
        # Until the conversion has ended it has no value.
        still = is_pending(HOME[keyword], view)
        found = joined((found, Sql(f"NOT ({still.text})", still.values)), "AND")
    return found, matched


def _condition(asked: Asked, keyword: str, view: View, options: Options) -> tuple[Sql | None, bool]:
    if keyword == "ModalitiesInStudy":
        return _modalities(asked, view, options), True
    if keyword == "SOPClassesInStudy":
        return _classes(asked, view, options), True
    if keyword == _REGIONS:
        found = matching_items(asked, regions(view), options)
        if found is None:
            return None, True
        if options.empty_matches or suits_nothing(asked, options):
            table = regions(view)
            found = joined((Sql(f"NOT EXISTS {table.text}", table.values), found), "OR")
        return found, True
    if keyword == "StudyUpdateDateTime":
        return _updated(asked, options), True
    if asked.vr == "IS":
        number = COMPUTED_KEYS[keyword].value(view)
        terms = [compare(asked, one, lambda _: number.text, options) for one in wanted(asked, options)]
        return (
            joined((Sql(term.text, (*number.values, *term.values)) for term in terms), "OR") if terms else None
        ), True
    return None, not asked.values and not asked.items


def _modalities(asked: Asked, view: View, options: Options) -> Sql | None:
    """Find studies by the modalities of their series in a view, or of what is received while more is to come."""
    values = wanted(asked, options)
    if not values:
        return None
    if values == (NOTHING,) and options.empty:
        table = _known_modalities(view)
        return Sql(
            f"t.id NOT IN (SELECT m.study FROM study_modality m WHERE {table.text} AND m.modality <> '')", table.values
        )
    table = _known_modalities(view)
    terms = [compare(asked, value, lambda _: "m.modality", options) for value in values]
    blank = Sql(
        f"""SELECT m.study FROM study_modality m WHERE {table.text} AND m.modality = '' AND NOT EXISTS (
            SELECT 1 FROM study_modality n WHERE n.study = m.study AND n.view = m.view AND n.series > 0
            AND n.modality <> '')""",
        table.values,
    )
    nothing = blank if options.empty_matches else None
    if options.multiple and len(values) > 1:
        return joined((_studies([term], table, nothing) for term in terms), "AND")
    return _studies(terms, table, nothing)


def _studies(terms: list[Sql], table: Sql, blank: Sql | None) -> Sql:
    found = joined(terms, "OR")
    text, values = (
        f"SELECT m.study FROM study_modality m WHERE {found.text} AND {table.text}",
        found.values + table.values,
    )
    if blank is not None:
        text, values = f"{text} UNION {blank.text}", values + blank.values
    return Sql(f"t.id IN ({text})", values)


def _known_modalities(view: View) -> Sql:
    if view == View.RECEIVED:
        return Sql("m.view = ? AND m.series > 0", (int(view),))
    waiting = pending(view)
    text = f"(m.view = ? OR m.view = 1 AND m.study IN {waiting.text}) AND m.series > 0"
    return Sql(text, (int(view), *waiting.values))


def _classes(asked: Asked, view: View, options: Options) -> Sql | None:
    """Find studies by the classes of their instances in a view; of one that is still being converted none is known."""
    values = wanted(asked, options)
    if not values:
        return None
    found = any_of("c.sop_class", values)
    text = f"SELECT c.study FROM study_class c WHERE {found.text} AND c.view = ? AND c.instances > 0"
    parameters = (*found.values, int(view))
    if view != View.RECEIVED and options.empty_matches:
        waiting = pending(view)
        text, parameters = f"{text} UNION SELECT w.study FROM {waiting.text} w", (*parameters, *waiting.values)
    return Sql(f"t.id IN ({text})", parameters)


def _updated(asked: Asked, options: Options) -> Sql | None:
    values = wanted(asked, options)
    if not values:
        return None
    if values == (NOTHING,) and options.empty:
        return Sql("FALSE")  # every study has been updated at some time
    terms = []
    for one in values:
        # A single value is all of the time it names: the attribute has more digits than anybody asks for.
        span = span_of(asked, one if "-" in one else f"{one}-{one}", options)
        bounds = ((span.first - EPOCH - 0.5) / 1e6, (span.last - EPOCH + 0.5) / 1e6)
        terms.append(Sql("t.updated_at BETWEEN ? AND ?", bounds))
    return joined(terms, "OR")


def value(asked: Asked, keyword: str, view: View, options: Options) -> Sql:
    """Return the SQL of the value; of the regions those that match."""
    if keyword == _REGIONS and (found := item_condition(asked, "g.value", options)):
        table = regions(view)
        text = f"(SELECT json_group_array(json(g.value)) FROM {table.text} g WHERE {found.text})"
        return Sql(text, (*table.values, *found.values))
    return COMPUTED_KEYS[keyword].value(view)
