//! The audit log, read and verified.

use super::query::{cut, limit, read_cursor, write_cursor};
use super::validate::Problems;
use super::{Tenancy, tenant_not_found};
use crate::audit::Verifier;
use crate::contract::audit::{AuditEntry, AuditHead, AuditPage, AuditVerification};
use crate::contract::ids::TenantRef;
use crate::server::error::ApiError;
use crate::server::registry::audit::{AuditFilter, AuditRow};

/// Entries that are verified in one request.
const PART: u64 = 20_000;
/// Entries that are read at once.
const PAGE: u32 = 1000;
/// Ends of the log that one request may be held against.
const MOST_ANCHORS: usize = 100;

/// What a list of entries is asked for, before it is checked.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawAuditQuery {
    tenant: Option<String>,
    caller: Option<String>,
    action: Option<String>,
    since: Option<String>,
    until: Option<String>,
    order: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// Which part of the log to verify, before it is checked.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawAuditPart {
    after: Option<String>,
    anchors: Option<String>,
}

fn head(problems: &mut Problems, name: &str, text: &str) -> Option<AuditHead> {
    text.parse::<AuditHead>()
        .map_err(|reason| problems.add(name, reason))
        .ok()
}

impl Tenancy {
    /// `GET /v1/admin/audit`.
    pub(crate) async fn audit(&self, raw: RawAuditQuery) -> Result<AuditPage, ApiError> {
        let mut problems = Problems::default();
        let limit = limit(&mut problems, raw.limit.as_ref());
        let beyond: Option<u64> = read_cursor(&mut problems, raw.cursor.as_ref());
        let mut time = |name: &str, text: Option<&String>| {
            let at = text?.parse().ok();
            if at.is_none() {
                problems.add(name, "is not a time such as 2026-01-31T12:00:00Z");
            }
            at
        };
        let (since, until) = (
            time("since", raw.since.as_ref()),
            time("until", raw.until.as_ref()),
        );
        let oldest_first = match raw.order.as_deref() {
            None | Some("newest") => false,
            Some("oldest") => true,
            Some(_) => {
                problems.add("order", "is not `newest` or `oldest`");
                false
            }
        };
        let tenant = raw.tenant.as_ref().and_then(|text| {
            text.parse::<TenantRef>()
                .map_err(|error| problems.add("tenant", error.to_string()))
                .ok()
        });
        problems.finish_query()?;
        let tenant = match tenant {
            None => None,
            // What was asked about a tenant that does not exist is in the log all the same.
            Some(TenantRef::Id(id)) => Some(id.to_string()),
            Some(slug) => {
                let found = self.find(&slug).await?;
                Some(found.ok_or_else(|| tenant_not_found(&slug))?.id.to_string())
            }
        };
        let filter = AuditFilter {
            tenant,
            caller: raw.caller,
            action: raw.action,
            since,
            until,
            oldest_first,
        };
        let rows = self.registry.audit(&filter, beyond, limit + 1).await;
        let mut rows = self.noted(rows)?;
        let more = cut(&mut rows, limit);
        let next_cursor = rows
            .last()
            .filter(|_| more)
            .map(|row| write_cursor(&row.sequence.to_string()));
        let items: Result<Vec<AuditEntry>, _> = rows.into_iter().map(AuditRow::entry).collect();
        Ok(AuditPage {
            items: self.noted(items)?,
            next_cursor,
        })
    }

    /// `GET /v1/admin/audit/head`.
    pub(crate) async fn audit_head(&self) -> Result<AuditHead, ApiError> {
        self.noted(self.registry.audit_head().await)
    }

    /// `GET /v1/admin/audit/verify`: verifies a part of the log, codes included.
    pub(crate) async fn audit_verify(
        &self,
        raw: RawAuditPart,
    ) -> Result<AuditVerification, ApiError> {
        let mut problems = Problems::default();
        let after = match &raw.after {
            Some(text) => head(&mut problems, "after", text),
            None => Some(AuditHead::origin()),
        };
        let anchors: Vec<AuditHead> = raw
            .anchors
            .iter()
            .flat_map(|text| text.split(','))
            .filter_map(|text| head(&mut problems, "anchors", text))
            .collect();
        if anchors.len() > MOST_ANCHORS {
            problems.add("anchors", format!("has more than {MOST_ANCHORS}"));
        }
        problems.finish_query()?;
        let mut beyond = after.as_ref().map_or(0, |head| head.sequence);
        let mut verifier = Verifier::new(Some(self.vault.audit()), after);
        for anchor in anchors {
            verifier.anchor(anchor);
        }
        let filter = AuditFilter {
            oldest_first: true,
            ..AuditFilter::default()
        };
        let mut left = PART;
        while left > 0 {
            let rows = self.registry.audit(&filter, Some(beyond), PAGE).await;
            let rows = self.noted(rows)?;
            let Some(last) = rows.last() else {
                return Ok(verifier.finish());
            };
            beyond = last.sequence.unsigned_abs();
            left = left.saturating_sub(rows.len() as u64);
            for row in rows {
                verifier.take(row.seen());
            }
            tokio::task::yield_now().await;
        }
        Ok(verifier.part(false))
    }
}
