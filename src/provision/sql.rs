//! SQL text: the one place that quotes identifiers and literals.
