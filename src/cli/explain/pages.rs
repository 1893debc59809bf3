//! The pages, by code. A test pairs them with the codes in the sources.

/// Code and page.
pub(super) const PAGES: &[(&str, &str)] = &[];
