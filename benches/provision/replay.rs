//! The captured statements, issued bare: no plan, no registry, no events, no HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lerianctl::link::postgres::PostgresEndpoint;
use tokio_postgres::{Client, NoTls};

use crate::capture::Act;

/// One tenant's worth of work: acts, with the captured names replaced by those of another tenant.
pub(crate) struct Script {
    acts: Vec<Act>,
}

impl Script {
    /// Renames a captured tenant; `names` are pairs of old and new.
    pub(crate) fn new(captured: &[Act], names: &[(String, String)]) -> Self {
        let rename = |text: &str| {
            // Through marks that stand for no name, so that a new name is never renamed again.
            let mut marked = text.to_owned();
            for (at, (old, _)) in names.iter().enumerate() {
                marked = marked.replace(old.as_str(), &format!("\u{1}{at}\u{2}"));
            }
            for (at, (_, new)) in names.iter().enumerate() {
                marked = marked.replace(&format!("\u{1}{at}\u{2}"), new);
            }
            marked
        };
        let acts = captured
            .iter()
            .map(|act| match act {
                Act::Connect {
                    session,
                    database,
                    user,
                    refused,
                } => Act::Connect {
                    session: session.clone(),
                    database: rename(database),
                    user: rename(user),
                    refused: *refused,
                },
                Act::Statement {
                    session,
                    sql,
                    fails,
                } => Act::Statement {
                    session: session.clone(),
                    sql: rename(sql),
                    fails: *fails,
                },
            })
            .collect();
        Self { acts }
    }
}

/// How the replay logs in.
#[derive(Clone)]
pub(crate) struct Logins {
    /// The administrator.
    pub(crate) admin: PostgresEndpoint,
    /// Password behind the verifier that the captured statements set.
    pub(crate) tenant_password: String,
}

impl Logins {
    async fn connect(&self, database: &str, user: &str) -> Result<Client, tokio_postgres::Error> {
        let admin = self.admin.user == user;
        let password = if admin {
            self.admin
                .password
                .as_ref()
                .map_or("", |secret| secret.expose())
        } else {
            &self.tenant_password
        };
        let (client, connection) = tokio_postgres::Config::new()
            .host(&self.admin.host)
            .port(self.admin.port)
            .dbname(database)
            .user(user)
            .password(password)
            .connect(NoTls)
            .await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

/// Runs every script, `workers` at a time, and returns the wall time.
pub(crate) async fn run(scripts: Vec<Script>, logins: &Logins, workers: usize) -> Duration {
    let scripts = Arc::new(scripts);
    let next = Arc::new(AtomicUsize::new(0));
    // As the provisioner keeps its administrator's connections, so does every worker here.
    let mut kept = Vec::new();
    for _ in 0..workers {
        kept.push(
            logins
                .connect(&logins.admin.database, &logins.admin.user)
                .await
                .unwrap(),
        );
    }
    let start = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for client in kept {
        let (scripts, next, logins) = (scripts.clone(), next.clone(), logins.clone());
        running.spawn(async move {
            while let Some(script) = scripts.get(next.fetch_add(1, Ordering::Relaxed)) {
                play(script, &client, &logins).await;
            }
        });
    }
    running.join_all().await;
    start.elapsed()
}

async fn play(script: &Script, kept: &Client, logins: &Logins) {
    let mut sessions: BTreeMap<&str, Client> = BTreeMap::new();
    for (at, act) in script.acts.iter().enumerate() {
        match act {
            Act::Connect {
                session,
                database,
                user,
                refused,
            } => {
                let opened = logins.connect(database, user).await;
                assert_eq!(
                    opened.is_err(),
                    *refused,
                    "{user} at {database}: {:?}",
                    opened.err()
                );
                if let Ok(client) = opened {
                    sessions.insert(session, client);
                }
            }
            Act::Statement {
                session,
                sql,
                fails,
            } => {
                let client = sessions.get(session.as_str()).unwrap_or(kept);
                issue(client, sql, *fails).await;
            }
        }
        let session = act.session();
        let done = script.acts[at + 1..]
            .iter()
            .all(|later| later.session() != session);
        if done {
            sessions.remove(session);
        }
    }
}

/// Issues a statement; what fails for another worker's sake is issued again, as anyone would.
async fn issue(client: &Client, sql: &str, fails: bool) {
    for _ in 0..100 {
        match client.simple_query(sql).await {
            Ok(_) => return,
            Err(_) if fails => return,
            Err(error) => {
                let said = error
                    .as_db_error()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert!(
                    said.contains("tuple concurrently"),
                    "{sql}\n{error}: {said}"
                );
            }
        }
    }
    panic!("still refused: {sql}");
}
