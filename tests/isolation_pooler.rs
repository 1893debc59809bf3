//! Poolers between tenants and PostgreSQL: those that mix tenants up are found, a safe one is not.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lerianctl::devstack::account::Account;
use lerianctl::isolation::inventory::{Inventory, Retired};
use lerianctl::isolation::model::Verdict;
use lerianctl::isolation::report::Isolation;

use crate::isolation_fleet::{Fleet, refuted};

/// A login that only the pooler still knows.
const OLD: &str = "aurora_old";

/// A running PgBouncer, which ends with the test.
struct Pooler {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Pooler {
    /// Starts one before the fleet's server; `None` where it is not installed.
    fn start(fleet: &Fleet, entry: &str, mode: &str) -> Option<Self> {
        let program = [
            "/usr/sbin/pgbouncer",
            "/usr/bin/pgbouncer",
            "/opt/homebrew/bin/pgbouncer",
        ]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists())?;
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut users = String::new();
        for store in &fleet.inventory.stores {
            let password = store.password.as_ref().unwrap().expose();
            writeln!(users, "\"{}\" \"{password}\"", store.login).unwrap();
        }
        let admin = fleet.admin.password.as_ref().unwrap().expose();
        writeln!(users, "\"{}\" \"{admin}\"", fleet.admin.user).unwrap();
        // Forgotten here, and gone from the server.
        writeln!(users, "\"{OLD}\" \"old\"").unwrap();
        let users_file = folder.path().join("users.txt");
        std::fs::write(&users_file, users).unwrap();
        let config = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={} {entry}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\n\
             pool_mode = {mode}\ndefault_pool_size = 6\nmax_client_conn = 100\n\
             ignore_startup_parameters = options\nadmin_users = {}\n",
            fleet.admin.port,
            users_file.display(),
            fleet.admin.user
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        if let Some(account) = Account::for_servers().unwrap() {
            for path in [folder.path(), &users_file, &config] {
                std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid)).unwrap();
            }
            command.args(["-u", &account.name]);
        }
        let child = command
            .arg("-q")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pooler = Self {
            child,
            port,
            _folder: folder,
        };
        for _ in 0..500 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(pooler);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the pooler does not answer");
    }

    /// The fleet as products see it.
    fn before(&self, fleet: &Fleet) -> Inventory {
        let mut inventory = fleet.inventory.clone();
        for store in &mut inventory.stores {
            store.port = self.port;
        }
        let old = Retired {
            login: OLD.to_owned(),
            password: String::from("old").into(),
        };
        inventory.retired = vec![(inventory.stores[0].clone(), old)];
        inventory
    }
}

fn found(report: &Isolation) -> BTreeSet<&str> {
    report.findings.iter().map(|f| f.check.as_str()).collect()
}

#[tokio::test]
async fn a_pooler_that_mixes_up_tenants_is_found() {
    let fleet = Fleet::schemas_by_hand().await;
    let first = fleet.store("aurora");
    let forced = format!(
        "user={} password={} pool_size=1",
        first.login,
        first.password.as_ref().unwrap().expose()
    );
    let Some(pooler) = Pooler::start(&fleet, &forced, "transaction") else {
        super::support::skip(
            "no pooler was tried, PgBouncer is not installed (scripts/prerequisites test)",
        );
        return;
    };
    let report = fleet.check_inventory(&pooler.before(&fleet), |_| ()).await;
    let ids = found(&report);
    for id in ["PB-01", "PB-02", "PB-05", "PB-06", "PG-205"] {
        assert!(ids.contains(id), "{id}: {:#?}", refuted(&report));
    }
    // PostgreSQL reports the path since 18.
    assert!(report.notes.iter().any(|note| note.check == "PB-04"));
    let shared = report.findings.iter().find(|f| f.check == "PB-05").unwrap();
    assert_eq!(shared.to, ["borealis", "celeste"], "{shared:?}");
    drop(pooler);
    // One login for each tenant, its path in the role, and a server's session for each client's.
    let pooler = Pooler::start(&fleet, "", "session").unwrap();
    let report = fleet.check_inventory(&pooler.before(&fleet), |_| ()).await;
    assert_eq!(refuted(&report), [""; 0]);
    for id in ["PB-01", "PB-02", "PB-05", "PB-06", "PG-205", "PG-213"] {
        let check = report
            .checks
            .iter()
            .find(|check| check.check == id)
            .unwrap();
        assert_eq!(check.verdict, Verdict::Holds, "{check:?}");
    }
    // Its console, for an auditor that may enter it: options are dropped, as it was told to.
    let report = fleet
        .check_inventory(&pooler.before(&fleet), |settings| {
            let mut there = fleet.admin.clone();
            there.port = pooler.port;
            settings.auditors = vec![there];
        })
        .await;
    let mut settings = report.findings.iter().filter(|f| f.check == "PB-03");
    assert!(
        settings.any(|f| f.object == "setting ignore_startup_parameters"),
        "{:#?}",
        refuted(&report)
    );
}
