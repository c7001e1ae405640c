"""The lines that conversion, services and mapping are held to, and the tests that show each of them.

A test names what it shows by the numbers its name begins with: ``test_E25_E43_...`` shows E25 and E43. A test that is
expected to fail shows nothing. ``python -m tests.requirements`` writes ``gateway/docs/requirements.md``; a test fails
when the page has drifted.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "gateway" / "docs" / "requirements.md"

# number | section of PS3.4, PS3.3 (C.7, C.8, C.12, FG: functional groups) or Supplement 157 (ZZZ) | statement
LINES = """\
## General
G1 | C.3.5 | Two conversions of the same input give byte-identical attributes, all UIDs and item order included
G2 | C.3.5 n.1 | No new UID is an old UID + suffix; every UID <= 64 chars
G3 | C.3.5 | All instances of the patient are covered: the enhanced view says no less than the default view
G4 | C.3.5 | New SOP Instance UID
G5 | C.3.5 | New instance validates against its IOD (Types 1/2, conditions)
G6 | C.3.5 | Contributing Equipment Sequence present; Purpose of Reference is 109106, DCM
G7 | C.3.5 | Contribution Description is exactly one of the three mandated strings
G8 | C.3.5 | Sources' Contributing Equipment that agrees but for its time is copied and appended to; else one new item
G9 | C.3.5 | Same Patient/Study attributes, same Study Instance UID
G10 | C.3.5 | Same Frame of Reference UID (and synchronization)
G11 | C.3.5 | New Series Instance UID; instances sharing Series-level attributes share the Series
G12 | C.3.5 | Series Date/Time = earliest over all sources, never conversion time
G13 | C.3.5 | Request Attributes Sequence items kept if present in ANY source
G14 | C.3.5 | Every reference to a converted entity is rewritten: class, instance, series, frame; GSPS, KO, SR, RT too
G15 | C.3.5 n.3 | Conversion Source references are never rewritten
G16 | C.12.1 | Query/Retrieve View at top level of every converted or updated instance, the same bytes however it leaves
G17 | C.3.5 | Sources differing in Patient, Study or Frame of Reference attributes never share an instance
G18 | C.3.5, FG | Differing Contributing Equipment: originals go to Unassigned Per-Frame
G19 | C.3.5 n.3 | Conversion Source already in a source is replaced
G20 | C.1.1, ZZZA.5 | Reference closure for each view; no view refers to an instance that exists only in another
G21 | C.3.5 | Series-only references to a split or partly converted series name every resulting series
G22 | ZZZA.6 | The map from source to derived UID and frame outlives the pixels; it is backed up and can be rebuilt
G23 | C.4 n.1 | A received object whose Conversion Source is held is its twin; the box's own output is recognised
G24 | 7.3.1.9 n.4 | Referenced Performed Procedure Step kept; an MPPS is never made or altered by conversion
G25 | B.4.1.4 | Received: Signature Level 3; converted: no source signature kept as if valid, the loss reported
## Classic -> enhanced
E1 | C.3.5 | True Enhanced where the sources can fill all its mandatory attributes, otherwise Legacy Converted
E2 | Table C.3.5-1 | CT/MR/PET map to the listed class; modalities never mixed
E3 | C.3.5 | No Concatenation attribute anywhere in the output, Unassigned included
E4 | C.3.5 | Image Pixel module identical in all sources or pixel data converted: Rows/Columns never padded
E5 | C.3.5 n.1 | Differing Bits Stored: largest used, unused high bits masked
E6 | C.3.5 n.2 | Differing Pixel Padding Value: pixels made consistent
E7 | C.8.15.2, 22.3 | CT and PET only MONOCHROME2: others converted losslessly, left classic only where impossible
E8 | C.8.22.3 | PET: Bits Allocated = Bits Stored = 16, High Bit 15 (sign-extend signed data)
E9 | A.70-72 tbl | Pixel Measures, Plane Position, Plane Orientation, Frame Type, Frame Content present for every frame
E10 | A.70/A.72 | Frame VOI LUT present (CT, PET); window values multi-valued kept
E11 | A.70 | Pixel Value Transformation present (CT, PET); Rescale Type HU, else US; units as mappings
E12 | A.70-72 | Frame Content per-frame only; Frame Acquisition Number/DateTime from source; not shared
E13 | A.70-72 | Referenced Image group if any source has Referenced Image Sequence, values kept per frame
E14 | C.8.13.2/15.2/22.3 | Referenced Image Evidence Sequence lists every target
E15 | A.70-72 | Derivation Image FG if any source has Source Image Sequence; values kept
E16 | C.8.13.2/15.2/22.3 | Source Image Evidence Sequence lists every target
E17 | C.7.6.16.2.5/6 | Codes of purpose and derivation kept, none invented; demanded only by the true Enhanced classes
E18 | A.70-72 | Frame Anatomy from Anatomic Region Sequence or Body Part Examined; Frame Laterality not empty
E19 | A.70/A.72 | Irradiation Event Identification FG if Irradiation Event UID present in any source
E20 | C.8.16.1.4 | Value 4 of Image and Frame Type: NONE if ORIGINAL, standard terms kept, else empty; original kept
E21 | C.8.16.2 | Pixel Presentation, Volumetric Properties, Volume Based Calculation Technique present and true
E22 | C.7.6.17 | Time and space indexed in 4D; volumes split along standard attributes; no indices collide
E23 | C.8.22.3 | PET: Content Qualification present
E24 | C.3.5 | All optional standard attributes with a home in a Module/FG go there
E25 | C.3.5 | No overlay in the output; each is in a presentation state that applies to its frame, and is pointed at
E26 | C.3.5 | Overlay in high bits: extracted to GSPS and the bits zeroed in Pixel Data
E27 | C.3.5 | No (50xx,eeee)
E28 | C.3.5 | No Graphic Annotation Sequence in output image
E29 | C.3.5, FG | Every remaining attribute is at top level or in Unassigned Shared (all agree) or Per-Frame
E30 | FG | Attributes whose value changed keep the original in Unassigned
E31 | FG | Absent equals empty for the sharing test; sequences compared item by item
E32 | FG | Private attributes kept, each with its Private Creator in the same item, block may move
E33 | FG | Unassigned sequences have exactly one item; Shared never per-frame and vice versa
E34 | FG.3 | Conversion Source Attributes Sequence per frame, one item, class + instance of source
E35 | A.70-72 | No General Image, Overlay, VOI LUT, Supplemental Palette, Graphic Annotation module at top level
E36 | C.3.5 n.2 | Unconverted instances stay unchanged only if they refer to nothing converted; else a twin
E37 | C.8.15.2 | CT: Samples 1, Bits Allocated 16, Bits Stored 12 or 16, High Bit = Bits Stored - 1
E38 | C.8.13.1, 15.2, 22.3 | Burned In Annotation at top level only NO and never invented; YES leaves the image classic
E39 | same | Lossy 01 in any source gives 01 with ratio and method; 00 never invented
E40 | A.70-72 | Acquisition Context, Frame of Reference, Series modules present; Presentation LUT Shape IDENTITY
E41 | A.71, C.3.5 | MR: Frame VOI LUT and Pixel Value Transformation present when sources carry the values
E42 | A.70/72 | CT and PET without window: one a source series, marked as default, frozen; VOI LUT Sequence not lost
E43 | A.N1-3.1.3.1 | Generated GSPS: own series, Conversion Source, Contributing Equipment; referenced from PET too
E44 | C.8.16.2 | Volume Based Calculation Technique NONE if ORIGINAL; MIXED allowed where information lacks
E45 | FG n.5, C.7.3.1 | Source series in Related Series Sequence, purpose (121326, DCM); never rewritten
E46 | ZZZB | A home that changes VR or precision keeps the original in Unassigned too
E47 | C.8.13.2 | Evidence items need a Series UID: targets are waited for; unresolved ones reported, never guessed
E48 | C.3.5 | Curves, Graphic Annotation: converted, or the image left classic (G3 forbids loss)
E50 | C.8.16.1, C.8.13.3 | Frame Type value 4, Complex Image Component, Acquisition Contrast from where they are stated
E54 | - | No regular stack, or slopes that differ: classic where safe, with all they are tied to, with the reason
E55 | - | 4-D layout by what most readers get right, box-wide; Image Comments tell volumes apart
E51 | C.7.6.16 | Standard elements inside documented private sequences fill standard homes; these stay as they were
E49 | FG | Nothing in Unassigned Shared that the top level has with the same value; Number of Frames 1 dropped
E53 | C.7.6.16.2 | Pixel Value Transformation per frame; Spacing Between Slices of regular stacks
E52 | FG.1-1 | No UID, SOP Class or attribute that says how to read pixels in Unassigned groups; all come back
## Enhanced -> classic
K1 | C.3.5 | SOP Class is the modality's classic class, also from Legacy Converted
K2 | C.3.5 | All mandatory attributes filled from FGs (Pixel Spacing, IPP, IOP, Image Type...)
K3 | C.3.5 | Optional attributes filled
K4 | C.3.5 | All unused attributes of top level, Shared and the frame's groups are unfolded, not only Unassigned
K5 | C.12.1 | Conversion Source Attributes Sequence at top level with Referenced Frame Number
K6 | C.3.5 n.1 | Original series grouping and numbering recovered (needs E45)
K7 | C.3.5, ZZZA.7 | Sources held: CLASSIC returns them; else original UIDs from Conversion Source; else new UIDs
K9 | C.8.2.1, C.8.3.1 | Classic images of a scanner's object carry what viewers sort and measure by where it is clear
K8 | C.3.5, ZZZA.7 | A rewritten copy turned back has the Series Instance UID of its source
## Other instances
O1 | C.3.5 | Same SOP Class, new UIDs, references rewritten (G14)
O2 | C.12.1 | Conversion Source Attributes Sequence at top level
O3 | C.3.5 | Contribution Description "Updated UID references during Legacy Enhanced Classic conversion"
## Query/Retrieve
Q1 | C.5.x, Y.5, Z.5 | View is byte 5 for C-FIND, byte 2 for C-MOVE, C-GET, Annexes Y and Z; one byte each way
Q2 | C.4.x | (0008,0053) in an Identifier only if negotiated; without negotiation baseline behaviour
Q3 | C.4.1.3.2.3 | No view: match instances as received, none of the converted ones
Q4 | C.4.1.3.2.3 | ENHANCED and CLASSIC match converted, updated, untouched; no original that has a converted twin
Q5 | C.4.1.3.2.3 n.1 | Counts (Number of Series Related Instances ...) are those of the view; no duplicates
Q6 | C.4.2/3.3.2.2 | C-MOVE and C-GET with a view send exactly the view's instances; at SERIES and IMAGE level too
Q7 | C.4.2.2.2.2 n.3 | View inconsistent with the unique key: C-FIND no match, C-MOVE and C-GET A900 naming (0008,0053)
Q8 | C.4.1.1.3.2 | Instance Availability NEARLINE may be reported while conversion is pending
Q9 | B.5.1.6/7/15 | SCP of (Legacy Converted) Enhanced CT/MR/PET also accepts GSPS storage
Q10 | ZZZC | Query/Retrieve View returned in responses when requested
Q11 | C.4.1.1.3.1 | View without negotiation, or another value: A900, never silently another view
Q12 | C.4.1.1.3.2 | Retrieve AE Title names an AE that serves that view
## Storage
S1 | B.4.1.1 | Storage Level 2 (Full), bit preserving: every attribute comes back with the bytes it had on the wire
S2 | B.4.1.2 | All standard storage classes accepted; a private one through SOP Class Common Extended Negotiation
S3 | B.5.1.6/7/15 | GSPS and the other presentation states accepted
S4 | B.2.3 | A700 short of resources, A900 wrong class, C000 not understood, with Error Comment; nothing half-stored
S5 | PS3.5 | Every transfer syntax in use accepted and kept as it came
S6 | - | Same UID again: equal elements and pixels is one copy and Success; otherwise a new version, reported
S7 | B.4.1.3 | No coercion
## Query
F1 | C.6.1, C.6.2 | Patient Root and Study Root; Patient/Study Only (retired) for old stations
F2 | tables C.6-1..5 | Unique, required, indexed optional keys matched and returned; others left out with FF01
F3 | C.2.2.2 | Single value, list of UID, universal, wild card, range, sequence matching
F4 | C.2.2.2.1.1 | Person names: case and accent insensitive; fuzzy matching when negotiated; documented
F5 | C.2.2.2.7/8 | Empty value and multiple value matching when negotiated, not otherwise
F6 | C.5.1.1 | Extended negotiation bytes 1-7 answered as the text says: one byte offered, one byte returned
F7 | C.4.1.3.1/2 | Hierarchical search in baseline (A900 for a missing upper key); relational if negotiated
F8 | C.2.2.2.5.4 | Combined date-time range matching when negotiated
F9 | C.2.2.2 | Specific Character Set honoured in requests and responses; Timezone adjustment when negotiated
F10 | C.3.4 | Numbers of related studies, series and instances are those of the view asked
F11 | C.3.4, ZZZC | Modalities in Study (matching too) and SOP Classes in Study are those of the view
F12 | C.3.4 | Anatomic Regions in Study Code Sequence: union of codes, Body Part Examined mapped
F13 | C.6.1.1.5.1 | Alternate Representation Sequence: universal matching only, the same image only, one CID 7205 code
F14 | C.6.1.1.5.2 | Available Transfer Syntax UID: stored syntax first, then what can be produced without loss
F15 | C.3.4 | Study Update DateTime
F16 | C.4.1.1.3.2 | Retrieve AE Title; Instance Availability ONLINE, or NEARLINE while a conversion is pending
F17 | C.4.1 | C-CANCEL stops matching with FE00; a large answer streams without being built in memory
F18 | C.6.4 | Repository Query: Record Key order, Maximum Number of Records, Prior Record Key, B001 and A710
F19 | C.2.2.1.2 | With `empty_matches = true` an entity whose Required Key is empty matches any value
F20 | C.4.1.1.4 | A700, A900, Cxxx without Identifier
## Retrieve
M1 | C.4.2.1.5 | C-MOVE statuses, with counts that always add up
M2 | C.4.2.1.4.2 | Failed SOP Instance UID List in final responses that need it and in no other
M3 | C.4.2.3.1 | Only the contexts needed are proposed, at most 128 an association; stored syntax first, then lossless
M4 | C.4.2.3.2.1 | Relational retrieve when negotiated
M5 | C.4.3, C.5.3 | C-GET with role selection
M6 | C.4.2.3.1 | C-CANCEL during retrieve; an aborted association ends the sub-operations and leaks nothing
M7 | Annex Y | Frame level retrieve by three kinds of frame list, with Frame Extraction Module and (109105, DCM) item
M8 | Annex Z | Retrieve without bulk data; attributes of table Z.1-1 left out, icon pixels kept
M9 | Y.5, Z.5 | View negotiation on these classes as well
M10 | C.4.2.3.1 | All sub-operations failed: Failure, not B000; all warnings: B000; Cxxx too
M11 | Y.3.3, Y.6.1 | Frame retrieve: one instance, one frame key; new UID, same class, series, order; AA00-AA04
M12 | Y.3.2.1.3 | Time Range needs Frame Reference DateTime, Frame Time or Vector, else AA03
M13 | Z.1.3 | Nested Waveform Data left out; UIDs unchanged; policy for private attributes documented
## Commitment and notification
J1 | J.3 | As SCP: N-ACTION accepted, N-EVENT-REPORT with success and failure lists; survives a restart between
J2 | J.3 | As SCU: asked of each destination for what was delivered; late, partial, missing answers handled
R1 | R.3 | Instance Availability Notification to a destination configured to pull, naming the view's instances
J3 | J.2.1, J.3.3.1.2 | Role selection; AE title reused; every reference in exactly one list; Transaction UID single use
J4 | J.1.1 | JPIP-referenced instances are never committed
R2 | R.3.2.1 | No attribute beyond Table R.3.2-1; Referenced Performed Procedure Step Type 2
## FHIR ImagingStudy
H1 | all rows | Each row of the mapping that has a DICOM source is filled from it; others only from what the box knows
H2 | counts | numberOfSeries, numberOfInstances from the query attributes, of the view asked
H3 | performer, bodySite, laterality, specimen, title | as the table says, functions PRF/SPRF included
H4 | whole | Resources validate against FHIR R5; search by identifier, patient, accession, started, modality
H5 | mapping | Tags as the standard has them, where the table slips
H6 | mapping | Enhanced view: bodySite, laterality from Frame Anatomy; specimen and reason from their sequences
H7 | mapping | Rows numbered, one test each; one resource a study unless a view is asked
## Truth: what the box sends and says
T1 | - | Every acknowledged object is indexed, counted and delivered; what is not registered shows in status, doctor
T2 | C.3.4, C.4.1 | C-FIND, status and FHIR answer from the current versions; conflicts of identity are reported
T3 | C.2.2.1.1 | Other pixels and another position, number or acquisition: another image, all kept, one shown per UID
T4 | PS3.5 6.1, annex K | Every supported character set is read, matched and answered as an independent decoder reads it
T5 | PS3.5 6.2.2 | A known tag with VR UN is read by the dictionary
T6 | C.4.1.1.3.2 n.2 | A value only where the instance has one, else zero length; left out only if unsupported
T7 | C.2.2.1.2 | Empty values match only universal matching, `*` and `""`, unless `empty_matches = true`
T8 | - | Rows extracted by an older version are filled in
T9 | - | Bytes whose digest differs never leave the box or enter a conversion; the copy is quarantined and named
T10 | PS3.5 | Decoded and re-encoded streams are proved to their last nested element
T11 | PS3.8 9.3.3 | Of the syntaxes proposed one that can be handed on; what cannot be delivered is held with its reason
T12 | B.4.2.1 | Enhanced or classic is decided by the images; a refused companion blocks nothing
T13 | PS3.7 C | Statuses and warnings of a peer are shown with code and name; retries follow their kind
T14 | PS3.8 9.3 | Unusual but legal association requests are served, illegal ones rejected with a reason, one log line
T15 | - | received = frames + unchanged + copied, printed and checked; every unchanged image has its reason
T16 | PS3.2 | The demonstration and the conformance statement say nothing false
T17 | - | Output bytes change only with the conversion edition (golden digests)
"""

_NAMED = re.compile(r"test_((?:[A-Z][0-9]+_)+)")


@dataclass(frozen=True)
class Line:
    """One testable line.

    Attributes
    ----------
    chapter : str
        What it is about.
    number : str
        How tests name it.
    section : str
        Where the standard says so.
    statement : str
        What must hold.
    """

    chapter: str
    number: str
    section: str
    statement: str


def lines() -> list[Line]:
    """Return all lines in their order."""
    found, chapter = [], ""
    for row in LINES.splitlines():
        if row.startswith("## "):
            chapter = row.removeprefix("## ")
        else:
            number, section, statement = (part.strip() for part in row.split("|"))
            found.append(Line(chapter, number, section, statement))
    return found


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    """Yield the test functions of a file that are not expected to fail, those in classes too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            marks = {ast.unparse(mark.func if isinstance(mark, ast.Call) else mark) for mark in node.decorator_list}
            if not marks & {"pytest.mark.xfail", "pytest.mark.skip"}:
                yield node


def numbers_of(name: str) -> list[str]:
    """Return the numbers a test name begins with."""
    found = _NAMED.match(name)
    return found[1].rstrip("_").split("_") if found else []


def shown(folder: Path = TESTS) -> dict[str, list[str]]:
    """Return the tests of each number as file and name, in the order of files and of lines in them."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("test_*.py")):
        for function in sorted(functions(path), key=lambda node: node.lineno):
            for number in numbers_of(function.name):
                found[number].append(f"{path.relative_to(folder).as_posix()}::{function.name}")
    return found


def page() -> str:
    """Return the table as a page of the manual."""
    tests, known = shown(), lines()
    parts = [
        "# Requirements and their tests\n\nGenerated by `python -m tests.requirements`; do not edit. Each line is "
        "shown by the tests whose names begin with its number; files are those below `tests`."
    ]
    for chapter in dict.fromkeys(line.chapter for line in known):
        parts.append(f"\n## {chapter}\n\n| number | section | statement | tests |\n| --- | --- | --- | --- |")
        for line in known:
            if line.chapter == chapter:
                cells = (line.number, line.section, line.statement, _cell(tests.get(line.number, [])))
                parts.append("| " + " | ".join(cells) + " |")
    return "\n".join(parts) + "\n"


def _cell(tests: list[str]) -> str:
    """Return the tests of a line, each file named once."""
    by_file: dict[str, list[str]] = defaultdict(list)
    for test in tests:
        path, _, name = test.partition("::")
        by_file[path].append(f"`{name}`")
    return "<br>".join(f"{path}: {', '.join(names)}" for path, names in by_file.items())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
