"""The tables of what is said of patients, studies and series: each version of it once, and which views have it.

What objects say of their patient, study and series nearly always agrees; where it does not, each combination is a row,
and every instance names its own. So the index answers from what would be sent: a row counts in a view while an instance
of that view says it, the latest by reception answers, and a version that is withdrawn leaves nothing behind.
"""

from __future__ import annotations

BITS = "(SELECT 1 AS bit UNION ALL SELECT 2 UNION ALL SELECT 4)"

# Columns of names, dates and documents as in the migration of the query columns. identity: what tells one patient from
# another, in the form it is compared in. indexed: 0 for rows that an index without these tables had, one for all
# instances: what each of them says has to be read again.
_TABLES = (
    """CREATE TABLE study_keys (
        id INTEGER PRIMARY KEY, study INTEGER NOT NULL REFERENCES study(id),
        patient INTEGER NOT NULL REFERENCES patient(id), digest BLOB NOT NULL, identity BLOB NOT NULL,
        name TEXT NOT NULL, birth_date TEXT NOT NULL, sex TEXT NOT NULL,
        name_a TEXT, name_i TEXT, name_p TEXT, sound TEXT, patient_more TEXT,
        date TEXT NOT NULL, time TEXT NOT NULL, study_id TEXT NOT NULL, accession TEXT NOT NULL,
        description TEXT NOT NULL, referring TEXT NOT NULL, day INTEGER, clock INTEGER, zone INTEGER, more TEXT,
        indexed INTEGER NOT NULL, UNIQUE (study, digest))""",
    """CREATE TABLE series_keys (
        id INTEGER PRIMARY KEY, series INTEGER NOT NULL REFERENCES series(id),
        study_keys INTEGER NOT NULL REFERENCES study_keys(id), digest BLOB NOT NULL, number INTEGER,
        modality TEXT NOT NULL, description TEXT NOT NULL, body_part TEXT NOT NULL, protocol TEXT NOT NULL,
        date TEXT NOT NULL, time TEXT NOT NULL, more TEXT, indexed INTEGER NOT NULL,
        UNIQUE (series, study_keys, digest))""",
    """CREATE TABLE keys_region (
        keys INTEGER NOT NULL REFERENCES series_keys(id), region TEXT NOT NULL, PRIMARY KEY (keys, region))
        WITHOUT ROWID""",
    # latest, last: reception and id of the instance that was received last.
    """CREATE TABLE keys_tally (
        keys INTEGER NOT NULL, view INTEGER NOT NULL, instances INTEGER NOT NULL, latest REAL, last INTEGER,
        PRIMARY KEY (keys, view)) WITHOUT ROWID""",
    "ALTER TABLE instance ADD COLUMN series_keys INTEGER",
)

_FILLED = (
    """INSERT INTO study_keys SELECT t.id, t.id, t.patient, CAST(t.id AS BLOB), x'', p.name, p.birth_date, p.sex,
        p.name_a, p.name_i, p.name_p, p.sound, p.more, t.date, t.time, t.study_id, t.accession, t.description,
        t.referring, t.day, t.clock, t.zone, t.more, 0 FROM study t JOIN patient p ON p.id = t.patient""",
    """INSERT INTO series_keys SELECT id, id, study, x'', number, modality, description, body_part, protocol, date,
        time, more, 0 FROM series""",
    "INSERT INTO keys_region SELECT series, region FROM series_region",
    "UPDATE instance SET series_keys = series",
    f"""INSERT INTO keys_tally SELECT series_keys, bit, count(*), max(received_at), id
        FROM instance JOIN {BITS} ON views & bit GROUP BY series_keys, bit""",
)

# What one object said of all is told no more: tables of entities have what never changes.
_LEFT = (
    "DROP TRIGGER series_modality_insert",
    "DROP TRIGGER series_modality_update",
    "DROP TABLE series_region",
    *(f"DROP INDEX patient_{name}" for name in ("by_name", "by_ideographic_name", "by_phonetic_name", "unindexed")),
    *(
        f"ALTER TABLE patient DROP COLUMN {column}"
        for column in ("name", "birth_date", "sex", "name_a", "name_i", "name_p", "sound", "more", "indexed")
    ),
    "DROP INDEX series_unindexed",
    *(
        f"ALTER TABLE series DROP COLUMN {column}"
        for column in ("number", "modality", "description", "body_part", "protocol", "date", "time", "more", "indexed")
    ),
    *(f"DROP INDEX study_{name}" for name in ("by_patient", "by_accession", "by_day", "by_study_id", "unindexed")),
    *(
        f"ALTER TABLE study DROP COLUMN {column}"
        for column in ("date", "time", "study_id", "accession", "description", "referring", "day", "clock", "zone",
                       "more", "indexed")
    ),
    # A column with a reference cannot be dropped.
    """CREATE TABLE study_entity (
        id INTEGER PRIMARY KEY, uid TEXT NOT NULL UNIQUE, created_at REAL NOT NULL, updated_at REAL NOT NULL)""",
    "INSERT INTO study_entity SELECT id, uid, created_at, updated_at FROM study",
    "DROP TABLE study",
    "ALTER TABLE study_entity RENAME TO study",
    "CREATE INDEX study_by_update ON study(updated_at)",
)  # fmt: skip

_INDEXES = (
    "CREATE INDEX study_keys_by_patient ON study_keys(patient, identity)",
    "CREATE INDEX study_keys_by_study ON study_keys(study, identity)",
    "CREATE INDEX study_keys_by_name ON study_keys(name_a)",
    "CREATE INDEX study_keys_by_ideographic_name ON study_keys(name_i) WHERE name_i IS NOT NULL",
    "CREATE INDEX study_keys_by_phonetic_name ON study_keys(name_p) WHERE name_p IS NOT NULL",
    "CREATE INDEX study_keys_by_accession ON study_keys(accession)",
    "CREATE INDEX study_keys_by_day ON study_keys(day, clock)",
    "CREATE INDEX study_keys_by_study_id ON study_keys(study_id)",
    "CREATE INDEX study_keys_unindexed ON study_keys(indexed) WHERE indexed = 0",
    "CREATE INDEX series_keys_by_study_keys ON series_keys(study_keys)",
    "CREATE INDEX series_keys_unindexed ON series_keys(indexed) WHERE indexed = 0",
    "CREATE INDEX instance_by_keys ON instance(series_keys, received_at) WHERE views <> 0",
)

_OTHER = "(new.series_keys IS NOT old.series_keys OR new.received_at <> old.received_at)"


def _more(bits: str) -> str:
    """Return the statement that counts an instance in the views of some bits."""
    return f"""INSERT INTO keys_tally (keys, view, instances, latest, last)
            SELECT new.series_keys, bit, 1, new.received_at, new.id FROM {BITS}
            WHERE new.series_keys IS NOT NULL AND {bits}
            ON CONFLICT (keys, view) DO UPDATE SET instances = instances + 1,
            latest = CASE WHEN (excluded.latest, excluded.last) > (coalesce(latest, -1e300), coalesce(last, -1))
                THEN excluded.latest ELSE latest END,
            last = CASE WHEN (excluded.latest, excluded.last) > (coalesce(latest, -1e300), coalesce(last, -1))
                THEN excluded.last ELSE last END;"""


def _less(bits: str) -> str:
    """Return the statements that take an instance out of the count of views; another may be the latest then."""
    left = f"keys = old.series_keys AND view IN (SELECT bit FROM {BITS} WHERE {bits})"
    return f"""UPDATE keys_tally SET instances = instances - 1 WHERE {left};
        UPDATE keys_tally SET (latest, last) = (SELECT i.received_at, i.id FROM instance i
            WHERE i.series_keys = old.series_keys AND i.views <> 0 AND i.views & keys_tally.view
            ORDER BY i.received_at DESC, i.id DESC LIMIT 1) WHERE {left} AND last = old.id;"""


def _modalities(event: str, when: str, change: str) -> str:
    """Return the trigger that carries a version that comes or goes on to the modalities of its study."""
    return f"""CREATE TRIGGER keys_modality_{event.split()[0].lower()} AFTER {event} ON keys_tally WHEN {when} BEGIN
        INSERT INTO study_modality (study, view, modality, series)
            SELECT s.study, new.view, g.modality, {change}
            FROM series_keys g JOIN series s ON s.id = g.series WHERE g.id = new.keys
            ON CONFLICT (study, view, modality) DO UPDATE SET series = series + excluded.series;
        END"""


_TRIGGERS = (
    f"CREATE TRIGGER keys_insert AFTER INSERT ON instance WHEN new.views <> 0 BEGIN {_more('new.views & bit')} END",
    f"CREATE TRIGGER keys_delete AFTER DELETE ON instance WHEN old.views <> 0 BEGIN {_less('old.views & bit')} END",
    f"""CREATE TRIGGER keys_update AFTER UPDATE OF views, series_keys, received_at ON instance
        WHEN new.views <> old.views OR {_OTHER} BEGIN
        {_less(f"old.views & bit AND (new.views & bit = 0 OR {_OTHER})")}
        {_more(f"new.views & bit AND (old.views & bit = 0 OR {_OTHER})")}
        END""",
    _modalities("INSERT", "new.instances > 0", "1"),
    _modalities(
        "UPDATE OF instances",
        "(new.instances > 0) <> (old.instances > 0)",
        "(new.instances > 0) - (old.instances > 0)",
    ),
)

KEY_TABLES: tuple[str, ...] = (*_TABLES, *_FILLED, *_LEFT, *_INDEXES, *_TRIGGERS)
