-- When each credential was last used, noted now and then: an observation, which the change log leaves out.
CREATE TABLE credential_use (
    credential  TEXT    NOT NULL PRIMARY KEY REFERENCES credential (id) ON DELETE CASCADE,
    at          INTEGER NOT NULL -- seconds since the epoch
) STRICT;
