//! The static family of `isolation check` on 100, 300 and 1,000 tenants of one cluster, against the
//! same statements run by psql in the same run.
//!
//! `cargo bench --bench isolation -- [--tenants 100,300,1000] [--mode database|schema] [--rounds N]`
//!
//! psql has the same statements, once in one session and once in as many sessions as ours had.
//!
//! Goals: at most 1.3 times psql's time in both, an exponent of at most 1.1 from the smallest fleet to the
//! largest, and never more sessions than the report states, nor than `--jobs`.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench prints its figures, ends at the first failure and looks around as a shell does"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use lerianctl::contract::wire::IsolationMode;
use lerianctl::devstack::{Programs, temporary};
use lerianctl::isolation::catalogue;
use lerianctl::isolation::inventory::{Inventory, Store, parse_file, rows};
use lerianctl::isolation::model::Family;
use lerianctl::isolation::run::{Settings, run};
use lerianctl::link::postgres::PostgresEndpoint;

const RATIO: f64 = 1.3;
const EXPONENT: f64 = 1.1;
const JOBS: usize = 8;
/// What is also asked in the database that is no tenant's.
const MEETING: [&str; 5] = ["PG-105", "PG-106", "PG-113", "PG-114", "PG-123"];
/// Tables of each tenant.
const TABLES: usize = 12;

struct Options {
    sizes: Vec<usize>,
    modes: Vec<IsolationMode>,
    rounds: usize,
}

impl Options {
    fn read() -> Self {
        let mut options = Self {
            sizes: vec![100, 300, 1000],
            modes: vec![IsolationMode::Database, IsolationMode::Schema],
            rounds: 3,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().expect("the option has a value");
            match word.as_str() {
                "--tenants" => {
                    let list = value();
                    options.sizes = list.split(',').map(|n| n.parse().unwrap()).collect();
                }
                "--mode" => options.modes = vec![IsolationMode::parse(&value()).unwrap()],
                "--rounds" => options.rounds = value().parse().unwrap(),
                _ => {}
            }
        }
        options
    }
}

#[tokio::main]
async fn main() {
    let options = Options::read();
    let search = std::env::var_os("PATH").unwrap_or_default();
    let programs = Programs::find(&search, None).unwrap();
    let psql = programs.postgres.postgres.with_file_name("psql");
    let psql = if psql.exists() { psql } else { "psql".into() };
    println!("isolation check --static --no-control, {JOBS} sessions at most, against psql");
    let mut passed = true;
    for mode in &options.modes {
        let server = temporary::postgres(&programs.postgres, &std::env::temp_dir())
            .await
            .unwrap();
        let admin = server.endpoint();
        let mut times: Vec<(usize, f64)> = Vec::new();
        let mut made = 0;
        for size in &options.sizes {
            make(&admin, *mode, made, *size).await;
            made = *size;
            let inventory = inventory(&admin, *mode, *size);
            let mut ours = Vec::new();
            let (mut alone, mut equal) = (Vec::new(), Vec::new());
            let (mut most, mut stated) = (0, 0);
            for _ in 0..options.rounds {
                let run = by_us(&admin, &inventory).await;
                ours.push(run.time);
                most = most.max(run.seen);
                stated = run.stated.max(stated);
                alone.push(by_psql(&psql, &admin, &inventory, 1));
                equal.push(by_psql(&psql, &admin, &inventory, run.stated));
            }
            let ours = median(&mut ours);
            let (alone, equal) = (median(&mut alone), median(&mut equal));
            let ratio = ours / equal;
            println!(
                "{} mode, {size:>5} tenants: ours {ours:>7.3} s; psql with one session {alone:>7.3} s, ratio {:.2}; with {stated} {equal:>7.3} s, ratio {ratio:.2} (goal {RATIO}); {most} sessions seen, {stated} stated, {JOBS} allowed",
                mode.as_str(),
                ours / alone,
            );
            let within = usize::try_from(most).unwrap() <= stated && stated <= JOBS;
            passed &= ratio <= RATIO && ours / alone <= RATIO && within;
            times.push((*size, ours));
        }
        if let (Some(first), Some(last)) = (times.first(), times.last())
            && first.0 < last.0
        {
            #[expect(clippy::cast_precision_loss, reason = "numbers of tenants are small")]
            let grown = last.0 as f64 / first.0 as f64;
            let exponent = (last.1 / first.1).ln() / grown.ln();
            println!(
                "{} mode, from {} to {} tenants: time grows with exponent {exponent:.2} (goal {EXPONENT})",
                mode.as_str(),
                first.0,
                last.0
            );
            passed &= exponent <= EXPONENT;
        }
    }
    println!("{}", if passed { "PASS" } else { "OVER THE GOAL" });
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Tables as a ledger has them, in the schema that is on the path.
fn tables() -> String {
    (0..TABLES).fold(String::new(), |mut text, at| {
        write!(
            text,
            "CREATE TABLE t{at} (id uuid PRIMARY KEY, n bigint, at timestamptz); CREATE INDEX ON t{at} (at);"
        )
        .unwrap();
        text
    })
}

/// Makes tenants `from..to` with bare SQL: closed databases, or closed schemas in one.
async fn make(admin: &PostgresEndpoint, mode: IsolationMode, from: usize, to: usize) {
    let session = admin.connect().await.unwrap();
    if from == 0 {
        let name = if mode == IsolationMode::Schema {
            "shared"
        } else {
            "pattern"
        };
        session
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        session
            .batch_execute(&format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC"))
            .await
            .unwrap();
        if mode == IsolationMode::Database {
            let inside = admin.with_database(name).connect().await.unwrap();
            inside.batch_execute(&tables()).await.unwrap();
            inside.close().await;
        }
    }
    let inside = match mode {
        IsolationMode::Schema => Some(admin.with_database("shared").connect().await.unwrap()),
        IsolationMode::Database => None,
    };
    for at in from..to {
        session
            .batch_execute(&format!(
                "CREATE ROLE app_{at:04} LOGIN CONNECTION LIMIT 5; CREATE ROLE own_{at:04}; GRANT own_{at:04} TO app_{at:04}"
            ))
            .await
            .unwrap();
        let Some(inside) = &inside else {
            session
                .batch_execute(&format!(
                    "CREATE DATABASE db_{at:04} TEMPLATE pattern STRATEGY FILE_COPY"
                ))
                .await
                .unwrap();
            session
                .batch_execute(&format!(
                    "REVOKE ALL ON DATABASE db_{at:04} FROM PUBLIC; GRANT CONNECT ON DATABASE db_{at:04} TO app_{at:04}"
                ))
                .await
                .unwrap();
            continue;
        };
        inside
            .batch_execute(&format!(
                "GRANT CONNECT ON DATABASE shared TO app_{at:04};
                 CREATE SCHEMA sch_{at:04} AUTHORIZATION own_{at:04};
                 ALTER ROLE app_{at:04} IN DATABASE shared SET search_path = sch_{at:04};
                 SET search_path = sch_{at:04}; SET ROLE own_{at:04}; {} RESET ROLE; RESET search_path;
                 GRANT USAGE ON SCHEMA sch_{at:04} TO app_{at:04};
                 GRANT ALL ON ALL TABLES IN SCHEMA sch_{at:04} TO app_{at:04}",
                tables()
            ))
            .await
            .unwrap();
    }
    let analyse = "VACUUM ANALYZE";
    if let Some(inside) = inside {
        inside.batch_execute(analyse).await.unwrap();
        inside.close().await;
    }
    session.batch_execute(analyse).await.unwrap();
    session.batch_execute("CHECKPOINT").await.unwrap();
    session.close().await;
}

fn inventory(admin: &PostgresEndpoint, mode: IsolationMode, size: usize) -> Inventory {
    let mut text = String::new();
    for at in 0..size {
        let place = match mode {
            IsolationMode::Database => format!("database = 'db_{at:04}'"),
            IsolationMode::Schema => format!("database = 'shared'\nschema = 'sch_{at:04}'"),
        };
        writeln!(
            text,
            "[[store]]\ntenant = 'tenant-{at:04}'\nhost = '{}'\nport = {}\nlogin = 'app_{at:04}'\nroles = ['own_{at:04}']\n{place}",
            admin.host, admin.port
        )
        .unwrap();
    }
    let stores = parse_file(&text).unwrap().store;
    Inventory {
        stores: stores
            .into_iter()
            .map(|store| store.into_store(None))
            .collect(),
        complete: true,
        source: "bench".into(),
        ..Inventory::default()
    }
}

/// One run of ours.
struct Run {
    time: f64,
    /// Sessions that the report says there were at most.
    stated: usize,
    /// Sessions that a look at the server saw at most.
    seen: i64,
}

/// The whole static family by the program's own code, and the most sessions that were seen.
async fn by_us(admin: &PostgresEndpoint, inventory: &Inventory) -> Run {
    let mut settings = Settings::new(jiff::Timestamp::now());
    settings.auditors = vec![admin.clone()];
    settings.live = false;
    settings.control = false;
    settings.jobs = JOBS;
    let done = Arc::new(AtomicBool::new(false));
    let most = Arc::new(AtomicI64::new(0));
    let watcher = {
        let (done, most, admin) = (Arc::clone(&done), Arc::clone(&most), admin.clone());
        tokio::spawn(async move {
            let session = admin.connect().await.unwrap();
            while !done.load(Ordering::Relaxed) {
                let seen = session
                    .query_one(
                        // Not the view: it joins all databases and roles, and looking through it so
                        // often would be a part of the time that grows with their number.
                        "SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
                        &[],
                    )
                    .await
                    .unwrap()
                    .get::<_, i64>(0);
                most.fetch_max(seen, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            session.close().await;
        })
    };
    // The watcher's own login is not part of the time.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begun = Instant::now();
    let report = run(inventory, &settings, &|_, _, _| ()).await;
    let time = begun.elapsed().as_secs_f64();
    done.store(true, Ordering::Relaxed);
    watcher.await.unwrap();
    let wrong: Vec<_> = report
        .findings
        .iter()
        // A thousand grants on one database are many, and are said to be.
        .filter(|f| f.check != "PG-112")
        .map(|f| (&f.check, &f.evidence))
        .collect();
    assert!(wrong.is_empty(), "the fleet is clean: {wrong:?}");
    assert_eq!(report.coverage.databases_read, report.coverage.databases);
    Run {
        time,
        stated: report.coverage.connections as usize,
        seen: most.load(Ordering::Relaxed),
    }
}

/// The same statements by as many psql as we had sessions, each of which connects to its share of the
/// databases, one after the other: few processes, so that starting them is no part of the time.
fn by_psql(
    psql: &std::path::Path,
    admin: &PostgresEndpoint,
    inventory: &Inventory,
    sessions: usize,
) -> f64 {
    let script = |family: Family, shared: bool, stores: &[&Store], only: &[&str]| {
        let rows = rows(stores.iter().copied(), true);
        let literal = rows.replace('\'', "''");
        let mut text = String::new();
        let version = 150_000;
        for check in catalogue::of(family) {
            let left_out = !only.is_empty() && !only.contains(&check.id);
            if left_out || check.since > version || (check.schema_mode && !shared) {
                continue;
            }
            let Some(sql) = check.query_for(&rows) else {
                continue;
            };
            let sql = sql.replace("$1", &format!("'{literal}'"));
            writeln!(text, "{sql};").unwrap();
        }
        text
    };
    let all: Vec<&Store> = inventory.stores.iter().collect();
    let mut scripts = vec![String::new(); sessions.max(1)];
    // The first has those of the cluster besides, and of the database that is no tenant's.
    scripts[0] = script(Family::Cluster, true, &all, &[]);
    scripts[0].push_str(&script(Family::Database, false, &all, &MEETING));
    let mut databases: BTreeMap<&str, Vec<&Store>> = BTreeMap::new();
    for store in &inventory.stores {
        databases.entry(&store.database).or_default().push(store);
    }
    let count = scripts.len();
    for (at, (database, stores)) in databases.into_iter().enumerate() {
        let shared = stores.len() > 1;
        write!(
            scripts[at % count],
            "\\connect {database}\n{}",
            script(Family::Database, shared, &stores, &[])
        )
        .unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let commands: Vec<Command> = scripts
        .iter()
        .enumerate()
        .map(|(at, text)| {
            let file = folder.path().join(format!("{at}.sql"));
            std::fs::write(&file, text).unwrap();
            let mut command = Command::new(psql);
            command
                .args([
                    "-X",
                    "-q",
                    "-A",
                    "-t",
                    "-v",
                    "ON_ERROR_STOP=1",
                    "-h",
                    &admin.host,
                ])
                .args(["-p", &admin.port.to_string(), "-U", &admin.user])
                .args(["-d", &admin.database, "-f"])
                .arg(&file)
                .env("PGPASSWORD", admin.password.as_ref().unwrap().expose())
                // As ours: with compiling, psql would need seconds more.
                .env("PGOPTIONS", "-c search_path=pg_catalog -c jit=off")
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command
        })
        .collect();
    let begun = Instant::now();
    let running: Vec<_> = commands
        .into_iter()
        .map(|mut command| command.spawn().unwrap())
        .collect();
    for mut psql in running {
        assert!(psql.wait().unwrap().success(), "psql fails");
    }
    begun.elapsed().as_secs_f64()
}
