//! The view of a token for a person.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;

use super::inspect::InspectReport;
use super::resolve::{Resolution, Tier};
use crate::output::console::width_of;
use crate::output::{Tone, View};
use crate::token::{
    Answer, Bearer, Connection, Inspection, Layer, Members, Severity, TenantState, ValidityState,
    Warning,
};

/// Longest value that is shown of a claim; `-o json` has all of it.
const LONGEST_VALUE: usize = 160;
/// Claims that hold seconds since 1970.
const TIMES: [&str; 4] = ["exp", "nbf", "iat", "auth_time"];

pub(super) fn inspection(report: &InspectReport, out: &mut View) {
    let token = &report.token;
    let validity = match token.validity.state {
        ValidityState::Valid => Tone::Good,
        ValidityState::NeverExpires => Tone::Warn,
        ValidityState::Expired | ValidityState::NotYetValid | ValidityState::Unreadable => {
            Tone::Bad
        }
    };
    out.fields(&[
        ("tenant", tenant(token)),
        (
            "slug",
            cut(token.tenant_slug.as_deref().unwrap_or_default(), 80),
        ),
        ("bearer", bearer(token)),
        (
            "issuer",
            cut(token.issuer.as_deref().unwrap_or_default(), 80),
        ),
    ]);
    out.paint(validity, &token.validity.words).line();
    signature(report, out);
    members("header", &token.header, out);
    members("claims", &token.claims, out);
    if !token.warnings.is_empty() {
        out.line().paint(Tone::Strong, "warnings").line();
        warnings(&token.warnings, out);
    }
    if let Some(resolution) = &report.resolution {
        route(resolution, out);
    }
}

fn tenant(token: &Inspection) -> String {
    let claim = token.tenant.claim.as_deref().unwrap_or_default();
    match token.tenant.state {
        TenantState::Canonical => claim.to_owned(),
        TenantState::NotUuid => format!("{claim} (not a UUID)"),
        TenantState::NotCanonical => format!(
            "{} (from lib-commons 6.3 on), {claim} (before)",
            token.tenant.canonical.as_deref().unwrap_or_default()
        ),
        TenantState::Missing | TenantState::NotText => "none".to_owned(),
        TenantState::Refused => format!("none: {} is refused", cut(claim, 60)),
    }
}

fn bearer(token: &Inspection) -> String {
    let mut text = match token.bearer {
        Bearer::Human => "a person".to_owned(),
        Bearer::Machine => "a machine".to_owned(),
    };
    let parts = [
        ("type", &token.token_type),
        ("subject", &token.subject),
        ("owner", &token.owner),
    ];
    for (name, value) in parts {
        if let Some(value) = value {
            let _ = write!(text, ", {name} {}", cut(value, 80));
        }
    }
    text
}

fn signature(report: &InspectReport, out: &mut View) {
    let token = &report.token;
    let how = match (&token.algorithm, &token.key_id) {
        // Keys of a set are called by their id.
        (Some(algorithm), Some(key)) if !names(report, key) => {
            format!(" ({}, key {})", cut(algorithm, 20), cut(key, 60))
        }
        (Some(algorithm), _) => format!(" ({})", cut(algorithm, 20)),
        (None, _) => String::new(),
    };
    match &report.verification {
        None => out
            .paint(Tone::Warn, "signature NOT verified")
            .plain(": no key was given"),
        Some(done) if done.verified => out
            .paint(Tone::Good, "signature verified")
            .plain(format!(": {}", done.words)),
        Some(done) => out
            .paint(Tone::Bad, "signature does NOT hold")
            .plain(format!(": {}", done.words)),
    };
    out.plain(how);
    out.line();
    let skipped = report
        .verification
        .iter()
        .flat_map(|done| &done.skipped_keys);
    for reason in skipped {
        out.plain(format!("  left out of the key set: {reason}"))
            .line();
    }
}

/// Returns true when the words of the verification name the key already.
fn names(report: &InspectReport, key: &str) -> bool {
    let done = report.verification.as_ref();
    done.is_some_and(|done| done.verified && done.words.contains(key))
}

fn members(title: &str, members: &Members, out: &mut View) {
    out.line().paint(Tone::Strong, title).line();
    let width = members
        .iter()
        .map(|(name, _)| width_of(&cut(name, 30)))
        .max()
        .unwrap_or(0);
    let room = out.width.map_or(LONGEST_VALUE, |total| {
        usize::from(total).saturating_sub(width + 4).max(20)
    });
    for (name, value) in members.iter() {
        let name = cut(name, 30);
        let pad = " ".repeat(width.saturating_sub(width_of(&name)) + 2);
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let time = TIMES
            .contains(&name.as_str())
            .then(|| {
                value
                    .as_i64()
                    .and_then(|seconds| Timestamp::from_second(seconds).ok())
            })
            .flatten()
            .map(|time| time.strftime(" (%Y-%m-%d %H:%M:%S UTC)").to_string())
            .unwrap_or_default();
        out.plain("  ")
            .paint(Tone::Dim, name)
            .plain(pad)
            .plain(cut(&text, room.min(LONGEST_VALUE)))
            .plain(time)
            .line();
    }
}

fn warnings(warnings: &[Warning], out: &mut View) {
    for warning in warnings {
        let (tone, word) = match warning.severity {
            Severity::Error => (Tone::Bad, "error"),
            Severity::Warning => (Tone::Warn, "warning"),
            Severity::Info => (Tone::Dim, "info"),
        };
        out.plain("  ")
            .paint(tone, word)
            .plain(" ".repeat(9 - word.len()))
            .paint(Tone::Strong, warning.id)
            .line();
        paragraph(&warning.text, 11, out);
        paragraph(&format!("→ {}", warning.remedy), 11, out);
    }
}

fn route(resolution: &Resolution, out: &mut View) {
    let route = &resolution.route;
    out.line()
        .paint(Tone::Strong, format!("route to {}", resolution.service))
        .line()
        .plain("  ");
    if route.allowed {
        out.paint(Tone::Good, "served");
    } else {
        out.paint(Tone::Bad, "refused");
    }
    out.plain(": ").plain(&route.reason).line();
    let cause = resolution.cause.as_deref().unwrap_or_default();
    let answer = route.answer.as_ref().map(answer).unwrap_or_default();
    let first = route
        .answered_first
        .as_ref()
        .map(self::answer)
        .unwrap_or_default();
    for (label, text) in [
        ("cause", cause),
        ("the caller sees", &answer),
        ("or, before that", &first),
        ("asked", &source(resolution)),
    ] {
        if !text.is_empty() {
            out.plain("  ").paint(Tone::Dim, format!("{label}: "));
            out.plain(text).line();
        }
    }
    for to in &route.connections {
        paragraph(&connection(to), 2, out);
    }
    warnings(&route.findings, out);
}

fn source(resolution: &Resolution) -> String {
    let name = match resolution.tier {
        Tier::NotAsked => "nobody",
        Tier::Memory => "the memory of this process",
        Tier::SharedCache => "the shared cache in Redis",
        Tier::TenantManager => "the Tenant Manager",
    };
    match resolution.age_seconds {
        Some(seconds) if resolution.tier != Tier::TenantManager => {
            format!("{name}, whose answer is {seconds} s old")
        }
        _ => name.to_owned(),
    }
}

fn answer(answer: &Answer) -> String {
    let by = match answer.by {
        Layer::Authorization => "lib-auth",
        Layer::AccessManager => "Access Manager",
        Layer::TenantMiddleware => "tenant middleware",
    };
    let mut parts = vec![answer.status.to_string()];
    parts.extend(answer.code.map(str::to_owned));
    parts.extend(answer.title.map(|title| format!("\"{title}\"")));
    if answer.code.is_none() {
        parts.push(format!("\"{}\"", answer.message));
    }
    let doubt = if answer.certain {
        ""
    } else {
        ", status assumed"
    };
    format!("{} ({by}{doubt})", parts.join(" "))
}

fn connection(to: &Connection) -> String {
    let schema = to
        .schema
        .as_ref()
        .map(|schema| format!(", schema {schema}"))
        .unwrap_or_default();
    let replica = if to.replica {
        ", reads also from a replica"
    } else {
        ""
    };
    format!(
        "{}: {}:{}/{}{schema}, user {}, sslmode {}{replica}",
        to.module, to.host, to.port, to.database, to.user, to.sslmode
    )
}

/// Writes `text` indented, broken at spaces where the terminal ends.
fn paragraph(text: &str, indent: usize, out: &mut View) {
    let room = out.width.map_or(usize::MAX, |total| {
        usize::from(total).saturating_sub(indent).max(20)
    });
    let mut line = String::new();
    let mut lines = Vec::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && width_of(&line) + 1 + width_of(word) > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    for line in lines {
        out.plain(" ".repeat(indent)).plain(line).line();
    }
}

/// Returns `text` in one line of at most `longest` characters.
fn cut(text: &str, longest: usize) -> String {
    let line = crate::output::view::one_line(text);
    if line.chars().count() <= longest {
        return line;
    }
    let mut short: String = line.chars().take(longest.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests;
