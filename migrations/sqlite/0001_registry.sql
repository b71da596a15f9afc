-- Every table holds its entities as JSON in `record`, and beside it only what is looked up, kept apart or
-- pointed at. Kinds and verbs are not enumerated in CHECKs: SQLite could not add one without a rebuild.

CREATE TABLE tenant (
    id          TEXT    NOT NULL PRIMARY KEY,
    project_id  TEXT,
    instance_id TEXT,
    revision    INTEGER NOT NULL CHECK (revision > 0),
    record      TEXT    NOT NULL,
    UNIQUE (project_id, instance_id),
    CHECK ((project_id IS NULL) = (instance_id IS NULL))
) STRICT;

CREATE TABLE plan (
    id          TEXT    NOT NULL PRIMARY KEY,
    record      TEXT    NOT NULL
) STRICT;

CREATE TABLE caller (
    id          TEXT    NOT NULL PRIMARY KEY,
    tenant      TEXT    NOT NULL REFERENCES tenant (id),
    kind        TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    app_key     TEXT    UNIQUE,
    plan        TEXT    REFERENCES plan (id),
    revision    INTEGER NOT NULL CHECK (revision > 0),
    record      TEXT    NOT NULL,
    UNIQUE (tenant, kind, name),
    UNIQUE (tenant, id)
) STRICT;

-- The tenant is part of the reference: a credential cannot stand on the other side of its caller's wall.
CREATE TABLE credential (
    id          TEXT    NOT NULL PRIMARY KEY,
    tenant      TEXT    NOT NULL,
    caller      TEXT    NOT NULL,
    digest      TEXT    NOT NULL UNIQUE,
    revision    INTEGER NOT NULL CHECK (revision > 0),
    record      TEXT    NOT NULL,
    FOREIGN KEY (tenant, caller) REFERENCES caller (tenant, id)
) STRICT;

CREATE INDEX credential_caller ON credential (tenant, caller);

-- A lock may name a tenant or a caller that is not there (yet).
CREATE TABLE lock (
    id          TEXT    NOT NULL PRIMARY KEY,
    tenant      TEXT,
    caller      TEXT,
    expires_at  INTEGER NOT NULL, -- milliseconds since the epoch, rounded: an index, the record decides
    record      TEXT    NOT NULL
) STRICT;

CREATE INDEX lock_caller ON lock (caller) WHERE caller IS NOT NULL;
CREATE INDEX lock_expires_at ON lock (expires_at);

CREATE TABLE change (
    seq         INTEGER NOT NULL PRIMARY KEY,
    at          TEXT    NOT NULL,
    actor       TEXT    NOT NULL,
    verb        TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    entity_id   TEXT    NOT NULL,
    record      TEXT    NOT NULL
) STRICT;

CREATE TRIGGER change_has_no_gaps BEFORE INSERT ON change
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM change)
BEGIN SELECT RAISE(ABORT, 'the change log has no gaps'); END;

CREATE TRIGGER change_is_not_updated BEFORE UPDATE ON change
BEGIN SELECT RAISE(ABORT, 'the change log is append-only'); END;

CREATE TRIGGER change_is_not_deleted BEFORE DELETE ON change
BEGIN SELECT RAISE(ABORT, 'the change log is append-only'); END;
