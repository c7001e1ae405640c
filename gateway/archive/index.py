"""Files and index of one data directory: what came in, what it became, and which view has what."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gateway.archive import admission, backfill, guises, intact, partitions, recovery
from gateway.archive.commitments import Commitments
from gateway.archive.custody import Custody
from gateway.archive.damage import Damages
from gateway.archive.database import Database
from gateway.archive.files import Files, ReceivedSource
from gateway.archive.jobs import Jobs
from gateway.archive.keys import of_patient
from gateway.archive.promises import Promises
from gateway.archive.recovery import RecoveryReport
from gateway.archive.rows import (
    COLUMNS,
    DERIVED,
    FROM,
    ORDER,
    Admission,
    DerivedRow,
    InstanceRow,
    Settlement,
    instance_row,
)
from gateway.archive.taken import Taken
from gateway.archive.views import View
from gateway.clock import Clock
from gateway.conversion.held import Guise
from gateway.objects.part10 import Header
from gateway.objects.recipe import Recipe
from gateway.objects.stream import ByteSource

__all__ = ["Admission", "Archive", "DerivedRow", "InstanceRow", "RecoveryReport", "Settlement"]

# Argument of `Archive.select` and the condition it stands for; lists travel as one JSON parameter.
_KEYS = {
    "study": "t.uid IN (SELECT value FROM json_each(?))",
    "series": "s.uid IN (SELECT value FROM json_each(?))",
    "instance": "i.sop_instance IN (SELECT value FROM json_each(?)) AND i.superseded = 0",
}


def _latest_first(row: InstanceRow) -> tuple[bool, int, int]:
    return row.superseded > 0, -row.retired, -row.id


class Archive:
    """Files and index of one data directory.

    To be made in each process after the fork, and by the parent before it so that migrations are done. Threads may
    share it.

    Parameters
    ----------
    data_dir : Path
        The data directory.
    clock : Clock
        The time.
    quiet : float
        Seconds without a new instance after which a study counts as complete.
    readonly : bool
        Only look at an archive that a running gateway may be writing.

    Raises
    ------
    ArchiveError, ResourceError
        If the data directory cannot be used.
    """

    def __init__(
        self, data_dir: Path, clock: Clock | None = None, *, quiet: float = 120, readonly: bool = False
    ) -> None:
        self.clock = clock or Clock()
        self.quiet = quiet
        self.files = Files(data_dir)
        if not readonly:
            self.files.prepare()
        self.database = Database(self.files.root / "index.sqlite3", readonly=readonly)
        if not readonly:
            backfill.columns(self.database)
        self.jobs = Jobs(self.database, self.clock)
        self.taken = Taken(self.database, self.clock)
        self.damage = Damages(self.database, self.files, self.clock)
        self.custody = Custody(self.database, self.files, self.clock)
        self.commitments = Commitments(self.database, self.files, self.clock)
        self.promises = Promises(self.database, self.files, self.clock)

    def close(self) -> None:
        """Close the index."""
        self.files.close()
        self.database.close()

    # Intake

    def admit(
        self, name: str, header: Header, *, peer: str, called: str = "", convert: bool = True, prior: bool = False
    ) -> Admission:
        """Index one committed file; the same file may be admitted again.

        Parameters
        ----------
        name : str
            What `PartFile.commit` returned.
        header : Header
            Of the file.
        peer, called : str
            AE titles it came from and for.
        convert : bool
            Whether images of that peer are to be converted.
        prior : bool
            Whether the peer is a destination: then it is settled at once, never converted, never delivered.

        Raises
        ------
        ResourceError
            If the index cannot take it; the file is gone then, nothing is half-stored.
        """
        return admission.admit(self, name, header, admission.Origin(peer, called, convert, prior))

    def recover(self, policy: Callable[[str], tuple[bool, bool]] | None = None) -> RecoveryReport:
        """Put things in order after a crash: at start, or when a process of the box has died.

        Parameters
        ----------
        policy : callable, optional
            Gives `convert` and `prior` for the AE title a file came from.
        """
        return recovery.recover(self, policy or (lambda peer: (True, False)))

    def checkpoint(self) -> int:
        """Make the index durable and move the intake files it covers to their final place; return how many moved."""
        return recovery.checkpoint(self)

    # Selection

    def select(
        self,
        view: View,
        *,
        patient: str | None = None,
        issuer: str | None = None,
        study: Sequence[str] = (),
        series: Sequence[str] = (),
        instance: Sequence[str] = (),
    ) -> list[InstanceRow]:
        """Return the instances of a view, ordered by study, series number and instance number.

        Parameters
        ----------
        view : View
            One view.
        patient, issuer : str, optional
            Patient ID and Issuer of Patient ID; of a study that is under several patients, by either.
        study, series, instance : sequence of str
            UIDs; an empty one is no condition.
        """
        conditions, values = ["i.views & ?"], [int(view)]
        if patient is not None or issuer is not None:
            found = of_patient(view, patient, issuer)
            conditions.append(f"t.id IN ({found.text})")
            values += found.values
        for key, uids in (("study", study), ("series", series), ("instance", instance)):
            if uids:
                conditions.append(_KEYS[key])
                values.append(json.dumps([uids] if isinstance(uids, str) else list(uids)))  # type: ignore[arg-type]
        sql = f"SELECT {COLUMNS} FROM {FROM} WHERE {' AND '.join(conditions)} ORDER BY {ORDER}"
        return [instance_row(row) for row in self.database.rows(sql, values)]

    def study_instances(self, study: str, view: View) -> list[InstanceRow]:
        """Return the instances of a study in a view."""
        return self.select(view, study=(study,))

    def study_sources(self, study: str) -> list[InstanceRow]:
        """Return the received instances of a study, of each SOP Instance UID the current version."""
        return self._rows("t.uid = ? AND i.kind = 'received' AND i.superseded = 0", study)

    def unsettled(self, study: str) -> list[InstanceRow]:
        """Return the received instances of a study that conversion has not decided about."""
        return self._rows("t.uid = ? AND i.settled = 0", study)

    def instance(self, sop_instance: str) -> InstanceRow | None:
        """Return the current instance of a SOP Instance UID, received or derived."""
        found = self._rows("i.sop_instance = ? AND i.superseded = 0", sop_instance)
        return found[0] if found else None

    def instances(self, sop_instances: Sequence[str]) -> list[InstanceRow]:
        """Return the current instances of some SOP Instance UIDs, received or derived."""
        return self._rows(_KEYS["instance"], json.dumps(list(sop_instances)))

    def versions(self, sop_instance: str) -> list[InstanceRow]:
        """Return everything held under a SOP Instance UID, the current version first, then what was it last."""
        return sorted(self._rows("i.sop_instance = ?", sop_instance), key=_latest_first)

    def references_to(self, sop_instances: Sequence[str]) -> list[tuple[str, InstanceRow]]:
        """Return who refers to any of `sop_instances`: the UID and the current instance that names it.

        Conversion Sources count as no reference (PS3.4 C.3.5 note 3).
        """
        sql = f"""SELECT r.sop_instance, {COLUMNS} FROM {FROM} JOIN reference r ON r.from_instance = i.id
            WHERE r.sop_instance IN (SELECT value FROM json_each(?)) AND i.superseded = 0
            ORDER BY {ORDER}, r.sop_instance"""
        found = self.database.rows(sql, (json.dumps(list(sop_instances)),))
        return [(row[0], instance_row(row[1:])) for row in found]

    def references_of(self, row: InstanceRow) -> list[str]:
        """Return the SOP Instance UIDs that an instance refers to."""
        sql = "SELECT sop_instance FROM reference WHERE from_instance = ? ORDER BY sop_instance"
        return [uid for (uid,) in self.database.rows(sql, (row.id,))]

    def last_number(self, series: str) -> int:
        """Return the highest Instance Number in a series, 0 if it has none."""
        sql = "SELECT max(i.number) FROM instance i JOIN series s ON s.id = i.series WHERE s.uid = ?"
        row = self.database.row(sql, (series,))
        return (row[0] if row else 0) or 0

    def _rows(self, condition: str, *values: object) -> list[InstanceRow]:
        sql = f"SELECT {COLUMNS} FROM {FROM} WHERE {condition} ORDER BY {ORDER}"
        return [instance_row(row) for row in self.database.rows(sql, values)]

    # Content

    def path_of(self, row: InstanceRow) -> Path:
        """Return the received file, or the recipe, of an instance."""
        return self.files.recipe(row.name) if row.kind == DERIVED else self.files.locate(row.name)

    def source_of(self, row: InstanceRow) -> ByteSource:
        """Return the data set bytes of an instance, received or derived; they are compared with its digest.

        Who reads them gets the last ones only if all are those that were stored.

        Raises
        ------
        ArchiveError
            If the file is gone.
        DamagedError
            If it is a recipe, and damaged.
        """
        if row.kind == DERIVED:
            return intact.checked(self, row, self.recipe_of(row).source(self.files.locate))
        self.files.locate(row.name)  # gone now is gone: better said before an association is opened
        return intact.checked(self, row, ReceivedSource(self.files, row.name, row.dataset_offset, row.length))

    def recipe_of(self, row: InstanceRow) -> Recipe:
        """Return the recipe of a derived object; raises `DamagedError` if it is not the one that was written."""
        return intact.recipe_of(self, row)

    def require(self, row: InstanceRow) -> None:
        """Read all of a received file; raises `DamagedError` if it is not what was received."""
        intact.require(self, row)

    def named(self, name: str) -> InstanceRow | None:
        """Return the instance of an archive name, of whatever version."""
        found = self._rows("i.name = ?", name)
        return found[0] if found else None

    # Conversion

    def record_conversion(
        self,
        study: str,
        objects: Sequence[DerivedRow],
        settled: Mapping[str, Settlement],
        record: dict | None = None,
        twins: Mapping[str, Sequence[str]] = {},
    ) -> None:
        """Note what a conversion has made: first a durable record, then the index in one transaction.

        Recording the same again changes nothing.

        Parameters
        ----------
        study : str
            Study Instance UID.
        objects : sequence of DerivedRow
            The new objects; their recipes are durable already.
        settled : mapping
            Archive name of a received instance (or recipe name of a derived one) to what was decided about it.
        record : dict, optional
            What the conversion wants back as frozen when more of the study arrives.
        twins : mapping
            SOP Instance UID of a received enhanced object to those of the classic images that its frames are.
        """
        partitions.record(self, study, objects, settled, record, twins)

    def partitions(self, study: str) -> list[dict]:
        """Return the `record` of each conversion of a study that was recorded, in order."""
        return partitions.recorded(self, study)

    def derived_from(self, sop_instance: str, digest: str | None = None) -> list[tuple[str, int]]:
        """Return SOP Instance UID and frame number of everything ever made of a source; never forgotten."""
        sql = """SELECT d.sop_instance, m.frame FROM uid_map m JOIN derived d ON d.id = m.derived
            WHERE m.source = ?1 AND (?2 IS NULL OR m.digest = ?2) ORDER BY d.id, m.frame"""
        return self.database.rows(sql, (sop_instance, bytes.fromhex(digest) if digest else None))  # type: ignore

    def guises(self, sop_instances: Sequence[str]) -> list[Guise]:
        """Return objects that stand for others, of some UIDs: those that have one of them or stand for one."""
        return guises.of(self, sop_instances)

    def converted(self, sop_instances: Sequence[str]) -> dict[str, str]:
        """Return which of some instances are frames of a derived object now, with its SOP Instance UID."""
        return guises.converted(self, sop_instances)

    def members(self, series: Sequence[str]) -> dict[str, list[str]]:
        """Return the SOP Instance UIDs of what is held of some series, derived or received."""
        return guises.members(self, series)

    def sources_of(self, sop_instance: str) -> list[str]:
        """Return the SOP Instance UIDs a derived object was made of, in frame order."""
        sql = """SELECT m.source FROM derived d JOIN uid_map m ON m.derived = d.id
            WHERE d.sop_instance = ? ORDER BY m.frame"""
        return [uid for (uid,) in self.database.rows(sql, (sop_instance,))]
