//! Guards against ambient values: a stray exported URL must neither receive a context's key nor
//! redirect a change.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::key::{Key, SETTINGS};
use super::origin::Origin;
use super::parse;
use super::problem::Warning;
use super::reference::Content;
use super::resolve::Pick;

/// A context was named explicitly, and a variable points somewhere else: nothing may be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WriteConflict {
    /// Name of the context.
    pub context: String,
    /// Its server.
    pub context_server: String,
    /// The other server.
    pub other_server: String,
    /// Where the other server comes from.
    pub other_origin: Origin,
}

impl fmt::Display for WriteConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "context `{}` names the server {}, but {} names {}: remove one of them before changing anything",
            self.context, self.context_server, self.other_origin, self.other_server
        )
    }
}

/// Drops what a context says about a server that the context did not name.
///
/// Otherwise a stray exported URL would be sent the context's API key.
pub(super) fn drop_unanchored(picks: &mut BTreeMap<Key, Pick>, warnings: &mut Vec<Warning>) {
    for setting in SETTINGS {
        let Some(anchor) = setting.key.anchor() else {
            continue;
        };
        let Some((origin, content)) = picks[&anchor].candidates.first().cloned() else {
            continue;
        };
        let in_context = picks[&anchor]
            .candidates
            .iter()
            .find(|(origin, _)| matches!(origin, Origin::Context { .. }));
        if !origin.is_ambient() || in_context.is_some_and(|(_, own)| same(anchor, own, &content)) {
            continue;
        }
        let pick = picks
            .get_mut(&setting.key)
            .expect("every setting was picked");
        let before = pick.candidates.len();
        let led = matches!(pick.candidates.first(), Some((Origin::Context { .. }, _)));
        pick.candidates
            .retain(|(origin, _)| !matches!(origin, Origin::Context { .. }));
        if pick.candidates.len() < before && led && setting.secret {
            warnings.push(Warning {
                message: format!(
                    "the context's `{}` is not sent to {}: that `{}` comes from {origin}",
                    setting.name,
                    content.shown(),
                    anchor.name(),
                ),
                hint: Some("name the context with --context, or remove the variable".to_owned()),
            });
        }
    }
}

fn same(anchor: Key, a: &Content, b: &Content) -> bool {
    match (a, b) {
        (Content::Text(a), Content::Text(b)) if anchor == Key::Server => same_server(a, b),
        _ => a == b,
    }
}

fn same_server(a: &str, b: &str) -> bool {
    a == b || matches!((parse::server(a), parse::server(b)), (Ok(a), Ok(b)) if a == b)
}

/// Finds a variable whose server is not that of the explicit context.
pub(super) fn conflict(picks: &BTreeMap<Key, Pick>) -> Option<WriteConflict> {
    let servers = &picks[&Key::Server].candidates;
    // A flag was typed for this very call: it is not a stray.
    if matches!(servers.first(), Some((Origin::Flag { .. }, _))) {
        return None;
    }
    let (name, own) = servers
        .iter()
        .find_map(|(origin, content)| match (origin, content) {
            (Origin::Context { name, .. }, Content::Text(text)) => Some((name, text)),
            _ => None,
        })?;
    servers.iter().find_map(|(origin, content)| match content {
        Content::Text(other) if origin.is_ambient() && !same_server(own, other) => {
            Some(WriteConflict {
                context: name.clone(),
                context_server: Content::Text(own.clone()).shown(),
                other_server: content.shown(),
                other_origin: origin.clone(),
            })
        }
        _ => None,
    })
}
