//! Fleets for the tests of isolation: made by our provisioner, and by hand.

use lerianctl::contract::wire::IsolationMode;
use lerianctl::devstack::account::Account;
use lerianctl::devstack::postgres::{Postgres as Server, PostgresSettings};
use lerianctl::devstack::temporary::{Temporary, TemporaryFolder};
use lerianctl::isolation::catalogue;
use lerianctl::isolation::inventory::{Inventory, Store, rows};
use lerianctl::isolation::model::Family;
use lerianctl::isolation::report::Isolation;
use lerianctl::isolation::run::{Settings, run};
use lerianctl::link::postgres::{PostgresEndpoint, Session};
use lerianctl::secret::Secret;
use tokio_postgres::types::Type;

use crate::provision_fixture::{Bench, Tenant};
use crate::support::{Postgres, cluster};

/// A server with tenants on it.
pub(crate) struct Fleet {
    pub(crate) inventory: Inventory,
    pub(crate) admin: PostgresEndpoint,
    server: Temporary<Server>,
}

/// Names of the tenants of every fleet.
pub(crate) const NAMES: [&str; 3] = ["aurora", "borealis", "celeste"];

impl Fleet {
    /// Three tenants as our provisioner makes them.
    pub(crate) async fn provisioned(mode: IsolationMode) -> Self {
        Self::provisioned_on(Postgres::private(), mode).await
    }

    /// As [`Self::provisioned`], on that server.
    pub(crate) async fn provisioned_on(server: Temporary<Server>, mode: IsolationMode) -> Self {
        let bench = Bench::on(cluster("main", &server));
        let mut stores = Vec::new();
        for name in NAMES {
            let tenant = bench.tenant(mode, name).await;
            let session = bench.session(&tenant, 0).await;
            session
                .batch_execute(
                    "CREATE TABLE account (id int PRIMARY KEY); INSERT INTO account VALUES (1)",
                )
                .await
                .unwrap();
            session.close().await;
            stores.push(store_of(&bench, &tenant));
        }
        Self::of(server, stores, bench.cluster.admin.clone())
    }

    /// Three tenants as a hurried operator makes them: a database, a login, one `GRANT ALL`. With
    /// `closed`, the databases are then closed to `PUBLIC` and limited.
    pub(crate) async fn by_hand(closed: bool) -> Self {
        Self::by_hand_on(Postgres::private(), closed).await
    }

    /// As [`Self::by_hand`], on that server.
    pub(crate) async fn by_hand_on(server: Temporary<Server>, closed: bool) -> Self {
        let admin = server.endpoint();
        let session = admin.connect().await.unwrap();
        let mut stores = Vec::new();
        for name in NAMES {
            let password = Secret::generate();
            let mut statements = vec![
                format!(
                    "CREATE ROLE {name}_app LOGIN PASSWORD '{}'",
                    password.expose()
                ),
                format!("CREATE DATABASE {name}"),
                format!("GRANT ALL ON DATABASE {name} TO {name}_app"),
            ];
            if closed {
                statements.push(format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC"));
                statements.push(format!("ALTER ROLE {name}_app CONNECTION LIMIT 20"));
            }
            for statement in statements {
                session.batch_execute(&statement).await.unwrap();
            }
            stores.push(store(
                &admin,
                name,
                None,
                name,
                &format!("{name}_app"),
                &password,
            ));
        }
        session.close().await;
        Self::of(server, stores, admin)
    }

    /// Three tenants with schemas in one database, made by hand and closed well.
    pub(crate) async fn schemas_by_hand() -> Self {
        Self::schemas_by_hand_on(Postgres::private()).await
    }

    /// As [`Self::schemas_by_hand`], on that server.
    pub(crate) async fn schemas_by_hand_on(server: Temporary<Server>) -> Self {
        let admin = server.endpoint();
        let session = admin.connect().await.unwrap();
        session
            .batch_execute("CREATE DATABASE shared")
            .await
            .unwrap();
        session
            .batch_execute("REVOKE ALL ON DATABASE shared FROM PUBLIC")
            .await
            .unwrap();
        let inside = admin.with_database("shared").connect().await.unwrap();
        inside
            .batch_execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
            .await
            .unwrap();
        let mut stores = Vec::new();
        for name in NAMES {
            let password = Secret::generate();
            let login = format!("{name}_app");
            inside
                .batch_execute(&format!(
                    "CREATE ROLE {login} LOGIN CONNECTION LIMIT 20 PASSWORD '{}';
                     GRANT CONNECT ON DATABASE shared TO {login};
                     CREATE SCHEMA {name} AUTHORIZATION {login};
                     ALTER ROLE {login} SET search_path = {name};
                     SET ROLE {login}; CREATE TABLE {name}.account (id int, n int); RESET ROLE",
                    password.expose()
                ))
                .await
                .unwrap();
            stores.push(store(&admin, name, Some(name), "shared", &login, &password));
        }
        inside.close().await;
        session.close().await;
        Self::of(server, stores, admin)
    }

    fn of(server: Temporary<Server>, stores: Vec<Store>, admin: PostgresEndpoint) -> Self {
        Self {
            inventory: Inventory {
                stores,
                complete: true,
                source: "test".into(),
                ..Inventory::default()
            },
            admin,
            server,
        }
    }

    /// Starts a second server on a copy of the fleet's data.
    pub(crate) async fn copy(&self) -> (Server, TemporaryFolder) {
        let session = self.session("postgres").await;
        session.batch_execute("CHECKPOINT").await.unwrap();
        session.close().await;
        let account = Account::for_servers().unwrap();
        let folder = TemporaryFolder::new(&std::env::temp_dir(), account.as_ref()).unwrap();
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .args([self.server.data(), folder.path().join("data")])
            .status()
            .unwrap();
        assert!(copied.success());
        std::fs::remove_file(folder.path().join("data/postmaster.pid")).unwrap();
        let server = Server::start(PostgresSettings {
            programs: crate::support::programs().postgres.clone(),
            folder: folder.path().to_owned(),
            account,
            password: self.admin.password.clone().unwrap(),
            port: None,
            max_connections: 100,
            durable: false,
            log: folder.path().join("postgres.log"),
        });
        (server.await.unwrap(), folder)
    }

    /// Opens a session of the administrator.
    pub(crate) async fn session(&self, database: &str) -> Session {
        self.admin.with_database(database).connect().await.unwrap()
    }

    /// Checks the fleet with the administrator as the auditor.
    pub(crate) async fn check(&self) -> Isolation {
        self.check_with(|_| ()).await
    }

    /// Checks the fleet with changed settings.
    pub(crate) async fn check_with(&self, change: impl FnOnce(&mut Settings)) -> Isolation {
        self.check_inventory(&self.inventory, change).await
    }

    /// Checks another inventory on the fleet's server.
    pub(crate) async fn check_inventory(
        &self,
        inventory: &Inventory,
        change: impl FnOnce(&mut Settings),
    ) -> Isolation {
        let mut settings = Settings::new(jiff::Timestamp::now());
        settings.auditors = vec![self.admin.clone()];
        change(&mut settings);
        run(inventory, &settings, &|_, _, _| ()).await
    }

    /// Asserts that in `database` every query answers the same in both of its forms.
    pub(crate) async fn assert_forms_agree(&self, database: &str, inventory: &Inventory) {
        let session = self.session(database).await;
        let set = "SET search_path = pg_catalog; SET jit = off";
        session.batch_execute(set).await.unwrap();
        let version: i32 = session
            .query_one("SELECT current_setting('server_version_num')::int", &[])
            .await
            .unwrap()
            .get(0);
        let of_here = |store: &&Store| store.database == database;
        let all = rows(&inventory.stores, inventory.complete);
        let here = rows(inventory.stores.iter().filter(of_here), inventory.complete);
        for check in catalogue::all().iter().filter(|c| c.since <= version) {
            let (Some(many), Some(few)) = (&check.sql, &check.sql_for_few) else {
                continue;
            };
            let inventory = if check.family == Family::Cluster {
                &all
            } else {
                &here
            };
            let mut answers = Vec::new();
            for sql in [many, few] {
                let sql = format!("SELECT answer::text FROM ({sql}) answer ORDER BY 1");
                let answer = session
                    .query_typed(&sql, &[(inventory, Type::TEXT)])
                    .await
                    .map(|rows| rows.iter().map(|row| row.get(0)).collect::<Vec<String>>())
                    .map_err(|error| error.to_string());
                answers.push(answer);
            }
            assert_eq!(answers[0], answers[1], "{} in {database}", check.id);
        }
        session.close().await;
    }

    /// Returns `text`, written for the logins of fleets made by hand, with the names of this one.
    pub(crate) fn spelled(&self, text: &str) -> String {
        NAMES.iter().fold(text.to_owned(), |text, name| {
            text.replace(&format!("{name}_app"), &self.store(name).login)
        })
    }

    /// Returns the store of a tenant.
    pub(crate) fn store(&self, tenant: &str) -> &Store {
        let mut stores = self.inventory.stores.iter();
        stores.find(|store| store.tenant == tenant).unwrap()
    }
}

/// Returns the store of a tenant as its product knows it.
pub(crate) fn store_of(bench: &Bench, tenant: &Tenant) -> Store {
    let names = &tenant.spec.names;
    Store {
        tenant_id: tenant.spec.tenant_id.to_string(),
        service: tenant.spec.service.to_string(),
        module: tenant.spec.module.clone(),
        roles: vec![names.owner.clone()],
        ..store(
            &bench.cluster.admin,
            tenant.spec.tenant_slug.as_str(),
            names.schema.as_deref(),
            &names.database,
            &names.logins[0],
            &tenant.passwords[0],
        )
    }
}

fn store(
    admin: &PostgresEndpoint,
    tenant: &str,
    schema: Option<&str>,
    database: &str,
    login: &str,
    password: &Secret,
) -> Store {
    Store {
        tenant: tenant.to_owned(),
        tenant_id: tenant.to_owned(),
        status: "active".into(),
        environment: "staging".into(),
        service: "ledger".into(),
        module: "onboarding".into(),
        mode: if schema.is_some() {
            IsolationMode::Schema
        } else {
            IsolationMode::Database
        },
        host: "127.0.0.1".into(),
        port: admin.port,
        database: database.to_owned(),
        schema: schema.map(ToOwned::to_owned),
        login: login.to_owned(),
        roles: Vec::new(),
        password: Some(password.clone()),
        sslmode: "disable".into(),
        ca_pem: None,
        drift: Vec::new(),
        replica: None,
        statement_timeout: String::new(),
        secret_paths: Vec::new(),
        handed_out: true,
    }
}

/// Returns the checks that refuted, with who reaches whom, for a readable failure.
pub(crate) fn refuted(report: &Isolation) -> Vec<String> {
    report
        .findings
        .iter()
        .map(|finding| {
            format!(
                "{} {} {:?} -> {:?}: {}: {}",
                finding.check,
                finding.severity,
                finding.from,
                finding.to,
                finding.object,
                finding.evidence
            )
        })
        .collect()
}
