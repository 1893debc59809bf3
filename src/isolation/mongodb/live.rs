//! MG-09, MG-10 and MG-11: tenants' own users try to reach the others' databases.
//!
//! Nothing is read of another tenant but whether a read is allowed, and nothing can be written: what
//! would write has no documents to write, and is only sent for a collection that exists.

use std::collections::{BTreeMap, BTreeSet};

use bson::doc;
use futures_util::{StreamExt as _, stream};

use super::judge::deployments;
use super::wire::{Refusal, Session};
use crate::isolation::catalogue::known;
use crate::isolation::derange::{bound, derangement};
use crate::isolation::inventory::Documents;
use crate::isolation::model::Finding;
use crate::isolation::part::Part;
use crate::isolation::rabbitmq::Trials;

/// Pairs up to which all of them are tried without being asked to.
const FEW: usize = 400;
/// Collection that is asked for where none is known.
const NOWHERE: &str = "lerianctl_probe";
const IDS: [&str; 3] = ["MG-09", "MG-10", "MG-11"];

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tried {
    /// It was let in.
    Open(&'static str),
    /// A right is missing.
    Closed,
    /// Something else, which proves nothing.
    Unclear(String),
}

/// Judges what attempts came to: one that is open is enough, and one that proves nothing too many.
pub(super) fn together(attempts: impl IntoIterator<Item = Tried>) -> Tried {
    let mut whole = Tried::Closed;
    for attempt in attempts {
        match attempt {
            Tried::Open(how) => return Tried::Open(how),
            Tried::Unclear(reason) if whole == Tried::Closed => whole = Tried::Unclear(reason),
            _ => {}
        }
    }
    whole
}

/// Reads an answer to what must be refused.
pub(super) fn read<T>(answer: Result<T, Refusal>, how: &'static str) -> Tried {
    match answer {
        Ok(_) => Tried::Open(how),
        Err(refusal) if refusal.is_unauthorized() => Tried::Closed,
        Err(refusal) => Tried::Unclear(refusal.to_string()),
    }
}

struct Outcome<'a> {
    one: &'a Documents,
    /// Why it cannot even read its own.
    own: Result<(), String>,
    /// Names of others' databases that it is shown.
    shown: BTreeSet<String>,
    reads: Vec<(&'a Documents, Tried)>,
    writes: Vec<(&'a Documents, Tried)>,
    operations: Tried,
}

/// Tries; `collections` has one of each database that has any.
pub(super) async fn run(
    documents: &[Documents],
    collections: &BTreeMap<String, String>,
    trials: Trials,
    part: &mut Part,
) {
    for of in deployments(documents) {
        let store = of
            .iter()
            .map(|one| one.address.place())
            .min()
            .unwrap_or_default();
        let tenants: BTreeSet<&str> = of.iter().map(|one| one.tenant.as_str()).collect();
        let tenants: Vec<&str> = tenants.into_iter().collect();
        let all = trials.exhaustive || of.len() * of.len() <= FEW || tenants.len() < 2;
        let rounds: Vec<Vec<usize>> = if all {
            Vec::new()
        } else {
            (0..trials.derangements)
                .map(|round| derangement(tenants.len(), trials.seed.wrapping_add(u64::from(round))))
                .collect()
        };
        let is_other = |one: &Documents, victim: &Documents| {
            one.tenant != victim.tenant && one.address.database != victim.address.database
        };
        let is_chosen = |one: &Documents, victim: &Documents| {
            let at = |name: &str| tenants.binary_search(&name).unwrap_or(0);
            all || rounds
                .iter()
                .any(|round| round[at(&one.tenant)] == at(&victim.tenant))
        };
        let mut pairs = 0;
        let work: Vec<(&Documents, Vec<&Documents>)> = of
            .iter()
            .map(|one| {
                let others = of.iter().copied().filter(|victim| is_other(one, victim));
                let others: Vec<&Documents> = others.collect();
                pairs += others.len() as u64;
                let chosen = others.into_iter().filter(|victim| is_chosen(one, victim));
                (*one, chosen.collect())
            })
            .collect();
        let names: BTreeSet<&str> = of.iter().map(|one| one.address.database.as_str()).collect();
        let names = &names;
        let mut results = stream::iter(work)
            .map(|(one, victims)| attempt(one, victims, names, collections))
            .buffer_unordered(trials.jobs.max(1));
        let mut tried = 0;
        while let Some(outcome) = results.next().await {
            tried += take(&store, outcome, names, part);
        }
        drop(results);
        part.looked("MG-09", tried, pairs);
        if !all && tried > 0 {
            part.gap(
                format!("databases of {store}"),
                format!(
                    "{tried} of {pairs} pairs were tried (seed {}); breaches of more than {:.2} % of pairs are missed with less than 5 %; --exhaustive tries all",
                    trials.seed,
                    bound(tried) * 100.0
                ),
            );
        }
    }
}

async fn attempt<'a>(
    one: &'a Documents,
    victims: Vec<&'a Documents>,
    names: &BTreeSet<&str>,
    collections: &BTreeMap<String, String>,
) -> Outcome<'a> {
    let mut outcome = Outcome {
        one,
        own: Ok(()),
        shown: BTreeSet::new(),
        reads: Vec::new(),
        writes: Vec::new(),
        operations: Tried::Closed,
    };
    let mut session = match Session::open(&one.address).await {
        Ok(session) => session,
        Err(refusal) => {
            outcome.own = Err(refusal.to_string());
            return outcome;
        }
    };
    let own = one.address.database.as_str();
    let of = |database: &str| collections.get(database).map(String::as_str);
    let find = |name: &str| doc! { "find": name, "limit": 1, "projection": { "_id": 1 }, "singleBatch": true };
    let held = of(own).unwrap_or(NOWHERE);
    if let Err(refusal) = session.ask(own, find(held)).await {
        outcome.own = Err(refusal.to_string());
        return outcome;
    }
    let list = doc! { "listDatabases": 1, "nameOnly": true, "authorizedDatabases": true };
    if let Ok(list) = session.ask("admin", list).await {
        let list = super::wire::documents(list.get_array("databases").ok());
        let shown = list.iter().filter_map(|one| one.get_str("name").ok());
        outcome.shown = shown
            .filter(|name| *name != own && names.contains(name))
            .map(str::to_owned)
            .collect();
    }
    for victim in victims {
        let theirs = victim.address.database.as_str();
        let there = of(theirs);
        let look = doc! { "listCollections": 1, "nameOnly": true, "authorizedCollections": true };
        let attempts = [
            read(
                session.ask(theirs, find(there.unwrap_or(NOWHERE))).await,
                "it could read",
            ),
            read(
                session.ask(theirs, look).await,
                "it could list the collections",
            ),
        ];
        outcome.reads.push((victim, together(attempts)));
        let (Some(from), Some(into)) = (of(own), there) else {
            continue;
        };
        let write = doc! {
            "aggregate": from,
            "pipeline": [
                // No document is in an empty list.
                { "$match": { "_id": { "$in": [] } } },
                { "$merge": { "into": { "db": theirs, "coll": into } } },
            ],
            "cursor": {},
        };
        let answer = session.ask(own, write).await;
        outcome
            .writes
            .push((victim, read(answer, "it could write")));
    }
    let operations = doc! {
        "aggregate": 1,
        "pipeline": [{ "$currentOp": { "allUsers": true } }, { "$limit": 1 }, { "$project": { "ns": 1 } }],
        "cursor": {},
    };
    outcome.operations = read(session.ask("admin", operations).await, "it saw them");
    outcome
}

/// Takes what one login came to; returns how many pairs were tried.
fn take(store: &str, outcome: Outcome<'_>, names: &BTreeSet<&str>, part: &mut Part) -> u64 {
    let one = outcome.one;
    let user = one.address.username.as_str();
    // What is refused to it counts only for a user that may read its own.
    if let Err(reason) = outcome.own {
        for id in IDS {
            part.failed(
                id,
                format!(
                    "{user} cannot read its own database {}: {reason}",
                    one.address.database
                ),
            );
        }
        return 0;
    }
    let finding = |id: &'static str, object: String, to: Vec<String>, text: String| {
        let mut finding = Finding::new(known(id), store, object);
        finding.from = vec![one.tenant.clone()];
        finding.to = to;
        finding.roles = vec![user.to_owned()];
        finding.evidence = text;
        finding
    };
    let mut tried = 0;
    for (id, attempts) in [("MG-09", &outcome.reads), ("MG-10", &outcome.writes)] {
        for (victim, attempt) in attempts {
            let database = &victim.address.database;
            match attempt {
                Tried::Open(how) => {
                    let object = format!("database {database} for {user}");
                    let to = vec![victim.tenant.clone()];
                    let text = format!("{how} in {database}, as {user}");
                    part.findings.push(finding(id, object, to, text));
                }
                Tried::Closed => {}
                Tried::Unclear(reason) => {
                    part.unclear(id, format!("{user} in {database}: {reason}"));
                    continue;
                }
            }
            if id == "MG-09" {
                tried += 1;
            } else {
                part.looked(id, 1, 1);
            }
        }
    }
    if outcome.writes.is_empty() {
        let reason =
            "no two tenants have collections, or no administrator's URL was given to know them";
        part.skip("MG-10", reason);
    }
    if !outcome.shown.is_empty() {
        let shown: Vec<&str> = outcome.shown.iter().map(String::as_str).collect();
        let object = format!("list of databases for {user}");
        let to = vec![crate::isolation::model::EVERYONE.to_owned()];
        let text = format!(
            "it names {} of the {} databases of other tenants",
            shown.len(),
            names.len() - 1
        );
        let mut listed = finding("MG-09", object, to, text);
        listed.severity = crate::isolation::model::Severity::Medium;
        part.findings.push(listed);
    }
    match outcome.operations {
        Tried::Open(_) => {
            part.looked("MG-11", 1, 1);
            let to = vec![crate::isolation::model::EVERYONE.to_owned()];
            let text = "$currentOp shows what all users run, with their filters".to_owned();
            let object = format!("operations of others for {user}");
            part.findings.push(finding("MG-11", object, to, text));
        }
        Tried::Closed => part.looked("MG-11", 1, 1),
        Tried::Unclear(reason) => part.unclear("MG-11", reason),
    }
    tried
}
