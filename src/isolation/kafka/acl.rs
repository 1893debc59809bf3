//! Access lists of Kafka, as `kafka-acls.sh --list` prints them.

use std::sync::LazyLock;

use regex::Regex;

/// Whether a name is whole, or the beginning of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The name itself; `*` is every name.
    Literal,
    /// Every name that begins so.
    Prefixed,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    pub(super) resource: String,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) principal: String,
    pub(super) host: String,
    pub(super) operation: String,
    pub(super) allows: bool,
}

static RESOURCE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^Current ACLs for resource `ResourcePattern\(resourceType=([A-Z_]+), name=(.*), patternType=([A-Z]+)\)`:",
    )
    .expect("the pattern is whole")
});
static RULE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^\(principal=(.*), host=([^,]*), operation=([A-Z_]+), permissionType=([A-Z]+)\)$")
        .expect("the pattern is whole")
});

/// Reads a list. What is no part of one, such as warnings of Java, is passed over; a list without a
/// single rule, and a rule that cannot be read, are errors, or silence would pass for safety.
pub fn parse(text: &str) -> Result<Vec<Acl>, String> {
    let mut found = Vec::new();
    let mut place = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        let wrong = || format!("line {} is not what `kafka-acls.sh --list` prints", at + 1);
        if line.starts_with("Current ACLs for resource") {
            let parts = RESOURCE.captures(line).ok_or_else(wrong)?;
            let kind = match &parts[3] {
                "LITERAL" => Kind::Literal,
                "PREFIXED" => Kind::Prefixed,
                _ => return Err(wrong()),
            };
            place = Some((parts[1].to_owned(), parts[2].to_owned(), kind));
        } else if line.starts_with("(principal=") {
            let parts = RULE.captures(line).ok_or_else(wrong)?;
            let (resource, name, kind) = place.clone().ok_or_else(wrong)?;
            found.push(Acl {
                resource,
                name,
                kind,
                principal: parts[1].to_owned(),
                host: parts[2].to_owned(),
                operation: parts[3].to_owned(),
                allows: match &parts[4] {
                    "ALLOW" => true,
                    "DENY" => false,
                    _ => return Err(wrong()),
                },
            });
        }
    }
    if found.is_empty() {
        return Err("it has no access rule; `kafka-acls.sh --list` prints them".into());
    }
    Ok(found)
}

impl Acl {
    /// Returns true when every name that `other` is about is one of this rule's too.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.resource == other.resource
            && match (self.kind, other.kind) {
                (Kind::Literal, _) if self.name == "*" => true,
                (Kind::Literal, Kind::Literal) => self.name == other.name,
                (Kind::Literal, Kind::Prefixed) => false,
                (Kind::Prefixed, Kind::Literal) if other.name == "*" => self.name.is_empty(),
                (Kind::Prefixed, _) => other.name.starts_with(&self.name),
            }
    }

    /// Returns true when it is about every name.
    pub(super) fn is_about_all(&self) -> bool {
        match self.kind {
            Kind::Literal => self.name == "*",
            Kind::Prefixed => self.name.is_empty(),
        }
    }

    /// Returns the names in words.
    pub(super) fn names(&self) -> String {
        match self.kind {
            _ if self.is_about_all() => "every name".to_owned(),
            Kind::Literal => format!("`{}`", self.name),
            Kind::Prefixed => format!("what begins with `{}`", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by Kafka 3.9.1 for rules that were made with its own tool.
    const PRINTED: &str = "\
SLF4J: Class path contains multiple SLF4J bindings.
Current ACLs for resource `ResourcePattern(resourceType=TOPIC, name=borealis., patternType=PREFIXED)`: 
 \t(principal=User:CN=borealis,OU=a, host=*, operation=ALL, permissionType=ALLOW) 

Current ACLs for resource `ResourcePattern(resourceType=GROUP, name=borealis(1), x, patternType=LITERAL)`: 
 \t(principal=User:CN=borealis,OU=a, host=*, operation=READ, permissionType=ALLOW) 

Current ACLs for resource `ResourcePattern(resourceType=TOPIC, name=aurora., patternType=PREFIXED)`: 
 \t(principal=User:ledger_aurora, host=*, operation=READ, permissionType=ALLOW)
\t(principal=User:ledger_aurora, host=10.0.0.1, operation=DESCRIBE, permissionType=DENY) 

";

    #[test]
    fn what_kafka_prints_is_read() {
        let list = parse(PRINTED).unwrap();
        assert_eq!(list.len(), 4);
        assert_eq!(list[0].principal, "User:CN=borealis,OU=a");
        assert_eq!(
            (list[1].resource.as_str(), list[1].name.as_str()),
            ("GROUP", "borealis(1), x")
        );
        assert_eq!((list[2].kind, list[2].allows), (Kind::Prefixed, true));
        assert_eq!((list[3].host.as_str(), list[3].allows), ("10.0.0.1", false));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            "",
            "Error while executing ACL command: Timed out\n",
            "(principal=User:a, host=*, operation=READ, permissionType=ALLOW)\n",
            "Current ACLs for resource `Topic:x`: \n",
            "Current ACLs for resource `ResourcePattern(resourceType=TOPIC, name=a, patternType=ANY)`: \n",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let cut = PRINTED.replace("permissionType=DENY)", "permission");
        assert!(
            parse(&cut).unwrap_err().contains("line 10"),
            "{:?}",
            parse(&cut)
        );
    }

    #[test]
    fn one_pattern_covers_another() {
        let acl = |name: &str, kind| Acl {
            resource: "TOPIC".into(),
            name: name.into(),
            kind,
            principal: String::new(),
            host: "*".into(),
            operation: "READ".into(),
            allows: true,
        };
        let literal = |name| acl(name, Kind::Literal);
        let prefixed = |name| acl(name, Kind::Prefixed);
        assert!(literal("*").covers(&prefixed("a")) && literal("*").covers(&literal("*")));
        assert!(prefixed("a").covers(&prefixed("ab")) && prefixed("a").covers(&literal("a")));
        assert!(prefixed("").covers(&literal("*")));
        for (one, other) in [
            (prefixed("ab"), prefixed("a")),
            (literal("a"), prefixed("a")),
            (literal("a"), literal("b")),
            (prefixed("a"), literal("*")),
        ] {
            assert!(!one.covers(&other), "{one:?} {other:?}");
        }
    }
}
