//! One function for every parser that meets foreign bytes: it must not panic, and what it reads
//! must be what was written. `fuzz/` runs them under cargo-fuzz, `tests/fuzz_corpora.rs` over the
//! committed corpora and mutations of them.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::contract::ids::{TenantRef, is_claimable_tenant_id};
use crate::contract::wire::{IsolationMode, TenantConfig};
use crate::contract::{Environment, ServiceName, Slug, TenantId};
use crate::link::trace::TraceContext;
use crate::{cache, cli, config, events, provision, server, token};

/// Panics when a parser does not keep what it promises.
pub type Target = fn(&[u8]);

/// Every target: its name, which is that of its corpus, and its function.
pub const TARGETS: &[(&str, Target)] = &[
    ("config_file", config_file),
    ("cursor", cursor),
    ("env_file", env_file),
    ("event", event),
    ("names", names),
    ("redis_key", redis_key),
    ("shell", shell),
    ("sql", sql),
    ("tenant_config", tenant_config),
    ("token", token),
    ("trace", trace),
];

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// A token that someone pastes.
pub fn token(bytes: &[u8]) {
    let text = text(bytes);
    if let Ok(inspection) = token::inspect(&text, Timestamp::UNIX_EPOCH) {
        let shown = format!("{inspection:?}");
        // The signature is what makes a token usable.
        if let Some((_, signature)) = text.trim().rsplit_once('.')
            && signature.len() > 40
        {
            assert!(!shown.contains(signature), "the signature is shown");
        }
    }
}

/// A message of the event channel.
pub fn event(bytes: &[u8]) {
    match events::received::read("tenant-events:production", bytes, Timestamp::UNIX_EPOCH) {
        Ok(event) => {
            serde_json::to_string(&event).expect("what was read can be written");
        }
        Err(malformed) => {
            let excerpt = &malformed.excerpt;
            assert!(
                !excerpt.chars().any(char::is_control),
                "an excerpt steers a terminal"
            );
        }
    }
}

/// An answer of the connections endpoint.
pub fn tenant_config(bytes: &[u8]) {
    let Ok(config) = serde_json::from_slice::<TenantConfig>(bytes) else {
        return;
    };
    let written = serde_json::to_vec(&config).expect("what was read can be written");
    let again: TenantConfig =
        serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(
        serde_json::to_vec(&again).expect("it can be written again"),
        written
    );
}

/// A config file.
pub fn config_file(bytes: &[u8]) {
    let source = config::ConfigText {
        path: PathBuf::from("config.toml"),
        text: text(bytes).into_owned(),
        writable: None,
        readable: None,
    };
    let file = config::ConfigFile::parse(&source, Some(std::path::Path::new("/home/user")));
    for context in file.contexts.values() {
        for setting in config::SETTINGS {
            let _ = context.shown(setting.key);
        }
    }
}

/// A file of variables.
pub fn env_file(bytes: &[u8]) {
    let text = text(bytes);
    if let Err(problem) = config::EnvFile::parse(std::path::Path::new("x.env"), &text) {
        let _ = problem.to_string();
    }
}

/// Ids and names of tenants, services and environments.
pub fn names(bytes: &[u8]) {
    let text = text(bytes);
    if let Some(id) = TenantId::canonical(&text) {
        assert_eq!(TenantId::canonical(id.as_str()), Some(id.clone()));
        assert!(is_claimable_tenant_id(id.as_str()), "no product takes it");
    }
    if let Ok(slug) = text.parse::<Slug>() {
        assert_eq!(slug.as_str(), text);
    }
    if let Some(slug) = Slug::from_name(&text) {
        assert_eq!(slug.as_str().parse::<Slug>().ok(), Some(slug.clone()));
        let id = TenantId::canonical("7b0e1c5a9f3d4b62a1c8e4d7f0936b21").expect("an id");
        let service: ServiceName = "ledger".parse().expect("a service");
        for mode in [IsolationMode::Database, IsolationMode::Schema] {
            let names = provision::Names::make(&id, &slug, &service, &text, mode);
            for name in [
                &names.database,
                &names.owner,
                &names.logins[0],
                &names.logins[1],
            ] {
                assert!(name.len() <= 63, "PostgreSQL would cut {name}");
                assert!(
                    name.bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                    "{name} would need quotes"
                );
            }
        }
    }
    let _ = text.parse::<Environment>();
    let _ = text.parse::<ServiceName>();
    let _ = text.parse::<TenantRef>();
}

/// A key of a Redis that others write to.
pub fn redis_key(bytes: &[u8]) {
    let found = cache::classify(bytes);
    let _ = found.tenant();
    let _ = cache::printable(bytes);
    if cache::denied(bytes).is_some() {
        assert!(!found.is_deletable(), "a denied key would be deleted");
    }
    if found.is_deletable() {
        assert!(found.tenant().is_some(), "a key of nobody would be deleted");
    }
}

/// Text that becomes part of a statement: what PostgreSQL reads must be the text again.
pub fn sql(bytes: &[u8]) {
    let text = text(bytes).replace('\0', "");
    let quoted = provision::sql::ident(&text);
    let inner = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .expect("an identifier has quotes");
    assert_eq!(read_doubled(inner, '"', false), Some(text.clone()));
    let quoted = provision::sql::literal(&text);
    let (inner, escapes) = match quoted.strip_prefix("E'") {
        Some(inner) => (inner, true),
        None => (
            quoted.strip_prefix('\'').expect("a literal has quotes"),
            false,
        ),
    };
    let inner = inner.strip_suffix('\'').expect("a literal ends");
    assert!(escapes || !inner.contains('\\'), "depends on a setting");
    assert_eq!(read_doubled(inner, '\'', escapes), Some(text));
}

/// Reads quoted text as PostgreSQL does; nothing when the quote ends before the text.
fn read_doubled(inner: &str, quote: char, escapes: bool) -> Option<String> {
    let mut read = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        if character == quote {
            (characters.next()? == quote).then(|| read.push(quote))?;
        } else if escapes && character == '\\' {
            (characters.next()? == '\\').then(|| read.push('\\'))?;
        } else {
            read.push(character);
        }
    }
    Some(read)
}

/// A value that becomes a line of a shell.
pub fn shell(bytes: &[u8]) {
    let value = text(bytes);
    if let Some(line) = cli::dev::env::shell_line("NAME", &value) {
        let words = shlex::split(&line).expect("a shell can read it");
        assert_eq!(words, ["export".to_owned(), format!("NAME={value}")]);
    }
    if let Some(line) = cli::dev::env::file_line("NAME", &value) {
        config::EnvFile::parse(std::path::Path::new("x.env"), &line)
            .expect("what is written for `--env-file` can be read");
    }
}

/// A cursor that a caller sends back.
pub fn cursor(bytes: &[u8]) {
    server::read_any_cursor(&text(bytes));
}

/// A `traceparent` and a `tracestate`.
pub fn trace(bytes: &[u8]) {
    let text = text(bytes);
    let (parent, state) = text.split_once('\n').unwrap_or((&text, ""));
    if let Some(context) = TraceContext::parse(parent) {
        let context = context.with_state(state);
        let again = TraceContext::parse(&context.to_string())
            .map(|again| again.with_state(context.state().unwrap_or_default()));
        assert_eq!(again, Some(context));
    }
}
