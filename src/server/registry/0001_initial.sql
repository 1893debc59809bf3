-- Times are microseconds since 1970-01-01 UTC. JSON columns hold what the code writes, never raw input.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Keyed digests: the keys themselves cannot be found from them.
CREATE TABLE api_keys (
    digest TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Purged tenants stay, so that their id and slug are never inherited.
CREATE TABLE tenants (
    id TEXT PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    environment TEXT NOT NULL,
    isolation_mode TEXT NOT NULL CHECK (isolation_mode IN ('database', 'schema')),
    status TEXT NOT NULL CHECK (status IN ('active', 'suspended', 'purged')),
    metadata TEXT NOT NULL,
    owner_email TEXT NOT NULL,
    owner_password_hash TEXT,
    owner_email_verified INTEGER NOT NULL,
    search_text TEXT NOT NULL,
    revision INTEGER NOT NULL,
    event_sequence INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE associations (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    service TEXT NOT NULL,
    isolation_mode TEXT NOT NULL CHECK (isolation_mode IN ('database', 'schema')),
    state TEXT NOT NULL CHECK (state IN ('live', 'suspended', 'purged')),
    ready INTEGER NOT NULL,
    credentials_version INTEGER NOT NULL,
    settings TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, service)
) STRICT, WITHOUT ROWID;

CREATE INDEX associations_by_service ON associations (service, tenant_id, state, ready);

CREATE TABLE databases (
    tenant_id TEXT NOT NULL,
    service TEXT NOT NULL,
    module TEXT NOT NULL,
    cluster TEXT NOT NULL,
    isolation_mode TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'ready', 'retained', 'dropped')),
    spec TEXT NOT NULL,
    PRIMARY KEY (tenant_id, service, module),
    FOREIGN KEY (tenant_id, service) REFERENCES associations (tenant_id, service)
) STRICT, WITHOUT ROWID;

CREATE INDEX databases_ready ON databases (cluster, isolation_mode, tenant_id) WHERE state = 'ready';

-- Sealed with the master key, bound to the row's own key.
CREATE TABLE credentials (
    tenant_id TEXT NOT NULL,
    service TEXT NOT NULL,
    version INTEGER NOT NULL,
    module TEXT NOT NULL,
    sealed TEXT NOT NULL,
    PRIMARY KEY (tenant_id, service, version, module),
    FOREIGN KEY (tenant_id, service, module) REFERENCES databases (tenant_id, service, module)
) STRICT, WITHOUT ROWID;

-- state: 0 pending, 1 running, 2 succeeded, 3 failed.
CREATE TABLE operations (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    services TEXT NOT NULL,
    state INTEGER NOT NULL DEFAULT 0,
    parameters TEXT NOT NULL,
    error TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    not_before INTEGER,
    retry_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE INDEX operations_waiting ON operations (sequence) WHERE state < 2;
CREATE INDEX operations_unfinished ON operations (tenant_id, sequence) WHERE state < 2;
CREATE INDEX operations_by_tenant ON operations (tenant_id, sequence);
CREATE INDEX operations_by_state ON operations (state, sequence);

CREATE TABLE steps (
    operation INTEGER NOT NULL REFERENCES operations (sequence) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    work TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    state INTEGER NOT NULL DEFAULT 0,
    detail TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (operation, position)
) STRICT, WITHOUT ROWID;

-- state: 0 waits, 1 published, 2 has no channel.
CREATE TABLE outbox (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    tenant_sequence INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    channel TEXT,
    body TEXT NOT NULL,
    paced INTEGER NOT NULL,
    state INTEGER NOT NULL,
    receivers INTEGER,
    created_at INTEGER NOT NULL,
    published_at INTEGER,
    UNIQUE (tenant_id, tenant_sequence)
) STRICT;

CREATE INDEX outbox_waiting ON outbox (sequence) WHERE state = 0;
CREATE INDEX outbox_waiting_by_tenant ON outbox (tenant_id, paced, created_at) WHERE state = 0;
CREATE INDEX outbox_undeliverable ON outbox (sequence) WHERE state = 2;
CREATE INDEX outbox_by_age ON outbox (created_at) WHERE state > 0;

CREATE TABLE replays (
    key TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX replays_by_age ON replays (created_at);
