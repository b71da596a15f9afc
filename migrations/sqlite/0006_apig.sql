-- What apps are listed by, beside the record. Without its Z, a time sorts as text, however many digits its
-- fraction has.
ALTER TABLE caller ADD COLUMN created_at TEXT NOT NULL DEFAULT '';
ALTER TABLE caller ADD COLUMN status TEXT NOT NULL DEFAULT '';
ALTER TABLE caller ADD COLUMN creator TEXT;

UPDATE caller SET
    created_at = coalesce(rtrim(record ->> '$.created_at', 'Z'), ''),
    status = coalesce(record ->> '$.status', ''),
    creator = record ->> '$.kind.app.creator'
WHERE json_valid(record);

-- Pages by age, and counts, read this index and no record but those of the page.
CREATE INDEX caller_created ON caller (tenant, kind, created_at, id, status, creator, name);
