//! Figures of the server: their form, their names, and that they say what happened.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::server_kit::{Caller, path};
use crate::support::Server;

/// A family of figures as the text declares it.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    samples: Vec<Sample>,
}

#[derive(Debug, Clone, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Reads OpenMetrics text; anything that the standard does not allow is an error.
fn parse(text: &str) -> Result<BTreeMap<String, Family>, String> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let body = text
        .strip_suffix("# EOF\n")
        .ok_or("does not end with `# EOF`")?;
    for line in body.lines() {
        let bad = |why: &str| format!("{why}: `{line}`");
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let word = words.next().unwrap_or_default();
            let name = words.next().ok_or_else(|| bad("no name"))?;
            let rest = words.next().unwrap_or_default();
            if !is_name(name) {
                return Err(bad("not a name"));
            }
            if name != current && families.contains_key(name) {
                return Err(bad("declared twice or not together"));
            }
            name.clone_into(&mut current);
            let family = families.entry(name.to_owned()).or_default();
            match word {
                "TYPE" if family.kind.is_empty() => rest.clone_into(&mut family.kind),
                "HELP" if family.help.is_empty() => rest.clone_into(&mut family.help),
                "UNIT" if name.ends_with(&format!("_{rest}")) => {}
                _ => return Err(bad("not a known comment, or said twice")),
            }
            continue;
        }
        let sample = sample(line).ok_or_else(|| bad("not a sample"))?;
        let family = families
            .get_mut(&current)
            .ok_or_else(|| bad("no family is declared"))?;
        let suffixes: &[&str] = match family.kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            _ => return Err(bad("of no known type")),
        };
        let suffix = sample.name.strip_prefix(&current);
        if !suffix.is_some_and(|suffix| suffixes.contains(&suffix)) {
            return Err(bad("of another family, or with the wrong ending"));
        }
        if family.kind != "gauge" && (sample.value < 0.0 || !sample.value.is_finite()) {
            return Err(bad("less than nothing"));
        }
        let twice = family
            .samples
            .iter()
            .any(|other| other.name == sample.name && other.labels == sample.labels);
        if twice {
            return Err(bad("said twice"));
        }
        family.samples.push(sample);
    }
    Ok(families)
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let mut value = String::new();
            let mut characters = after.char_indices();
            let end = loop {
                match characters.next()? {
                    (at, '"') => break at,
                    (_, '\\') => value.push(characters.next()?.1),
                    (_, other) => value.push(other),
                }
            };
            if !is_name(label) || labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            rest = &after[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ')?.parse().ok()?;
    is_name(name).then(|| Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// Checks that buckets grow, and that the last one counts everything.
fn check_histogram(name: &str, family: &Family) {
    let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    let mut counts = BTreeMap::new();
    for sample in &family.samples {
        let mut labels = sample.labels.clone();
        if let Some(bound) = labels.remove("le") {
            let bound = bound.replace("+Inf", "inf").parse().unwrap();
            series
                .entry(labels)
                .or_default()
                .push((bound, sample.value));
        } else if sample.name.ends_with("_count") {
            counts.insert(labels, sample.value);
        }
    }
    for (labels, buckets) in &series {
        assert!(buckets.is_sorted(), "{name} {labels:?}: {buckets:?}");
        let last = buckets.last().unwrap();
        assert!(last.0.is_infinite(), "{name} {labels:?}");
        assert_eq!(Some(&last.1), counts.get(labels), "{name} {labels:?}");
    }
    assert_eq!(series.len(), counts.len(), "{name}");
}

fn value(families: &BTreeMap<String, Family>, family: &str, labels: &[(&str, &str)]) -> f64 {
    let wanted = |sample: &&Sample| {
        labels
            .iter()
            .all(|(name, value)| sample.labels.get(*name).is_some_and(|found| found == value))
    };
    families
        .get(family)
        .unwrap_or_else(|| panic!("there is no {family}"))
        .samples
        .iter()
        .filter(wanted)
        .filter(|sample| !sample.name.ends_with("_bucket") && !sample.name.ends_with("_sum"))
        .map(|sample| sample.value)
        .sum()
}

#[test]
fn the_parser_finds_what_is_wrong() {
    let good = "# HELP a Things.\n# TYPE a counter\na_total{b=\"c\"} 1\n# EOF\n";
    assert!(parse(good).is_ok());
    for bad in [
        "# HELP a Things.\n# TYPE a counter\na_total 1\n",
        "# TYPE a counter\na 1\n# EOF\n",
        "# TYPE a counter\na_total -1\n# EOF\n",
        "# TYPE a gauge\na 1\na 1\n# EOF\n",
        "# TYPE a gauge\n# TYPE b gauge\n# TYPE a gauge\n# EOF\n",
        "# TYPE a gauge\nb 1\n# EOF\n",
        "# TYPE a gauge\na{b=\"c} 1\n# EOF\n",
        "# TYPE a gauge\na one\n# EOF\n",
        "# TYPE a-b gauge\n# EOF\n",
        "a 1\n# EOF\n",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn figures_are_well_formed_documented_and_true() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let tenant = caller.tenant(&["tracer"], "database").await;
    for _ in 0..3 {
        caller.connections(&tenant, "tracer").await.expect(200);
    }
    caller.get("/v1/admin/tenants/nobody").await;
    caller.with_key("wrong").get("/v1/admin/info").await;
    let change = caller.post(&path(&tenant, "/suspend"), &json!({})).await;
    change.expect(200);
    let answer = caller.get("/metrics").await;
    assert!(
        answer.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/openmetrics-text; version=1.0.0")
    );
    let families = parse(&answer.text).unwrap_or_else(|error| panic!("{error}"));

    let guide = include_str!("../docs/operations.md");
    for (name, family) in &families {
        assert!(!family.help.is_empty(), "{name} says nothing of itself");
        assert!(
            name.starts_with("lerianctl_") || name.starts_with("process_"),
            "{name}"
        );
        for unit in ["_ms", "_millis", "_micros", "_minutes", "_kb", "_percent"] {
            assert!(!name.ends_with(unit), "{name} is not in a base unit");
        }
        assert!(!name.ends_with("_total"), "{name} ends twice with _total");
        let shown = match family.kind.as_str() {
            "counter" => format!("`{name}_total`"),
            "info" => format!("`{name}_info`"),
            _ => format!("`{name}`"),
        };
        assert!(
            guide.contains(&shown),
            "docs/operations.md does not have {shown}"
        );
        if family.kind == "histogram" {
            check_histogram(name, family);
        }
        let series: BTreeSet<_> = family.samples.iter().map(|s| &s.labels).collect();
        assert!(series.len() < 500, "{name} grows without bound");
    }

    let requests = "lerianctl_http_requests";
    let connections = (
        "route",
        "/v1/tenants/{id}/associations/{service}/connections",
    );
    let counted = |labels: &[(&str, &str)]| value(&families, requests, labels);
    assert!(counted(&[connections, ("method", "GET"), ("status", "200")]) >= 3.0);
    assert!(counted(&[("status", "404")]) >= 1.0);
    assert!(counted(&[("status", "401")]) >= 1.0);
    let duration = "lerianctl_http_request_duration_seconds";
    assert!(value(&families, duration, &[connections, ("method", "GET")]) >= 3.0);
    let provisions = [("kind", "provision"), ("state", "succeeded")];
    assert!(value(&families, "lerianctl_operations_ended", &provisions) >= 1.0);
    assert!(
        value(
            &families,
            "lerianctl_operation_duration_seconds",
            &provisions
        ) >= 1.0
    );
    assert!(value(&families, "lerianctl_connections_open", &[]) >= 1.0);
    assert!(value(&families, "process_resident_memory_bytes", &[]) > 1e6);
    assert!(value(&families, "process_open_fds", &[]) > 3.0);
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert!((value(&families, "lerianctl_build", &version) - 1.0).abs() < f64::EPSILON);
    // Nothing that names a tenant, which would also grow without bound.
    assert!(!answer.text.contains(tenant["id"].as_str().unwrap()));
    assert!(!answer.text.contains(tenant["slug"].as_str().unwrap()));
}
