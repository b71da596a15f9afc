-- What an owner's locks are counted by: the id of the caller that holds one, which stays when the caller is renamed.
ALTER TABLE lock ADD COLUMN holder TEXT;

UPDATE lock SET holder = coalesce(record ->> '$.holder', owner) WHERE json_valid(record);

CREATE INDEX lock_holder ON lock (holder);
