//! Redis caches: keyspace map, census, flush.
