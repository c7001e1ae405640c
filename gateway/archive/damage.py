"""What of the data directory has been found to be not what was stored: which file, why, and what can be done.

A mark here decides nothing: bytes are compared whenever they are used. It is there so that people hear of it, and goes
when the file has been found right again. The damaged bytes stay where they are until other ones take their place.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.archive.database import Database
from gateway.archive.files import Files
from gateway.archive.records import read_record
from gateway.clock import Clock
from gateway.errors import DamagedError, GatewayError
from gateway.objects.checked import damaged
from gateway.observe import event

if TYPE_CHECKING:
    from gateway.archive.rows import InstanceRow

RECEIVED, RECIPE, RECORD = "received", "recipe", "record"
GONE = "the record is gone"
# Acknowledged, and damaged before the index knew it.
QUARANTINED = "quarantined"


class Damage(NamedTuple):
    """One damaged file.

    Attributes
    ----------
    name : str
        Archive name of the received file, name of the recipe or of the record.
    kind : str
        ``received``, ``recipe``, ``record``, or ``quarantined``: a received file that the index never knew.
    study, series, sop_instance, peer : str
        Of the instance it holds, and where that came from; empty for a record.
    reason : str
        What is wrong with it.
    at : float
        When that was found.
    """

    name: str
    kind: str
    study: str
    series: str
    sop_instance: str
    digest: str
    peer: str
    reason: str
    at: float


_COLUMNS = "name, kind, study, series, sop_instance, digest, peer, reason, found_at"

_NOTE = f"""INSERT INTO damage ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET reason = excluded.reason"""

# Destinations that have an instance itself, or an object that it is a frame of or was copied to.
_HAD = """SELECT destination, sop_instance FROM delivery WHERE study = ?3 AND sop_instance = ?1
        AND hex(digest) = upper(?2) AND state = 'delivered'
    UNION SELECT v.destination, v.sop_instance FROM uid_map m JOIN derived d ON d.id = m.derived
        JOIN delivery v ON v.study = d.study AND v.sop_instance = d.sop_instance
            AND v.digest = d.digest AND v.state = 'delivered'
        WHERE m.source = ?1 AND hex(m.digest) = upper(?2)
    ORDER BY 1, 2"""


class Damages:
    """The damaged files of one archive.

    Parameters
    ----------
    database : Database
        The index.
    files : Files
        Where files are.
    clock : Clock
        Dates what is found.
    """

    def __init__(self, database: Database, files: Files, clock: Clock) -> None:
        self._database = database
        self._files = files
        self._clock = clock

    def note(self, name: str, kind: str, reason: str, row: InstanceRow | None = None) -> None:
        """Note that a file is damaged; what found it must go on even where that cannot be written."""
        known = (row.study, row.series, row.sop_instance, row.digest, row.peer) if row else ("",) * 5
        damage = Damage(name, kind, *known, reason, self._clock.now())
        if not self.marked(name):
            event(
                "archive.damaged",
                logging.ERROR,
                file=self.file(damage),
                study=damage.study or None,
                instance=damage.sop_instance or None,
                reason=reason,
                remedy=self.remedy(damage),
            )
        with contextlib.suppress(GatewayError), self._database.transaction() as connection:
            connection.execute(_NOTE, damage)

    def record(self, path: Path) -> dict[str, Any]:
        """Return what a record says; one that is not what was written is noted, and said to be.

        Raises
        ------
        DamagedError
            If it is not what was written.
        FileNotFoundError
            If there is none.
        """
        try:
            found = read_record(path)
        except DamagedError as error:
            self.note(path.stem, RECORD, error.problem.removeprefix("is damaged: "))
            raise
        self.clear(path.stem)
        return found

    def gone(self, path: Path) -> DamagedError:
        """Note that a record is not there any more, and return the error that says so."""
        self.note(path.stem, RECORD, GONE)
        return damaged(self.place(path.stem, RECORD), GONE)

    def clear(self, name: str) -> None:
        """Forget a file that is right again, or that something else has taken the place of."""
        if self.marked(name):
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM damage WHERE name = ?", (name,))
            event("archive.right_again", file=name)

    def came_again(self, digest: str) -> None:
        """Forget files in ``quarantine/`` of which the very data set has come again."""
        sql = "SELECT name FROM damage WHERE kind = ? AND substr(name, 1, 32) = ?"
        for (name,) in self._database.rows(sql, (QUARANTINED, digest)):
            self.clear(name)

    def marked(self, name: str) -> bool:
        """Tell whether a file is noted as damaged."""
        with contextlib.suppress(GatewayError):
            return self._database.row("SELECT 1 FROM damage WHERE name = ?", (name,)) is not None
        return False

    def listing(self, study: str | None = None) -> list[Damage]:
        """Return the damaged files, all or those of one study."""
        condition, values = ("WHERE study = ?", (study,)) if study else ("", ())
        sql = f"SELECT {_COLUMNS} FROM damage {condition} ORDER BY study, series, name"
        return [Damage._make(row) for row in self._database.rows(sql, values)]

    def described(self) -> list[dict[str, Any]]:
        """Return all of them for people and programs: what, why, who else has it, what can be done."""
        return [
            {
                "file": self.file(one),
                "kind": one.kind,
                "study": one.study,
                "series": one.series,
                "instance": one.sop_instance,
                "peer": one.peer,
                "reason": one.reason,
                "found_at": one.at,
                "had_by": [{"destination": where, "instance": uid} for where, uid in self.had_by(one)],
                "remedy": self.remedy(one),
            }
            for one in self.listing()
        ]

    def file(self, damage: Damage) -> str:
        """Return where a damaged file is, below the data directory."""
        return self.place(damage.name, damage.kind)

    def place(self, name: str, kind: str) -> str:
        """Return where a file of some kind is, below the data directory."""
        if kind == RECORD:
            return f"records/{name}.json"
        if kind == QUARANTINED:
            return f"quarantine/{name}.dcm"
        if kind == RECIPE:
            path = self._files.recipe(name)
        else:
            settled, fresh = self._files.received_path(name), self._files.intake_path(name)
            path = fresh if fresh.exists() and not settled.exists() else settled
        return str(path.relative_to(self._files.root))

    def had_by(self, damage: Damage) -> list[tuple[str, str]]:
        """Return the destinations that have what a file holds, each with the SOP Instance UID it has there."""
        if not damage.sop_instance:
            return []
        return self._database.rows(_HAD, (damage.sop_instance, damage.digest, damage.study))  # type: ignore[return-value]

    def remedy(self, damage: Damage) -> str:
        """Return what can be done about a damaged file."""
        if damage.kind == RECORD:
            return "keep a copy of data_dir, restore the file from a backup and restart the gateway"
        if damage.kind == QUARANTINED:
            return "look who has sent it and have it sent again"
        if damage.kind == RECIPE:
            return "it is made again from the received files; `gateway queue retry` does so now"
        ways = [f"have {damage.peer or 'its sender'} send it again"]
        with contextlib.suppress(GatewayError):
            ways += [
                f"send it from {where} to the gateway"
                if uid == damage.sop_instance
                else f"get it back from {where}, which has it in {uid}"
                for where, uid in self.had_by(damage)
            ]
        return f"{' or '.join(ways)}, or restore the file from a backup, then `gateway queue retry`"

    def in_series(self, series: Sequence[str]) -> dict[str, Damage]:
        """Return the damaged files of some series, by archive name."""
        sql = f"SELECT {_COLUMNS} FROM damage WHERE series IN (SELECT value FROM json_each(?))"
        found = map(Damage._make, self._database.rows(sql, (json.dumps(list(series)),)))
        return {one.name: one for one in found}
