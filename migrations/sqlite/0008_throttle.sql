-- How often a gateway's APIs may be called, and how often each of its apps may call.
CREATE TABLE throttle (
    id          TEXT    NOT NULL PRIMARY KEY,
    tenant      TEXT    NOT NULL REFERENCES tenant (id),
    name        TEXT    NOT NULL,
    record      TEXT    NOT NULL,
    UNIQUE (tenant, name)
) STRICT;

CREATE TABLE quota (
    id          TEXT    NOT NULL PRIMARY KEY,
    tenant      TEXT    NOT NULL REFERENCES tenant (id),
    name        TEXT    NOT NULL,
    record      TEXT    NOT NULL,
    UNIQUE (tenant, name)
) STRICT;

ALTER TABLE caller ADD COLUMN quota TEXT REFERENCES quota (id);

CREATE INDEX caller_quota ON caller (quota) WHERE quota IS NOT NULL;
