-- Accounts, elements and the index of files. Plain SQL that SQLite and PostgreSQL both accept.
-- Moments are milliseconds since 1970-01-01T00:00:00Z.

CREATE TABLE accounts (
    client_id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    -- Space-separated.
    scopes TEXT NOT NULL,
    -- Space-separated.
    audiences TEXT NOT NULL,
    active BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    -- SHA-256 in lower-case hexadecimal of the two secrets that may live at once.
    secret_sha256 TEXT NOT NULL,
    previous_secret_sha256 TEXT
);

CREATE TABLE elements (
    element_id TEXT NOT NULL PRIMARY KEY,
    url TEXT NOT NULL,
    mode TEXT NOT NULL,
    capacity_bytes BIGINT NOT NULL,
    free_bytes BIGINT NOT NULL,
    reported_at BIGINT NOT NULL
);

-- A row without a record is a tombstone: the file was deleted, and an older report of it must not bring it back.
CREATE TABLE files (
    file_id TEXT NOT NULL PRIMARY KEY,
    element_id TEXT NOT NULL,
    -- The JSON of the file's record.
    record TEXT,
    expires_at BIGINT,
    changed_at BIGINT NOT NULL
);

CREATE INDEX files_by_expiry ON files (expires_at);
CREATE INDEX files_by_element ON files (element_id, file_id);
