//! Policies of IAM, as far as they say whose objects somebody reaches.
//!
//! The rules are those of the [reference of policy elements][iam]: what is not allowed is refused, and
//! what is denied stays denied.
//!
//! [iam]: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html

use serde_json::Value;

/// Whether a policy allows something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    /// No statement allows it, or one denies it.
    No,
    /// It is allowed.
    Yes,
    /// It depends on a condition or a variable that is not known here.
    Perhaps,
}

/// What is asked of a policy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) action: &'static str,
    pub(super) resource: &'a str,
    /// Prefix that is listed, of `s3:ListBucket`.
    pub(super) prefix: Option<&'a str>,
}

/// Returns true when `pattern`, with `*` and `?`, is `text` as a whole.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                p = at + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Returns the texts of an element, which may stand alone or in a list.
fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Says whether an element, or its opposite, is about `text`.
fn is_about(statement: &Value, name: &str, text: &str, folds: bool) -> Allowed {
    let fold = |word: &str| {
        if folds {
            word.to_ascii_lowercase()
        } else {
            word.to_owned()
        }
    };
    let text = fold(text);
    let not = format!("Not{name}");
    let any = |patterns: &[&str]| {
        if patterns.iter().any(|pattern| fits(&fold(pattern), &text)) {
            Allowed::Yes
        } else if patterns.iter().any(|pattern| pattern.contains("${")) {
            // A variable may stand for anything.
            Allowed::Perhaps
        } else {
            Allowed::No
        }
    };
    if statement.get(name).is_some() {
        any(&texts(statement.get(name)))
    } else if statement.get(&not).is_some() {
        match any(&texts(statement.get(&not))) {
            Allowed::Yes => Allowed::No,
            Allowed::No => Allowed::Yes,
            Allowed::Perhaps => Allowed::Perhaps,
        }
    } else {
        // A policy of a user has a resource; one without is not narrowed.
        Allowed::Yes
    }
}

/// Says whether the conditions hold for what is asked.
fn holds(statement: &Value, ask: Ask<'_>) -> Allowed {
    let Some(conditions) = statement.get("Condition").and_then(Value::as_object) else {
        return Allowed::Yes;
    };
    let mut whole = Allowed::Yes;
    for (operator, keys) in conditions {
        let keys = keys.as_object().into_iter().flatten();
        for (key, values) in keys {
            let prefix = key.eq_ignore_ascii_case("s3:prefix").then_some(ask.prefix);
            let values = texts(Some(values));
            let plain = !values.iter().any(|value| value.contains("${"));
            let one = match (operator.as_str(), prefix.flatten()) {
                ("StringLike" | "StringLikeIfExists", Some(prefix)) if plain => {
                    values.iter().any(|value| fits(value, prefix))
                }
                ("StringEquals" | "StringEqualsIfExists", Some(prefix)) if plain => {
                    values.contains(&prefix)
                }
                ("StringNotLike", Some(prefix)) if plain => {
                    !values.iter().any(|value| fits(value, prefix))
                }
                ("StringNotEquals", Some(prefix)) if plain => !values.contains(&prefix),
                _ => {
                    whole = Allowed::Perhaps;
                    continue;
                }
            };
            if !one {
                return Allowed::No;
            }
        }
    }
    whole
}

/// Says whether a policy allows what is asked.
pub(super) fn allows(policy: &Value, ask: Ask<'_>) -> Allowed {
    let statements = match policy.get("Statement") {
        Some(Value::Array(list)) => list.iter().collect(),
        Some(one @ Value::Object(_)) => vec![one],
        _ => Vec::new(),
    };
    let mut allowed = Allowed::No;
    for statement in statements {
        let parts = [
            is_about(statement, "Action", ask.action, true),
            is_about(statement, "Resource", ask.resource, false),
            holds(statement, ask),
        ];
        if parts.contains(&Allowed::No) {
            continue;
        }
        let sure = !parts.contains(&Allowed::Perhaps);
        match statement.get("Effect").and_then(Value::as_str) {
            Some("Deny") if sure => return Allowed::No,
            Some("Allow") if sure => allowed = Allowed::Yes,
            Some("Allow") if allowed == Allowed::No => allowed = Allowed::Perhaps,
            _ => {}
        }
    }
    allowed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_are_of_the_whole_text() {
        for (pattern, text) in [
            ("*", ""),
            ("a*", "a"),
            ("a*b*c", "axxbyyc"),
            ("s3:Ge?Object", "s3:GetObject"),
            ("a**", "abc"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("a", "ab"),
            ("a*b", "abc"),
            ("?", ""),
            ("", "a"),
            ("a?c", "ac"),
        ] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn statements_are_applied() {
        let get = |policy: Value| {
            let resource = "arn:aws:s3:::reports/b/x";
            let ask = Ask {
                action: "s3:GetObject",
                resource,
                prefix: None,
            };
            allows(&policy, ask)
        };
        let of = |resource: Value, more: Value| {
            let mut statement =
                json!({ "Effect": "Allow", "Action": "s3:Get*", "Resource": resource });
            for (key, value) in more.as_object().unwrap() {
                statement[key] = value.clone();
            }
            json!({ "Version": "2012-10-17", "Statement": [statement] })
        };
        let own = json!("arn:aws:s3:::reports/a/*");
        assert_eq!(get(of(own.clone(), json!({}))), Allowed::No);
        assert_eq!(
            get(of(json!("arn:aws:s3:::reports/*"), json!({}))),
            Allowed::Yes
        );
        assert_eq!(
            get(of(
                json!(["arn:aws:s3:::x", "*"]),
                json!({ "Action": "S3:*" })
            )),
            Allowed::Yes
        );
        assert_eq!(
            get(of(json!("*"), json!({ "Action": "s3:PutObject" }))),
            Allowed::No
        );
        let mut all_but = json!({ "Effect": "Allow", "Action": "*", "NotResource": own });
        assert_eq!(get(json!({ "Statement": all_but.clone() })), Allowed::Yes);
        all_but["NotResource"] = json!("arn:aws:s3:::reports/b/*");
        assert_eq!(get(json!({ "Statement": all_but })), Allowed::No);
        let variable = json!("arn:aws:s3:::reports/${aws:username}/*");
        assert_eq!(get(of(variable, json!({}))), Allowed::Perhaps);
        let condition = json!({ "Condition": { "IpAddress": { "aws:SourceIp": "10.0.0.0/8" } } });
        assert_eq!(get(of(json!("*"), condition)), Allowed::Perhaps);
        let mut denied = of(json!("*"), json!({}));
        let deny =
            json!({ "Effect": "Deny", "Action": "*", "Resource": "arn:aws:s3:::reports/b/*" });
        denied["Statement"].as_array_mut().unwrap().push(deny);
        assert_eq!(get(denied), Allowed::No);
        assert_eq!(get(json!({})), Allowed::No);
    }

    #[test]
    fn a_listing_is_narrowed_by_its_condition() {
        let list = |condition: Value| {
            let policy = json!({ "Statement": { "Effect": "Allow", "Action": "s3:ListBucket",
                "Resource": "arn:aws:s3:::reports", "Condition": condition } });
            let ask = Ask {
                action: "s3:ListBucket",
                resource: "arn:aws:s3:::reports",
                prefix: Some("b/"),
            };
            allows(&policy, ask)
        };
        assert_eq!(list(json!({})), Allowed::Yes);
        assert_eq!(
            list(json!({ "StringLike": { "s3:prefix": ["a/*", "a/"] } })),
            Allowed::No
        );
        assert_eq!(
            list(json!({ "StringLike": { "s3:prefix": "*" } })),
            Allowed::Yes
        );
        assert_eq!(
            list(json!({ "StringEquals": { "S3:Prefix": "a/" } })),
            Allowed::No
        );
        assert_eq!(
            list(json!({ "Bool": { "aws:SecureTransport": "true" } })),
            Allowed::Perhaps
        );
    }
}
