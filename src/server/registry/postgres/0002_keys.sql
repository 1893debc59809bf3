-- API keys that operators make. The text of a key is never stored: only a keyed digest of it.

CREATE TABLE access_keys (
    id text COLLATE "C" PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    role text NOT NULL CHECK (role IN ('service', 'read-only', 'operator', 'break-glass')),
    digest text NOT NULL,
    services text NOT NULL,
    environments text NOT NULL,
    rate_limit bigint,
    rotated_from text COLLATE "C" UNIQUE REFERENCES access_keys (id),
    created_by text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint,
    revoked_at bigint,
    last_used_at bigint
);

CREATE INDEX access_keys_by_name ON access_keys (name, created_at);
CREATE INDEX access_keys_by_age ON access_keys (created_at, id);

-- Counts changes, so that every server notices them.
CREATE TABLE access_keys_revision (
    only_one boolean PRIMARY KEY DEFAULT TRUE CHECK (only_one),
    revision bigint NOT NULL
);
INSERT INTO access_keys_revision (revision) VALUES (0);
