"""Whether classic images can become the true Enhanced class, and what is missing if not (PS3.4 C.3.5, E1).

Every mandatory attribute of every mandatory module and functional group must have a value in the sources, a standard
one where the standard lists its values. One frame that lacks one makes the whole object a Legacy Converted one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from gateway.conversion.conditions import holds, value_of
from gateway.conversion.dimensions import POSITION, TIME, Dimension, Indices
from gateway.conversion.enhanced_values import enhanced_value
from gateway.conversion.groups import Groups, frame_groups
from gateway.conversion.macro_groups import TABLES, condition_of, filled_macros, is_demanded
from gateway.objects.elements import DataSet, Element, dataset, empty, is_empty, items, make, same, tag_of, text, texts
from gateway.standard.enhanced import COMMON_TERMS, Demand
from gateway.standard.functional_groups import CLASSIC_NAMES, MACROS, macros_of
from gateway.standard.macros import Macro

ACQUISITION = tag_of("AcquisitionDateTime")


class Missing(NamedTuple):
    """What the sources do not say and the Enhanced class demands.

    Attributes
    ----------
    attribute : str
        Keyword, with the sequences it is in.
    where, section : str
        Module or macro that demands it, and the section of PS3.3.
    found : str
        The value there is, if it is none that the standard has; empty if there is none.
    """

    attribute: str
    where: str
    section: str
    found: str = ""

    def __str__(self) -> str:
        state = f"is {self.found}" if self.found else "is missing"
        return f"{self.attribute} {state} ({self.where}, {self.section})"


@dataclass
class Decision:
    """The decision for the frames of one object, taken in one after the other.

    Attributes
    ----------
    modality : str
        Row of table C.3.5-1.
    missing : list of Missing
        What the first frame that lacks something lacks; empty as long as all frames have everything.
    top : DataSet
        The attributes that the Enhanced class demands at the top level.
    """

    modality: str
    missing: list[Missing] = field(default_factory=list)
    top: DataSet = field(default_factory=dict)
    _count: int = 0

    def add(self, ds: DataSet) -> None:
        """Take in one more frame; once something is missing, nothing can change that."""
        if self.missing:
            return
        top: DataSet = {}
        self.missing.extend(_missing_at_top(ds, self.modality, top))
        self.missing.extend(_missing_in_groups(ds, self.modality))
        self._count += 1
        if self._count == 1:
            self.top = top
            return
        for tag in sorted(self.top.keys() | top.keys()):
            old, new = self.top.get(tag), top.get(tag)
            if tag == ACQUISITION and old is not None and new is not None:
                # The acquisition of an image starts with that of its first frame.
                self.top[tag] = min(old, new, key=lambda element: text({ACQUISITION: element}, ACQUISITION))
            elif old is None or new is None or not same(old, new):
                keyword = next(
                    k
                    for rows in TABLES[self.modality].MODULES
                    for d in rows.demands
                    for k in d.path
                    if tag_of(k) == tag
                )
                self.missing.append(Missing(keyword, "top level", "PS3.4 C.3.5", "not the same in all frames"))


def _missing_at_top(ds: DataSet, modality: str, top: DataSet) -> Iterator[Missing]:
    """Yield what the top level lacks; put what it has into `top`."""
    interpretation = text(ds, "PhotometricInterpretation")
    if interpretation != "MONOCHROME2":
        yield Missing("PhotometricInterpretation", "Image Pixel", "C.7.6.3", interpretation)
    for rows in TABLES[modality].MODULES:
        if not holds(rows.condition, ds):
            continue
        for demand in rows.demands:
            if len(demand.path) > 1:
                for item in items(top, demand.path[0]):
                    yield from _lacking(
                        item.get(tag_of(demand.path[1])), demand, ds, modality, rows.module, rows.section
                    )
                continue
            if demand.type in ("1C", "2C") and not holds(demand.condition, ds):
                continue
            tag = tag_of(demand.path[0])
            value = enhanced_value(ds, demand.path[0])
            yield from _lacking(value, demand, ds, modality, rows.module, rows.section)
            top[tag] = value or empty(tag)


def _missing_in_groups(ds: DataSet, modality: str) -> Iterator[Missing]:
    made = frame_groups(ds, modality, legacy=False)
    groups: Groups = dict(made.groups)
    content = tag_of("FrameContentSequence")
    groups[content] = Element(content, "SQ", (dataset(*made.content),))
    for sequence, usage in macros_of(modality, legacy=False).items():
        macro = MACROS[sequence]
        group = items(groups, sequence)
        if not group:
            if is_demanded(macro, usage, ds, modality):
                yield Missing(sequence, macro.name, macro.section)
            continue
        for item in group:
            yield from _missing_in_item(item, macro, ds, modality)


def _missing_in_item(group: DataSet, macro: Macro, ds: DataSet, modality: str) -> Iterator[Missing]:
    for attribute in macro.attributes:
        demand = Demand(attribute.path, attribute.type, condition_of(attribute, macro, modality))
        inside: Sequence[DataSet] = (group,)
        for parent in attribute.path[:-1]:
            inside = [item for outer in inside for item in items(outer, parent)]
        for item in inside:
            element = item.get(tag_of(attribute.keyword))
            yield from _lacking(element, demand, ds, modality, macro.name, macro.section)


def _lacking(
    element: Element | None, demand: Demand, ds: DataSet, modality: str, where: str, section: str
) -> Iterator[Missing]:
    """Yield that a demanded attribute has no value, or one the standard does not have."""
    name, keyword = "/".join(demand.path), demand.path[-1]
    if element is None or is_empty(element):
        if demand.type == "1" or (demand.type == "1C" and holds(demand.condition, ds)):
            yield Missing(name, where, section)
        return
    single = {element.tag: element}
    if keyword == "FrameType":
        values = texts(single, element.tag)
        for index, place in ((2, "ImageType3"), (3, "ImageType4")):
            value = values[index] if len(values) > index else ""
            if value not in TABLES[modality].TERMS[place]:
                original = value_of(ds, place)
                yield Missing(f"{name} value {index + 1}", where, section, original or value or "empty")
        return
    terms = TABLES[modality].TERMS.get(keyword) or COMMON_TERMS.get(keyword)
    if terms and isinstance(element.value, bytes):
        for value in texts(single, element.tag):
            if value not in terms:
                yield Missing(name, where, section, value)
    for item in items(single, element.tag) if keyword.endswith("CodeSequence") else ():
        coded = text(item, "CodeValue") or text(item, "LongCodeValue") or text(item, "URNCodeValue")
        if not (coded and text(item, "CodeMeaning")):
            yield Missing(name, where, section, "no complete code")


def missing_places(indices: Indices, modality: str) -> list[Missing]:
    """Return what Frame Content lacks: Enhanced PET wants a temporal position of every frame (C.7.6.16.2.2.6)."""
    if modality != "PT" or TIME in indices.dimensions:
        return []
    column = indices.dimensions.index(POSITION)
    positions = [values[column] for values in indices.values]
    if len(set(positions)) == len(positions):
        return []
    return [Missing("TemporalPositionIndex", "Frame Content", "C.7.6.16.2.2")]


def only_time(modality: str, indices: Indices) -> list[Element]:
    """Return the temporal position of frames that are all of one time, where the class demands it."""
    return [make("TemporalPositionIndex", 1)] if modality == "PT" and TIME not in indices.dimensions else []


def rehomed(indices: Indices, groups: Groups, modality: str) -> Indices:
    """Return indices that point at what their attributes have become in the groups of the Enhanced class."""
    return replace(indices, dimensions=tuple(_home(dimension, groups, modality) for dimension in indices.dimensions))


def _home(dimension: Dimension, groups: Groups, modality: str) -> Dimension:
    for macro, _ in filled_macros(modality, False):
        group = tag_of(macro.sequence)
        if group not in groups:
            continue
        for attribute in macro.attributes:
            names = {attribute.keyword, *(name.keyword for name in CLASSIC_NAMES.get(attribute.keyword, ()))}
            tag = tag_of(attribute.path[0])
            if dimension.pointer in map(tag_of, names) and tag in items(groups, group)[0]:
                return replace(dimension, pointer=tag, group=group)
    return dimension
