//! Our extensions on the audit log.

use super::TenantManager;
use super::call::{Call, Surface};
use super::error::{ClientError, ErrorKind};
use crate::contract::audit::{AuditEntry, AuditFinding, AuditHead, AuditPage, AuditVerification};

/// Which entries to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// About this tenant, by id or slug.
    pub tenant: Option<String>,
    /// By this caller.
    pub caller: Option<String>,
    /// Of this action.
    pub action: Option<String>,
    /// Not before this time.
    pub since: Option<String>,
    /// Before this time.
    pub until: Option<String>,
    /// Oldest first.
    pub oldest_first: bool,
    /// Page size, 1 to 1000.
    pub limit: Option<u32>,
    /// Where the page begins: `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl TenantManager {
    /// Returns one page of the audit log.
    pub async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, ClientError> {
        let call = Call::get(Surface::Extension, &["v1", "admin", "audit"])?
            .query("tenant", query.tenant.as_ref())
            .query("caller", query.caller.as_ref())
            .query("action", query.action.as_ref())
            .query("since", query.since.as_ref())
            .query("until", query.until.as_ref())
            .query("order", query.oldest_first.then_some("oldest"))
            .query("limit", query.limit)
            .query("cursor", query.cursor.as_ref());
        self.inner.json(&call).await
    }

    /// Gives every entry that the query names to `take`, page by page.
    pub async fn audit_all<E: From<ClientError>>(
        &self,
        mut query: AuditQuery,
        mut take: impl FnMut(AuditEntry) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let page = self.audit(&query).await?;
            for entry in page.items {
                take(entry)?;
            }
            match page.next_cursor {
                None => return Ok(()),
                next if next == query.cursor => {
                    return Err(ClientError::new(
                        ErrorKind::Protocol,
                        "GET /v1/admin/audit",
                        "answered with the same page again",
                    )
                    .into());
                }
                next => query.cursor = next,
            }
        }
    }

    /// Returns the end of the audit log.
    pub async fn audit_head(&self) -> Result<AuditHead, ClientError> {
        let call = Call::get(Surface::Extension, &["v1", "admin", "audit", "head"])?;
        self.inner.json(&call).await
    }

    /// Has the whole audit log verified, codes included, and held against ends of it that were
    /// kept; `progress` is told how many entries were looked at.
    pub async fn audit_verify(
        &self,
        anchors: &[AuditHead],
        mut progress: impl FnMut(u64),
    ) -> Result<AuditVerification, ClientError> {
        let anchors: Vec<String> = anchors.iter().map(ToString::to_string).collect();
        let anchors = Some(anchors.join(",")).filter(|anchors| !anchors.is_empty());
        let mut after: Option<AuditHead> = None;
        let mut checked = 0;
        let mut findings: Vec<AuditFinding> = Vec::new();
        loop {
            let call = Call::get(Surface::Extension, &["v1", "admin", "audit", "verify"])?
                .query("after", after.as_ref())
                .query("anchors", anchors.as_ref());
            let part: AuditVerification = self.inner.json(&call).await?;
            checked += part.checked;
            findings.extend(part.findings);
            progress(checked);
            if part.complete || part.checked == 0 {
                return Ok(AuditVerification {
                    checked,
                    findings,
                    ..part_end(part.head, part.complete)
                });
            }
            after = Some(part.head);
        }
    }
}

fn part_end(head: AuditHead, complete: bool) -> AuditVerification {
    AuditVerification {
        checked: 0,
        head,
        findings: Vec::new(),
        complete,
    }
}
