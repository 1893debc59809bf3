-- The audit log. `record` is the canonical text that `hash` is taken of; it names the hash of the
-- entry before. The other columns repeat parts of it for lookups, and are held against it when the
-- log is verified. Entries are only ever added, each right after the last: servers take turns, with
-- a lock that each keeps until its commit.
CREATE TABLE audit (
    sequence BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    caller TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    tenant_id TEXT COLLATE "C",
    record TEXT NOT NULL,
    hash TEXT NOT NULL,
    mac TEXT NOT NULL
);

CREATE INDEX audit_by_tenant ON audit (tenant_id, sequence) WHERE tenant_id IS NOT NULL;
CREATE INDEX audit_by_caller ON audit (caller, sequence);
CREATE INDEX audit_by_action ON audit (action, sequence);

CREATE FUNCTION audit_is_only_appended_to() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'nothing is changed in or deleted from the audit log';
END
$$;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_only_appended_to();
