//! Every behaviour test in one binary: one file per behaviour that a user sees.

mod support;

mod devstack_servers;
