-- API keys that operators make. The text of a key is never stored: only a keyed digest of it.
-- Times are microseconds since 1970-01-01 UTC; services and environments are JSON arrays of words.

CREATE TABLE access_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('service', 'read-only', 'operator', 'break-glass')),
    digest TEXT NOT NULL,
    services TEXT NOT NULL,
    environments TEXT NOT NULL,
    rate_limit INTEGER,
    rotated_from TEXT UNIQUE REFERENCES access_keys (id),
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX access_keys_by_name ON access_keys (name, created_at);
CREATE INDEX access_keys_by_age ON access_keys (created_at, id);

-- Counts changes, so that every server notices them.
INSERT INTO meta VALUES ('access_keys_revision', '0');
