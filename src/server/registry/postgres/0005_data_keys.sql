-- Keys that seal what is secret here, wrapped by the master key, which is kept elsewhere. The id of
-- a key stands in everything it seals. Exactly one key of each purpose is active; keys for records
-- that are not active any longer stay, so that what they sealed can be opened.
CREATE TABLE data_keys (
    id TEXT COLLATE "C" PRIMARY KEY,
    purpose TEXT COLLATE "C" NOT NULL CHECK (purpose IN ('records', 'api-keys', 'tenant-ids', 'audit')),
    master TEXT COLLATE "C" NOT NULL,
    wrapped TEXT NOT NULL,
    active BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE UNIQUE INDEX data_keys_active ON data_keys (purpose) WHERE active;

-- Sealed values are `v1.<id of eight characters>.…`: these find those of one key.
CREATE INDEX credentials_by_key ON credentials ((substr(sealed, 4, 8) COLLATE "C"), tenant_id, service, version, module);
CREATE INDEX tenants_by_key ON tenants ((substr(owner_password_hash, 4, 8) COLLATE "C"), id)
    WHERE owner_password_hash IS NOT NULL;
