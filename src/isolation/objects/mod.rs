//! The check of object stores: whose objects lie where, and what policies open.
//!
//! No store is asked: buckets, prefixes, keys and policies are those of the inventory file.

mod policy;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::catalogue::known;
use super::inventory::{Inventory, Objects};
use super::model::{Check, Finding, Severity};
use super::part::Part;
use policy::{Allowed, Ask, allows};

const ID: &str = "OS-01";
/// What is done with an object.
const ACTIONS: [&str; 3] = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"];

/// Returns the ids that a breach is planted for in each run.
pub fn planted() -> BTreeSet<&'static str> {
    BTreeSet::from([ID])
}

/// Looks; `checks` are those that were asked for.
pub fn check(inventory: &Inventory, checks: &[&'static Check]) -> Part {
    let mut part = Part::default();
    if checks.is_empty() {
        return part;
    }
    if inventory.objects.is_empty() {
        part.skip_all(
            checks,
            "the inventory names no object store ([[object-store]])",
        );
        return part;
    }
    judge(&inventory.objects, &mut part);
    part.planted = BTreeMap::from([(ID, control())]);
    part
}

fn store(one: &Objects) -> String {
    one.endpoint.trim_end_matches('/').to_ascii_lowercase()
}

fn finding(one: &Objects, object: String, to: &BTreeSet<&str>, text: String) -> Finding {
    let mut finding = Finding::new(known(ID), store(one), object);
    finding.from = vec![one.tenant.clone()];
    finding.to = to.iter().map(|name| (*name).to_owned()).collect();
    finding.evidence = text;
    finding
}

fn judge(objects: &[Objects], part: &mut Part) {
    part.looked(ID, objects.len() as u64, objects.len() as u64);
    keys(objects, part);
    let mut buckets: BTreeMap<(String, &str), Vec<&Objects>> = BTreeMap::new();
    for one in objects {
        buckets
            .entry((store(one), one.bucket.as_str()))
            .or_default()
            .push(one);
    }
    for of in buckets.values() {
        for one in of {
            let others: Vec<&Objects> = of
                .iter()
                .copied()
                .filter(|o| o.tenant != one.tenant)
                .collect();
            prefixes(one, &others, part);
        }
    }
    let mut without = 0;
    for one in objects {
        let others: Vec<&Objects> = objects
            .iter()
            .filter(|o| o.tenant != one.tenant && store(o) == store(one))
            .collect();
        match &one.policy {
            Some(policy) => opened(one, policy, &others, part),
            None => without += 1,
        }
    }
    if without > 0 {
        part.gap(
            "policies of object stores",
            format!(
                "{without} of {} entries of the inventory name no policy-file",
                objects.len()
            ),
        );
    }
}

/// One key for two tenants.
fn keys(objects: &[Objects], part: &mut Part) {
    let mut keys: BTreeMap<(String, &str), (&Objects, BTreeSet<&str>)> = BTreeMap::new();
    for one in objects {
        if let Some(key) = &one.access_key {
            let of = keys
                .entry((store(one), key))
                .or_insert_with(|| (one, BTreeSet::new()));
            of.1.insert(&one.tenant);
        }
    }
    for ((_, key), (one, tenants)) in keys {
        if tenants.len() < 2 {
            continue;
        }
        let text = format!("{} tenants use it", tenants.len());
        let mut found = finding(one, format!("access key {key}"), &tenants, text);
        found.from.clone_from(&found.to);
        part.findings.push(found);
    }
}

/// A prefix that others' begin with.
fn prefixes(one: &Objects, others: &[&Objects], part: &mut Part) {
    let reached: BTreeSet<&str> = others
        .iter()
        .filter(|other| other.prefix.starts_with(&one.prefix))
        .map(|other| other.tenant.as_str())
        .collect();
    if reached.is_empty() {
        return;
    }
    let text = match one.prefix.as_str() {
        "" => "it has the whole bucket".to_owned(),
        prefix if prefix.ends_with('/') => format!("what others have begins with `{prefix}`"),
        prefix => format!("what others have begins with `{prefix}`, which does not end in a slash"),
    };
    let object = format!("prefix `{}` of bucket {}", one.prefix, one.bucket);
    let mut found = finding(one, object, &reached, text);
    if !one.prefix.is_empty() && !one.prefix.ends_with('/') {
        found.remedy = vec![format!("move its objects below `{}/`", one.prefix)];
    }
    part.findings.push(found);
}

/// What a policy opens of others.
fn opened(one: &Objects, policy: &serde_json::Value, others: &[&Objects], part: &mut Part) {
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut actions: BTreeSet<&str> = BTreeSet::new();
    let mut perhaps = false;
    for other in others {
        // What lies within its own prefix was told of already.
        if other.bucket == one.bucket && other.prefix.starts_with(&one.prefix) {
            continue;
        }
        let bucket = format!("arn:aws:s3:::{}", other.bucket);
        let object = format!("{bucket}/{}lerianctl-probe", other.prefix);
        let objects = ACTIONS.map(|action| Ask {
            action,
            resource: &object,
            prefix: None,
        });
        let list = Ask {
            action: "s3:ListBucket",
            resource: &bucket,
            prefix: Some(&other.prefix),
        };
        for ask in objects.into_iter().chain([list]) {
            match allows(policy, ask) {
                Allowed::Yes => {
                    reached.insert(&other.tenant);
                    actions.insert(ask.action);
                }
                Allowed::Perhaps => perhaps = true,
                Allowed::No => {}
            }
        }
    }
    if !reached.is_empty() {
        let actions: Vec<&str> = actions.into_iter().collect();
        let text = format!("it allows {} below others' prefixes", actions.join(", "));
        let object = format!("policy for `{}` of bucket {}", one.prefix, one.bucket);
        let mut found = finding(one, object, &reached, text);
        found.remedy = vec![
            json!({ "Resource": format!("arn:aws:s3:::{}/{}*", one.bucket, one.prefix) })
                .to_string(),
        ];
        part.findings.push(found);
    } else if perhaps {
        part.unclear(
            ID,
            format!(
                "the policy of {} depends on conditions or variables that are not known here",
                one.tenant
            ),
        );
    }
}

/// Plants a breach in places of nobody, and says whether it is found, and nothing where none is.
fn control() -> bool {
    let place = |tenant: &str, prefix: &str| Objects {
        tenant: format!("control_{tenant}"),
        endpoint: "https://s3.control.invalid".into(),
        bucket: "control".into(),
        prefix: prefix.into(),
        ..Objects::default()
    };
    let found = |objects: &[Objects]| {
        let mut part = Part::default();
        judge(objects, &mut part);
        part.findings.iter().any(|f| f.severity > Severity::Info)
    };
    let wide = json!({ "Statement": { "Effect": "Allow", "Action": "s3:*", "Resource": "*" } });
    let by_policy = Objects {
        policy: Some(wide),
        ..place("a", "a/")
    };
    found(&[place("a", "a"), place("b", "ab/")])
        && found(&[by_policy, place("b", "b/")])
        && !found(&[place("a", "a/"), place("b", "ab/")])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(tenant: &str, prefix: &str) -> Objects {
        Objects {
            tenant: tenant.into(),
            endpoint: "https://s3.example".into(),
            bucket: "reports".into(),
            prefix: prefix.into(),
            ..Objects::default()
        }
    }

    fn found(objects: &[Objects]) -> Vec<String> {
        let mut part = Part::default();
        judge(objects, &mut part);
        let of = part.findings.iter();
        of.map(|f| format!("{} -> {}", f.from.join(","), f.to.join(",")))
            .collect()
    }

    #[test]
    fn nested_and_shared_prefixes_name_who_reaches_whom() {
        assert_eq!(found(&[place("a", "acme/"), place("b", "acme2/")]), [""; 0]);
        assert_eq!(
            found(&[place("a", "acme"), place("b", "acme2/")]),
            ["a -> b"]
        );
        assert_eq!(
            found(&[place("a", ""), place("b", "b/"), place("c", "c/")]),
            ["a -> b,c"]
        );
        assert_eq!(
            found(&[place("a", "x/"), place("b", "x/")]),
            ["a -> b", "b -> a"]
        );
        // Another bucket, or another store, is another place; a tenant may nest its own.
        let other = Objects {
            bucket: "other".into(),
            ..place("b", "a/")
        };
        assert_eq!(found(&[place("a", "a/"), other]), [""; 0]);
        let far = Objects {
            endpoint: "https://other.example".into(),
            ..place("b", "a/")
        };
        assert_eq!(found(&[place("a", "a/"), far]), [""; 0]);
        assert_eq!(found(&[place("a", "a/"), place("a", "a/b/")]), [""; 0]);
        let slash = Objects {
            endpoint: "https://S3.example/".into(),
            ..place("b", "a/")
        };
        assert_eq!(found(&[place("a", "a/"), slash]).len(), 2);
    }

    #[test]
    fn keys_and_policies_are_looked_at() {
        let with_key = |tenant, prefix, key: &str| Objects {
            access_key: Some(key.into()),
            ..place(tenant, prefix)
        };
        let shared = [with_key("a", "a/", "AKIA1"), with_key("b", "b/", "AKIA1")];
        assert_eq!(found(&shared), ["a,b -> a,b"]);
        assert_eq!(
            found(&[with_key("a", "a/", "AKIA1"), with_key("b", "b/", "AKIA2")]),
            [""; 0]
        );
        let with_policy = |resource: &str| Objects {
            policy: Some(
                json!({ "Statement": [{ "Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": resource }] }),
            ),
            ..place("a", "a/")
        };
        assert_eq!(
            found(&[with_policy("arn:aws:s3:::reports/a/*"), place("b", "b/")]),
            [""; 0]
        );
        assert_eq!(
            found(&[with_policy("arn:aws:s3:::reports/*"), place("b", "b/")]),
            ["a -> b"]
        );
        assert_eq!(
            found(&[with_policy("arn:aws:s3:::*"), place("b", "b/")]),
            ["a -> b"]
        );
        // `a*` opens what begins so.
        assert_eq!(
            found(&[with_policy("arn:aws:s3:::reports/a*"), place("b", "ab/")]),
            ["a -> b"]
        );
        // What depends on a variable is neither found nor cleared.
        let mut part = Part::default();
        judge(
            &[
                with_policy("arn:aws:s3:::reports/${aws:username}/*"),
                place("b", "b/"),
            ],
            &mut part,
        );
        assert!(part.findings.is_empty() && !part.looked[ID].unclear.is_empty());
        assert!(control());
    }
}
