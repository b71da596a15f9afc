-- Which APIs an app may call.
CREATE TABLE "grant" (
    id          TEXT    NOT NULL PRIMARY KEY,
    tenant      TEXT    NOT NULL,
    caller      TEXT    NOT NULL,
    route       TEXT    NOT NULL,
    environment TEXT    NOT NULL,
    created_at  TEXT    NOT NULL, -- as that of callers: without its Z
    record      TEXT    NOT NULL,
    UNIQUE (caller, route, environment),
    FOREIGN KEY (tenant, caller) REFERENCES caller (tenant, id)
) STRICT;

CREATE INDEX grant_caller ON "grant" (tenant, caller, created_at, id, route);
CREATE INDEX grant_route ON "grant" (tenant, route, created_at, id, caller);
CREATE INDEX grant_created ON "grant" (tenant, created_at, id, caller, route);
