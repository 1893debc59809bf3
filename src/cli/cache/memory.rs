//! The tier that no Redis holds: products keep tenants in process memory and drop them when told
//! by an event, which the Tenant Manager publishes.

use super::report::Told;
use super::target::Chosen;
use crate::cache::KeyTenant;
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::client::{ClientError, ErrorKind, TenantAction, TenantQuery};
use crate::contract::ServiceName;
use crate::contract::admin::{Change, ChangeRequest};
use crate::output::progress::Progress;

/// Tenants whose reload one pod gets through without losing events: each waits up to 5 s.
const COMFORTABLE: usize = 50;

/// Who is to be told.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Id and name of each tenant that the Tenant Manager knows.
    tenants: Vec<(String, String)>,
    /// Tenants that cannot be told of, with the reason.
    unknown: Vec<Told>,
    service: Option<ServiceName>,
    reason: Option<String>,
}

impl Memory {
    /// Finds out who would be told, and that the server can do it, before anything is deleted.
    pub(super) fn plan(
        run: &Invocation,
        chosen: &Chosen,
        reason: Option<String>,
    ) -> Result<Self, Failure> {
        let mut memory = Self {
            service: chosen.service.clone(),
            reason,
            ..Self::default()
        };
        let manager = run.tenant_manager().map_err(without)?;
        if chosen.tenants.is_empty() {
            memory.tenants = everyone(run, chosen.service.as_ref()).map_err(without)?;
            return Ok(memory);
        }
        for (id, name) in &chosen.tenants {
            let KeyTenant::Uuid(_) = id else {
                memory.unknown.push(Told::failed(
                    name,
                    "the Tenant Manager knows tenants by UUID",
                ));
                continue;
            };
            let id = id.to_string();
            let (manager, request) = (manager.clone(), memory.request(true));
            let asked = id.clone();
            let answer: Result<Result<Change, ClientError>, Failure> = run.block_on(async move {
                Ok::<_, Failure>(
                    manager
                        .change(&asked, TenantAction::Invalidate, &request)
                        .await,
                )
            });
            match answer? {
                Ok(_) => memory.tenants.push((id, name.clone())),
                Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Conflict) => {
                    memory.unknown.push(Told::failed(name, &error.to_string()));
                }
                Err(error) => return Err(without(error.into())),
            }
        }
        Ok(memory)
    }

    /// Returns true when nobody is to be told.
    pub(super) fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }

    /// Returns what the operator should know before consenting.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self
            .unknown
            .iter()
            .map(|told| {
                format!(
                    "products are not told about {}: {}",
                    told.tenant,
                    told.error.as_deref().unwrap_or_default()
                )
            })
            .collect();
        if self.tenants.len() > COMFORTABLE {
            warnings.push(format!(
                "{} tenants are reloaded one after another by every pod, up to 5 s each; `--no-invalidate` leaves the memory of products alone",
                self.tenants.len()
            ));
        }
        warnings
    }

    /// Returns what is published, in words.
    pub(super) fn events(&self) -> Vec<String> {
        let service = self.service.as_ref().map(ToString::to_string);
        let about = service.unwrap_or_else(|| "each service".to_owned());
        match self.tenants.as_slice() {
            [] => Vec::new(),
            [(_, name)] => vec![format!("tenant.cache.invalidate for {about} of {name}")],
            [.., _] => vec![format!(
                "tenant.cache.invalidate for {about} of {} tenants",
                self.tenants.len()
            )],
        }
    }

    /// Tells all; one that fails does not stop the others. Returns the tenants that were tried,
    /// and those that could not be from the start.
    pub(super) fn tell(self, run: &Invocation) -> Result<(Vec<Told>, Vec<Told>), Failure> {
        let manager = run.tenant_manager()?;
        let progress = Progress::new(&run.console, "telling products", 0);
        let request = self.request(false);
        let total = self.tenants.len() as u64;
        let mut told = Vec::new();
        for (at, (id, name)) in self.tenants.into_iter().enumerate() {
            if run.console.animate {
                progress.set(at as u64, total, &name);
            }
            let (manager, request) = (manager.clone(), request.clone());
            let answer = run.block_on(async move {
                Ok::<_, Failure>(
                    manager
                        .change(&id, TenantAction::Invalidate, &request)
                        .await,
                )
            });
            told.push(match answer? {
                Ok(change) => Told {
                    tenant: name,
                    events: change.plan.events,
                    error: None,
                },
                Err(error) => Told::failed(&name, &error.to_string()),
            });
        }
        Ok((told, self.unknown))
    }

    fn request(&self, dry_run: bool) -> ChangeRequest {
        ChangeRequest {
            service: self.service.clone(),
            reason: self.reason.clone(),
            dry_run,
            ..ChangeRequest::default()
        }
    }
}

/// Returns id and slug of every active tenant that has the service.
fn everyone(
    run: &Invocation,
    service: Option<&ServiceName>,
) -> Result<Vec<(String, String)>, Failure> {
    let manager = run.tenant_manager()?;
    let mut query = TenantQuery {
        status: Some("active".into()),
        service: service.map(ToString::to_string),
        limit: Some(1000),
        ..TenantQuery::default()
    };
    let mut tenants = Vec::new();
    loop {
        let (manager, ask) = (manager.clone(), query.clone());
        let page = run.block_on(async move { manager.tenants(&ask).await })?;
        let named = page
            .items
            .iter()
            .map(|t| (t.id.to_string(), t.slug.to_string()));
        tenants.extend(named);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            return Ok(tenants);
        }
    }
}

/// Says how to do without the Tenant Manager.
fn without(failure: Failure) -> Failure {
    match failure.kind {
        Kind::Interrupted | Kind::Terminated | Kind::Deadline => failure,
        _ => failure.hint(
            "nothing was deleted; `--no-invalidate` flushes Redis alone and leaves the memory of products as it is",
        ),
    }
}
