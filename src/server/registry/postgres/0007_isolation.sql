-- The check of isolation that servers run by themselves: one row, made by the first run. A run is
-- held by one server until it ends or its lease runs out. Times are microseconds by this clock.
CREATE TABLE isolation_check (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    holder TEXT COLLATE "C",
    held_until BIGINT,
    begun_at BIGINT,
    asked_at BIGINT,
    taken_over BIGINT NOT NULL DEFAULT 0,
    summary TEXT,
    failure TEXT,
    report TEXT,
    attestation TEXT
);
