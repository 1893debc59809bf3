//! What a resource leaves behind: its file, what a queue makes of it, its record in an audit chain.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::objects::{NO_WRITES, conclude};
use super::recipe::filled;
use super::session::{DIRECTIONS, Session};

/// How long to wait between two looks.
const STEP: Duration = Duration::from_millis(200);
/// Files of each tenant that are tried.
const FEW: usize = 3;

pub(super) async fn run(session: &mut Session<'_>) {
    files(session).await;
    later(session).await;
    audit(session).await;
}

/// JW-26: the file of a resource is its tenant's.
async fn files(session: &mut Session<'_>) {
    const ID: &str = "JW-26";
    if !session.wants(ID) {
        return;
    }
    let collections = 0..session.target.recipe.collection.len();
    let with_file: Vec<usize> = collections
        .filter(|at| session.collection(*at).file.is_some())
        .collect();
    if with_file.is_empty() {
        return session.outcome.skip(ID, "the recipe names no `file`");
    }
    let (mut tried, mut unclear) = (0, Vec::new());
    for at in with_file {
        let template = session.collection(at).file.clone().unwrap_or_default();
        for (me, other) in DIRECTIONS {
            let made: Vec<String> = session.made_by(other, at).map(|m| m.id.clone()).collect();
            let mut ids: Vec<String> = session.only_of(other, at).into_iter().collect();
            ids.sort_by_key(|id| !made.contains(id));
            let (before, mut without) = (tried, Vec::new());
            for id in ids.into_iter().take(FEW) {
                let ours = made.contains(&id);
                let mut values = session.tenants[other].values.clone();
                values.insert("id".into(), id);
                let Some(path) = filled(&template, &values) else {
                    continue;
                };
                if ours {
                    there(session, other, at, &path).await;
                }
                match file(session, (me, other), &path, &template).await {
                    Ok(()) => tried += 1,
                    // Not everything that a tenant has needs to have its file.
                    Err(reason) if !ours && reason.starts_with(OWNER) => without.push(reason),
                    Err(reason) => unclear.push(reason),
                }
            }
            if tried == before {
                unclear.extend(without);
            }
        }
    }
    conclude(session, ID, tried, unclear).await;
}

/// How a reason begins that is no other's fault.
const OWNER: &str = "the owner itself is answered";

/// Waits for the file of what was made, where that comes later.
async fn there(session: &Session<'_>, side: usize, at: usize, path: &str) {
    let collection = session.collection(at);
    if collection.later.is_none() {
        return;
    }
    for _ in 0..steps(collection.later_seconds) {
        if session
            .get(side, path)
            .await
            .is_ok_and(|answer| answer.is_ok())
        {
            return;
        }
        tokio::time::sleep(STEP).await;
    }
}

/// Looks in so many seconds.
fn steps(seconds: u32) -> u64 {
    u64::from(seconds) * 1000 / 200
}

async fn file(
    session: &mut Session<'_>,
    (me, other): (usize, usize),
    path: &str,
    template: &str,
) -> Result<(), String> {
    let control = session.get(other, path).await?;
    if !control.is_ok() {
        return Err(format!("{OWNER} {}", control.words()));
    }
    let foreign = session.get(me, path).await?;
    let nobody = session.get_as(None, me, path).await?;
    let control = session.get(other, path).await?;
    if !control.is_ok() {
        return Err(format!("{OWNER} {}", control.words()));
    }
    let object = format!("GET {template}");
    for (answer, whose) in [(foreign, "the other tenant's token"), (nobody, "no token")] {
        if answer.is_ok() {
            let evidence = format!("the file is given out with {whose}");
            session.find("JW-26", (me, other), &object, evidence, None);
        } else if answer.status == 429 || answer.status >= 500 {
            return Err(format!("with {whose}: answered {}", answer.words()));
        }
    }
    Ok(())
}

/// JW-27: what becomes of a resource on its way through queues stays with its tenant.
async fn later(session: &mut Session<'_>) {
    const ID: &str = "JW-27";
    if !session.wants(ID) {
        return;
    }
    let collections = 0..session.target.recipe.collection.len();
    let with_later: Vec<usize> = collections
        .filter(|at| session.collection(*at).later.is_some())
        .collect();
    if with_later.is_empty() {
        return session
            .outcome
            .skip(ID, "the recipe names nothing that comes `later`");
    }
    if !session.target.means.writes {
        return session.outcome.skip(ID, NO_WRITES);
    }
    let (mut tried, mut unclear) = (0, Vec::new());
    for at in with_later {
        for (me, other) in DIRECTIONS {
            match arrives(session, (me, other), at).await {
                Ok(()) => tried += 1,
                Err(reason) => unclear.push(reason),
            }
        }
    }
    conclude(session, ID, tried, unclear).await;
}

async fn arrives(
    session: &mut Session<'_>,
    (me, other): (usize, usize),
    at: usize,
) -> Result<(), String> {
    let collection = session.collection(at);
    let template = collection.later.clone().unwrap_or_default();
    let made = session.make(other, at, None).await?;
    let of = |side: usize| {
        let mut values = session.tenants[side].values.clone();
        values.insert("marker".into(), made.marker.clone());
        values.insert("id".into(), made.id.clone());
        filled(&template, &values)
    };
    let paths = (of(other), of(me));
    let mut outcome = Err(format!(
        "nothing about it is shown to its own tenant within {} s",
        collection.later_seconds
    ));
    if let (Some(own), Some(mine)) = paths {
        for _ in 0..=steps(collection.later_seconds) {
            let shown = session.get(other, &own).await;
            if shown.is_ok_and(|answer| answer.is_ok() && answer.body.contains(&made.marker)) {
                outcome = Ok(());
                break;
            }
            tokio::time::sleep(STEP).await;
        }
        // Where it went astray, its own tenant may never see it.
        let astray = session.get(me, &mine).await;
        if astray.is_ok_and(|answer| answer.is_ok() && answer.body.contains(&made.marker)) {
            let object = format!("GET {template}");
            let evidence = "what one tenant made is shown to the other after it was worked on";
            session.find("JW-27", (me, other), &object, evidence.into(), None);
            outcome = Ok(());
        }
    }
    session.remove(&made).await;
    outcome
}

/// JW-28: a tenant's audit chain holds its own records alone.
async fn audit(session: &mut Session<'_>) {
    const ID: &str = "JW-28";
    if !session.wants(ID) {
        return;
    }
    let Some(path) = session.target.recipe.audit_verify.clone() else {
        return session
            .outcome
            .skip(ID, "the recipe names no `audit-verify`");
    };
    if !session.target.means.writes || session.collection(0).create.is_none() {
        return session.outcome.skip(ID, NO_WRITES);
    }
    let (mut tried, mut unclear) = (0, Vec::new());
    for (me, other) in DIRECTIONS {
        match chain(session, (me, other), &path).await {
            Ok(()) => tried += 1,
            Err(reason) => unclear.push(reason),
        }
    }
    conclude(session, ID, tried, unclear).await;
}

async fn chain(
    session: &mut Session<'_>,
    (me, other): (usize, usize),
    path: &str,
) -> Result<(), String> {
    let first = verified(session, me, path).await?;
    let again = verified(session, me, path).await?;
    if first.1 != again.1 {
        return Err("its length changes while nobody does anything".into());
    }
    let own = verified(session, other, path).await?;
    let marker = format!("lerianctl-probe-{}", Uuid::new_v4().simple());
    let answer = session.post(other, 0, &marker, None, None).await?;
    let made = session.made_of(other, 0, &marker, &answer)?;
    let mine = verified(session, me, path).await;
    let theirs = verified(session, other, path).await;
    session.remove(&made).await;
    let (mine, theirs) = (mine?, theirs?);
    let object = format!("GET {path}");
    if mine.1 != again.1 || mine.0.contains(&made.id) || mine.0.contains(&marker) {
        let evidence = format!(
            "what the other tenant does is part of it: {} records before, and {} after",
            again.1, mine.1
        );
        session.find("JW-28", (me, other), &object, evidence, None);
        return Ok(());
    }
    // The positive control: what is done is recorded at all.
    if theirs.1 == own.1 {
        return Err("what a tenant does is not in its own chain".into());
    }
    Ok(())
}

/// Returns the answer of a verification, and how many records it went through.
async fn verified(session: &Session<'_>, side: usize, path: &str) -> Result<(String, u64), String> {
    let recipe = &session.target.recipe;
    let key = recipe.audit_count.as_str();
    let mut before = String::new();
    let mut path = path.to_owned();
    if let Some(events) = &recipe.audit_events {
        let answer = session.get(side, events).await?;
        if !answer.is_ok() {
            return Err(format!("GET {events} is answered {}", answer.words()));
        }
        let body = answer.json();
        let records = match body.get(&recipe.audit_items) {
            Some(Value::Array(records)) => records.as_slice(),
            Some(Value::Null) => &[],
            _ => {
                return Err(format!(
                    "GET {events} is answered with no list of `{}`",
                    recipe.audit_items
                ));
            }
        };
        let Some(newest) = records.first() else {
            return Ok((answer.body, 0));
        };
        let id = newest.get(&recipe.audit_id).and_then(Value::as_str);
        let id = id.ok_or_else(|| format!("a record of {events} has no `{}`", recipe.audit_id))?;
        let values = [("id".to_owned(), id.to_owned())].into();
        path = filled(&path, &values).ok_or("`audit-verify` holds more than `{id}`")?;
        before = answer.body;
    }
    let answer = session.get(side, &path).await?;
    if !answer.is_ok() {
        return Err(format!("GET {path} is answered {}", answer.words()));
    }
    let count = answer.json().get(key).and_then(Value::as_u64);
    let count = count.ok_or_else(|| format!("GET {path} is answered without a number `{key}`"))?;
    Ok((before + &answer.body, count))
}
