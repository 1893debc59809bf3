//! Asks the catalogues: one statement per check, all of them sent in one go.

use futures_util::future::join_all;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::model::{Check, EVERYONE, Finding};
use crate::link::redis::printable;

/// Options of every session of the checker: it cannot write, and nothing of a tenant's is on its
/// path, so that no function or operator of a tenant's is called. Nothing is compiled: the planner
/// expects far more of catalogues than there is, and would compile for seconds what runs for
/// milliseconds. What a role may be set to that gives words another meaning is set back.
pub const READ_ONLY: &str = "-c default_transaction_read_only=on -c search_path=pg_catalog -c jit=off -c \
                             standard_conforming_strings=on -c transform_null_equals=off -c \
                             statement_timeout=120s -c lock_timeout=5s -c \
                             idle_in_transaction_session_timeout=60s";

/// Findings of one check in one place, or why it could not look.
pub type Answer = (&'static Check, Result<Vec<Raw>, Refusal>);

/// Why a query gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// SQLSTATE; empty when the connection was lost.
    pub sqlstate: String,
    /// What the server said.
    pub message: String,
}

impl Refusal {
    /// Returns true when the reader lacks the right to look.
    pub fn is_privilege(&self) -> bool {
        self.sqlstate == "42501"
    }

    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => Self {
                sqlstate: db.code().code().to_owned(),
                message: printable(db.message()),
            },
            None => Self {
                sqlstate: String::new(),
                message: printable(&error.to_string()),
            },
        }
    }
}

/// A counter-example as the query gives it: roles by name, tenants by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// Severity, where it is not the check's own.
    pub severity: Option<String>,
    /// Roles that can reach; `PUBLIC` is all.
    pub roles: Vec<String>,
    /// Tenants that are reached; `*` is all.
    pub tenants: Vec<String>,
    /// What it is about.
    pub object: String,
    /// What proves it.
    pub evidence: String,
    /// SQL that mends it.
    pub remedy: String,
}

impl Raw {
    fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let list = |at| -> Result<Vec<String>, tokio_postgres::Error> {
            let list: Option<Vec<Option<String>>> = row.try_get(at)?;
            Ok(list.unwrap_or_default().into_iter().flatten().collect())
        };
        let text = |at| -> Result<String, tokio_postgres::Error> {
            Ok(row.try_get::<_, Option<String>>(at)?.unwrap_or_default())
        };
        Ok(Self {
            severity: row.try_get(0)?,
            roles: list(1)?,
            tenants: list(2)?,
            object: text(3)?,
            evidence: text(4)?,
            remedy: text(5)?,
        })
    }

    /// Returns the finding; `tenants_of` tells whose a role is.
    pub fn finding(
        self,
        check: &Check,
        store: &str,
        tenants_of: &dyn Fn(&str) -> Vec<String>,
    ) -> Finding {
        let mut from: Vec<String> = self
            .roles
            .iter()
            .flat_map(|role| {
                if role == "PUBLIC" {
                    vec![EVERYONE.to_owned()]
                } else {
                    tenants_of(role)
                }
            })
            .collect();
        from.sort();
        from.dedup();
        let mut finding = Finding::new(check, store, cap(&self.object));
        if let Some(severity) = self.severity.and_then(|word| word.parse().ok()) {
            finding.severity = severity;
        }
        finding.from = from;
        finding.to = self.tenants;
        finding.to.sort();
        finding.to.dedup();
        finding.roles = self.roles;
        finding.evidence = cap(&self.evidence);
        let remedy = self.remedy.lines().map(ToOwned::to_owned).collect();
        finding.remedy = super::remedy::ordered(remedy);
        // The roles tell two counter-examples with one object apart.
        finding.fingerprint = {
            let text = format!("{}\0{}", finding.fingerprint, finding.roles.join("\0"));
            let mut digest = crate::secret::sha256_hex(text.as_bytes());
            digest.truncate(16);
            digest
        };
        finding
    }
}

/// Cuts what a tenant may have made long, and shows that it was cut.
fn cap(text: &str) -> String {
    /// What `printable` keeps.
    const LONGEST: usize = 300;
    let mut cut = printable(text);
    if text.chars().count() > LONGEST {
        cut.push('…');
    }
    cut
}

/// Returns the checks that a server of `version` can be asked.
pub fn applicable<'a>(
    checks: impl Iterator<Item = &'static Check> + 'a,
    version: i32,
    shared: bool,
) -> impl Iterator<Item = &'static Check> + 'a {
    checks.filter(move |check| check.since <= version && (shared || !check.schema_mode))
}

/// Runs every check on one session; they are sent together and answered in order.
pub async fn ask(client: &Client, checks: &[&'static Check], inventory: &str) -> Vec<Answer> {
    let asked = checks.iter().map(|check| async move {
        let sql = check.query_for(inventory).unwrap_or_default();
        let answer = client
            .query_typed(sql, &[(&inventory, Type::TEXT)])
            .await
            .and_then(|rows| rows.iter().map(Raw::read).collect())
            .map_err(|error| Refusal::of(&error));
        (*check, answer)
    });
    join_all(asked).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolation::catalogue;

    #[test]
    fn roles_become_tenants_and_public_everyone() {
        let raw = Raw {
            severity: Some("low".into()),
            roles: vec!["a_app".into(), "PUBLIC".into(), "stranger".into()],
            tenants: vec!["b".into()],
            object: "x\u{1b}[31m".into(),
            evidence: "e".repeat(1000),
            remedy: "ONE;\nTWO;".into(),
        };
        let check = catalogue::find("PG-002").unwrap();
        let finding = raw.finding(check, "h:1", &|role| {
            (role == "a_app")
                .then(|| "a".to_owned())
                .into_iter()
                .collect()
        });
        assert_eq!(finding.from, ["*", "a"]);
        assert_eq!(finding.severity.as_str(), "low");
        assert_eq!(finding.remedy.len(), 2);
        assert!(finding.evidence.chars().count() == 301 && !finding.object.contains('\u{1b}'));
    }
}
