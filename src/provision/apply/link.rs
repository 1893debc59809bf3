//! Sessions of the provisioning role on one cluster, few and kept.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use super::{ProvisionError, sql_error};
use crate::link::postgres::{Pool, PooledSession, Session, SessionUse};
use crate::provision::Cluster;

/// Sessions kept in the maintenance database, and in each shared database.
const POOL_SIZE: usize = 8;
/// Sessions at once in databases of single tenants; they are not kept.
const INSIDE_AT_ONCE: usize = 8;

/// What our sessions start with. Tenants own schemas in the databases that we enter, possibly
/// with superuser rights, so nothing is ever looked up in a schema of theirs.
const OPTIONS: &str = "-c search_path=pg_catalog,pg_temp -c statement_timeout=0 \
     -c lock_timeout=30s -c idle_in_transaction_session_timeout=60s -c client_min_messages=error";

/// The provisioning role's sessions on one cluster.
pub(super) struct ClusterLink {
    pub(super) cluster: Cluster,
    pools: Mutex<HashMap<String, Pool>>,
    rights: OnceCell<Rights>,
    inside: Semaphore,
}

/// What the provisioning role may do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rights {
    /// Otherwise it has to become a member of a role for whatever needs the role's rights.
    pub(super) superuser: bool,
}

/// A session in a single tenant's database.
pub(super) struct Inside<'a> {
    pub(super) session: Session,
    _permit: SemaphorePermit<'a>,
}

impl fmt::Debug for ClusterLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterLink")
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

impl ClusterLink {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            pools: Mutex::default(),
            rights: OnceCell::new(),
            inside: Semaphore::new(INSIDE_AT_ONCE),
        }
    }

    /// Returns how the kept sessions are used.
    pub(super) fn sessions(&self) -> SessionUse {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools
            .values()
            .map(SessionUse::of)
            .fold(SessionUse::default(), std::ops::Add::add)
    }

    /// Returns a session in the database that the cluster is configured with.
    pub(super) async fn maintenance(&self) -> Result<PooledSession, ProvisionError> {
        self.pooled(&self.cluster.admin.database).await
    }

    /// Returns a session in a database that is kept: maintenance or shared by tenants.
    pub(super) async fn pooled(&self, database: &str) -> Result<PooledSession, ProvisionError> {
        let endpoint = self.cluster.admin.with_database(database);
        let pool = {
            let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(pool) = pools.get(database) {
                pool.clone()
            } else {
                let pool = endpoint.pool(POOL_SIZE, OPTIONS)?;
                pools.insert(database.to_owned(), pool.clone());
                pool
            }
        };
        let session = pool.get().await;
        session.map_err(|error| endpoint.pool_error(error).into())
    }

    /// Opens a session in a single tenant's database.
    pub(super) async fn inside(&self, database: &str) -> Result<Inside<'_>, ProvisionError> {
        let permit = self.inside.acquire().await;
        let permit = permit.expect("the semaphore is never closed");
        let endpoint = self.cluster.admin.with_database(database);
        let session = endpoint.try_connect(OPTIONS).await;
        Ok(Inside {
            session: session.map_err(|error| error.link)?,
            _permit: permit,
        })
    }

    /// Returns what our role may do, asked once.
    pub(super) async fn rights(
        &self,
        session: &tokio_postgres::Client,
    ) -> Result<Rights, ProvisionError> {
        let rights = self.rights.get_or_try_init(|| async {
            let row = session
                .query_one(
                    "SELECT rolname::text, rolsuper, rolcreaterole, rolcreatedb, rolinherit \
                     FROM pg_roles WHERE rolname = current_user",
                    &[],
                )
                .await
                .map_err(|error| sql_error("read the rights of the provisioning role", &error))?;
            let superuser: bool = row.get(1);
            let missing: Vec<_> = [(2, "CREATEROLE"), (3, "CREATEDB"), (4, "INHERIT")]
                .into_iter()
                .filter(|(column, _)| !row.get::<_, bool>(*column))
                .map(|(_, attribute)| attribute)
                .collect();
            if !superuser && !missing.is_empty() {
                return Err(ProvisionError::Privilege {
                    action: "provision tenants".into(),
                    reason: format!(
                        "`{}` is not a superuser and lacks {}",
                        row.get::<_, String>(0),
                        missing.join(", ")
                    ),
                });
            }
            Ok(Rights { superuser })
        });
        rights.await.copied()
    }
}
