//! Configuration: layers, origins, contexts, secret references, product variables; pure.
