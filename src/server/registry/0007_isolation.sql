-- The check of isolation that servers run by themselves: one row, made by the first run. A run is
-- held by one server until it ends or its lease runs out.
CREATE TABLE isolation_check (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    holder TEXT,
    held_until INTEGER,
    begun_at INTEGER,
    asked_at INTEGER,
    taken_over INTEGER NOT NULL DEFAULT 0,
    summary TEXT,
    failure TEXT,
    report TEXT,
    attestation TEXT
) STRICT;
