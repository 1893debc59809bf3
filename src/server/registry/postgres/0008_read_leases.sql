-- Leases of servers that answer from memory without asking. Until a lease has ended or was given
-- back, no tenant and no key is changed, by whichever server, of whichever version: whoever
-- changes one waits here. Times are of this clock.
CREATE TABLE read_leases (
    server TEXT COLLATE "C" PRIMARY KEY,
    until TIMESTAMPTZ NOT NULL
);

-- Takes or prolongs a lease of at most two seconds; false, and nothing done, while a change is
-- being made.
CREATE FUNCTION take_read_lease(name TEXT, seconds DOUBLE PRECISION) RETURNS BOOLEAN
    LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- More than once: another server may just be taking one too.
    FOR try IN 1..3 LOOP
        EXIT WHEN pg_try_advisory_xact_lock('read_leases'::regclass::oid::bigint);
        IF try = 3 THEN
            RETURN FALSE;
        END IF;
        PERFORM pg_sleep(0.002);
    END LOOP;
    DELETE FROM read_leases WHERE until < clock_timestamp() - interval '1 minute';
    INSERT INTO read_leases (server, until)
        VALUES (name, clock_timestamp() + make_interval(secs => least(seconds, 2)))
        ON CONFLICT (server) DO UPDATE SET until = excluded.until;
    RETURN TRUE;
END
$$;

CREATE FUNCTION wait_for_read_leases() RETURNS trigger
    LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- In another one a snapshot from before the lock would hide a lease.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'tenants and keys are changed by read committed transactions only';
    END IF;
    -- From here to the end of the transaction nobody takes or prolongs a lease.
    PERFORM pg_advisory_xact_lock_shared('read_leases'::regclass::oid::bigint);
    -- Two seconds at most, whatever the clock does: none is longer.
    FOR look IN 1..400 LOOP
        IF NOT EXISTS (SELECT FROM read_leases WHERE until > clock_timestamp()) THEN
            RETURN NULL;
        END IF;
        PERFORM pg_sleep(0.005);
    END LOOP;
    DELETE FROM read_leases;
    RETURN NULL;
END
$$;

CREATE TRIGGER tenants_wait_for_read_leases BEFORE UPDATE OF change ON tenants
    FOR EACH STATEMENT EXECUTE FUNCTION wait_for_read_leases();
CREATE TRIGGER keys_wait_for_read_leases BEFORE UPDATE ON access_keys_revision
    FOR EACH STATEMENT EXECUTE FUNCTION wait_for_read_leases();
