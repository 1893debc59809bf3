//! Names of databases, schemas and roles: at most 63 bytes, lower-case, unique by tenant.

use serde::{Deserialize, Serialize};

use crate::contract::wire::IsolationMode;
use crate::contract::{ServiceName, Slug, TenantId};
use crate::secret::sha256_hex;

/// Longest identifier that PostgreSQL keeps; it cuts longer ones without an error.
pub const MAX_IDENTIFIER: usize = 63;

/// Role that owns every database that we make; nobody logs in as it, no tenant is a member.
pub const DATABASES_ROLE: &str = "lerianctl_databases";

/// Digits of the digest at the end of a name.
const DIGEST: usize = 12;

/// Names of everything that one module of one tenant owns on a cluster.
///
/// Made once, kept in the registry, never derived again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Database: the tenant's own, or the shared one in schema mode.
    pub database: String,
    /// Schema, in schema mode; matches `^[a-z_][a-z0-9_]*$`.
    pub schema: Option<String>,
    /// Role that owns the tenant's objects; cannot log in.
    pub owner: String,
    /// The two login roles that alternate.
    pub logins: [String; 2],
}

impl Names {
    /// Makes the names for one module of a tenant; pure, the same for the same input.
    ///
    /// The readable part is only for people and may be cut; what keeps two tenants (or modules,
    /// or modes) apart is the digest of the whole identity. Should two digests ever meet, the
    /// ownership marks differ and the second is refused.
    pub fn make(
        tenant: &TenantId,
        slug: &Slug,
        service: &ServiceName,
        module: &str,
        mode: IsolationMode,
    ) -> Self {
        let digest = digest(&[tenant.as_str(), service.as_str(), module, mode.as_str()]);
        let mut stem = readable(slug.as_str(), 18);
        for part in unlike([service.as_str(), module]) {
            stem.push('_');
            stem.push_str(&readable(part, 11));
        }
        let base = format!("{}_{digest}", first_letter(stem));
        let (database, schema) = match mode {
            IsolationMode::Database => (base.clone(), None),
            IsolationMode::Schema => (shared_database(service, module), Some(base.clone())),
        };
        Self {
            database,
            schema,
            owner: format!("{base}_owner"),
            logins: [format!("{base}_a"), format!("{base}_b")],
        }
    }
}

/// Returns the name of the database that tenants in schema mode share for one module.
fn shared_database(service: &ServiceName, module: &str) -> String {
    let mut stem = "shared".to_owned();
    for part in unlike([service.as_str(), module]) {
        stem.push('_');
        stem.push_str(&readable(part, 19));
    }
    format!("{stem}_{}", digest(&["shared", service.as_str(), module]))
}

/// Returns the service alone when the module is called the same.
fn unlike([service, module]: [&str; 2]) -> impl Iterator<Item = &str> {
    std::iter::once(service).chain((module != service).then_some(module))
}

/// Returns the first digits of a digest that keeps the parts apart.
fn digest(parts: &[&str]) -> String {
    let mut text = sha256_hex(parts.join("\0").as_bytes());
    text.truncate(DIGEST);
    text
}

/// Returns up to `limit` letters, digits and single `_` of `text`, in lower case.
fn readable(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
        if out.len() == limit {
            break;
        }
    }
    let kept = out.trim_end_matches('_').len();
    out.truncate(kept);
    if out.is_empty() {
        out.push('x');
    }
    out
}

/// Puts a letter in front where a name would start with a digit, or as a name of the system.
fn first_letter(stem: String) -> String {
    if stem.starts_with(|c: char| c.is_ascii_digit()) || stem.starts_with("pg_") {
        format!("t_{stem}")
    } else {
        stem
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn make(slug: &str, service: &str, module: &str, mode: IsolationMode) -> Names {
        let tenant: TenantId = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21".parse().unwrap();
        Names::make(
            &tenant,
            &slug.parse().unwrap(),
            &service.parse().unwrap(),
            module,
            mode,
        )
    }

    #[test]
    fn names_are_readable_and_stay_as_they_are() {
        let names = make(
            "banco-aurora",
            "ledger",
            "onboarding",
            IsolationMode::Database,
        );
        assert_eq!(
            names.database,
            "banco_aurora_ledger_onboarding_85b18fdd152f"
        );
        assert_eq!(names.owner, format!("{}_owner", names.database));
        assert_eq!(names.logins[0], format!("{}_a", names.database));
        assert_eq!(names.schema, None);

        let names = make("banco-aurora", "tracer", "tracer", IsolationMode::Schema);
        assert_eq!(names.database, "shared_tracer_899a23324d75");
        assert!(names.schema.unwrap().starts_with("banco_aurora_tracer_"));
    }

    #[test]
    fn the_longest_parts_fit() {
        let names = make(
            &"7".repeat(63),
            &"s".repeat(64),
            &"m".repeat(64),
            IsolationMode::Schema,
        );
        assert_eq!(names.owner.len(), MAX_IDENTIFIER);
        assert!(names.database.len() <= MAX_IDENTIFIER);
    }

    fn all(names: &Names) -> Vec<String> {
        let mut all = vec![
            names.database.clone(),
            names.owner.clone(),
            names.logins[0].clone(),
            names.logins[1].clone(),
        ];
        all.extend(names.schema.clone());
        all
    }

    fn is_safe(name: &str) -> bool {
        name.len() <= MAX_IDENTIFIER
            && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && !name.starts_with("pg_")
    }

    prop_compose! {
        fn any_identity()(
            tenant in "[0-9a-f]{32}",
            slug in "[a-z0-9]{1,20}(-[a-z0-9]{1,20}){0,2}",
            service in "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}",
            module in any::<String>(),
            mode in prop_oneof![Just(IsolationMode::Database), Just(IsolationMode::Schema)],
        ) -> (TenantId, Option<Slug>, ServiceName, String, IsolationMode) {
            (tenant.parse().unwrap(), slug.parse().ok(), service.parse().unwrap(), module, mode)
        }
    }

    proptest! {
        #[test]
        fn any_identity_gives_safe_names(one in any_identity(), other in any_identity()) {
            let (Some(slug), Some(other_slug)) = (one.1.clone(), other.1.clone()) else {
                return Ok(());
            };
            let a = Names::make(&one.0, &slug, &one.2, &one.3, one.4);
            let b = Names::make(&other.0, &other_slug, &other.2, &other.3, other.4);
            for name in all(&a) {
                prop_assert!(is_safe(&name), "{name}");
            }
            prop_assert_eq!(all(&a).into_iter().collect::<HashSet<_>>().len(), all(&a).len());
            if one.0 != other.0 {
                let (mut a, b) = (all(&a), all(&b));
                if one.4 == IsolationMode::Schema {
                    a.remove(0);
                }
                prop_assert!(a.iter().all(|name| !b.contains(name)));
            }
        }

        #[test]
        fn a_module_of_its_own_has_names_of_its_own(
            slug in "[a-z]{1,63}",
            first in any::<String>(),
            second in any::<String>(),
        ) {
            prop_assume!(first != second);
            for mode in [IsolationMode::Database, IsolationMode::Schema] {
                let a = make(&slug, "ledger", &first, mode);
                let b = make(&slug, "ledger", &second, mode);
                prop_assert!(all(&a).iter().all(|name| !all(&b).contains(name)));
            }
        }
    }
}
