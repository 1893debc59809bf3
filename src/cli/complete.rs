//! Candidates for shell completion: from a short-lived cache or the server, with a deadline.
//! Never prompts, never runs `command` references, never fails loudly.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap_complete::engine::CompletionCandidate;

use super::environment::Environment;
use super::globals::Globals;
use super::invocation::Invocation;
use crate::contract::catalogue::Catalogue;

/// How long an answer, or a failure, is remembered.
const FRESH: Duration = Duration::from_mins(1);
/// How long the server may take.
const DEADLINE: Duration = Duration::from_millis(400);

/// Candidates for a context.
pub fn contexts() -> Vec<CompletionCandidate> {
    let run = quiet_invocation();
    let Ok(config) = run.config() else {
        return Vec::new();
    };
    config
        .file
        .iter()
        .flat_map(|file| file.contexts.keys())
        .map(CompletionCandidate::new)
        .collect()
}

/// Candidates for a tenant: slugs.
pub fn tenants() -> Vec<CompletionCandidate> {
    remembered("tenants", |run| {
        let manager = run.tenant_manager()?;
        let page = run.block_on(async move {
            manager
                .tenants(&crate::client::TenantQuery {
                    limit: Some(500),
                    ..Default::default()
                })
                .await
        })?;
        Ok(page
            .items
            .into_iter()
            .map(|tenant| format!("{}\t{}", tenant.slug, tenant.name))
            .collect())
    })
}

/// Candidates for an operation: ids, newest first.
pub fn operations() -> Vec<CompletionCandidate> {
    remembered("operations", |run| {
        let manager = run.tenant_manager()?;
        let page = run.block_on(async move {
            manager
                .operations(&crate::client::OperationQuery {
                    limit: Some(50),
                    ..Default::default()
                })
                .await
        })?;
        Ok(page
            .items
            .into_iter()
            .map(|operation| {
                format!(
                    "{}\t{} {} {}",
                    operation.id,
                    operation.kind,
                    operation.tenant_slug,
                    operation.state.as_str()
                )
            })
            .collect())
    })
}

/// Candidates for a service.
pub fn services() -> Vec<CompletionCandidate> {
    Catalogue::default()
        .iter()
        .map(|(name, service)| {
            CompletionCandidate::new(name).help(Some(service.title.clone().into()))
        })
        .collect()
}

/// Candidates for an error code.
pub fn error_codes() -> Vec<CompletionCandidate> {
    super::explain::codes()
        .map(CompletionCandidate::new)
        .collect()
}

/// Candidates for an isolation check: ids with titles.
pub fn checks() -> Vec<CompletionCandidate> {
    crate::isolation::catalogue::all()
        .iter()
        .map(|check| CompletionCandidate::new(check.id).help(Some(check.title.into())))
        .collect()
}

fn quiet_invocation() -> Invocation {
    let environment = Environment::of_process();
    let words: Vec<OsString> = std::env::args_os()
        .skip_while(|word| word != "--")
        .skip(1)
        .collect();
    let current = environment
        .variable("_CLAP_COMPLETE_INDEX")
        .and_then(|index| index.parse().ok())
        .unwrap_or_else(|| words.len().saturating_sub(1));
    let globals = typed(&words, current);
    Invocation::new(environment, globals, String::new(), true)
}

/// Returns what the line says so far about the deployment; the word at `current` is not finished.
fn typed(words: &[OsString], current: usize) -> Globals {
    let mut globals = Globals::for_completion(DEADLINE);
    let finished = &words[..current.min(words.len())];
    let mut put = |flag: &str, value: &OsStr| match flag {
        // Standard input is the shell's.
        _ if value.is_empty() || value == "-" => {}
        "--context" => globals.context = value.to_str().map(str::to_owned),
        "--server" => globals.server = value.to_str().map(str::to_owned),
        "--config" => globals.config = Some(value.into()),
        "--api-key-file" => globals.api_key_file = Some(value.into()),
        "--env-file" => globals.env_file.push(value.into()),
        _ => {}
    };
    for (at, word) in finished.iter().enumerate() {
        let Some(word) = word.to_str() else { continue };
        // Some shells hand over `--flag=value` as three words.
        match (word.split_once('='), finished.get(at + 1)) {
            (Some((flag, value)), _) if word.starts_with("--") => put(flag, OsStr::new(value)),
            (_, Some(next)) if next == "=" => {
                if let Some(value) = finished.get(at + 2) {
                    put(word, value);
                }
            }
            (_, Some(next)) => put(word, next),
            _ => {}
        }
    }
    globals
}

fn remembered(
    what: &str,
    ask: impl FnOnce(&Invocation) -> Result<Vec<String>, super::failure::Failure>,
) -> Vec<CompletionCandidate> {
    let run = quiet_invocation();
    let Some(file) = cache_file(&run, what) else {
        return Vec::new();
    };
    let lines = fresh(&file).unwrap_or_else(|| {
        let lines = ask(&run).unwrap_or_default();
        remember(&file, &lines);
        lines
    });
    lines
        .into_iter()
        .map(|line| {
            let (value, help) = line.split_once('\t').unwrap_or((&line, ""));
            let help = crate::output::view::one_line(help);
            CompletionCandidate::new(OsStr::new(value))
                .help((!help.is_empty()).then(|| help.into()))
        })
        .collect()
}

/// One file per server, so that contexts do not mix; the name says nothing about the server.
fn cache_file(run: &Invocation, what: &str) -> Option<PathBuf> {
    let server = run.config().ok()?.server().ok()??;
    let name = crate::secret::sha256_hex(server.value.as_str().as_bytes());
    Some(
        run.environment
            .cache_folder()?
            .join(format!("complete-{what}-{}", &name[..16])),
    )
}

fn fresh(file: &Path) -> Option<Vec<String>> {
    let age = SystemTime::now()
        .duration_since(std::fs::metadata(file).ok()?.modified().ok()?)
        .ok()?;
    (age < FRESH)
        .then(|| std::fs::read_to_string(file).ok())?
        .map(|text| text.lines().map(str::to_owned).collect())
}

fn remember(file: &Path, lines: &[String]) {
    if let Some(folder) = file.parent()
        && std::fs::create_dir_all(folder).is_ok()
        && let Ok(mut temporary) = tempfile::NamedTempFile::new_in(folder)
    {
        use std::io::Write as _;
        let clean: Vec<String> = lines.iter().map(|line| line.replace('\n', " ")).collect();
        if temporary.write_all(clean.join("\n").as_bytes()).is_ok() {
            let _ = temporary.persist(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_decides_whom_to_ask() {
        let globals = |line: &str, current| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            typed(&words, current)
        };
        let found = globals("lerianctl --context staging tenant show x", 5);
        assert_eq!(found.context.as_deref(), Some("staging"));
        let found = globals("lerianctl tenant show --server=https://a.example x", 4);
        assert_eq!(found.server.as_deref(), Some("https://a.example"));
        let found = globals("lerianctl --env-file a --env-file = b tenant", 7);
        assert_eq!(found.env_file, ["a", "b"].map(PathBuf::from));
        // Not finished, standard input, nothing.
        assert_eq!(globals("lerianctl --context stag", 2).context, None);
        assert_eq!(
            globals("lerianctl --api-key-file - x", 3).api_key_file,
            None
        );
        assert_eq!(globals("lerianctl --context", 9).context, None);
    }
}
