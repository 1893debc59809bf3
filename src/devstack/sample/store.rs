//! What the sample keeps, and its errors. Every statement runs in a session of the tenant.

use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::middleware::{Refusal, Tenant, TenantSession};

/// The tables; made once, by whoever comes first.
const TABLES: &str = "\
SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.sample'));
CREATE TABLE IF NOT EXISTS sample_organization (
  id text PRIMARY KEY, name text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS sample_ledger (
  id text PRIMARY KEY, name text NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
  organization text NOT NULL REFERENCES sample_organization ON DELETE CASCADE);
CREATE TABLE IF NOT EXISTS sample_idempotency (
  place text, key text, digest text NOT NULL, status int, body text,
  created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (place, key))";

/// An organization or a ledger, as it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entity {
    /// Id, a UUID.
    pub(super) id: String,
    /// `legalName` of an organization, `name` of a ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) legal_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) organization_id: Option<String>,
    pub(super) created_at: String,
}

/// Which of the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Of {
    Organizations,
    /// Those of an organization.
    Ledgers(String),
}

impl Of {
    /// Returns the answer for one that is not there: the same, whoever has it.
    pub(super) fn not_found(&self) -> Refusal {
        let (code, title, what) = match self {
            Self::Organizations => ("0038", "Organization ID Not Found", "organization"),
            Self::Ledgers(_) => ("0037", "Ledger ID Not Found", "ledger"),
        };
        let message = format!(
            "The provided {what} ID does not exist in our records. Please verify the {what} ID and try again."
        );
        Refusal::new(StatusCode::NOT_FOUND, code, title, message)
    }

    fn parent(&self) -> Option<&str> {
        match self {
            Self::Organizations => None,
            Self::Ledgers(organization) => Some(organization),
        }
    }

    fn entity(&self, row: &tokio_postgres::Row) -> Entity {
        let text = |at: usize| row.get::<_, String>(at);
        let seconds: f64 = row.get(2);
        let created = Timestamp::from_microsecond(micros(seconds)).unwrap_or_default();
        let ledger = self.parent().is_some();
        Entity {
            id: text(0),
            legal_name: (!ledger).then(|| text(1)),
            name: ledger.then(|| text(1)),
            organization_id: self.parent().map(str::to_owned),
            created_at: created.to_string(),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "times of our century fit")]
fn micros(seconds: f64) -> i64 {
    (seconds * 1e6) as i64
}

/// What PostgreSQL says is for the log, not for a caller.
pub(super) fn failed(error: &tokio_postgres::Error) -> Refusal {
    let code = error
        .code()
        .map_or("", tokio_postgres::error::SqlState::code);
    tracing::error!(code, "a statement of the sample failed");
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "0046",
        "Internal Server Error",
        "The server encountered an unexpected error. Please try again later or contact support.",
    )
}

/// Returns a session of the tenant, with the tables in place.
pub(super) async fn session(tenant: &Tenant) -> Result<TenantSession, Refusal> {
    let mut session = tenant.session().await?;
    let there = session
        .query_one("SELECT to_regclass('sample_idempotency') IS NOT NULL", &[])
        .await
        .map_err(|error| failed(&error))?;
    if !there.get::<_, bool>(0) {
        let made = async {
            let transaction = session.transaction().await?;
            transaction.batch_execute(TABLES).await?;
            transaction.commit().await
        };
        made.await.map_err(|error| failed(&error))?;
    }
    Ok(session)
}

/// Returns a page, newest first, and the id to go on from.
pub(super) async fn list(
    session: &TenantSession,
    of: &Of,
    limit: i64,
    before: Option<&str>,
    name: Option<&str>,
) -> Result<(Vec<Entity>, Option<String>), Refusal> {
    // A version 7 UUID is younger the greater it is.
    let sql = match of {
        Of::Organizations => {
            "SELECT id, name, extract(epoch FROM created_at)::float8 FROM sample_organization
              WHERE ($2::text IS NULL OR id < $2) AND ($3::text IS NULL OR name = $3)
                AND $4::text IS NULL
              ORDER BY id DESC LIMIT $1"
        }
        Of::Ledgers(_) => {
            "SELECT id, name, extract(epoch FROM created_at)::float8 FROM sample_ledger
              WHERE ($2::text IS NULL OR id < $2) AND ($3::text IS NULL OR name = $3)
                AND organization = $4::text
              ORDER BY id DESC LIMIT $1"
        }
    };
    if let Of::Ledgers(organization) = of {
        get(session, &Of::Organizations, organization).await?;
    }
    let more = limit + 1;
    let rows = session
        .query(sql, &[&more, &before, &name, &of.parent()])
        .await
        .map_err(|error| failed(&error))?;
    let mut items: Vec<Entity> = rows.iter().map(|row| of.entity(row)).collect();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let next = if items.len() > limit {
        items.truncate(limit);
        items.last().map(|entity| entity.id.clone())
    } else {
        None
    };
    Ok((items, next))
}

/// Returns one.
pub(super) async fn get(session: &TenantSession, of: &Of, id: &str) -> Result<Entity, Refusal> {
    let sql = match of {
        Of::Organizations => {
            "SELECT id, name, extract(epoch FROM created_at)::float8 FROM sample_organization
              WHERE id = $1 AND $2::text IS NULL"
        }
        Of::Ledgers(_) => {
            "SELECT id, name, extract(epoch FROM created_at)::float8 FROM sample_ledger
              WHERE id = $1 AND organization = $2::text"
        }
    };
    let row = session
        .query_opt(sql, &[&id, &of.parent()])
        .await
        .map_err(|error| failed(&error))?;
    row.map(|row| of.entity(&row)).ok_or_else(|| of.not_found())
}

/// Makes one.
pub(super) async fn create(
    client: &tokio_postgres::Transaction<'_>,
    of: &Of,
    name: &str,
) -> Result<Entity, Refusal> {
    let id = Uuid::now_v7().to_string();
    let row = match of {
        Of::Organizations => {
            let sql = "INSERT INTO sample_organization (id, name) VALUES ($1, $2)
                       RETURNING id, name, extract(epoch FROM created_at)::float8";
            client.query_opt(sql, &[&id, &name]).await
        }
        Of::Ledgers(organization) => {
            let sql = "INSERT INTO sample_ledger (id, name, organization)
                       SELECT $1, $2, id FROM sample_organization WHERE id = $3
                       RETURNING id, name, extract(epoch FROM created_at)::float8";
            client.query_opt(sql, &[&id, &name, &organization]).await
        }
    };
    let row = row.map_err(|error| failed(&error))?;
    // Without the organization there is no row.
    row.map(|row| of.entity(&row))
        .ok_or_else(|| Of::Organizations.not_found())
}

/// Removes one.
pub(super) async fn delete(session: &TenantSession, of: &Of, id: &str) -> Result<(), Refusal> {
    let sql = match of {
        Of::Organizations => "DELETE FROM sample_organization WHERE id = $1 AND $2::text IS NULL",
        Of::Ledgers(_) => "DELETE FROM sample_ledger WHERE id = $1 AND organization = $2::text",
    };
    let gone = session
        .execute(sql, &[&id, &of.parent()])
        .await
        .map_err(|error| failed(&error))?;
    if gone == 0 {
        return Err(of.not_found());
    }
    Ok(())
}
