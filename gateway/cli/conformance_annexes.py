"""The chapters of a conformance statement behind networking: media, character sets, security, objects, annexes."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.datadict import dictionary_description, keyword_dict

from gateway.cli.conformance_tables import Box, name_of_uid, services, table
from gateway.network import negotiation
from gateway.standard.character_sets import defined_terms
from gateway.standard.presentation import COLOR_STATE, GRAYSCALE_STATE
from gateway.standard.query_keys import FURTHER_KEYS, KEYS, UNLISTED
from gateway.standard.sop_classes import CONVERSIONS


def media(box: Box) -> Iterator[str]:
    """Yield chapter 4."""
    yield "## 4 Media interchange\n\nNone."


def character_sets(box: Box) -> Iterator[str]:
    """Yield chapter 5: what is kept, and what is read."""
    yield "## 5 Support of character sets"
    known = ", ".join(f"`{term}`" for term in defined_terms())
    yield (
        "Received objects keep every byte, whatever their Specific Character Set (0008,0005). Objects that are made "
        "have the character set of their sources. For the index and for matching these are read, with and without "
        f"code extensions: the default repertoire, {known}."
    )


def security(box: Box) -> Iterator[str]:
    """Yield chapter 6."""
    yield "## 6 Security"
    hosts = [peer.ae_title for peer in box.config.peer if peer.host]
    bound = f" Bound to the address of a host besides: {', '.join(hosts)}." if hosts else ""
    yield (
        "Secure transport connection profile: Non-Downgrading BCP 195 TLS (PS3.15), TLS 1.2 and 1.3, with the ciphers "
        "of BCP 195 that have forward secrecy; no anonymous or unencrypted ones, no renegotiation. Certificates of "
        "peers are verified always, of those that are called with their name. " + " ".join(_transport(box))
    )
    yield (
        f"Associations are accepted by calling and called AE title, services by the rights of the peer.{bound} No "
        "digital signature is made; one in a source is not kept in a converted object, and its loss is reported."
    )


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
    """Yield chapter 7: the objects that the box makes."""
    yield "## 7 Objects created"
    yield table(
        "modality | from | to, where the sources fill it | to, otherwise",
        (
            (modality, name_of_uid(row.classic), name_of_uid(row.enhanced), name_of_uid(row.legacy))
            for modality, row in CONVERSIONS.items()
        ),
    )
    yield (
        f"Beside them {name_of_uid(GRAYSCALE_STATE)} and {name_of_uid(COLOR_STATE)}, where overlays or the look of "
        "the sources need them, and copies of objects that refer to converted ones, with their references rewritten. "
        "Received enhanced objects are turned back into classic images for the view *classic*. "
        "Every object made has Query/Retrieve View (0008,0053), a Contributing Equipment item of purpose (109106, DCM) "
        "and the references to what it was made of. What cannot be converted without loss stays as it is. No private "
        "attribute, private SOP class or private transfer syntax is defined; those of sources are kept."
    )
    yield "Coded terminology: context groups of PS3.16; no private coding scheme."


def storage_classes(box: Box) -> Iterator[str]:
    """Yield annexes A and B: display, and what can be stored."""
    yield "## Annex A Grayscale display function\n\nThe box displays nothing."
    yield "## Annex B Storage SOP classes and transfer syntaxes"
    yield table("SOP class | UID", ((name_of_uid(uid), uid) for uid in services("store")))
    yield table(
        "transfer syntax | UID",
        ((name_of_uid(uid), uid) for uid in sorted(negotiation.STORAGE.transfer_syntaxes, key=name_of_uid)),
    )


def query_keys(box: Box) -> Iterator[str]:
    """Yield annex C: the keys that queries match, by level."""
    yield "## Annex C Keys of queries"
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
        return keyword, f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    return dictionary_description(tag), f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
