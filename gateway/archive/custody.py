"""What each destination has been promised and what it has.

Whether a study goes to a destination as enhanced or as classic objects is decided once and written to a durable record
before the first byte leaves: the index may lose its last commits in a power cut, the record does not. What has been
delivered is noted in the index only; lost notes mean that something is sent once more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from gateway.archive.damage import Damages
from gateway.archive.database import Database
from gateway.archive.files import Files, key_of
from gateway.archive.records import write_record
from gateway.archive.rows import InstanceRow
from gateway.archive.views import View, name_of, view_named
from gateway.clock import Clock
from gateway.errors import ArchiveError, ConfigError

PENDING = "pending"
DELIVERED = "delivered"
REFUSED = "refused"
FAILED = "failed"
# A destination that fetches has been told of it (PS3.4 annex R).
NOTIFIED = "notified"

# Reason of a decision: nothing is asked of a destination that fetches.
FETCHES = "as configured: it is notified and fetches"

# What came of asking for storage commitment (PS3.4 annex J).
ASKED = "asked"
COMMITTED = "committed"
EXCLUDED = "excluded"


class Form(NamedTuple):
    """The view in which something goes to a destination, and why."""

    view: View
    reason: str


class Decision(NamedTuple):
    """In which view a study goes to a destination, and why.

    Attributes
    ----------
    view, reason
        Of the study as a whole: of all series that are not named in `series`.
    series : mapping of str to Form
        By Series Instance UID as received, what was decided about one series and what is made of it.
    """

    study: str
    destination: str
    view: View
    reason: str
    at: float
    series: Mapping[str, Form] = MappingProxyType({})

    def form_of(self, series: str) -> Form:
        """Return in which view a received series goes, and what was made of it, and why."""
        return self.series.get(series) or Form(self.view, self.reason)

    @property
    def exceptions(self) -> dict[str, Form]:
        """The series that go in another view than the study as a whole."""
        return {uid: form for uid, form in self.series.items() if form.view != self.view}


class Delivery(NamedTuple):
    """How it stands with one instance at one destination.

    Attributes
    ----------
    state : str
        ``pending``, ``delivered``, ``failed`` (it is tried again), ``refused`` (it is not, until somebody wants it), or
        ``notified``.
    status : int or None
        Status of the C-STORE response, None if there was none.
    attempts : int
        How often it was tried in all.
    tries : int
        How often in a row it met the same fate; 0 if nothing was sent.
    """

    sop_instance: str
    digest: str
    state: str
    status: int | None
    reason: str
    attempts: int
    at: float
    tries: int = 0


class Standing(NamedTuple):
    """How it stands with one SOP Instance at one destination, in one word.

    Attributes
    ----------
    state : str
        ``pending`` (also after attempts in vain), ``notified`` (it shall fetch it and has not), ``delivered``,
        ``committed``, or ``refused``: it does not take the object, or does not commit to it.
    digest : str
        Of the content that this is about.
    commitment : str
        Empty, ``asked``, ``committed``, ``refused`` or ``excluded``.
    failure : int or None
        Failure Reason (0008,1197) of the destination.
    reason : str
        Why not, in plain words.
    at : float
        Since when.
    """

    state: str
    digest: str
    commitment: str
    failure: int | None
    reason: str
    at: float


class Custody:
    """Decisions and deliveries of one archive.

    Parameters
    ----------
    database : Database
        The index.
    files : Files
        Holds the durable records.
    clock : Clock
        Dates them.
    """

    def __init__(self, database: Database, files: Files, clock: Clock) -> None:
        self._database = database
        self._files = files
        self._clock = clock
        self._damages = Damages(database, files, clock)

    def decision(self, study: str, destination: str) -> Decision | None:
        """Return what was decided for a study and a destination, None if nothing was."""
        sql = "SELECT view, reason, at, series FROM decision WHERE study = ? AND destination = ?"
        found = self._database.row(sql, (study, destination))
        if found:
            return Decision(study, destination, View(found[0]), found[1], found[2], _forms(json.loads(found[3])))
        return self._recorded(study, destination)

    def _recorded(self, study: str, destination: str) -> Decision | None:
        path = self._files.record_path(_record_name(study, destination))
        try:
            record = self._damages.record(path)
            forms = _forms(record.get("series", {}))
            return Decision(study, destination, view_named(record["view"]), record["reason"], record["at"], forms)
        except FileNotFoundError:
            return None
        except (KeyError, ConfigError) as error:
            raise ArchiveError(path.name, "is no delivery record", found=str(error)) from error

    def decide(
        self,
        study: str,
        destination: str,
        view: View,
        reason: str = "",
        series: Mapping[str, Form] = MappingProxyType({}),
    ) -> Decision:
        """Decide once: write the durable record, then the row. What was decided before stays and is returned.

        Parameters
        ----------
        study, destination, view, reason
            See `Decision`.
        series : mapping of str to Form
            What is decided about series; more of them may be decided about later.

        Raises
        ------
        ResourceError
            If the record cannot be written; nothing is decided then.
        """
        known = self.decision(study, destination)
        decision = known or Decision(study, destination, view, reason, self._clock.now())
        decision = decision._replace(series={**series, **decision.series})
        forms = {uid: [name_of(form.view), form.reason] for uid, form in sorted(decision.series.items())}
        if decision != known:
            record = {**decision._asdict(), "view": name_of(decision.view), "series": forms}
            path = self._files.record_path(_record_name(study, destination))
            write_record(path, record)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO decision (study, destination, view, reason, at, series)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (study, destination, int(decision.view), decision.reason, decision.at, json.dumps(forms)),
            )
        return decision

    def decided(self, destination: str, count: int) -> list[str]:
        """Return the studies that were decided about last for a destination, as Study Instance UIDs."""
        sql = "SELECT study FROM decision WHERE destination = ? ORDER BY at DESC, study LIMIT ?"
        return [study for (study,) in self._database.rows(sql, (destination, count))]

    def decisions(self, study: str) -> list[Decision]:
        """Return what the index says was decided about a study, for every destination."""
        sql = "SELECT destination, view, reason, at, series FROM decision WHERE study = ? ORDER BY destination"
        return [
            Decision(study, row[0], View(row[1]), row[2], row[3], _forms(json.loads(row[4])))
            for row in self._database.rows(sql, (study,))
        ]

    def outstanding(self, study: str, destination: str, rows: Sequence[InstanceRow]) -> list[InstanceRow]:
        """Return those of `rows` that the destination does not have with this content.

        Instances that came from a destination are never among them.
        """
        sql = "SELECT sop_instance, digest FROM delivery WHERE study = ? AND destination = ? AND state = 'delivered'"
        have = {(uid, digest.hex()) for uid, digest in self._database.rows(sql, (study, destination))}
        return [row for row in rows if not row.prior and (row.sop_instance, row.digest) not in have]

    def expect(self, study: str, destination: str, rows: Sequence[InstanceRow]) -> None:
        """Note what is going to be sent, so that the status can tell how much is left."""
        sql = """INSERT INTO delivery (study, destination, sop_instance, digest, state, reason, attempts, at)
            VALUES (?, ?, ?, ?, 'pending', '', 0, ?) ON CONFLICT DO UPDATE
            SET digest = excluded.digest, state = 'pending', reason = '', at = excluded.at, commitment = '',
                commitment_reason = '', failure = NULL, commitment_at = NULL, lost = 0, tries = 0
            WHERE digest <> excluded.digest"""
        now = self._clock.now()
        with self._database.transaction() as connection:
            connection.executemany(
                sql, [(study, destination, row.sop_instance, bytes.fromhex(row.digest), now) for row in rows]
            )

    def delivered(self, study: str, destination: str, row: InstanceRow, status: int = 0, reason: str = "") -> None:
        """Note that the destination answered with success or a warning."""
        self._note(study, destination, row, DELIVERED, status, reason)

    def notified(self, study: str, destination: str, rows: Sequence[InstanceRow]) -> None:
        """Note that a destination which fetches has been told of instances."""
        sql = """UPDATE delivery SET state = ?, status = NULL, reason = '', attempts = attempts + 1, at = ?
            WHERE study = ? AND destination = ? AND sop_instance = ? AND state <> ?"""
        now = self._clock.now()
        with self._database.transaction() as connection:
            connection.executemany(
                sql, [(NOTIFIED, now, study, destination, row.sop_instance, DELIVERED) for row in rows]
            )

    def failed(
        self,
        study: str,
        destination: str,
        row: InstanceRow,
        status: int | None,
        reason: str,
        *,
        refused: bool = False,
        tries: int = 1,
    ) -> None:
        """Note an attempt in vain.

        Parameters
        ----------
        status : int or None
            Status of the C-STORE response, None if there was none.
        refused : bool
            The destination does not want the object (no presentation context, a failure status again and again): it is
            not tried again until somebody wants it.
        tries : int
            How often in a row this was so; 0 if nothing was sent.
        """
        self._note(study, destination, row, REFUSED if refused else FAILED, status, reason, tries)

    def forgive(self, study: str, destination: str) -> int:
        """Have tried again what the destination has refused, and return how much."""
        sql = """UPDATE delivery SET state = ?, tries = 0 WHERE study = ? AND destination = ? AND state IN (?, ?)
            AND (state = ? OR tries > 0)"""
        with self._database.transaction() as connection:
            return connection.execute(sql, (FAILED, study, destination, REFUSED, FAILED, REFUSED)).rowcount

    def _note(
        self,
        study: str,
        destination: str,
        row: InstanceRow,
        state: str,
        status: int | None,
        reason: str,
        tries: int = 0,
    ) -> None:
        sql = """INSERT INTO delivery
                (study, destination, sop_instance, digest, state, status, reason, attempts, at, tries)
            VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?) ON CONFLICT DO UPDATE
            SET digest = excluded.digest, state = excluded.state, status = excluded.status, reason = excluded.reason,
                attempts = attempts + 1, at = excluded.at, tries = excluded.tries,
                commitment = CASE WHEN digest = excluded.digest THEN commitment ELSE '' END"""
        digest = bytes.fromhex(row.digest)
        values = (study, destination, row.sop_instance, digest, state, status, reason, self._clock.now(), tries)
        with self._database.transaction() as connection:
            connection.execute(sql, values)

    def deliveries(self, study: str, destination: str) -> list[Delivery]:
        """Return how it stands with every instance of a study at a destination."""
        sql = f"SELECT {_DELIVERY} FROM delivery WHERE study = ? AND destination = ? ORDER BY sop_instance"
        return [_delivery(row) for row in self._database.rows(sql, (study, destination))]

    def delivery(self, study: str, destination: str, row: InstanceRow) -> Delivery | None:
        """Return how it stands with one instance, None if it has not been its turn with this content."""
        sql = f"""SELECT {_DELIVERY} FROM delivery
            WHERE study = ? AND destination = ? AND sop_instance = ? AND digest = ?"""
        found = self._database.row(sql, (study, destination, row.sop_instance, bytes.fromhex(row.digest)))
        return _delivery(found) if found else None

    def unsent(self, destination: str) -> list[str]:
        """Return an instance for each SOP class and transfer syntax that a destination has refused unsent."""
        sql = """SELECT min(d.sop_instance) FROM delivery d JOIN instance i ON i.sop_instance = d.sop_instance
            WHERE d.destination = ? AND d.state = 'refused' AND d.tries = 0 AND i.superseded = 0
            GROUP BY i.sop_class, i.transfer_syntax"""
        return [uid for (uid,) in self._database.rows(sql, (destination,))]

    def unsent_of(self, destination: str, sop_class: str) -> list[str]:
        """Return the studies of which a destination has refused something of a SOP class unsent."""
        sql = """SELECT DISTINCT d.study FROM delivery d JOIN instance i ON i.sop_instance = d.sop_instance
            WHERE d.destination = ? AND d.state = 'refused' AND d.tries = 0 AND i.superseded = 0 AND i.sop_class = ?
            ORDER BY d.study"""
        return [study for (study,) in self._database.rows(sql, (destination, sop_class))]

    def standing(self, study: str, destination: str) -> dict[str, Standing]:
        """Return how it stands at a destination, by SOP Instance UID; what is missing has not been its turn yet.

        For objects as the destination gets them: derived ones, and received ones that are passed through.
        """
        sql = """SELECT sop_instance, digest, state, reason, at, commitment, failure, commitment_reason, commitment_at
            FROM delivery WHERE study = ? AND destination = ?"""
        return {row[0]: _standing(*row[1:]) for row in self._database.rows(sql, (study, destination))}


def _forms(series: Mapping[str, Sequence[str]]) -> dict[str, Form]:
    return {uid: Form(view_named(view), reason) for uid, (view, reason) in series.items()}


_DELIVERY = "sop_instance, digest, state, status, reason, attempts, at, tries"


def _delivery(row: tuple) -> Delivery:
    return Delivery(row[0], row[1].hex(), *row[2:])


# Fates of a delivery that say no more than that the object is not there yet.
_STANDING = {FAILED: PENDING}


def _standing(
    digest: bytes,
    state: str,
    reason: str,
    at: float,
    commitment: str,
    failure: int | None,
    commitment_reason: str,
    commitment_at: float | None,
) -> Standing:
    if state != DELIVERED or commitment not in (COMMITTED, REFUSED):
        why = commitment_reason if state == DELIVERED and commitment_reason else reason
        return Standing(_STANDING.get(state, state), digest.hex(), commitment, failure, why, at)
    return Standing(commitment, digest.hex(), commitment, failure, commitment_reason, commitment_at or at)


def _record_name(study: str, destination: str) -> str:
    return f"delivery-{key_of(study)}-{key_of(destination)}"
