-- The same text for SQLite and PostgreSQL. Times are milliseconds since 1970, in UTC.

CREATE TABLE volumes (
    -- Sorts by creation.
    id             TEXT   NOT NULL PRIMARY KEY,
    tenant         TEXT   NOT NULL,
    -- The server that has its files, and the runtime that made them.
    server         TEXT   NOT NULL,
    runtime        TEXT   NOT NULL,
    name           TEXT   NOT NULL,
    -- "creating" and "deleting" while its files are being made or removed, else "ready".
    state          TEXT   NOT NULL,
    -- 1: any number of sandboxes may have it for writing.
    shared         BIGINT NOT NULL,
    -- Bytes that its files may take; NULL is no limit.
    size_bytes     BIGINT,
    -- The directory of the host that it is; empty for files of its own.
    host_directory TEXT   NOT NULL,
    labels         TEXT   NOT NULL,
    create_time    BIGINT NOT NULL,
    -- The client's id of the request, or empty, and SHA-256 of all that it asks for.
    request_id     TEXT   NOT NULL,
    digest         TEXT   NOT NULL
);

CREATE UNIQUE INDEX volumes_by_name ON volumes (tenant, name);
CREATE INDEX volumes_by_request ON volumes (tenant, request_id);
CREATE INDEX volumes_by_server ON volumes (server, state);

-- Which active sandboxes have which volumes.
CREATE TABLE sandbox_volumes (
    sandbox_id TEXT   NOT NULL,
    volume_id  TEXT   NOT NULL REFERENCES volumes (id),
    path       TEXT   NOT NULL,
    -- 1: it can only read.
    read_only  BIGINT NOT NULL,
    PRIMARY KEY (sandbox_id, volume_id)
);

CREATE INDEX sandbox_volumes_by_volume ON sandbox_volumes (volume_id);

-- Volumes that a tenant may have; NULL is no limit.
ALTER TABLE tenants ADD COLUMN max_volumes BIGINT;
