-- What a lock to be acquired is held against: those on paths above and below, and how many its owner has.
ALTER TABLE lock ADD COLUMN path TEXT;
ALTER TABLE lock ADD COLUMN owner TEXT;

-- What is no JSON is found when it is read, and must not keep the store from being opened.
UPDATE lock SET path = record ->> '$.target.resource', owner = record ->> '$.owner' WHERE json_valid(record);

CREATE INDEX lock_path ON lock (path) WHERE path IS NOT NULL;
CREATE INDEX lock_owner ON lock (owner);

-- The greatest fence that a lock was made with, whatever became of the lock: one row.
CREATE TABLE fence (
    last        INTEGER NOT NULL
) STRICT;

INSERT INTO fence (last) VALUES (0);

CREATE TRIGGER fence_never_falls BEFORE UPDATE ON fence WHEN NEW.last < OLD.last
BEGIN SELECT RAISE(ABORT, 'a fence never falls back'); END;

CREATE TRIGGER fence_is_not_deleted BEFORE DELETE ON fence
BEGIN SELECT RAISE(ABORT, 'a fence never falls back'); END;

CREATE TRIGGER fence_is_one BEFORE INSERT ON fence
BEGIN SELECT RAISE(ABORT, 'a fence never falls back'); END;
