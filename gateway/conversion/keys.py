"""Elements under keys that mean the same in every data set, wherever private blocks happen to be reserved.

A standard element's key is its tag. That of a private element names its group, creator, which of the creator's blocks
it is in, and its number in the block (PS3.5 7.8.1); a creator that reserves a block and uses none of it has number -1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from operator import itemgetter

from gateway.objects.elements import DataSet, Element

Key = int | tuple[int, bytes, int, int]

# Set in the tags of private elements: their group is odd.
_PRIVATE = 0x10000

_TAG = itemgetter(0)


def keyed(ds: DataSet) -> Iterator[tuple[Key, Element]]:
    """Yield every element of `ds` with its key, private creators left out."""
    tags = tuple(ds)
    keys, found = _keys(tags, tuple([ds[tag].value for tag in _creators(tags)]))
    return zip(keys, map(ds.__getitem__, found), strict=True)


@lru_cache(maxsize=256)
def _creators(tags: tuple[int, ...]) -> tuple[int, ...]:
    """Return the tags of private creators."""
    return tuple(tag for tag in tags if tag & _PRIVATE and 0x10 <= tag & 0xFFFF <= 0xFF)


@lru_cache(maxsize=256)
def _keys(tags: tuple[int, ...], creators: tuple[object, ...]) -> tuple[tuple[Key, ...], tuple[int, ...]]:
    """Return the keys of the elements with some tags, and the tag that each is about, by the values of the creators.

    Data sets by the thousand have the same of both.
    """
    owners = _owners(dict(zip(_creators(tags), creators, strict=True)))
    found: list[tuple[Key, int]] = []
    unused = _unused(tags, owners)
    for tag in tags:
        if not tag & _PRIVATE:
            found.append((tag, tag))
            continue
        found += unused
        unused = []
        if not 0x10 <= tag & 0xFFFF <= 0xFF:
            owner = owners.get(tag >> 8)
            found.append((tag if owner is None else (*owner, tag & 0xFF), tag))
    return tuple(key for key, _ in found), tuple(tag for _, tag in found)


def _owners(creators: dict[int, object]) -> dict[int, tuple[int, bytes, int]]:
    """Return group, creator and ordinal among the creator's blocks by the upper three bytes of a block's tags."""
    found: dict[int, tuple[int, bytes, int]] = {}
    seen: dict[tuple[int, bytes], int] = {}
    for tag in sorted(creators):
        value = creators[tag]
        group, creator = tag >> 16, value.strip(b" \0") if isinstance(value, bytes) else b""
        ordinal = seen.get((group, creator), 0)
        seen[group, creator] = ordinal + 1
        found[group << 8 | tag & 0xFF] = (group, creator, ordinal)
    return found


def _unused(tags: tuple[int, ...], owners: dict[int, tuple[int, bytes, int]]) -> list[tuple[Key, int]]:
    used = {tag >> 8 for tag in tags if tag & _PRIVATE}
    return [((*owner, -1), block >> 8 << 16 | block & 0xFF) for block, owner in owners.items() if block not in used]


def placed(elements: Iterable[tuple[Key, Element]]) -> DataSet:
    """Return a data set of keyed elements, private creators included.

    A private block stays where it was unless another creator's block is there already, or elements that nobody has
    reserved a block for: a creator there would make them its own.
    """
    pairs = list(elements)
    if all(isinstance(key, int) for key, _ in pairs):
        return {element.tag: element for element in sorted([element for _, element in pairs], key=_TAG)}
    wanted: dict[tuple[int, bytes, int], int] = {}
    for key, element in pairs:
        if isinstance(key, tuple):
            block = element.tag & 0xFF if key[3] < 0 else element.tag >> 8 & 0xFF
            # A creator's second block is its second one only where the first is reserved as well.
            for ordinal in range(key[2] + 1):
                owner = (key[0], key[1], ordinal)
                wanted[owner] = min(max(block - key[2] + ordinal, 0x10), wanted.get(owner, 0xFF))
    taken: dict[tuple[int, int], tuple[int, bytes, int]] = {}
    nobody = {(key >> 16, key >> 8 & 0xFF) for key, _ in pairs if isinstance(key, int) and key & _PRIVATE}
    for owner, block in sorted(wanted.items(), key=lambda pair: (pair[0][0], pair[1], pair[0][1:])):
        while (owner[0], block) in taken or (owner[0], block) in nobody:
            block = block + 1 if block < 0xFF else 0x10
        taken[owner[0], block] = owner
    blocks: dict[tuple[int, bytes], list[int]] = {}
    for (group, block), owner in sorted(taken.items()):
        blocks.setdefault((group, owner[1]), []).append(block)
    block_of = {owner: blocks[owner[:2]][owner[2]] for owner in wanted}
    placed_elements = []
    for key, element in pairs:
        if isinstance(key, int):
            placed_elements.append(element)
        elif key[3] >= 0:
            tag = key[0] << 16 | block_of[key[:3]] << 8 | key[3]
            placed_elements.append(element if element.tag == tag else element._replace(tag=tag))
    for owner, block in block_of.items():
        creator = owner[1] + b" " if len(owner[1]) % 2 else owner[1]
        placed_elements.append(Element(owner[0] << 16 | block, "LO", creator))
    return {element.tag: element for element in sorted(placed_elements, key=_TAG)}
