//! Concludes from what was read. Pure: the control puts planted readings through the very same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::acl::User;
use super::facts::{About, Context, Node, Place, Tenant};
use super::versions::{self, Holes};
use crate::cache::KeyTenant;
use crate::isolation::catalogue::known;
use crate::isolation::model::{Finding, Severity, everyone};
use crate::isolation::part::Part;
use crate::isolation::remedy::shell_word;

/// Unknown tenants that get a finding of their own on one server.
const STRANGERS: usize = 50;
/// Names in one line of evidence.
const NAMES: usize = 8;

fn some<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    let more = items.len().saturating_sub(NAMES);
    let mut text = items[..items.len().min(NAMES)].join(", ");
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}

fn names<'a>(context: &'a Context, places: &BTreeSet<usize>) -> Vec<&'a str> {
    places
        .iter()
        .map(|at| context.tenants[*at].name.as_str())
        .collect()
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// Returns what a tenant of a key is called.
fn called(context: &Context, key: &KeyTenant) -> String {
    context
        .by_key(key)
        .map_or_else(|| key.to_string(), |tenant| tenant.name.clone())
}

/// Returns the commands that change a user by `rules`, and keep that.
fn set_user(name: &str, rules: &str) -> Vec<String> {
    vec![
        format!("redis-cli ACL SETUSER {} {rules}", shell_word(name)),
        "redis-cli CONFIG REWRITE".into(),
    ]
}

/// Judges one server.
pub(super) fn node(node: &Node, context: &Context, part: &mut Part) {
    open(node, context, part);
    users(node, context, part);
    census(node, context, part);
    purged(node, context, part);
    patterns(node, part);
    databases(node, context, part);
    readable(node, context, part);
    stale(node, context, part);
    version(node, context, part);
    transport(node, part);
    eviction(node, context, part);
}

fn open(node: &Node, context: &Context, part: &mut Part) {
    for user in node.users.iter().flatten() {
        if user.name == "default" || !user.enabled || !user.no_password || user.no_command {
            continue;
        }
        let mut finding = Finding::new(known("RD-01"), &node.name, format!("user {}", user.name));
        let own = context.tenants_of(user);
        finding.from = everyone();
        finding.to = if own.is_empty() {
            everyone()
        } else {
            owned(&names(context, &own))
        };
        finding.roles = vec![user.name.clone()];
        finding.evidence = format!(
            "any password lets in as it, with keys {}",
            some(user.keys.iter().map(|key| format!("~{key}")))
        );
        finding.remedy = set_user(&user.name, "resetpass '>A-LONG-PASSWORD'");
        part.findings.push(finding);
    }
    let default = node
        .users
        .as_ref()
        .ok()
        .and_then(|users| users.iter().find(|user| user.name == "default"));
    let by_rule = default.filter(|user| user.enabled && user.no_password && !user.no_command);
    let knocked = node.open == Ok(true);
    let harmless = default.is_some_and(|user| user.no_command || user.keys.is_empty());
    if by_rule.is_some() || knocked && !harmless {
        let mut finding = Finding::new(known("RD-01"), &node.name, "user default");
        finding.from = everyone();
        finding.to = everyone();
        finding.roles = vec!["default".into()];
        let all = by_rule.is_none_or(User::has_all_keys);
        if !all {
            finding.severity = Severity::High;
        }
        finding.evidence = format!(
            "{}{}",
            match by_rule {
                Some(user) => format!(
                    "it is on without a password, with keys {}",
                    some(user.keys.iter().map(|key| format!("~{key}")))
                ),
                None => "its rules may not be read".into(),
            },
            if knocked {
                "; a connection without a login was answered"
            } else {
                ""
            }
        );
        finding.remedy = set_user("default", "resetpass '>A-LONG-PASSWORD'");
        part.findings.push(finding);
    }
    match (&node.open, default) {
        (Err(reason), None) => part.failed("RD-01", format!("{}: {reason}", node.name)),
        _ => part.looked("RD-01", 1, 1),
    }
}

/// Judges what users may do: RD-02, RD-03, RD-11.
fn users(node: &Node, context: &Context, part: &mut Part) {
    let ids = ["RD-02", "RD-03", "RD-11"];
    let wanted = |id: &str| id != "RD-03" || node.events;
    let (users, dry) = match (&node.users, &node.dry) {
        (Ok(users), Ok(dry)) => (users, dry),
        (Err(reason), _) | (_, Err(reason)) => {
            for id in ids.into_iter().filter(|id| wanted(id)) {
                part.skip(id, format!("{}: {reason}", node.name));
            }
            return;
        }
    };
    let judged: Vec<&User> = context.judged(users, &node.me).collect();
    if judged.is_empty() {
        for id in ids.into_iter().filter(|id| wanted(id)) {
            part.skip(
                id,
                format!(
                    "{}: nobody but {} may log in, which counts as the administrator; whether products use it too cannot be seen",
                    node.name, node.me
                ),
            );
        }
        return;
    }
    let count = judged.len() as u64;
    for id in ids.into_iter().filter(|id| wanted(id)) {
        if id == "RD-03" && context.environments.is_empty() {
            part.skip(id, "no environment with events is known");
        } else {
            part.looked(id, count, count);
        }
    }
    for user in judged {
        let may = |about: About| dry.get(&(user.name.clone(), about)) == Some(&true);
        let own = context.tenants_of(user);
        let new = |id: &'static str| {
            let mut finding = Finding::new(known(id), &node.name, format!("user {}", user.name));
            finding.roles = vec![user.name.clone()];
            finding.from = owned(&names(context, &own));
            finding.to = everyone();
            finding
        };
        keys_of(node, context, user, &own, &may, &new, part);
        if node.events {
            let open: Vec<&String> = context
                .environments
                .iter()
                .filter(|environment| may(About::Publish((*environment).clone())))
                .collect();
            if !open.is_empty() {
                let mut finding = new("RD-03");
                finding.evidence = format!(
                    "ACL DRYRUN lets it PUBLISH on {}",
                    some(open.iter().map(|name| format!("tenant-events:{name}:")))
                );
                finding.remedy = set_user(&user.name, "-publish -spublish");
                part.findings.push(finding);
            }
        }
        let dangerous: Vec<&str> = dry
            .iter()
            .filter_map(|((name, about), allowed)| match about {
                About::Command(word) if *allowed && *name == user.name => Some(*word),
                _ => None,
            })
            .collect();
        if !dangerous.is_empty() {
            let mut finding = new("RD-11");
            finding.evidence = format!("ACL DRYRUN lets it run {}", dangerous.join(", "));
            finding.remedy = set_user(&user.name, "-@dangerous -@admin");
            part.findings.push(finding);
        } else if may(About::Script) || may(About::FlushScripts) {
            let mut remark = new("RD-11");
            remark.severity = Severity::Info;
            remark.evidence =
                "it may run scripts, or flush them; the ledger needs EVAL, and scripts run with its own rights".into();
            part.findings.push(remark);
        }
    }
}

fn keys_of(
    node: &Node,
    context: &Context,
    user: &User,
    own: &BTreeSet<usize>,
    may: &dyn Fn(About) -> bool,
    new: &dyn Fn(&'static str) -> Finding,
    part: &mut Part,
) {
    let mut reached = BTreeSet::new();
    if !own.is_empty() {
        for at in 0..context.tenants.len() {
            if may(About::Tenant(at)) && (!own.contains(&at) || own.len() > 1) {
                reached.insert(at);
            }
        }
    }
    let outside = may(About::Outside);
    if reached.is_empty() && !outside {
        return;
    }
    let mut finding = new("RD-02");
    finding.to = if outside {
        everyone()
    } else {
        owned(&names(context, &reached))
    };
    let patterns = some(user.keys.iter().map(|key| format!("~{key}")));
    finding.evidence = if own.len() > 1 {
        format!(
            "one login for {}: ACL DRYRUN opens the keys of {} with {patterns}",
            some(names(context, own)),
            some(names(context, &reached))
        )
    } else if outside && own.is_empty() {
        format!("ACL DRYRUN opens keys outside of every tenant with {patterns}")
    } else if outside {
        format!("ACL DRYRUN opens every key to it with {patterns}")
    } else {
        format!(
            "ACL DRYRUN opens the keys of {} with {patterns}",
            some(names(context, &reached))
        )
    };
    let keep = match own.iter().next() {
        Some(at) => format!("~{}*", context.tenants[*at].prefixes()[0]),
        None => "~tenant:*".into(),
    };
    finding.remedy = set_user(&user.name, &format!("resetkeys {}", shell_word(&keep)));
    tracing::debug!(
        server = node.name,
        user = user.name,
        "a user reaches too far"
    );
    part.findings.push(finding);
}

fn census(node: &Node, context: &Context, part: &mut Part) {
    let census = match &node.census {
        Ok(census) => census,
        Err(reason) => {
            for id in ["RD-04", "RD-05"] {
                part.failed(id, format!("{}: {reason}", node.name));
            }
            return;
        }
    };
    let whole = census.keys.max(census.seen);
    part.looked("RD-04", census.seen, whole);
    part.looked("RD-05", census.seen, whole);
    if census.seen < whole {
        part.gap(
            format!("keys of Redis {}", node.name),
            format!(
                "{} of {whole} were looked at; a kind of key that makes up more than {:.4} % is missed with less than 5 %; --exhaustive looks at all",
                census.seen,
                census.bound() * 100.0
            ),
        );
    }
    if census.beyond > 0 {
        part.gap(
            format!("keys of Redis {}", node.name),
            format!("{} were of too many kinds to be told apart", census.beyond),
        );
    }
    for group in census.groups.values() {
        let mut finding = Finding::new(known("RD-04"), &node.name, format!("keys {}", group.shape));
        finding.from = if group.tenants.is_empty() {
            everyone()
        } else {
            group
                .tenants
                .iter()
                .map(|key| called(context, key))
                .collect()
        };
        finding.to.clone_from(&finding.from);
        let ttl = if group.ttl.is_empty() {
            String::new()
        } else {
            format!("; one of them {}", group.ttl)
        };
        finding.evidence = format!("{} of them: {}{ttl}", group.keys, group.reason);
        part.findings.push(finding);
    }
}

fn purged(node: &Node, context: &Context, part: &mut Part) {
    let Ok(census) = &node.census else { return };
    let mut strangers = Vec::new();
    for (key, keys) in &census.tenants {
        let tenant = context.by_key(key);
        if tenant.is_some_and(|tenant| tenant.status != "purged") {
            continue;
        }
        let evidence = match tenant {
            Some(_) => format!("it is purged, and {keys} keys name it"),
            None if context.complete => {
                format!("the inventory has no such tenant, and {keys} keys name it")
            }
            None => {
                strangers.push(key);
                continue;
            }
        };
        let name = called(context, key);
        if part.findings.iter().filter(|f| f.check == "RD-05").count() >= STRANGERS {
            part.gap(
                format!("keys of Redis {}", node.name),
                format!("more than {STRANGERS} tenants that do not exist have keys; the rest is not listed"),
            );
            break;
        }
        let mut finding = Finding::new(known("RD-05"), &node.name, format!("tenant {name}"));
        finding.to = vec![name];
        finding.evidence = evidence;
        finding.remedy = vec![format!("lerianctl cache list --tenant-id {key}")];
        part.findings.push(finding);
    }
    if !strangers.is_empty() {
        part.unclear(
            "RD-05",
            format!(
                "{}: the inventory does not have every tenant, and does not know {}",
                node.name,
                some(strangers)
            ),
        );
    }
}

fn patterns(node: &Node, part: &mut Part) {
    if !node.events {
        return;
    }
    let clients: Vec<String> = node
        .clients
        .iter()
        .flatten()
        .filter(|client| client.patterns > 0)
        .map(|client| format!("{} at {}", client.user, client.address))
        .collect();
    let count = match (&node.patterns, &node.clients) {
        (Ok(count), _) => *count,
        (Err(_), Ok(_)) => clients.len() as u64,
        (Err(reason), Err(_)) => {
            part.skip("RD-06", format!("{}: {reason}", node.name));
            return;
        }
    };
    part.looked("RD-06", 1, 1);
    if count == 0 && clients.is_empty() {
        return;
    }
    let mut finding = Finding::new(known("RD-06"), &node.name, "subscribers with a pattern");
    finding.from = everyone();
    finding.to = everyone();
    finding.evidence = if clients.is_empty() {
        format!("{count} patterns; who subscribes may not be read")
    } else {
        format!("{count} patterns, of {}", some(clients))
    };
    finding.remedy = vec!["redis-cli CLIENT LIST".into()];
    part.findings.push(finding);
}

/// Judges how many listen to the events, over all servers of a deployment.
pub(super) fn listeners(nodes: &[Node], context: &Context, part: &mut Part) {
    let Some(first) = nodes.first().filter(|node| node.events) else {
        return;
    };
    if context.environments.is_empty() {
        part.skip("RD-07", "no environment with events is known");
    }
    for environment in &context.environments {
        let channel = format!("tenant-events:{environment}:");
        let mut count = 0;
        for node in nodes {
            match &node.listeners {
                Ok(of) => count += of.get(environment).copied().unwrap_or(0),
                Err(reason) => {
                    part.skip("RD-07", format!("{}: {reason}", node.name));
                    return;
                }
            }
        }
        let Some(expected) = context.listeners else {
            part.skip(
                "RD-07",
                format!(
                    "{count} listen to {channel}; how many should was not said (--redis-listeners)"
                ),
            );
            continue;
        };
        part.looked("RD-07", 1, 1);
        if count < expected {
            let mut finding =
                Finding::new(known("RD-07"), &first.name, format!("channel {channel}"));
            finding.to = context
                .tenants
                .iter()
                .filter(|tenant| tenant.environment == *environment && tenant.status != "purged")
                .map(|tenant| tenant.name.clone())
                .collect();
            finding.evidence = format!("{count} listen, and {expected} should");
            finding.remedy = vec![format!("redis-cli PUBSUB NUMSUB {channel}")];
            part.findings.push(finding);
        }
    }
}

fn databases(node: &Node, context: &Context, part: &mut Part) {
    part.looked("RD-08", 1, 1);
    let label = |key: &KeyTenant| match context.by_key(key) {
        Some(tenant) if tenant.environment.is_empty() => None,
        Some(tenant) => Some(tenant.environment.clone()),
        None if context.complete => Some("another environment".to_owned()),
        None => None,
    };
    let mut home: BTreeSet<String> = node
        .census
        .iter()
        .flat_map(|census| census.tenants.keys())
        .filter(|key| context.by_key(key).is_some())
        .filter_map(label)
        .collect();
    if home.is_empty() {
        home.extend(context.environments.iter().cloned());
    }
    for (number, tenants) in &node.others {
        let foreign: BTreeSet<String> = tenants
            .iter()
            .filter_map(label)
            .filter(|environment| !home.contains(environment))
            .collect();
        if foreign.is_empty() {
            continue;
        }
        let there: Vec<String> = tenants.iter().map(|key| called(context, key)).collect();
        let mut finding = Finding::new(known("RD-08"), &node.name, format!("database {number}"));
        finding.evidence = format!(
            "it has keys of {}, of {}; this environment ({}) is on the same server",
            some(&there),
            some(foreign),
            some(&home)
        );
        finding.from = there;
        finding.to = everyone();
        part.findings.push(finding);
    }
    let subscribed: BTreeSet<i64> = node
        .clients
        .iter()
        .flatten()
        .filter(|client| client.channels + client.patterns > 0)
        .map(|client| client.database)
        .collect();
    if node.events && subscribed.len() > 1 {
        let mut finding = Finding::new(known("RD-08"), &node.name, "subscribers");
        finding.from = everyone();
        finding.to = everyone();
        finding.evidence = format!(
            "clients of databases {} subscribe, and all of them hear the same",
            some(subscribed)
        );
        part.findings.push(finding);
    }
}

fn readable(node: &Node, context: &Context, part: &mut Part) {
    let Ok(census) = &node.census else {
        part.failed("RD-09", format!("{}: the keys are not known", node.name));
        return;
    };
    let there = census.credentials.len() as u64;
    part.looked("RD-09", node.values, there + census.more_credentials);
    if census.seen < census.keys {
        // What was not met was not read either.
        part.looked("RD-09", 0, census.keys - census.seen);
    }
    for ((class, key), fields) in &node.readable {
        let name = called(context, key);
        let pattern = crate::cache::class(class)
            .map_or_else(|| (*class).to_owned(), crate::cache::KeyClass::pattern);
        let mut finding = Finding::new(
            known("RD-09"),
            &node.name,
            format!("{} of {name}", pattern.replace("<tenant>", "‹id›")),
        );
        finding.to = vec![name];
        finding.evidence = format!("its value has in clear: {}", some(fields.iter().copied()));
        finding.remedy = vec![format!("lerianctl cache flush --tenant-id {key}")];
        part.findings.push(finding);
    }
}

/// Compares what lies in the cache with what the inventory says.
fn stale(node: &Node, context: &Context, part: &mut Part) {
    const ID: &str = "CF-17";
    if context
        .tenants
        .iter()
        .all(|tenant| tenant.places.is_empty())
    {
        return part.skip(ID, "the inventory leads no tenant to a database");
    }
    let mut whose: BTreeMap<_, Vec<&Tenant>> = BTreeMap::new();
    for tenant in &context.tenants {
        for (_, place) in &tenant.places {
            whose.entry(place.spot()).or_default().push(tenant);
        }
    }
    let mut compared = 0;
    for ((key, service), places) in &node.kept {
        let Some(tenant) = context.by_key(key) else {
            continue;
        };
        let own: Vec<&Place> = tenant
            .places
            .iter()
            .filter(|(of, _)| of == service || of.is_empty())
            .map(|(_, place)| place)
            .collect();
        for place in places {
            let there = whose.get(&place.spot()).map_or(&[][..], Vec::as_slice);
            let is_own = there.iter().any(|other| other.id == tenant.id);
            let foreign: Vec<String> = there
                .iter()
                .filter(|other| other.id != tenant.id)
                .map(|other| other.name.clone())
                .collect();
            if own.is_empty() && foreign.is_empty() {
                continue;
            }
            compared += 1;
            if own.contains(&place) {
                continue;
            }
            let object = format!("cached connections of {} for {service}", tenant.name);
            let mut finding = Finding::new(known(ID), &node.name, object);
            finding.to = vec![tenant.name.clone()];
            let address = format!("{}:{}, database {}", place.host, place.port, place.database);
            if !is_own && !foreign.is_empty() {
                finding.severity = Severity::Critical;
                finding.from = vec![tenant.name.clone()];
                finding.evidence = format!(
                    "they lead to {address}, which is that of {}",
                    some(foreign.iter())
                );
                finding.to = foreign;
            } else {
                let evidence = "which the Tenant Manager does not hand out for it now";
                finding.evidence = format!("they lead to {address} as {}, {evidence}", place.login);
            }
            finding.remedy = vec![format!("lerianctl cache flush --tenant-id {key}")];
            part.findings.push(finding);
        }
    }
    part.looked(ID, compared, compared);
}

/// Judges the ids of tenants, once for the deployment.
pub(super) fn ids(store: &str, context: &Context, part: &mut Part) {
    let count = context.tenants.len() as u64;
    part.looked("RD-10", count, count);
    let mut sorted: Vec<&Tenant> = context.tenants.iter().collect();
    sorted.sort_by(|a, b| a.id.cmp(&b.id));
    for tenant in &sorted {
        if tenant.key.is_none() {
            let mut finding = Finding::new(known("RD-10"), store, format!("id of {}", tenant.name));
            finding.from = vec![tenant.name.clone()];
            finding.to = everyone();
            finding.evidence = format!(
                "`{}` has characters that no id of a product may have",
                tenant.id
            );
            part.findings.push(finding);
        }
    }
    for (at, tenant) in sorted.iter().enumerate() {
        let longer: Vec<&str> = sorted[at + 1..]
            .iter()
            .take_while(|other| other.id.starts_with(&tenant.id))
            .filter(|other| other.id != tenant.id)
            .map(|other| other.name.as_str())
            .collect();
        if !longer.is_empty() {
            let mut finding = Finding::new(known("RD-10"), store, format!("id of {}", tenant.name));
            finding.from = vec![tenant.name.clone()];
            finding.evidence = format!(
                "`{}` is the beginning of the id of {}: `tenant:{}*` matches their keys",
                tenant.id,
                some(&longer),
                tenant.id
            );
            finding.to = owned(&longer);
            part.findings.push(finding);
        }
    }
}

fn version(node: &Node, context: &Context, part: &mut Part) {
    let (product, version) = node.version();
    if version.is_empty() {
        part.skip("RD-12", format!("{}: INFO may not be read", node.name));
        return;
    }
    let packaged = node
        .fact("executable")
        .is_some_and(|path| path.starts_with("/usr/bin/") || path.starts_with("/usr/sbin/"));
    let holes = versions::holes(product, &version, packaged);
    // Whoever may not run a script cannot use what is wrong with scripts.
    let runs_scripts = match (&node.users, &node.dry) {
        (Ok(users), Ok(dry)) => {
            let mut judged = context.judged(users, &node.me).peekable();
            judged.peek().is_none()
                || judged.any(|user| dry.get(&(user.name.clone(), About::Script)) == Some(&true))
        }
        _ => true,
    };
    match holes {
        Holes::None => part.looked("RD-12", 1, 1),
        Holes::Known(_) | Holes::Perhaps(_) if !runs_scripts => part.looked("RD-12", 1, 1),
        Holes::Perhaps(reason) => part.unclear("RD-12", format!("{}: {reason}", node.name)),
        Holes::Known(reason) => {
            part.looked("RD-12", 1, 1);
            let mut finding =
                Finding::new(known("RD-12"), &node.name, format!("{product} {version}"));
            finding.from = everyone();
            finding.to = everyone();
            finding.evidence = reason;
            part.findings.push(finding);
        }
    }
}

fn transport(node: &Node, part: &mut Part) {
    let mut wrong = Vec::new();
    if !node.tls && !node.local {
        wrong.push("lerianctl is told to reach it without TLS".to_owned());
    }
    let mut unread = None;
    match &node.config {
        Ok(config) => {
            let value = |name: &str| config.get(name).map_or("", String::as_str);
            let addresses: Vec<&str> = value("bind")
                .split_whitespace()
                .map(|address| address.trim_start_matches('-'))
                .collect();
            let loopback = |address: &&str| {
                address
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
            };
            let outside = addresses.is_empty() || !addresses.iter().all(loopback);
            if outside && !matches!(value("port"), "0" | "") {
                let everywhere = addresses.is_empty()
                    || addresses
                        .iter()
                        .any(|a| matches!(*a, "*" | "0.0.0.0" | "::" | "::*"));
                wrong.push(format!(
                    "port {} is in clear and listens on {}",
                    value("port"),
                    if everywhere {
                        "all addresses".to_owned()
                    } else {
                        addresses.join(" ")
                    }
                ));
            }
            if outside && value("protected-mode") == "no" && node.open == Ok(true) {
                wrong.push("protected mode is off, and no login is needed".into());
            }
        }
        Err(reason) => unread = Some(reason),
    }
    match (wrong.is_empty(), unread) {
        (true, Some(reason)) => part.unclear("RD-13", format!("{}: {reason}", node.name)),
        _ => part.looked("RD-13", 1, 1),
    }
    if !wrong.is_empty() {
        let mut finding = Finding::new(known("RD-13"), &node.name, "listener");
        finding.from = everyone();
        finding.to = everyone();
        finding.evidence = wrong.join("; ");
        part.findings.push(finding);
    }
}

fn eviction(node: &Node, context: &Context, part: &mut Part) {
    let Some(policy) = node.fact("maxmemory_policy") else {
        part.skip("RD-14", format!("{}: INFO may not be read", node.name));
        return;
    };
    let alive = |tenant: &&Tenant| tenant.status != "purged";
    if context.tenants.iter().filter(alive).count() < 2 {
        return;
    }
    part.looked("RD-14", 1, 1);
    if policy != "noeviction" {
        let mut finding = Finding::new(known("RD-14"), &node.name, "maxmemory-policy");
        finding.from = everyone();
        finding.to = everyone();
        finding.evidence = format!("it is {policy}");
        finding.remedy = vec![
            "redis-cli CONFIG SET maxmemory-policy noeviction".into(),
            "redis-cli CONFIG REWRITE".into(),
        ];
        part.findings.push(finding);
    }
}
