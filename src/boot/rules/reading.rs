//! Names and values: what a product cannot read, and what it never sees.

use std::fmt::Write as _;

use super::{Case, Effect, Finding, Severity};
use crate::boot::catalogue::{Kind, Need};
use crate::boot::product::Product;
use crate::boot::variables::{Oddity, Value, is_truthy, parse_bool, parse_number};

/// Switches whose misreading changes who may see what.
const DECISIVE: [&str; 2] = ["MULTI_TENANT_ENABLED", "PLUGIN_AUTH_ENABLED"];
/// Longest distance, in edits, at which one name is taken for another.
const NEAR: usize = 2;
/// Names that are listed at most.
const LISTED: usize = 20;

pub(super) fn check(case: &mut Case<'_>) {
    for oddity in &case.variables.oddities {
        odd(case, oddity);
    }
    let mut unknown = Vec::new();
    for (name, entry) in case.variables.iter() {
        match &entry.value {
            Value::Known(text) => value(case, name, text.expose()),
            Value::Elsewhere(source) => elsewhere(case, name, source),
        }
        name_of(case, name, &mut unknown);
    }
    if !unknown.is_empty() {
        let more = unknown.len().saturating_sub(LISTED);
        let mut list = unknown[..unknown.len().min(LISTED)].join(", ");
        if more > 0 {
            let _ = write!(list, " and {more} more");
        }
        case.add(Finding::new(
            "variable-unknown",
            Effect::Note,
            format!("not known to be read by {}: {list}", case.product),
        ));
    }
}

fn odd(case: &mut Case<'_>, oddity: &Oddity) {
    let finding = match oddity {
        Oddity::Repeated { name, .. } => Finding::new(
            "variable-repeated",
            Effect::Note,
            format!("{name} is given more than once"),
        ),
        Oddity::Line { rule, .. } => {
            Finding::new("line-malformed", Effect::Ignored, format!("a line {rule}"))
        }
        Oddity::NotWritten { name, .. } => Finding::new(
            "chart-drops",
            Effect::Ignored,
            format!(
                "the chart does not write {name} from there: {} never sees it",
                case.product
            ),
        ),
        Oddity::Absent { what } => Finding::new(
            "value-elsewhere",
            Effect::Note,
            format!("{what} is not in the input: what it sets is not known"),
        )
        .severity(Severity::Medium),
        Oddity::Unresolved { name, reference } => Finding::new(
            "reference-unresolved",
            Effect::Degraded,
            format!("{name} refers to {reference}, which nothing sets"),
        ),
    };
    match oddity {
        Oddity::Repeated { name, place } | Oddity::NotWritten { name, place } => {
            let mut finding = finding;
            finding.variable = Some(name.clone());
            finding.place = Some(place.clone()).filter(|place| !place.is_empty());
            case.add(finding);
        }
        Oddity::Line { place, .. } => {
            let mut finding = finding;
            finding.place = Some(place.clone());
            case.add(finding);
        }
        Oddity::Absent { .. } => case.add(finding),
        Oddity::Unresolved { name, .. } => case.about(name, finding),
    }
}

fn value(case: &mut Case<'_>, name: &str, text: &str) {
    let Some(kind) = case.catalogue.kind(name, case.product) else {
        return;
    };
    let quoted = |c: char| {
        let rest = text.strip_prefix(c).and_then(|rest| rest.strip_suffix(c));
        rest.is_some_and(|rest| !rest.is_empty())
    };
    let padded = text.trim() != text || text.contains(char::is_control) && !text.contains('\n');
    let wrapped = kind != Kind::Secret && (quoted('"') || quoted('\''));
    if !text.trim().is_empty() && (padded || wrapped) {
        let finding = Finding::new(
            "value-padded",
            Effect::Degraded,
            format!("{name} has blanks, quotes or control characters around its value"),
        );
        case.about(name, finding);
    }
    if text.is_empty() {
        return;
    }
    match kind {
        Kind::Bool if parse_bool(text).is_none() => malformed_flag(case, name),
        Kind::Truthy if !is_truthy(text) && !is_no(text) => {
            let message = format!(
                "{name} is {}, which is taken as no: the words are true, 1, yes and on",
                case.quoted(name)
            );
            let finding =
                Finding::new("flag-malformed", Effect::Degraded, message).severity(Severity::Low);
            case.about(name, finding);
        }
        Kind::Number if parse_number(text).is_none() => {
            let zero = case
                .catalogue
                .cell(name, case.product)
                .map(|cell| cell.zero.as_str())
                .filter(|zero| !zero.is_empty() && *zero != "as unset");
            let means = zero.map_or_else(String::new, |zero| format!(", which means: {zero}"));
            let message = format!("{name} is {}: it is read as 0{means}", case.quoted(name));
            case.about(
                name,
                Finding::new("number-malformed", Effect::Degraded, message),
            );
        }
        Kind::Port => {
            let port = parse_number(text.trim()).is_some_and(|port| (1..=65535).contains(&port));
            if !port {
                let message = format!("{name} is {}, which is no port", case.quoted(name));
                case.about(
                    name,
                    Finding::new("port-invalid", Effect::Degraded, message),
                );
            }
        }
        Kind::Host => {
            let colons = text.matches(':').count();
            if text.contains("://") || text.contains('/') || colons == 1 {
                let message = format!("{name} is {}, which is not a host alone", case.quoted(name));
                case.about(
                    name,
                    Finding::new("host-with-port", Effect::Degraded, message),
                );
            }
        }
        _ => {}
    }
}

fn is_no(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    matches!(text.as_str(), "false" | "0" | "no" | "off")
}

fn malformed_flag(case: &mut Case<'_>, name: &str) {
    let default = name == "MULTI_TENANT_REDIS_TLS" && case.product == Product::Tracer;
    let said = case.variables.text(name).unwrap_or_default();
    let meant = is_truthy(said) || said.eq_ignore_ascii_case("enabled");
    let message = format!(
        "{name} is {}, which is not a boolean: it is read as {default}",
        case.quoted(name)
    );
    let finding = Finding::new("flag-malformed", Effect::Degraded, message);
    let finding = match (DECISIVE.contains(&name), meant) {
        // Everybody in one database, and whoever wrote it believes otherwise.
        (true, true) => Finding {
            effect: Effect::Insecure,
            ..finding
        },
        (true, false) => finding,
        (false, _) => finding.severity(Severity::Medium),
    };
    case.about(name, finding);
}

fn elsewhere(case: &mut Case<'_>, name: &str, source: &str) {
    let kind = case.catalogue.kind(name, case.product);
    let decides = matches!(
        kind,
        Some(Kind::Bool | Kind::Truthy | Kind::Number | Kind::Url)
    );
    let environment = matches!(name, "ENV_NAME" | "ENVIRONMENT_NAME" | "DEPLOYMENT_MODE");
    if decides || environment {
        let message = format!("{name} comes from {source}, which is not in the input");
        case.about(name, Finding::new("value-elsewhere", Effect::Note, message));
    }
}

fn name_of(case: &mut Case<'_>, name: &str, unknown: &mut Vec<String>) {
    if case.catalogue.kind(name, case.product).is_some() {
        return;
    }
    if let Some(cell) = case.catalogue.cell(name, case.product) {
        unread(case, name, &cell.note, cell.need);
        return;
    }
    if case.catalogue.find(name).is_some() {
        let finding = Finding::new(
            "variable-unread",
            Effect::Ignored,
            format!("{} does not read {name}", case.product),
        );
        case.about(name, finding.severity(Severity::Info));
        return;
    }
    // Another product's own variable is no misspelling of ours, even when it is near.
    let of_another = Product::ALL
        .into_iter()
        .any(|product| case.catalogue.kind(name, product).is_some());
    if of_another {
        return;
    }
    let near = nearest(name, case.catalogue.names(case.product));
    if let Some(near) = near {
        let tenancy = near.starts_with("MULTI_TENANT_") || near.starts_with("PLUGIN_AUTH_");
        let finding = Finding::new(
            "variable-misspelled",
            Effect::Ignored,
            format!(
                "nothing reads {}: {near} was probably meant",
                crate::boot::variables::shown(name)
            ),
        )
        .remedy(format!("rename it to {near}"));
        let severity = if tenancy {
            Severity::Medium
        } else {
            Severity::Low
        };
        case.about(name, finding.severity(severity));
    } else if name.starts_with("MULTI_TENANT_") || name.starts_with("PLUGIN_AUTH_") {
        let finding = Finding::new(
            "variable-unread",
            Effect::Ignored,
            format!("no product reads {}", crate::boot::variables::shown(name)),
        );
        case.about(name, finding);
    } else if !case.catalogue.is_known(name) {
        unknown.push(crate::boot::variables::shown(name));
    }
}

fn unread(case: &mut Case<'_>, name: &str, note: &str, need: Need) {
    debug_assert_eq!(need, Need::Unread);
    // Rules of their own say what these mean.
    let told = matches!(
        name,
        "PLUGIN_AUTH_HOST" | "PLUGIN_AUTH_ADDRESS" | "MULTI_TENANT_REDIS_CA_CERT"
    ) && case.variables.given(name);
    if told || !case.variables.given(name) {
        return;
    }
    let why = if note.is_empty() {
        String::new()
    } else {
        format!(": {note}")
    };
    let finding = Finding::new(
        "variable-unread",
        Effect::Ignored,
        format!("{} does not read {name}{why}", case.product),
    );
    // What a chart or an example sets by itself is nobody's mistake.
    let by_itself = case.variables.from_chart
        || !case.multi_tenant
        || matches!(name, "MULTI_TENANT_SERVICE_NAME" | "APPLICATION_NAME");
    let severity = if by_itself {
        Severity::Info
    } else {
        Severity::Low
    };
    case.about(name, finding.severity(severity));
}

/// Returns the name of `known` that differs from `name` by a slip of the hand.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() < 6 || name.len() > 100 {
        return None;
    }
    let upper = name.to_ascii_uppercase();
    // MULTITENANT_, MT_ and TENANT_MANAGER_ are how people remember it.
    let remembered = ["MULTITENANT_", "MULTI_TENANCY_", "TENANT_MANAGER_"]
        .into_iter()
        .find_map(|prefix| upper.strip_prefix(prefix))
        .map(|rest| format!("MULTI_TENANT_{rest}"));
    known
        .filter(|known| known.len().abs_diff(name.len()) <= NEAR || remembered.is_some())
        .map(|known| {
            let distance = strsim::osa_distance(&upper, known);
            let exact = remembered.as_deref() == Some(known);
            (if exact { 0 } else { distance }, known)
        })
        .filter(|(distance, known)| *distance <= NEAR && *distance * 5 <= known.len())
        // One digit more or less is another variable, not a slip.
        .filter(|(_, known)| digits(&upper) == digits(known))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}
