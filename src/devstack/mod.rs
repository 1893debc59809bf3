//! Private PostgreSQL and Redis for `lerianctl dev` and for the tests.
