//! What stands between the products and the server: whether it is a pooler, and how it is set up.

use std::collections::BTreeMap;

use tokio_postgres::{Client, SimpleQueryMessage};

use super::Outcome;
use crate::isolation::audit::Refusal;
use crate::isolation::catalogue::known;
use crate::isolation::inventory::Store;
use crate::isolation::model::{EVERYONE, Finding};
use crate::link::postgres::{Gate, PostgresEndpoint};

/// Notes whether a pooler reports the search path.
pub(super) async fn reports(
    gate: &Gate,
    store: &Store,
    endpoint: &PostgresEndpoint,
    outcome: &mut Outcome,
) {
    const ID: &str = "PB-04";
    let answer = async { gate.places(1).await?.greet(endpoint, &[]).await };
    match answer.await {
        Err(error) => outcome.unclear(ID, error.link.to_string()),
        Ok(greeting) if !greeting.is_pooled() => {
            let reason = "no pooler stands before the server";
            outcome.skipped.insert(ID, reason.to_owned());
        }
        Ok(greeting) => {
            outcome.tried(ID);
            if !greeting.parameters.contains_key("search_path") {
                let mut finding = Finding::new(known(ID), store.cluster(), "pooler");
                finding.to = vec![EVERYONE.to_owned()];
                let names: Vec<&str> = greeting.parameters.keys().map(String::as_str).collect();
                finding.evidence = format!("it reports {}", names.join(", "));
                outcome.findings.push(finding);
            }
        }
    }
}

/// Reads the console of a PgBouncer, as the auditor.
pub(crate) async fn console(
    gate: &Gate,
    auditor: &PostgresEndpoint,
    schemas: bool,
    outcome: &mut Outcome,
) {
    const ID: &str = "PB-03";
    let there = PostgresEndpoint {
        search_path: None,
        ..auditor.with_database("pgbouncer")
    };
    let session = match gate.connect(&there, "").await {
        Ok(session) => session,
        Err(error) => {
            let reason = match error.sqlstate.as_deref() {
                Some("3D000") => "no pooler with a console stands before the server".to_owned(),
                _ => format!("the console of a pooler cannot be entered: {}", error.link),
            };
            outcome.skipped.insert(ID, reason);
            return;
        }
    };
    let read = async {
        let config = table(&session, "SHOW CONFIG").await?;
        let databases = table(&session, "SHOW DATABASES").await?;
        let version = table(&session, "SHOW VERSION").await?;
        Ok::<_, Refusal>((config, databases, version))
    };
    let answer = read.await;
    session.close().await;
    match answer {
        Err(refusal) => outcome.unclear(ID, refusal.message),
        Ok((config, databases, version)) => {
            outcome.tried(ID);
            let mut settings: BTreeMap<String, String> = config
                .into_iter()
                .filter_map(|mut row| Some((row.remove("key")?, row.remove("value")?)))
                .collect();
            if let Some(version) = version.first().and_then(|row| row.values().next()) {
                settings.insert("version".into(), version.clone());
            }
            for (object, evidence, remedy) in judge(&settings, &databases, schemas) {
                let mut finding = Finding::new(known(ID), auditor.address(), object);
                finding.to = vec![EVERYONE.to_owned()];
                finding.evidence = evidence;
                finding.remedy = vec![remedy];
                outcome.findings.push(finding);
            }
        }
    }
}

type Row = BTreeMap<String, String>;

/// The console speaks the simple protocol only.
async fn table(session: &Client, statement: &str) -> Result<Vec<Row>, Refusal> {
    let messages = session
        .simple_query(statement)
        .await
        .map_err(|error| Refusal::of(&error))?;
    Ok(messages
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })
        .map(|row| {
            let columns = row.columns().iter().enumerate();
            columns
                .filter_map(|(at, column)| {
                    Some((column.name().to_owned(), row.get(at)?.to_owned()))
                })
                .collect()
        })
        .collect())
}

/// Returns what is wrong: the setting, what it is, and what to do.
fn judge(settings: &Row, databases: &[Row], schemas: bool) -> Vec<(String, String, String)> {
    let of = |name: &str| settings.get(name).map_or("", String::as_str);
    let mut wrong = Vec::new();
    let mut add = |name: &str, evidence: String, remedy: &str| {
        wrong.push((format!("setting {name}"), evidence, remedy.to_owned()));
    };
    let tracked = of("track_extra_parameters").to_ascii_lowercase();
    let tracks_path = tracked.split(',').any(|word| word.trim() == "search_path");
    let shared = of("pool_mode") != "session"
        || databases.iter().any(|row| {
            row.get("pool_mode")
                .is_some_and(|mode| !matches!(mode.as_str(), "" | "session"))
        });
    if shared && schemas {
        let evidence = format!(
            "it is {}, and search_path is {}tracked: a session's path stays for the next tenant",
            of("pool_mode"),
            if tracks_path { "" } else { "not " }
        );
        // Tracking works only where the server reports the path, which it does since 18.
        if !tracks_path {
            add(
                "pool_mode",
                evidence,
                "-- in pgbouncer.ini: pool_mode = session",
            );
        }
    }
    let ignored = of("ignore_startup_parameters").to_ascii_lowercase();
    let drops = ignored
        .split(',')
        .any(|word| matches!(word.trim(), "options" | "search_path"));
    if drops && schemas {
        add(
            "ignore_startup_parameters",
            format!("it is {ignored}: the schema that a product asks for is dropped"),
            "-- set search_path on every tenant's role",
        );
    }
    if of("pool_mode") == "session" && of("server_reset_query").trim().is_empty() {
        add(
            "server_reset_query",
            "it is empty: what a session sets stays for the next one".into(),
            "-- in pgbouncer.ini: server_reset_query = DISCARD ALL",
        );
    }
    if matches!(of("auth_type"), "any" | "trust" | "plain" | "md5") {
        add(
            "auth_type",
            format!("it is {}", of("auth_type")),
            "-- in pgbouncer.ini: auth_type = scram-sha-256",
        );
    }
    let forced: Vec<&str> = databases
        .iter()
        .filter(|row| row.get("force_user").is_some_and(|user| !user.is_empty()))
        .filter_map(|row| row.get("name").map(String::as_str))
        .filter(|name| *name != "pgbouncer")
        .collect();
    if !forced.is_empty() {
        add(
            "user of a database",
            format!(
                "every client of {} becomes one and the same role",
                forced.join(", ")
            ),
            "-- in pgbouncer.ini: no user= in [databases]",
        );
    }
    let version: Vec<u32> = of("version")
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .take(3)
        .collect();
    let holes = [
        ([1, 24, 1], "CVE-2025-2291 (expired passwords)"),
        (
            [1, 25, 1],
            "CVE-2025-12819 (search path of the lookup of passwords)",
        ),
        (
            [1, 25, 2],
            "CVE-2026-6664 to 6667 (ending others' sessions)",
        ),
    ];
    let open: Vec<&str> = holes
        .iter()
        .filter(|(fixed, _)| version.len() == 3 && version.as_slice() < fixed.as_slice())
        .map(|(_, what)| *what)
        .collect();
    if !open.is_empty() {
        add(
            "version",
            format!("{}: {}", of("version"), open.join(", ")),
            "-- install the current version",
        );
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pairs: &[(&str, &str)]) -> Row {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn each_unsafe_setting_of_a_pooler_is_found_and_a_safe_one_has_none() {
        let safe = [
            ("pool_mode", "session"),
            ("server_reset_query", "DISCARD ALL"),
            ("auth_type", "scram-sha-256"),
            ("ignore_startup_parameters", "extra_float_digits"),
            ("version", "PgBouncer 1.25.2"),
        ];
        assert_eq!(judge(&row(&safe), &[], true), []);
        for (name, value) in [
            ("pool_mode", "transaction"),
            ("server_reset_query", ""),
            ("auth_type", "trust"),
            ("ignore_startup_parameters", "extra_float_digits, options"),
            ("version", "PgBouncer 1.25.0"),
        ] {
            let mut settings = row(&safe);
            settings.insert(name.into(), value.into());
            let found: Vec<String> = judge(&settings, &[], true)
                .into_iter()
                .map(|(object, ..)| object)
                .collect();
            assert_eq!(found, [format!("setting {name}")]);
        }
        let forced = row(&[("name", "shared"), ("force_user", "app")]);
        assert_eq!(judge(&row(&safe), &[forced], true).len(), 1);
        // With databases of their own, neither mode nor path can mix tenants.
        let mut settings = row(&safe);
        settings.insert("pool_mode".into(), "transaction".into());
        assert_eq!(judge(&settings, &[], false), []);
    }
}
