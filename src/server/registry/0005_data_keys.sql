-- Keys that seal what is secret here, wrapped by the master key, which is kept elsewhere. The id of
-- a key stands in everything it seals. Exactly one key of each purpose is active; keys for records
-- that are not active any longer stay, so that what they sealed can be opened.
CREATE TABLE data_keys (
    id TEXT PRIMARY KEY,
    purpose TEXT NOT NULL CHECK (purpose IN ('records', 'api-keys', 'tenant-ids', 'audit')),
    master TEXT NOT NULL,
    wrapped TEXT NOT NULL,
    active INTEGER NOT NULL CHECK (active IN (0, 1)),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX data_keys_active ON data_keys (purpose) WHERE active = 1;

-- Sealed values are `v1.<id of eight characters>.…`: these find those of one key.
CREATE INDEX credentials_by_key ON credentials (substr(sealed, 4, 8), tenant_id, service, version, module);
CREATE INDEX tenants_by_key ON tenants (substr(owner_password_hash, 4, 8), id)
    WHERE owner_password_hash IS NOT NULL;
