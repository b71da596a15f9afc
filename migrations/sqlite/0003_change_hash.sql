-- What chains the change log: each hash is over a change and the hash before it, so that no change can be
-- altered or taken out unseen. SQLite has no SHA-256: the program fills it.
CREATE TABLE change_hash (
    seq         INTEGER NOT NULL PRIMARY KEY REFERENCES change (seq),
    hash        BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TRIGGER change_hash_is_not_updated BEFORE UPDATE ON change_hash
BEGIN SELECT RAISE(ABORT, 'the change log is append-only'); END;

CREATE TRIGGER change_hash_is_not_deleted BEFORE DELETE ON change_hash
BEGIN SELECT RAISE(ABORT, 'the change log is append-only'); END;

-- What became of one entity.
CREATE INDEX change_entity ON change (kind, entity_id, seq);
