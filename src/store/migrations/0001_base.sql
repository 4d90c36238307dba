-- The same text for SQLite and PostgreSQL. Times are milliseconds since 1970, in UTC.

CREATE TABLE tenants (
    id                      TEXT   NOT NULL PRIMARY KEY,
    create_time             BIGINT NOT NULL,
    -- Limits; NULL is none.
    max_sandboxes           BIGINT,
    max_sessions            BIGINT,
    max_memory_bytes        BIGINT,
    max_requests_per_second BIGINT
);

CREATE TABLE api_keys (
    id          TEXT   NOT NULL PRIMARY KEY,
    tenant      TEXT   NOT NULL REFERENCES tenants (id),
    -- SHA-256 of the key, in hexadecimal. The key itself is nowhere.
    hash        TEXT   NOT NULL UNIQUE,
    name        TEXT   NOT NULL,
    create_time BIGINT NOT NULL,
    revoke_time BIGINT
);

CREATE TABLE sandboxes (
    -- Sorts by creation.
    id           TEXT   NOT NULL PRIMARY KEY,
    tenant       TEXT   NOT NULL,
    -- The server that runs it.
    server       TEXT   NOT NULL,
    state        TEXT   NOT NULL,
    -- 1 while it is to be listed.
    active       BIGINT NOT NULL,
    create_time  BIGINT NOT NULL,
    -- When its time to live ends; NULL is never.
    expire_time  BIGINT,
    -- In milliseconds; NULL is none.
    idle_timeout BIGINT,
    -- What counts against the tenant's limit.
    memory_bytes BIGINT NOT NULL,
    labels       TEXT   NOT NULL,
    -- What never changes and is never searched, as JSON.
    details      TEXT   NOT NULL,
    -- When it failed or was deleted.
    end_time     BIGINT
);

CREATE INDEX sandboxes_by_tenant ON sandboxes (tenant, active, id);
CREATE INDEX sandboxes_by_server ON sandboxes (server);
CREATE INDEX sandboxes_by_end ON sandboxes (end_time);

-- Of active sandboxes only.
CREATE TABLE sandbox_labels (
    tenant     TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      TEXT NOT NULL,
    sandbox_id TEXT NOT NULL,
    PRIMARY KEY (tenant, key, value, sandbox_id)
);

CREATE INDEX sandbox_labels_by_sandbox ON sandbox_labels (sandbox_id);

-- Which request made which sandbox.
CREATE TABLE create_requests (
    tenant      TEXT   NOT NULL,
    request_id  TEXT   NOT NULL,
    -- SHA-256 of the request, in hexadecimal.
    digest      TEXT   NOT NULL,
    sandbox_id  TEXT   NOT NULL,
    create_time BIGINT NOT NULL,
    PRIMARY KEY (tenant, request_id)
);

CREATE INDEX create_requests_by_sandbox ON create_requests (sandbox_id);
CREATE INDEX create_requests_by_time ON create_requests (create_time);
