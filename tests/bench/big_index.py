"""An index of many instances without any file: ``python -m tests.bench.big_index FOLDER INSTANCES STUDIES``.

What is written is what admission writes, by the same functions; patients, dates and modalities are spread as in a
hospital: mostly CT and MR, a study of PET in a hundred.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from random import Random
from typing import Any

SERIES = 5
MODALITIES = ("CT",) * 6 + ("MR",) * 4
CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
}
FAMILIES = ("Smith", "Johnson", "Müller", "Garcia", "Nguyen", "Rossi", "Kowalski", "Tanaka", "Öztürk", "Dubois")
GIVEN = ("Anna", "Ben", "Chris", "Dana", "Eve", "Finn", "Gina", "Hugo", "Ines", "Jan")
DAYS = 700


def patient_of(study: int) -> dict[str, str]:
    """Return the patient of a study: two studies each."""
    number = study // 2
    family = FAMILIES[number % 10] + ("" if number < 100 else f"{chr(97 + number % 26)}{number}")
    return {"PatientID": f"P{number:06d}", "PatientName": f"{family}^{GIVEN[number // 10 % 10]}", "PatientSex": "F"}


def study_of(study: int) -> dict[str, str]:
    """Return what is asked of a study."""
    day = study * 7919 % DAYS
    return {
        "StudyInstanceUID": f"1.2.826.0.1.{study}",
        "AccessionNumber": f"A{study:07d}",
        "StudyDate": f"{2024 + day // 350}{1 + day % 350 // 30:02d}{1 + day % 28:02d}",
        "StudyTime": f"{8 + study % 10:02d}{study % 60:02d}00",
        "StudyDescription": f"Examination {study % 50}",
        "StudyID": str(study % 1000),
    }


def modality_of(study: int) -> str:
    """Return the modality of a study's series."""
    return "PT" if study % 100 == 7 else MODALITIES[study % len(MODALITIES)]


def build(folder: Path, instances: int, studies: int) -> float:
    """Write the index and return the seconds that took."""
    from gateway.archive.entities import describe, insert_instance
    from gateway.archive.index import Archive
    from gateway.archive.keys import find_place, said
    from gateway.objects.elements import Element, dataset, make, padded, tag_of

    def encoded(values: dict[str, str]) -> Any:
        named = {"PatientName"}
        elements = [make(keyword, value) for keyword, value in values.items() if keyword not in named]
        for keyword in named & set(values):
            elements.append(Element(tag_of(keyword), "PN", padded(values[keyword].encode(), "PN")))
        return dataset(make("SpecificCharacterSet", "ISO_IR 192"), *elements)

    started = time.monotonic()
    archive = Archive(folder)
    random = Random(1)
    each = max(1, instances // studies // SERIES)
    for first in range(0, studies, 20):
        with archive.database.transaction() as connection:
            for study in range(first, min(first + 20, studies)):
                modality = modality_of(study)
                for series in range(SERIES):
                    uid = f"1.2.826.0.1.{study}.{series}"
                    ds = encoded(
                        patient_of(study)
                        | study_of(study)
                        | {
                            "SeriesInstanceUID": uid,
                            "SeriesNumber": str(series + 1),
                            "Modality": modality,
                            "SeriesDescription": f"series {series}",
                            "BodyPartExamined": ("CHEST", "HEAD", "ABDOMEN")[study % 3],
                        }
                    )
                    known = describe(ds)
                    row = find_place(connection, study_of(study)["StudyInstanceUID"], uid, 1.7e9, said(known))
                    for number in range(1, each + 1):
                        name = f"{study}-{series}-{number}"
                        values = {
                            "sop_instance": f"{uid}.{number}",
                            "sop_class": CLASSES[modality],
                            "name": name,
                            "kind": "received",
                            "transfer_syntax": "1.2.840.10008.1.2.1",
                            "length": 526000,
                            "dataset_offset": 400,
                            "digest": random.randbytes(16),
                            "views": 7,
                            "settled": 1,
                            "superseded": 0,
                            "reason": "",
                            "peer": "CT1",
                            "called": "GATEWAY",
                            "convert": 1,
                            "prior": 0,
                            "received_at": 1.7e9,
                        }
                        known["instance"]["number"] = number
                        insert_instance(connection, row, values, known)
    archive.database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    archive.close()
    return time.monotonic() - started


if __name__ == "__main__":
    print(f"{build(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])):.1f}")
