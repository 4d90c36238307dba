-- The same text for SQLite and PostgreSQL. Times are milliseconds since 1970, in UTC.

CREATE TABLE verifications (
    -- Sorts by creation.
    id          TEXT   NOT NULL PRIMARY KEY,
    tenant      TEXT   NOT NULL,
    -- The server that carries it out.
    server      TEXT   NOT NULL,
    -- The sandbox that is verified; empty for a patch.
    sandbox_id  TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    -- 1 until it is in a final state.
    unfinished  BIGINT NOT NULL,
    -- How often it was begun.
    attempt     BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    start_time  BIGINT,
    end_time    BIGINT,
    -- The client's id of the request, or empty, and SHA-256 of all that it asks for.
    request_id  TEXT   NOT NULL,
    digest      TEXT   NOT NULL,
    -- What never changes and is never searched, as JSON.
    details     TEXT   NOT NULL,
    -- The patch that is verified, until it is.
    patch       TEXT,
    -- What came of it, as JSON, and the same without single tests and output.
    outcome     TEXT,
    brief       TEXT
);

CREATE INDEX verifications_by_tenant ON verifications (tenant, id);
CREATE INDEX verifications_by_sandbox ON verifications (tenant, sandbox_id, id);
CREATE INDEX verifications_by_request ON verifications (tenant, request_id);
CREATE INDEX verifications_by_work ON verifications (server, unfinished, id);
CREATE INDEX verifications_by_tenants_work ON verifications (tenant, unfinished);
CREATE INDEX verifications_by_end ON verifications (unfinished, end_time);
