-- The store itself: a random id, made once, and an epoch, which is greater in a copy that was made to be restored.
-- Whoever has read the store before knows by them that another one stands in its place.
CREATE TABLE identity (
    id          TEXT    NOT NULL,
    epoch       INTEGER NOT NULL CHECK (epoch > 0)
) STRICT;

INSERT INTO identity (id, epoch) VALUES (lower(hex(randomblob(16))), 1);

CREATE TRIGGER identity_is_one BEFORE INSERT ON identity
BEGIN SELECT RAISE(ABORT, 'a store has one identity'); END;

CREATE TRIGGER identity_is_not_deleted BEFORE DELETE ON identity
BEGIN SELECT RAISE(ABORT, 'a store has one identity'); END;

-- The secrets that the store is used with, by a value that tells two secrets of one version apart and from which
-- neither can be computed.
CREATE TABLE secret_check (
    kind        TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    value       TEXT    NOT NULL,
    PRIMARY KEY (kind, version)
) STRICT;
