"""Chapters of a conformance statement behind networking: character sets, security, objects made, keys, annexes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydicom.datadict import dictionary_description, keyword_dict

from gateway.cli.conformance_tables import Box, doors, name_of_uid, table
from gateway.conversion.private_block import CREATOR, DICTIONARY, GROUP
from gateway.standard.character_sets import defined_terms
from gateway.standard.presentation import COLOR_STATE, GRAYSCALE_STATE
from gateway.standard.query_keys import FURTHER_KEYS, KEYS, UNLISTED
from gateway.standard.sop_classes import CONVERSIONS


def character_sets(box: Box) -> Iterator[str]:
    """Yield section 5.7: what is kept, and what is read."""
    known = ", ".join(f"`{term}`" for term in defined_terms())
    yield (
        "Received objects keep every byte, whatever their Specific Character Set (0008,0005). Objects that are made "
        "have the character set of their sources. For the index and for matching these are read, with and without "
        f"code extensions: the default repertoire, {known}."
    )
    yield (
        "A response to a query names no character set if the default repertoire can write it, else that of the request "
        "if it can write all values, else `ISO_IR 192`. With code extensions the first value is empty, `ISO 2022 IR 6` "
        "or of a single-byte set. Text of an object in a set that is not known, or outside of the default repertoire "
        "in one that names none, is read as ISO-IR 100; in a request it is a wild card if the set is not known."
    )


def security(box: Box) -> Iterator[str]:
    """Yield chapter 8."""
    yield "## 8 Security\n\n### 8.1 Introduction"
    hosts = [peer.ae_title for peer in box.config.peer if peer.host]
    bound = f" Bound to the address of a host besides: {', '.join(hosts)}." if hosts else ""
    yield f"Associations are accepted by calling and called AE title, services by the rights of the peer.{bound}"
    yield "### 8.2 External network requirements"
    yield "DNS where hosts are named; the clock is kept by the operating system."
    yield "### 8.3 TCP port configuration"
    yield f"The box listens on {' and '.join(doors(box.config))}. The ports it calls are those of section 6.2.2."
    yield "### 8.4 DICOM security profiles"
    yield (
        "Secure transport connection profile: Non-Downgrading BCP 195 TLS (PS3.15), TLS 1.2 and 1.3, with the ciphers "
        "of BCP 195 that have forward secrecy; no anonymous or unencrypted ones, no renegotiation. Certificates of "
        "peers are verified always, of those that are called with their name. " + " ".join(_transport(box))
    )
    yield (
        "Digital signatures: none is made or verified; one in a received object is kept with it, and not in what is "
        "made of it, which is reported. No other profile of PS3.15 is supported: none of secure use, media storage, "
        "attribute confidentiality or audit trail."
    )
    yield "### 8.5 User Identity Negotiation\n\nNone: an identity is neither proposed nor looked at."
    yield "### 8.6 Web services\n\nNone.\n\n### 8.7 Other security features\n\nNone that others meet."


def _transport(box: Box) -> Iterator[str]:
    """Yield what of it this configuration uses."""
    tls = box.config.tls
    if tls.certificate is None:
        yield "In this configuration nobody can call over TLS."
    else:
        yield f"Callers over TLS come to port {tls.port}; " + (
            "they must have a certificate." if tls.demanding else "a certificate is not demanded of them."
        )
        plain = {"all": "Others may call without TLS.", "loopback": "Without TLS only this machine may call."}
        yield plain.get(tls.plain, "Nobody may call without TLS.")
    called = sorted(title for title, to in box.settings.destinations.items() if to.tls)
    if called:
        yield f"Called over TLS: {', '.join(called)}."


def created_objects(box: Box) -> Iterator[str]:
    """Yield section 5.6.1: the objects that the box makes."""
    yield table(
        "modality | from | to, where the sources fill it | to, otherwise",
        (
            (modality, _both(row.classic), _both(row.enhanced), _both(row.legacy))
            for modality, row in CONVERSIONS.items()
        ),
    )
    yield (
        f"Beside them {_both(GRAYSCALE_STATE)} and {_both(COLOR_STATE)}, where overlays or the look of "
        "the sources need them, and copies of objects that refer to converted ones, with their references rewritten. "
        "Received enhanced objects are turned back into classic images for the view *classic*. "
        "Every object made has Query/Retrieve View (0008,0053), a Contributing Equipment item of purpose (109106, DCM) "
        "and the references to what it was made of: Conversion Source Attributes Sequence, and the series in Related "
        "Series Sequence (0008,1250), purpose (121326, DCM). For copies of classes whose series modules do not list "
        "that sequence (SR, KO, RT) this makes a Standard Extended SOP Class (PS3.2 7.3). What cannot be converted "
        "without loss stays as it is. No private SOP class or transfer syntax is defined; private attributes of "
        f"sources are kept. The private block of the box is ({GROUP:04X}, {CREATOR.decode()}):"
    )
    yield table(
        "element | VR | VM | name | where",
        ((f"({GROUP:04X},xx{one.number:02X})", one.vr, one.vm, one.name, one.where) for one in DICTIONARY),
    )


def _both(uid: str) -> str:
    return f"{name_of_uid(uid)} ({uid})"


def annexes(box: Box) -> Iterator[str]:
    """Yield what stands behind the chapters: objects, their attributes and codes."""
    yield "## Annex A.A Information object definitions"
    yield (
        "Objects of section 5.6.1 are those of PS3.3: an object of the true Enhanced class where the sources have "
        "all that it demands, else of the Legacy Converted class. Every attribute comes from the sources, is one "
        "that PS3.4 C.3.5 demands, or says how the object is laid out. The page *Conversion* of the manual says "
        "which attribute goes where."
    )
    yield "## Annex A.B Structured report content\n\nNone is made; copies keep the content of their sources."
    yield "## Annex A.C Security details\n\nNone beyond chapter 8."
    yield "## Annex A.D Mapping of attributes\n\nNo worklist, MPPS or other source of attributes."
    yield "## Annex A.E Code sets"
    yield "Context groups of PS3.16, as the modules of section 5.6.1 want them; no private coding scheme."
    yield "## Annex A.F Grayscale display function\n\nThe box displays nothing."


def query_keys(box: Box) -> Iterator[str]:
    """Yield the keys that queries match, by level."""
    yield "U: unique, R: required, O: optional. Sequences are matched by their items."
    rows = []
    for level, found in KEYS.items():
        rows += [(level, *_attribute(key.keyword), key.type) for key in found]
        rows += [(level, *_attribute(keyword), "O") for keyword in FURTHER_KEYS.get(level, ())]
    yield table("level | attribute | tag | type", rows)


def _attribute(keyword: str) -> tuple[str, str]:
    """Return name and tag of an attribute."""
    tag = keyword_dict.get(keyword)
    if tag is None:  # later than the data dictionary
        tag = UNLISTED[keyword][0]
        words = re.findall(r"[A-Z][a-z]+|[A-Z]+(?![a-z])", keyword)
        name = " ".join(word.lower() if word in ("For", "To", "Of") else word for word in words)
        return name, f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    return dictionary_description(tag), f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
