"""Series that would fall into objects of one frame because their images disagree about patient or study (G17).

Images whose attributes of patient, study or frame of reference differ never share an object. A scanner that writes
another Study Time into every slice would get as many objects as it sent images: those serve nobody, and the series
stays classic.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from gateway.conversion.facts import COMMON, Facts
from gateway.conversion.planned import Plan, Unplannable
from gateway.errors import GatewayError
from gateway.objects.elements import same, tag_of
from gateway.objects.part10 import Header

# Frames that the objects of a series have to have on average, where it is divided only by what must not be mixed.
FEWEST_FRAMES = 2

# A series that falls into two parts of which one is a single image is divided, not scattered.
FEWEST_PARTS = 3


def without_scattered(groups: Sequence[list[Facts]], plan: Plan, read: Callable[[Facts], Header]) -> list[list[Facts]]:
    """Return the groups but for those of series that would become objects of hardly a frame each.

    Parameters
    ----------
    groups : sequence of list of Facts
        Images that can share an object.
    plan : Plan
        Gets the reason why the images of the others stay classic.
    read : callable
        Reads the header of an image.

    Raises
    ------
    Unplannable
        If an image cannot be read again.
    """
    alike: dict[tuple, list[list[Facts]]] = defaultdict(list)
    for group in groups:
        alike[group[0].key[:-1]].append(group)
    scattered: set[int] = set()
    for divided in alike.values():
        facts = [fact for group in divided for fact in group]
        parts = len({fact.key for fact in facts})
        if parts < 2 or len(facts) >= FEWEST_FRAMES * parts or (parts < len(facts) and parts < FEWEST_PARTS):
            continue
        other = next(fact for fact in facts if fact.key != facts[0].key)
        names = list(_differing(read, facts[0], other))
        verb = "differs" if len(names) == 1 else "differ"
        reason = f"{' and '.join(names)} {verb} from image to image, which an enhanced image has once"
        plan.kept.update((fact.name, reason) for fact in facts)
        scattered.update(map(id, divided))
    return [group for group in groups if id(group) not in scattered]


def _differing(read: Callable[[Facts], Header], one: Facts, other: Facts) -> Iterator[str]:
    """Yield the keywords of what two images say differently and no object may mix."""
    try:
        first, second = read(one).dataset, read(other).dataset
    except (GatewayError, OSError) as error:
        raise Unplannable(one.name, str(error)) from error
    for keyword in COMMON:
        a, b = first.get(tag_of(keyword)), second.get(tag_of(keyword))
        if (a is None) != (b is None) or (a is not None and b is not None and not same(a, b)):
            yield keyword
