//! Concludes from who has which principal, and from the access lists. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::acl::{Acl, Kind};
use crate::isolation::catalogue::known;
use crate::isolation::inventory::Streaming;
use crate::isolation::model::{Finding, everyone, owned};
use crate::isolation::part::Part;
use crate::isolation::redis::holds_word;
use crate::isolation::remedy::shell_word;

/// Place of findings that a list tells of.
const STORE: &str = "Kafka";
/// Operations that read or change what is in a topic, or act as a group.
const REACHES: [&str; 7] = [
    "ALL",
    "ALTER",
    "ALTER_CONFIGS",
    "CREATE",
    "DELETE",
    "READ",
    "WRITE",
];
/// Operations on the cluster that reach every tenant.
const OF_CLUSTER: [&str; 5] = ["ALL", "ALTER", "ALTER_CONFIGS", "CLUSTER_ACTION", "CREATE"];

/// The command that takes a rule back.
fn removal(acl: &Acl) -> String {
    let place = match acl.resource.as_str() {
        "CLUSTER" => "--cluster".to_owned(),
        "GROUP" => format!("--group {}", shell_word(&acl.name)),
        "TRANSACTIONAL_ID" => format!("--transactional-id {}", shell_word(&acl.name)),
        "DELEGATION_TOKEN" => format!("--delegation-token {}", shell_word(&acl.name)),
        "USER" => format!("--user-principal {}", shell_word(&acl.name)),
        _ => format!("--topic {}", shell_word(&acl.name)),
    };
    let kind = match acl.kind {
        Kind::Literal => "",
        Kind::Prefixed => " --resource-pattern-type prefixed",
    };
    let operation: String = acl
        .operation
        .split('_')
        .map(|word| word[..1].to_owned() + &word[1..].to_lowercase())
        .collect();
    format!(
        "kafka-acls.sh --bootstrap-server HOST:9092 --remove --allow-principal {} --allow-host {} --operation {operation} {place}{kind}",
        shell_word(&acl.principal),
        shell_word(&acl.host)
    )
}

/// Judges who logs in as whom; no broker and no list is asked.
pub(super) fn handed(streaming: &[Streaming], part: &mut Part) {
    let mut logins: BTreeMap<(String, &str), BTreeSet<&str>> = BTreeMap::new();
    for one in streaming.iter().filter(|one| !one.username.is_empty()) {
        for broker in &one.brokers {
            let login = (broker.to_ascii_lowercase(), one.username.as_str());
            logins.entry(login).or_default().insert(&one.tenant);
        }
    }
    part.looked("OS-03", logins.len() as u64, logins.len() as u64);
    let mut told = BTreeSet::new();
    for ((broker, user), tenants) in logins {
        // Said once for a cluster of several brokers.
        if tenants.len() < 2 || !told.insert((user, tenants.clone())) {
            continue;
        }
        let mut finding = Finding::new(known("OS-03"), broker, format!("principal User:{user}"));
        finding.from = owned(tenants);
        finding.to.clone_from(&finding.from);
        finding.roles = vec![user.to_owned()];
        finding.evidence = format!("{} log in as it", finding.from.join(", "));
        part.findings.push(finding);
    }
}

/// Returns the rules that allow something that reaches, and that no rule forbids as a whole.
fn effective<'a>(acls: &'a [Acl], principal: &str) -> Vec<&'a Acl> {
    let is_for = |acl: &&Acl| acl.principal == principal || acl.principal == "User:*";
    let denied = |allowed: &Acl| {
        acls.iter().filter(is_for).any(|acl| {
            !acl.allows
                && acl.host == "*"
                && (acl.operation == "ALL" || acl.operation == allowed.operation)
                && acl.covers(allowed)
        })
    };
    acls.iter()
        .filter(is_for)
        .filter(|acl| acl.allows && !denied(acl))
        .collect()
}

/// Judges the lists.
///
/// `ids` has the id of each tenant that has one besides its name.
pub(super) fn lists(
    acls: &[Acl],
    streaming: &[Streaming],
    ids: &BTreeMap<String, String>,
    part: &mut Part,
) {
    let mut tenants: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for one in streaming.iter().filter(|one| !one.username.is_empty()) {
        let principal = format!("User:{}", one.username);
        tenants.entry(principal).or_default().insert(&one.tenant);
    }
    for id in ["OS-03", "OS-04"] {
        part.looked(id, acls.len() as u64, acls.len() as u64);
    }
    anybody(acls, part);
    let rights: Vec<(&String, &BTreeSet<&str>, Vec<&Acl>)> = tenants
        .iter()
        .map(|(principal, of)| (principal, of, effective(acls, principal)))
        .collect();
    for (principal, of, allowed) in &rights {
        for acl in allowed.iter().filter(|acl| acl.principal == **principal) {
            beyond(acl, of, part);
        }
        overlaps(principal, of, allowed, &rights, ids, part);
    }
}

fn finding(
    id: &'static str,
    acl: &Acl,
    from: &BTreeSet<&str>,
    to: Vec<String>,
    text: String,
) -> Finding {
    let what = acl.resource.to_lowercase().replace('_', " ");
    let object = format!("{} on {what} {}", acl.principal, acl.names());
    let mut finding = Finding::new(known(id), STORE, object);
    finding.from = owned(from.iter().copied());
    finding.to = to;
    finding.roles = vec![acl.principal.clone()];
    finding.evidence = text;
    finding.remedy = vec![removal(acl)];
    finding
}

/// The check of a kind of resource.
fn check_of(resource: &str) -> &'static str {
    if matches!(resource, "GROUP" | "TRANSACTIONAL_ID") {
        "OS-04"
    } else {
        "OS-03"
    }
}

/// Rules for whoever logs in.
fn anybody(acls: &[Acl], part: &mut Part) {
    for acl in effective(acls, "User:*") {
        if acl.principal != "User:*" || !REACHES.contains(&acl.operation.as_str()) {
            continue;
        }
        let text = format!("{} is allowed to whoever logs in", acl.operation);
        let mut found = finding(
            check_of(&acl.resource),
            acl,
            &BTreeSet::new(),
            everyone(),
            text,
        );
        found.from = everyone();
        part.findings.push(found);
    }
}

/// Rules of a tenant about every name, about the cluster, and about others' tokens.
fn beyond(acl: &Acl, of: &BTreeSet<&str>, part: &mut Part) {
    let operation = acl.operation.as_str();
    let reaches = match acl.resource.as_str() {
        "CLUSTER" => OF_CLUSTER.contains(&operation),
        "USER" => matches!(operation, "ALL" | "CREATE_TOKENS"),
        "DELEGATION_TOKEN" => false,
        _ => acl.is_about_all() && REACHES.contains(&operation),
    };
    if reaches {
        let text = format!("{operation} is allowed on {}", acl.names());
        let id = check_of(&acl.resource);
        part.findings.push(finding(id, acl, of, everyone(), text));
    }
}

/// Rules of a tenant that cover what another tenant's are about.
fn overlaps(
    principal: &str,
    of: &BTreeSet<&str>,
    allowed: &[&Acl],
    rights: &[(&String, &BTreeSet<&str>, Vec<&Acl>)],
    ids: &BTreeMap<String, String>,
    part: &mut Part,
) {
    let is_named = |acl: &Acl, tenant: &str| {
        let id = ids.get(tenant).map_or(tenant, String::as_str);
        holds_word(&acl.name, tenant) || holds_word(&acl.name, id)
    };
    let own = |acl: &&&Acl| {
        acl.principal == principal
            && !acl.is_about_all()
            && REACHES.contains(&acl.operation.as_str())
            && matches!(
                acl.resource.as_str(),
                "TOPIC" | "GROUP" | "TRANSACTIONAL_ID"
            )
    };
    for acl in allowed.iter().filter(own) {
        let mut reached: BTreeMap<&str, &Acl> = BTreeMap::new();
        for (other, tenants, theirs) in rights {
            if other.as_str() == principal {
                continue;
            }
            let own = theirs
                .iter()
                .filter(|a| a.principal == **other && !a.is_about_all());
            for their in own {
                for tenant in tenants.iter().filter(|tenant| !of.contains(*tenant)) {
                    // What bears a tenant's name is that tenant's, whoever else has it.
                    let is_own = of.iter().any(|own| is_named(their, own));
                    if acl.covers(their) && !is_own || their.covers(acl) && is_named(acl, tenant) {
                        reached.entry(tenant).or_insert(their);
                    }
                }
            }
        }
        let Some(their) = reached.values().next() else {
            continue;
        };
        let text = format!(
            "{} is allowed on {}, which {} has too",
            acl.operation,
            acl.names(),
            if their.names() == acl.names() {
                their.principal.clone()
            } else {
                format!("{} of {}", their.names(), their.principal)
            }
        );
        let to = owned(reached.keys().copied());
        part.findings
            .push(finding(check_of(&acl.resource), acl, of, to, text));
    }
}
