//! The checks of Kafka: principals and access lists.
//!
//! No broker is asked: principals are those of the connections that tenants are handed, and the
//! lists those that Kafka's own `kafka-acls.sh --list` prints.

mod acl;
mod judge;

use std::collections::{BTreeMap, BTreeSet};

pub use acl::{Acl, parse};

use super::inventory::{Inventory, Streaming};
use super::model::Check;
use super::part::Part;

/// How Kafka is looked at.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Access lists, when they were given.
    pub acls: Option<Vec<Acl>>,
}

/// Returns the ids that a breach is planted for in each run.
pub fn planted() -> BTreeSet<&'static str> {
    PLANTS.iter().map(|(id, _)| *id).collect()
}

/// Looks; `checks` are those that were asked for.
pub fn check(inventory: &Inventory, options: &Options, checks: &[&'static Check]) -> Part {
    let mut part = Part::default();
    if checks.is_empty() {
        return part;
    }
    if inventory.streaming.is_empty() {
        part.skip_all(checks, "no tenant is led to a Kafka");
        return part;
    }
    judge::handed(&inventory.streaming, &mut part);
    match &options.acls {
        Some(acls) => {
            let records = inventory.everyone().into_iter();
            let ids = records.map(|record| (record.tenant, record.id)).collect();
            judge::lists(acls, &inventory.streaming, &ids, &mut part);
            part.gap(
                "the brokers' own settings of Kafka",
                "super.users and allow.everyone.if.no.acl.found are not in its access lists; nor is what a broker does with them tried",
            );
        }
        None => part.skip_all(checks, "no access lists were given (--kafka-acls-file)"),
    }
    part.planted = control();
    let asked: BTreeSet<&str> = checks.iter().map(|check| check.id).collect();
    part.findings
        .retain(|finding| asked.contains(finding.check.as_str()));
    part.looked.retain(|id, _| asked.contains(id));
    part.planted.retain(|id, _| asked.contains(id));
    part
}

fn streaming(tenant: &str) -> Streaming {
    Streaming {
        tenant: format!("control_{tenant}"),
        brokers: vec!["127.0.0.1:9092".into()],
        username: format!("ledger_control_{tenant}"),
    }
}

/// What a list has where nothing is wrong.
const CLEAN: &str = "\
Current ACLs for resource `ResourcePattern(resourceType=TOPIC, name=control_a., patternType=PREFIXED)`:
(principal=User:ledger_control_a, host=*, operation=READ, permissionType=ALLOW)
Current ACLs for resource `ResourcePattern(resourceType=TOPIC, name=control_b., patternType=PREFIXED)`:
(principal=User:ledger_control_b, host=*, operation=READ, permissionType=ALLOW)
Current ACLs for resource `ResourcePattern(resourceType=GROUP, name=control_b., patternType=PREFIXED)`:
(principal=User:ledger_control_b, host=*, operation=READ, permissionType=ALLOW)
";

/// A breach for each check.
const PLANTS: &[(&str, &str)] = &[
    (
        "OS-03",
        "Current ACLs for resource `ResourcePattern(resourceType=TOPIC, name=control, patternType=PREFIXED)`:
(principal=User:ledger_control_a, host=*, operation=READ, permissionType=ALLOW)
",
    ),
    (
        "OS-04",
        "Current ACLs for resource `ResourcePattern(resourceType=GROUP, name=control_b.x, patternType=LITERAL)`:
(principal=User:ledger_control_a, host=*, operation=READ, permissionType=ALLOW)
",
    ),
];

/// Plants each breach in a list of its own, and says which checks found theirs.
fn control() -> BTreeMap<&'static str, bool> {
    let tenants = [streaming("a"), streaming("b")];
    let judged = |text: &str| {
        let mut part = Part::default();
        if let Ok(acls) = parse(text) {
            judge::lists(&acls, &tenants, &BTreeMap::new(), &mut part);
        }
        part
    };
    let clean = judged(CLEAN);
    PLANTS
        .iter()
        .map(|(id, more)| {
            let found = judged(&format!("{CLEAN}{more}")).refutes(id);
            (*id, found && clean.findings.is_empty())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolation::catalogue;
    use crate::isolation::model::Family;

    type Found = BTreeSet<(String, String, String)>;

    /// Judges the clean list with `rules` besides, each `resource kind name principal operation`.
    fn found(rules: &[&str]) -> Found {
        let mut text = CLEAN.to_owned();
        for rule in rules {
            let parts: Vec<&str> = rule.split(' ').collect();
            let [resource, kind, name, principal, operation, permission] = parts[..] else {
                panic!("{rule}")
            };
            let rule = format!(
                "Current ACLs for resource `ResourcePattern(resourceType={resource}, name={name}, patternType={kind})`:\n\
                 (principal=User:{principal}, host=*, operation={operation}, permissionType={permission})\n"
            );
            text.push_str(&rule);
        }
        let mut part = Part::default();
        let tenants = [streaming("a"), streaming("b")];
        judge::lists(
            &parse(&text).unwrap(),
            &tenants,
            &BTreeMap::new(),
            &mut part,
        );
        let of = part.findings.iter();
        of.map(|f| (f.check.clone(), f.from.join(","), f.to.join(",")))
            .collect()
    }

    fn one(id: &str, from: &str, to: &str) -> Found {
        BTreeSet::from([(id.to_owned(), from.to_owned(), to.to_owned())])
    }

    #[test]
    fn every_way_to_others_is_found_and_nothing_else() {
        let (a, b) = ("control_a", "control_b");
        for (rule, wanted) in [
            (
                "TOPIC PREFIXED control ledger_control_a READ ALLOW",
                one("OS-03", a, b),
            ),
            (
                "TOPIC PREFIXED control_b. ledger_control_a WRITE ALLOW",
                one("OS-03", a, b),
            ),
            (
                "TOPIC LITERAL * ledger_control_a READ ALLOW",
                one("OS-03", a, "*"),
            ),
            (
                "TOPIC PREFIXED  ledger_control_a ALL ALLOW",
                one("OS-03", a, "*"),
            ),
            ("TOPIC LITERAL * * READ ALLOW", one("OS-03", "*", "*")),
            (
                "CLUSTER LITERAL kafka-cluster ledger_control_a ALTER_CONFIGS ALLOW",
                one("OS-03", a, "*"),
            ),
            (
                "USER LITERAL User:x ledger_control_a CREATE_TOKENS ALLOW",
                one("OS-03", a, "*"),
            ),
            (
                "GROUP PREFIXED control ledger_control_a READ ALLOW",
                one("OS-04", a, b),
            ),
            (
                "GROUP LITERAL control_b.x ledger_control_a READ ALLOW",
                one("OS-04", a, b),
            ),
            (
                "GROUP LITERAL * ledger_control_a READ ALLOW",
                one("OS-04", a, "*"),
            ),
            (
                "TRANSACTIONAL_ID LITERAL * ledger_control_a WRITE ALLOW",
                one("OS-04", a, "*"),
            ),
        ] {
            assert_eq!(found(&[rule]), wanted, "{rule}");
        }
        // What looks like it and reaches nobody.
        for rule in [
            "TOPIC LITERAL * ledger_control_a DESCRIBE ALLOW",
            "TOPIC LITERAL * * READ DENY",
            "CLUSTER LITERAL kafka-cluster ledger_control_a IDEMPOTENT_WRITE ALLOW",
            "CLUSTER LITERAL kafka-cluster ledger_control_a DESCRIBE ALLOW",
            "TOPIC PREFIXED control_a.x ledger_control_a WRITE ALLOW",
            "TOPIC LITERAL * somebody_else READ ALLOW",
            "GROUP LITERAL control_b ledger_control_a READ ALLOW",
        ] {
            assert_eq!(found(&[rule]), BTreeSet::new(), "{rule}");
        }
        // A rule that forbids as much takes it back, one that forbids less does not.
        let wide = "TOPIC PREFIXED control ledger_control_a READ ALLOW";
        let no = "TOPIC PREFIXED cont ledger_control_a ALL DENY";
        let less = "TOPIC PREFIXED control_b.x ledger_control_a READ DENY";
        assert_eq!(found(&[wide, no]), BTreeSet::new());
        assert_eq!(found(&[wide, less]), one("OS-03", a, b));
    }

    #[test]
    fn every_check_has_a_breach_that_is_found() {
        let all: BTreeSet<&str> = catalogue::of(Family::Kafka).map(|c| c.id).collect();
        assert_eq!(planted(), all);
        assert!(control().values().all(|found| *found), "{:?}", control());
    }

    #[test]
    fn one_login_for_two_tenants_is_found_without_a_list() {
        let mut tenants = vec![streaming("a"), streaming("b")];
        let mut part = Part::default();
        judge::handed(&tenants, &mut part);
        assert_eq!(part.findings, []);
        let shared = tenants[0].username.clone();
        tenants[1].username = shared;
        tenants[1].brokers.push("other:9092".into());
        judge::handed(&tenants, &mut part);
        assert_eq!(part.findings.len(), 1, "{:#?}", part.findings);
        assert_eq!(part.findings[0].from, ["control_a", "control_b"]);
    }
}
