//! What no run of this version looks at. Every report says so.

/// Something that is never looked at: the ids of the claims that stay open, what it is, and why.
pub(super) struct Never {
    ids: &'static [&'static str],
    pub(super) what: &'static str,
    pub(super) why: &'static str,
}

impl Never {
    /// Returns what it is, with the ids of the claims.
    pub(super) fn named(&self) -> String {
        match self.ids {
            [] => self.what.to_owned(),
            ids => format!("{} · {}", ids.join(", "), self.what),
        }
    }
}

pub(super) const NEVER: &[Never] = &[
    Never {
        ids: &["MG-15"],
        what: "MongoDB's collections that tenants share: whether each document says whose it is",
        why: "Lerian's products have none, so none can be told from others",
    },
    Never {
        ids: &["OS-02"],
        what: "object stores themselves: whether a tenant's key gets another's objects",
        why: "no store is asked; only what the inventory declares of it is judged",
    },
    Never {
        ids: &[],
        what: "the rest of CF-15: whether products refuse while the Tenant Manager or Redis is down, or their \
               breaker is open",
        why: "it would have to be stopped; with --recipe only a tenant that nobody knows is tried",
    },
    Never {
        ids: &[],
        what: "backups, replicas and dumps",
        why: "only the servers that products are led to are looked at",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::NEVER;
    use crate::isolation::catalogue;

    /// Numbers of the claims about isolation that are known, by kind.
    const KNOWN: [(&str, u32, u32); 10] = [
        ("PG", 1, 30),
        ("PG", 101, 122),
        ("PG", 201, 215),
        ("PB", 1, 6),
        ("MG", 1, 16),
        ("RQ", 1, 14),
        ("RD", 1, 15),
        ("JW", 1, 28),
        ("CF", 1, 22),
        ("OS", 1, 4),
    ];

    fn id(kind: &str, number: u32) -> String {
        let width = if kind == "PG" { 3 } else { 2 };
        format!("{kind}-{number:0width$}")
    }

    #[test]
    fn every_claim_has_a_check_or_is_said_to_have_none() {
        let never: Vec<&str> = NEVER.iter().flat_map(|n| n.ids.iter().copied()).collect();
        let once: BTreeSet<&str> = never.iter().copied().collect();
        assert_eq!(once.len(), never.len(), "an id stands twice");
        for (kind, first, last) in KNOWN {
            for id in (first..=last).map(|number| id(kind, number)) {
                let checked = catalogue::find(&id).is_some();
                assert_ne!(checked, once.contains(id.as_str()), "{id}");
            }
        }
        assert!(NEVER.iter().all(|n| n.what.len() > 15 && n.why.len() > 15));
    }
}
