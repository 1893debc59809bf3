//! Tenants for the tests of provisioning.

use lerianctl::contract::wire::{ConnectionSettings, IsolationMode};
use lerianctl::contract::{ServiceName, Slug, TenantId};
use lerianctl::link::postgres::{PostgresEndpoint, Session};
use lerianctl::provision::plan::{provision_steps, remove_steps};
use lerianctl::provision::{Cluster, DatabaseSpec, Names, ProvisionError, Provisioner, Slot, Step};
use lerianctl::secret::Secret;

use crate::support::{Postgres, cluster};

/// Both isolation modes.
pub(crate) const MODES: [IsolationMode; 2] = [IsolationMode::Database, IsolationMode::Schema];

/// A provisioner with one cluster.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pub(crate) provisioner: Provisioner,
}

impl Bench {
    /// Works on the server that all tests share.
    pub(crate) fn shared() -> Self {
        Self::on(cluster("main", Postgres::shared()))
    }

    pub(crate) fn on(cluster: Cluster) -> Self {
        Self {
            provisioner: Provisioner::new(vec![cluster.clone()]),
            cluster,
        }
    }

    /// Opens a session of the administrator.
    pub(crate) async fn admin(&self, database: &str) -> Session {
        let endpoint = self.cluster.admin.with_database(database);
        endpoint.connect().await.unwrap()
    }

    /// Runs one step with the tenant's password.
    pub(crate) async fn run(&self, tenant: &Tenant, step: Step) -> Result<String, ProvisionError> {
        let password = match step {
            Step::Roles { slot } | Step::OpenLogin { slot } | Step::Prove { slot } => {
                Some(&tenant.passwords[slot])
            }
            _ => None,
        };
        self.provisioner
            .run(&tenant.spec, &step, password, None)
            .await
    }

    pub(crate) async fn run_all(&self, tenant: &Tenant, steps: Vec<Step>) {
        for step in steps {
            if let Err(error) = self.run(tenant, step.clone()).await {
                panic!("{step:?}: {error}");
            }
        }
    }

    /// Provisions a new tenant with slot 0 handed out.
    pub(crate) async fn tenant(&self, mode: IsolationMode, slug: &str) -> Tenant {
        self.tenant_of(mode, slug, "onboarding").await
    }

    /// Provisions a new tenant of another module, and so in another shared database.
    pub(crate) async fn tenant_of(&self, mode: IsolationMode, slug: &str, module: &str) -> Tenant {
        let tenant = Tenant::new(mode, slug, "ledger", module);
        self.run_all(&tenant, provision_steps(&tenant.spec, 0))
            .await;
        tenant
    }

    pub(crate) async fn remove(&self, tenant: &Tenant) {
        self.run_all(tenant, remove_steps(&tenant.spec, true)).await;
    }

    /// Tries to log in as a product does, into `database`.
    pub(crate) async fn login(
        &self,
        tenant: &Tenant,
        slot: Slot,
        database: &str,
    ) -> Result<Session, String> {
        self.endpoint(tenant, slot)
            .with_database(database)
            .try_connect("")
            .await
            .map_err(|error| error.sqlstate.unwrap_or_else(|| error.link.to_string()))
    }

    /// Opens a session of the tenant in its own place.
    pub(crate) async fn session(&self, tenant: &Tenant, slot: Slot) -> Session {
        let database = tenant.spec.names.database.clone();
        self.login(tenant, slot, &database).await.unwrap()
    }

    pub(crate) fn endpoint(&self, tenant: &Tenant, slot: Slot) -> PostgresEndpoint {
        let names = &tenant.spec.names;
        PostgresEndpoint {
            host: self.cluster.public_host.clone(),
            port: self.cluster.public_port,
            database: names.database.clone(),
            user: names.logins[slot].clone(),
            password: Some(tenant.passwords[slot].clone()),
            sslmode: "disable".into(),
            ca_pem: None,
            search_path: names.schema.clone(),
        }
    }

    /// Returns everything on the cluster that bears one of the tenant's names, or hangs on it.
    pub(crate) async fn remains(&self, spec: &DatabaseSpec) -> Vec<String> {
        let admin = self.admin(&self.cluster.admin.database).await;
        let names = &spec.names;
        let mut wanted = vec![&names.owner, &names.logins[0], &names.logins[1]];
        wanted.extend(&names.schema);
        if names.schema.is_none() {
            wanted.push(&names.database);
        }
        let wanted: Vec<&str> = wanted.into_iter().map(String::as_str).collect();
        let rows = admin
            .query(
                "SELECT 'role ' || rolname FROM pg_roles WHERE rolname = ANY($1) \
                 UNION ALL SELECT 'database ' || datname FROM pg_database WHERE datname = ANY($1) \
                 UNION ALL SELECT 'setting ' || setconfig::text FROM pg_db_role_setting \
                   WHERE setconfig::text LIKE '%' || $2 || '%' \
                 UNION ALL SELECT 'privilege on ' || datname FROM pg_database \
                   WHERE datacl::text LIKE '%' || $2 || '%' \
                 UNION ALL SELECT 'comment ' || description FROM pg_shdescription \
                   WHERE description LIKE '%tenant=' || $3 || ' %' \
                 UNION ALL SELECT 'session of ' || usename FROM pg_stat_activity \
                   WHERE usename = ANY($1)",
                &[&wanted, &names.owner, &spec.tenant_id.as_str()],
            )
            .await
            .unwrap();
        let mut found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        if let Some(schema) = &names.schema {
            let there = admin
                .query(
                    "SELECT FROM pg_database WHERE datname = $1",
                    &[&names.database],
                )
                .await
                .unwrap();
            if !there.is_empty() {
                let inside = self.admin(&names.database).await;
                let rows = inside
                    .query(
                        "SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = $1 \
                         UNION ALL SELECT 'default privileges' FROM pg_default_acl \
                           WHERE defaclacl::text LIKE '%' || $2 || '%' \
                         UNION ALL SELECT 'large object' FROM pg_largeobject_metadata \
                           WHERE lomowner NOT IN (SELECT oid FROM pg_roles)",
                        &[schema, &names.owner],
                    )
                    .await
                    .unwrap();
                found.extend(rows.iter().map(|row| row.get::<_, String>(0)));
            }
        }
        found
    }
}

/// A tenant's module with the passwords of both slots.
pub(crate) struct Tenant {
    pub(crate) spec: DatabaseSpec,
    pub(crate) passwords: [Secret; 2],
}

impl Tenant {
    pub(crate) fn new(mode: IsolationMode, slug: &str, service: &str, module: &str) -> Self {
        let tenant_id = TenantId::generate();
        let tenant_slug: Slug = slug.parse().unwrap();
        let service: ServiceName = service.parse().unwrap();
        let names = Names::make(&tenant_id, &tenant_slug, &service, module, mode);
        Self {
            spec: DatabaseSpec {
                tenant_id,
                tenant_slug,
                service,
                module: module.to_owned(),
                mode,
                cluster: "main".to_owned(),
                names,
                settings: ConnectionSettings::default(),
            },
            passwords: [Secret::generate(), Secret::generate()],
        }
    }

    /// Returns the schema that sessions land in.
    pub(crate) fn schema(&self) -> &str {
        self.spec.names.schema.as_deref().unwrap_or("public")
    }
}

/// Returns the SQLSTATE that a statement is refused with, or `allowed`.
pub(crate) async fn refusal(session: &Session, statement: &str) -> String {
    match session.batch_execute(statement).await {
        Ok(()) => "allowed".into(),
        Err(error) => match error.code() {
            Some(code) => code.code().to_owned(),
            None => error.to_string(),
        },
    }
}

/// Returns the only value of a query as text.
pub(crate) async fn text(session: &Session, query: &str) -> String {
    let messages = session.simple_query(query).await.unwrap();
    messages
        .iter()
        .find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => {
                Some(row.get(0).unwrap_or("NULL").to_owned())
            }
            _ => None,
        })
        .unwrap_or_else(|| "no row".into())
}
