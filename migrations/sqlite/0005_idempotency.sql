-- The answers to requests that take effect once, by a hash of who asked and the key that they chose. Sealed by
-- the program; no change, and not in the change log.
CREATE TABLE answered (
    key         BLOB    NOT NULL PRIMARY KEY CHECK (length(key) = 32),
    fingerprint BLOB    NOT NULL CHECK (length(fingerprint) = 32),
    expires_at  INTEGER NOT NULL, -- nanoseconds since the epoch
    answer      BLOB    NOT NULL
) STRICT;

CREATE INDEX answered_expires_at ON answered (expires_at);
