//! Concludes from what a broker answered. Pure: the control puts planted answers through it.

use std::collections::{BTreeMap, BTreeSet};

use regex::bytes::RegexBuilder;
use serde_json::Value;

use super::api::is_local;
use super::facts::{Broker, Context, Permission};
use super::ways;
use crate::isolation::catalogue::known;
use crate::isolation::model::{Finding, Severity, everyone, owned};
use crate::isolation::part::Part;
use crate::isolation::remedy::shell_word;

fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    names.join(", ")
}

/// Returns one name for a server that several names lead to, as far as that shows.
fn server(host: &str) -> String {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if is_local(&host) {
        "localhost".into()
    } else {
        host
    }
}

/// Judges what tenants are handed; no broker is asked.
pub(super) fn handed(context: &Context, part: &mut Part) {
    let mut places: BTreeMap<(String, u16, &str), BTreeSet<&str>> = BTreeMap::new();
    for one in &context.messaging {
        let place = (server(&one.host), one.port, one.vhost.as_str());
        places.entry(place).or_default().insert(&one.tenant);
    }
    part.looked("RQ-01", places.len() as u64, places.len() as u64);
    for ((host, port, vhost), tenants) in places {
        let plain = matches!(vhost, "" | "/");
        if tenants.len() < 2 && !plain {
            continue;
        }
        let mut finding = Finding::new(
            known("RQ-01"),
            format!("{host}:{port}"),
            format!("vhost {vhost}"),
        );
        finding.from = owned(tenants.iter().copied());
        finding.to.clone_from(&finding.from);
        finding.evidence = if tenants.len() > 1 {
            format!("{} are all led to it", listed(&finding.from))
        } else {
            finding.severity = Severity::High;
            "the tenant is led to the broker's own virtual host, or to none".into()
        };
        part.findings.push(finding);
    }
}

/// Judges a broker.
pub(super) fn broker(broker: &Broker, context: &Context, in_clear: bool, part: &mut Part) {
    permissions(broker, context, part);
    patterns(broker, context, part);
    tags(broker, context, part);
    default_user(broker, context, part);
    bridges(broker, context, part);
    tracing(broker, context, part);
    ways::judge(broker, context, part);
    limits(broker, context, part);
    transport(broker, context, in_clear, part);
    version(broker, context, part);
    orphans(broker, context, part);
}

/// Returns the tenants that a user belongs to, or else those whose hosts it may use.
fn permissions(broker: &Broker, context: &Context, part: &mut Part) {
    let mut by_user: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for one in &broker.permissions {
        if one.patterns().next().is_some() && !context.trusted.contains(&one.user) {
            by_user.entry(&one.user).or_default().insert(&one.vhost);
        }
    }
    let users = broker.users.len() as u64;
    part.looked("RQ-02", users, users);
    for (user, vhosts) in by_user {
        let own = context.of_user(user);
        let hosts: Vec<(&str, BTreeSet<&str>)> = vhosts
            .into_iter()
            .map(|vhost| (vhost, context.of_vhost(vhost)))
            .filter(|(_, tenants)| !tenants.is_empty())
            .collect();
        // A host that a user shares with its own tenants is theirs; sharing it is RQ-01's.
        let foreign: Vec<&(&str, BTreeSet<&str>)> = hosts
            .iter()
            .filter(|(_, tenants)| own.is_disjoint(tenants))
            .collect();
        let beyond = if own.is_empty() {
            hosts.len() > 1
        } else {
            !foreign.is_empty()
        };
        if !beyond {
            continue;
        }
        let mut finding = Finding::new(known("RQ-02"), &context.store, format!("user {user}"));
        finding.roles = vec![user.to_owned()];
        let reached: BTreeSet<&str> = foreign
            .iter()
            .flat_map(|(_, t)| t.iter().copied())
            .collect();
        finding.from = if own.is_empty() {
            owned(reached.iter().copied())
        } else {
            owned(own)
        };
        finding.to = owned(reached);
        let names: Vec<&str> = foreign.iter().map(|(vhost, _)| *vhost).collect();
        finding.evidence = format!("it has permissions on {}", listed(&names));
        finding.remedy = names
            .iter()
            .map(|vhost| {
                format!(
                    "rabbitmqctl clear_permissions -p {} {}",
                    shell_word(vhost),
                    shell_word(user)
                )
            })
            .collect();
        part.findings.push(finding);
    }
}

/// Returns whether a pattern matches, as the broker looks: anywhere in the name.
pub(super) fn fits(pattern: &str, name: &str) -> Option<bool> {
    let pattern = RegexBuilder::new(pattern)
        .unicode(false)
        .size_limit(1 << 20)
        .build()
        .ok()?;
    Some(pattern.is_match(name.as_bytes()))
}

/// Returns which tenants of a shared host a pattern of one of them opens, and what shows it.
fn opened<'a>(
    broker: &Broker,
    context: &'a Context,
    one: &Permission,
    own: &BTreeSet<&str>,
) -> Result<BTreeMap<&'a str, String>, String> {
    let mut found = BTreeMap::new();
    let others: Vec<&str> = context
        .of_vhost(&one.vhost)
        .into_iter()
        .filter(|tenant| !own.contains(tenant))
        .collect();
    let resources = broker.queues.iter().chain(&broker.exchanges);
    let there: Vec<&str> = resources
        .filter(|resource| resource.vhost == one.vhost && !resource.name.is_empty())
        .map(|resource| resource.name.as_str())
        .collect();
    for (what, pattern) in one.patterns() {
        for other in &others {
            let id = context
                .tenants
                .get(*other)
                .map_or("", |(id, _)| id.as_str());
            let possible = [format!("{other}.tx"), format!("{id}.tx")];
            let names = there
                .iter()
                .copied()
                .filter(|name| context.owner(name) == Some(other))
                .chain(possible.iter().map(String::as_str));
            for name in names {
                match fits(pattern, name) {
                    Some(true) => {
                        found
                            .entry(*other)
                            .or_insert_with(|| format!("{what} `{pattern}` matches `{name}`"));
                    }
                    Some(false) => {}
                    None => return Err(format!("`{pattern}` cannot be judged here")),
                }
            }
            if !pattern.starts_with('^') {
                found
                    .entry(*other)
                    .or_insert_with(|| format!("{what} `{pattern}` has no `^` before it"));
            }
        }
    }
    Ok(found)
}

/// Judges patterns of tenants' users in hosts that tenants share: RQ-03, RQ-12.
fn patterns(broker: &Broker, context: &Context, part: &mut Part) {
    for (id, permissions) in [("RQ-03", &broker.permissions), ("RQ-12", &broker.topics)] {
        let mut seen = 0;
        for one in permissions {
            let own = context.of_user(&one.user);
            if own.is_empty() || context.of_vhost(&one.vhost).len() < 2 {
                continue;
            }
            seen += 1;
            let found = match opened(broker, context, one, &own) {
                Ok(found) => found,
                Err(reason) => {
                    part.failed(id, format!("{}: {reason}", one.user));
                    continue;
                }
            };
            if found.is_empty() {
                continue;
            }
            let object = if id == "RQ-12" {
                format!(
                    "user {} on exchange {} of {}",
                    one.user, one.exchange, one.vhost
                )
            } else {
                format!("user {} in vhost {}", one.user, one.vhost)
            };
            let mut finding = Finding::new(known(id), &context.store, object);
            finding.roles = vec![one.user.clone()];
            finding.from = owned(own);
            finding.to = owned(found.keys().copied());
            finding.evidence = found.into_values().next().unwrap_or_default();
            part.findings.push(finding);
        }
        part.looked(id, seen, seen);
    }
}

fn tags(broker: &Broker, context: &Context, part: &mut Part) {
    let mut seen = 0;
    for user in &broker.users {
        let own = context.of_user(&user.name);
        if own.is_empty() {
            continue;
        }
        seen += 1;
        let tags: Vec<String> = user
            .tags()
            .into_iter()
            .filter(|tag| {
                matches!(
                    tag.as_str(),
                    "administrator" | "policymaker" | "monitoring" | "management" | "impersonator"
                )
            })
            .collect();
        if tags.is_empty() {
            continue;
        }
        let mut finding = Finding::new(
            known("RQ-04"),
            &context.store,
            format!("user {}", user.name),
        );
        if !tags.iter().any(|tag| tag == "administrator") {
            finding.severity = Severity::High;
        }
        finding.roles = vec![user.name.clone()];
        finding.from = owned(own);
        finding.to = everyone();
        finding.evidence = format!("it has the tags {}", listed(&tags));
        finding.remedy = vec![format!(
            "rabbitmqctl set_user_tags {}",
            shell_word(&user.name)
        )];
        part.findings.push(finding);
    }
    part.looked("RQ-04", seen, seen);
}

fn default_user(broker: &Broker, context: &Context, part: &mut Part) {
    part.looked("RQ-05", 1, 1);
    if broker.users.iter().any(|user| user.name == "guest") {
        let mut finding = Finding::new(known("RQ-05"), &context.store, "user guest");
        finding.from = everyone();
        finding.to = everyone();
        finding.roles = vec!["guest".into()];
        let hosts: Vec<&str> = broker
            .permissions
            .iter()
            .filter(|one| one.user == "guest")
            .map(|one| one.vhost.as_str())
            .collect();
        finding.evidence = format!("it exists, with permissions on {}", listed(&hosts));
        finding.remedy = vec!["rabbitmqctl delete_user guest".into()];
        part.findings.push(finding);
    }
}

/// Returns the virtual host of an AMQP address, and whether it has a password.
fn vhost_of(uri: &str) -> Option<(String, bool)> {
    let url = url::Url::parse(uri).ok()?;
    // AMQP 1.0 has no path for it.
    let named = url.query_pairs().find_map(|(name, value)| {
        let vhost = value.strip_prefix("vhost:")?;
        (name == "hostname").then(|| vhost.to_owned())
    });
    if let Some(vhost) = named {
        return Some((vhost, url.password().is_some()));
    }
    let path = url.path().strip_prefix('/').unwrap_or_default();
    let vhost = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let vhost = if url.path().is_empty() {
        "/".into()
    } else {
        vhost
    };
    Some((vhost.into_owned(), url.password().is_some()))
}

fn bridges(broker: &Broker, context: &Context, part: &mut Part) {
    part.looked("RQ-06", 1, 1);
    let is_bridge = |component: &str| matches!(component, "shovel" | "federation-upstream");
    for one in broker
        .parameters
        .iter()
        .filter(|one| is_bridge(&one.component))
    {
        let mut hosts: BTreeSet<String> = BTreeSet::from([one.vhost.clone()]);
        let mut passwords = false;
        for key in ["uri", "src-uri", "dest-uri"] {
            let uris: Vec<&str> = match one.value.get(key) {
                Some(Value::String(uri)) => vec![uri],
                Some(Value::Array(uris)) => uris.iter().filter_map(Value::as_str).collect(),
                _ => continue,
            };
            for (vhost, password) in uris.into_iter().filter_map(vhost_of) {
                hosts.insert(vhost);
                passwords |= password;
            }
        }
        let tenants: BTreeSet<&str> = hosts
            .iter()
            .flat_map(|host| context.of_vhost(host))
            .collect();
        if tenants.len() < 2 && !passwords {
            continue;
        }
        let mut finding = Finding::new(
            known("RQ-06"),
            &context.store,
            format!("{} {} in vhost {}", one.component, one.name, one.vhost),
        );
        let mut evidence = Vec::new();
        if tenants.len() > 1 {
            let hosts: Vec<&String> = hosts.iter().collect();
            evidence.push(format!("it joins {}", listed(&hosts)));
        } else {
            finding.severity = Severity::High;
        }
        if passwords {
            evidence.push("its address has a password in clear".to_owned());
        }
        finding.from = owned(tenants);
        finding.to.clone_from(&finding.from);
        finding.evidence = evidence.join("; ");
        finding.remedy = vec![format!(
            "rabbitmqctl clear_parameter -p {} {} {}",
            shell_word(&one.vhost),
            one.component,
            shell_word(&one.name)
        )];
        part.findings.push(finding);
    }
}

fn tracing(broker: &Broker, context: &Context, part: &mut Part) {
    let count = broker.vhosts.len() as u64;
    part.looked("RQ-07", count, count);
    for vhost in broker.vhosts.iter().filter(|vhost| vhost.tracing) {
        let mut finding = Finding::new(
            known("RQ-07"),
            &context.store,
            format!("vhost {}", vhost.name),
        );
        finding.to = owned(context.of_vhost(&vhost.name));
        finding.evidence =
            "the firehose is on: every message is copied to amq.rabbitmq.trace".into();
        finding.remedy = vec![format!(
            "rabbitmqctl trace_off -p {}",
            shell_word(&vhost.name)
        )];
        part.findings.push(finding);
    }
}

fn limits(broker: &Broker, context: &Context, part: &mut Part) {
    let hosts: BTreeSet<&str> = context
        .messaging
        .iter()
        .map(|one| one.vhost.as_str())
        .filter(|name| broker.vhosts.iter().any(|vhost| vhost.name == *name))
        .collect();
    part.looked("RQ-09", hosts.len() as u64, hosts.len() as u64);
    for vhost in hosts {
        let set = |name: &str| {
            broker.limits.iter().any(|one| {
                let value = one.value.get(name).and_then(Value::as_i64);
                one.vhost == vhost && value.is_some_and(|limit| limit >= 0)
            })
        };
        let missing: Vec<&str> = ["max-connections", "max-queues"]
            .into_iter()
            .filter(|name| !set(name))
            .collect();
        if missing.is_empty() {
            continue;
        }
        let mut finding = Finding::new(known("RQ-09"), &context.store, format!("vhost {vhost}"));
        finding.from = owned(context.of_vhost(vhost));
        finding.to = everyone();
        finding.evidence = format!("it has no {}", listed(&missing));
        finding.remedy = vec![format!(
            "rabbitmqctl set_vhost_limits -p {} '{{\"max-connections\": 200, \"max-queues\": 100}}'",
            shell_word(vhost)
        )];
        part.findings.push(finding);
    }
}

fn transport(broker: &Broker, context: &Context, in_clear: bool, part: &mut Part) {
    part.looked("RQ-11", 1, 1);
    let mut wrong: Vec<String> = broker
        .overview
        .listeners
        .iter()
        .filter(|listener| {
            matches!(
                listener.protocol.as_str(),
                "amqp" | "mqtt" | "stomp" | "stream"
            )
        })
        .filter(|listener| !is_local(&listener.ip_address))
        .map(|listener| {
            format!(
                "{} listens in clear on {} port {}",
                listener.protocol, listener.ip_address, listener.port
            )
        })
        .collect();
    if in_clear {
        wrong.push("lerianctl is told to reach the management interface without TLS".into());
    }
    let told: BTreeSet<&str> = context
        .messaging
        .iter()
        .filter(|one| !one.tls && !is_local(&one.host))
        .map(|one| one.tenant.as_str())
        .collect();
    if !told.is_empty() {
        wrong.push(format!("{} products are told no TLS", told.len()));
    }
    if wrong.is_empty() {
        return;
    }
    let mut finding = Finding::new(known("RQ-11"), &context.store, "listeners");
    finding.from = everyone();
    finding.to = everyone();
    finding.evidence = wrong.join("; ");
    part.findings.push(finding);
}

fn version(broker: &Broker, context: &Context, part: &mut Part) {
    let version = &broker.overview.rabbitmq_version;
    let mut parts = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    let of = (next(), next(), next());
    if of >= (4, 2, 6) {
        part.looked("RQ-13", 1, 1);
    } else if (of.0, of.1) == (4, 2) {
        part.looked("RQ-13", 1, 1);
        let mut finding = Finding::new(
            known("RQ-13"),
            &context.store,
            format!("RabbitMQ {version}"),
        );
        finding.from = everyone();
        finding.to = everyone();
        finding.evidence = "it is older than 4.2.6, which has the fix of CVE-2026-66076".into();
        part.findings.push(finding);
    } else {
        let reason = format!(
            "RabbitMQ {version}: its branch has no fix of CVE-2026-66076 upstream; whether a distribution's package carries one cannot be seen"
        );
        part.unclear("RQ-13", reason);
    }
}

fn orphans(broker: &Broker, context: &Context, part: &mut Part) {
    let places = (broker.vhosts.len() + broker.users.len()) as u64;
    part.looked("RQ-14", places, places);
    let mut add = |object: String, to: Vec<String>, evidence: String, remedy: Vec<String>| {
        let mut finding = Finding::new(known("RQ-14"), &context.store, object);
        finding.to = to;
        finding.evidence = evidence;
        finding.remedy = remedy;
        part.findings.push(finding);
    };
    let mut strange = 0;
    for vhost in broker.vhosts.iter().filter(|vhost| vhost.name != "/") {
        let tenants = context.of_vhost(&vhost.name);
        let messages: u64 = broker
            .queues
            .iter()
            .filter(|queue| queue.vhost == vhost.name)
            .map(|queue| queue.messages)
            .sum();
        let purged = |tenant: &&str| {
            context
                .tenants
                .get(*tenant)
                .is_some_and(|(_, status)| status == "purged")
        };
        if tenants.is_empty() && context.complete {
            add(
                format!("vhost {}", vhost.name),
                Vec::new(),
                format!("no tenant of the inventory has it; its queues hold {messages} messages"),
                vec![format!(
                    "rabbitmqctl list_queues -p {} name messages",
                    shell_word(&vhost.name)
                )],
            );
        } else if tenants.is_empty() {
            strange += 1;
        } else if tenants.iter().all(purged) {
            add(
                format!("vhost {}", vhost.name),
                owned(tenants),
                format!("its tenant is purged; its queues hold {messages} messages"),
                vec![format!(
                    "rabbitmqctl list_queues -p {} name messages",
                    shell_word(&vhost.name)
                )],
            );
        }
    }
    for user in &broker.users {
        let known = context.trusted.contains(&user.name)
            || user.name == "guest"
            || !context.of_user(&user.name).is_empty();
        let on_tenants = broker
            .permissions
            .iter()
            .any(|one| one.user == user.name && !context.of_vhost(&one.vhost).is_empty());
        if known || on_tenants {
            continue;
        }
        if context.complete {
            add(
                format!("user {}", user.name),
                Vec::new(),
                "no tenant of the inventory has it".into(),
                vec![format!(
                    "rabbitmqctl delete_user {}",
                    shell_word(&user.name)
                )],
            );
        } else {
            strange += 1;
        }
    }
    if strange > 0 {
        part.unclear(
            "RQ-14",
            format!("the inventory does not have every tenant, and does not know {strange} virtual hosts and users"),
        );
    }
}
