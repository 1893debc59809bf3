-- The audit log. `record` is the canonical text that `hash` is taken of; it names the hash of the
-- entry before. The other columns repeat parts of it for lookups, and are held against it when the
-- log is verified. Entries are only ever added, each right after the last.
CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    caller TEXT NOT NULL,
    action TEXT NOT NULL,
    tenant_id TEXT,
    record TEXT NOT NULL,
    hash TEXT NOT NULL,
    mac TEXT NOT NULL
) STRICT;

CREATE INDEX audit_by_tenant ON audit (tenant_id, sequence) WHERE tenant_id IS NOT NULL;
CREATE INDEX audit_by_caller ON audit (caller, sequence);
CREATE INDEX audit_by_action ON audit (action, sequence);

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is never changed');
END;

CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'nothing is deleted from the audit log');
END;

CREATE TRIGGER audit_is_appended_to BEFORE INSERT ON audit
WHEN NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM audit)
BEGIN
    SELECT RAISE(ABORT, 'the audit log is only appended to');
END;
