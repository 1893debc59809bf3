//! From layers to one answer per setting.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::env_file::EnvFile;
use super::file::{ConfigFile, ConfigText};
use super::guard::{WriteConflict, conflict, drop_unanchored};
use super::key::{Key, SETTINGS, Setting};
use super::origin::{Origin, Overridden, Value};
use super::problem::{Problem, Warning, did_you_mean, shown};
use super::reference::{Content, SecretReference};
use super::variables::{self, INTERNAL, Owner, SERVER_VARIABLES, VARIABLES};

/// The layers, as text. Holds secrets, so it has no `Debug`.
#[derive(Clone, Default)]
pub struct ConfigInput {
    /// What was typed for this call. Of [`Key::ApiKey`]: the path of a file, or `-`.
    pub flags: BTreeMap<Key, String>,
    /// Variables of the process.
    pub variables: BTreeMap<String, String>,
    /// Files given with `--env-file`, in that order; the last one wins.
    pub env_files: Vec<(PathBuf, String)>,
    /// The config file, when there is one.
    pub config_file: Option<ConfigText>,
    /// What `~/` stands for in the config file.
    pub home: Option<PathBuf>,
}

/// The answer for every setting, with origins.
///
/// A malformed value is a problem of whoever asks for it, so that commands which do not need the
/// value still work; [`Resolved::findings`] tells all of them.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub(super) picks: BTreeMap<Key, Pick>,
    pub(super) warnings: Vec<Warning>,
    pub(super) explicit_context: bool,
    conflict: Option<WriteConflict>,
    /// The config file, when there is one.
    pub file: Option<ConfigFile>,
}

/// What was found for a setting: the winner first.
#[derive(Debug, Clone, Default)]
pub(super) struct Pick {
    pub(super) candidates: Vec<(Origin, Content)>,
}

/// A row of `config explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Name of the setting.
    pub key: &'static str,
    /// What it means.
    pub description: &'static str,
    /// Its text, secrets redacted; absent when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Whether the value is a secret.
    pub secret: bool,
    /// Where it comes from; absent when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// What it overrode, highest first.
    pub overridden: Vec<Overridden>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Returns the path of the config file: flag, variable, or `default`.
pub fn config_path(
    flag: Option<PathBuf>,
    variables: &BTreeMap<String, String>,
    default: PathBuf,
) -> Value<PathBuf> {
    let name = "LERIANCTL_CONFIG";
    let variable = variables.get(name).filter(|text| !text.is_empty());
    let mut found: Vec<(PathBuf, Origin)> = Vec::new();
    found.extend(flag.map(|path| {
        let name = Key::ConfigFile.flag();
        (path, Origin::Flag { name })
    }));
    found.extend(variable.map(|path| {
        let name = name.to_owned();
        (path.into(), Origin::Variable { name })
    }));
    found.push((default, Origin::Default));
    let mut found = found.into_iter();
    let (value, origin) = found.next().expect("the default is always there");
    let overridden = found.map(|(path, origin)| Overridden {
        origin,
        value: path.display().to_string(),
    });
    Value {
        value,
        origin,
        overridden: overridden.collect(),
    }
}

impl Resolved {
    /// Resolves every setting.
    ///
    /// Fails when a file cannot be understood or the context does not exist: a context half-read
    /// must not decide where a change goes.
    pub fn resolve(input: &ConfigInput) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut env_files = Vec::new();
        for (path, text) in &input.env_files {
            match EnvFile::parse(path, text) {
                Ok(file) => env_files.push(file),
                Err(problem) => problems.push(problem),
            }
        }
        let file = input
            .config_file
            .as_ref()
            .map(|source| ConfigFile::parse(source, input.home.as_deref()));
        if let Some(file) = &file {
            problems.extend(file.problems.iter().cloned());
        }
        let mut layers = Layers {
            input,
            env_files,
            context: None,
        };
        let mut chosen = layers.pick(Key::Context);
        let explicit_context = !chosen.candidates.is_empty();
        if let Some((line, name)) = file.as_ref().and_then(|file| file.current.clone()) {
            let path = file
                .as_ref()
                .map(|file| file.path.clone())
                .unwrap_or_default();
            let origin = Origin::ConfigFile { path, line };
            chosen.candidates.push((origin, Content::Text(name)));
        }
        if let Some((origin, Content::Text(name))) = chosen.candidates.first() {
            match file.as_ref().and_then(|file| file.contexts.get(name)) {
                Some(context) => {
                    problems.extend(context.problems.iter().cloned());
                    let path = file
                        .as_ref()
                        .map(|file| file.path.clone())
                        .unwrap_or_default();
                    layers.context = Some((path, context, explicit_context));
                }
                None => problems.push(unknown_context(name, origin, file.as_ref())),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut picks: BTreeMap<Key, Pick> = SETTINGS
            .iter()
            .map(|setting| (setting.key, layers.pick(setting.key)))
            .collect();
        picks.insert(Key::Context, chosen);
        let mut warnings = file
            .as_ref()
            .map(|file| file.warnings.clone())
            .unwrap_or_default();
        drop_unanchored(&mut picks, &mut warnings);
        warnings.extend(layers.odd_variables());
        for setting in SETTINGS {
            if let (Some(text), Some(pick)) = (setting.default, picks.get_mut(&setting.key)) {
                pick.candidates
                    .push((Origin::Default, Content::Text(text.to_owned())));
            }
        }
        let conflict = explicit_context.then(|| conflict(&picks)).flatten();
        Ok(Self {
            picks,
            warnings,
            explicit_context,
            conflict,
            file,
        })
    }

    /// Returns what is odd, and stops nothing by itself.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Returns why nothing may be written, when an explicit context and a variable disagree.
    pub fn write_conflict(&self) -> Option<&WriteConflict> {
        self.conflict.as_ref()
    }

    /// Returns every setting with its origin and what it overrode, for `config explain`.
    pub fn entries(&self) -> Vec<Entry> {
        SETTINGS.iter().map(|setting| self.entry(setting)).collect()
    }

    fn entry(&self, setting: &'static Setting) -> Entry {
        let mut found = self.picks[&setting.key]
            .candidates
            .iter()
            .map(|(origin, content)| Overridden {
                origin: origin.clone(),
                value: content.shown(),
            });
        let winner = found.next();
        Entry {
            key: setting.name,
            description: setting.doc,
            secret: setting.secret,
            overridden: found.collect(),
            value: winner.as_ref().map(|winner| winner.value.clone()),
            origin: winner.map(|winner| winner.origin),
            problem: self.check(setting.key).err(),
        }
    }

    /// Records the path of the config file, so that `config explain` shows it.
    #[must_use]
    pub fn with_config_path(mut self, path: Value<PathBuf>) -> Self {
        let mut candidates = vec![(path.origin, Content::Text(path.value.display().to_string()))];
        candidates.extend(
            path.overridden
                .into_iter()
                .map(|lost| (lost.origin, Content::Text(lost.value))),
        );
        self.picks.insert(Key::ConfigFile, Pick { candidates });
        self
    }
}

fn unknown_context(name: &str, origin: &Origin, file: Option<&ConfigFile>) -> Problem {
    let Some(file) = file else {
        return Problem::new(
            "config.unknown_context",
            format!(
                "there is no config file, so no context `{}` ({origin})",
                shown(name)
            ),
        )
        .hint("make one with `lerianctl config init`");
    };
    let problem = Problem::new(
        "config.unknown_context",
        format!(
            "there is no context `{}` in {} (named by {origin})",
            shown(name),
            file.path.display()
        ),
    );
    match did_you_mean(name, file.contexts.keys().map(String::as_str)) {
        Some(word) => problem.hint(format!("did you mean `{word}`?")),
        None => problem.hint("list them with `lerianctl config list`"),
    }
}

struct Layers<'a> {
    input: &'a ConfigInput,
    env_files: Vec<EnvFile>,
    context: Option<(PathBuf, &'a super::file::Context, bool)>,
}

impl Layers<'_> {
    /// Collects what every layer but the default says, highest first.
    fn pick(&self, key: Key) -> Pick {
        let mut candidates = Vec::new();
        if let Some(text) = self.input.flags.get(&key) {
            let content = match (key, text.as_str()) {
                (Key::ApiKey, "-") => Content::Secret(SecretReference::Stdin),
                (Key::ApiKey, path) => Content::Secret(SecretReference::File(path.into())),
                (key, path) if key.is_file() => Content::File(path.into()),
                (_, text) => Content::Text(text.to_owned()),
            };
            candidates.push((Origin::Flag { name: key.flag() }, content));
        }
        self.variables(key, Owner::Tool, &mut candidates);
        self.context(key, true, &mut candidates);
        self.variables(key, Owner::Product, &mut candidates);
        let files = self.env_files.iter().rev();
        for file in files.filter(|_| !key.precedes_files()) {
            for owner in [Owner::Tool, Owner::Product] {
                for variable in of(key, owner) {
                    let Some((line, text)) = file.get(variable.name) else {
                        continue;
                    };
                    let origin = Origin::EnvFile {
                        path: file.path.clone(),
                        line,
                        variable: variable.name.to_owned(),
                    };
                    candidates.extend(variable.read(text).map(|content| (origin, content)));
                }
            }
        }
        self.context(key, false, &mut candidates);
        Pick { candidates }
    }

    /// Finds variables of ours that have no effect: a misspelt `LERIANCTL_CONTEXT` must not go
    /// unnoticed.
    fn odd_variables(&self) -> Vec<Warning> {
        let mut out = Vec::new();
        let mut look = |name: &str, place: &str, in_file: bool| {
            let Some(rest) = name.strip_prefix("LERIANCTL_") else {
                return;
            };
            let names = VARIABLES.iter().map(|variable| variable.name);
            let known = names
                .chain(SERVER_VARIABLES.iter().map(|variable| variable.name))
                .filter_map(|name| name.strip_prefix("LERIANCTL_"));
            let warning = match variables::find(name) {
                Some(variable) if in_file && variable.sets.precedes_files() => Warning {
                    message: format!("{name} has no effect in a file of variables ({place})"),
                    hint: Some("set it in the environment, or use its flag".to_owned()),
                },
                Some(_) => return,
                None if SERVER_VARIABLES.iter().any(|it| it.name == name) => return,
                None => {
                    // Anything else may be somebody's own.
                    let Some(meant) = did_you_mean(rest, known) else {
                        return;
                    };
                    Warning {
                        message: format!("there is no variable {} ({place})", shown(name)),
                        hint: Some(format!("did you mean LERIANCTL_{meant}?")),
                    }
                }
            };
            out.push(warning);
        };
        for name in self.input.variables.keys() {
            if !INTERNAL.contains(&name.as_str()) {
                look(name, "environment", false);
            }
        }
        for file in &self.env_files {
            for (line, name) in file.names() {
                let place = format!("{} line {line}", file.path.display());
                look(name, &place, true);
            }
        }
        out
    }

    fn variables(&self, key: Key, owner: Owner, out: &mut Vec<(Origin, Content)>) {
        for variable in of(key, owner) {
            let text = self.input.variables.get(variable.name);
            let content = text.and_then(|text| variable.read(text));
            let name = variable.name.to_owned();
            out.extend(content.map(|content| (Origin::Variable { name }, content)));
        }
    }

    fn context(&self, key: Key, explicit: bool, out: &mut Vec<(Origin, Content)>) {
        let Some((path, context, _)) = self.context.as_ref().filter(|it| it.2 == explicit) else {
            return;
        };
        if let Some((line, content)) = context.values.get(&key) {
            let origin = Origin::Context {
                name: context.name.clone(),
                path: path.clone(),
                line: *line,
            };
            out.push((origin, content.clone()));
        }
    }
}

fn of(key: Key, owner: Owner) -> impl Iterator<Item = &'static super::variables::Variable> {
    VARIABLES
        .iter()
        .filter(move |variable| variable.sets == key && variable.owner == owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"version = 1
current-context = "staging"

[context.staging]
server = "https://tm.staging.example"
api-key = { env = "STAGING_KEY" }
redis = { host = "redis.staging.example", port = 6380, tls = true, password = { env = "STAGING_REDIS" } }

[context.production]
server = "https://tm.example/"
api-key = { env = "PRODUCTION_KEY" }
protected = true
"#;

    fn input(variables: &[(&str, &str)]) -> ConfigInput {
        ConfigInput {
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            config_file: Some(ConfigText {
                path: "config.toml".into(),
                text: FILE.to_owned(),
                writable: None,
                readable: None,
            }),
            ..ConfigInput::default()
        }
    }

    fn server(input: &ConfigInput) -> Value<url::Url> {
        let resolved = Resolved::resolve(input).unwrap();
        resolved.server().unwrap().unwrap()
    }

    #[test]
    fn the_order_of_precedence_is_the_documented_one() {
        let mut layers = input(&[]);
        assert_eq!(
            server(&layers).origin.to_string(),
            "context staging (config.toml line 5)"
        );

        let pod = "# pod\nMULTI_TENANT_URL=https://file.example\n";
        layers.env_files.push(("pod.env".into(), pod.to_owned()));
        let found = server(&layers);
        assert_eq!(
            found.origin.to_string(),
            "MULTI_TENANT_URL in pod.env line 2"
        );
        assert_eq!(found.overridden[0].value, "https://tm.staging.example");

        let name = |name: &str| name.to_owned();
        layers
            .variables
            .insert(name("MULTI_TENANT_URL"), name("https://pod.example"));
        assert_eq!(server(&layers).value.host_str(), Some("pod.example"));

        layers
            .variables
            .insert(name("LERIANCTL_CONTEXT"), name("production"));
        assert_eq!(server(&layers).value.host_str(), Some("tm.example"));
        assert_eq!(server(&layers).overridden.len(), 2);

        layers
            .variables
            .insert(name("LERIANCTL_SERVER"), name("https://own.example"));
        assert_eq!(server(&layers).value.host_str(), Some("own.example"));

        layers
            .flags
            .insert(Key::Server, name("https://flag.example"));
        let found = server(&layers);
        assert_eq!(found.origin.to_string(), "flag --server");
        let lost: Vec<_> = found
            .overridden
            .iter()
            .map(|it| it.origin.to_string())
            .collect();
        assert_eq!(
            lost,
            [
                "variable LERIANCTL_SERVER",
                "context production (config.toml line 10)",
                "variable MULTI_TENANT_URL",
                "MULTI_TENANT_URL in pod.env line 2",
            ]
        );
    }

    #[test]
    fn a_stray_url_stops_writes_when_a_context_is_named() {
        let mut layers = input(&[("MULTI_TENANT_URL", "https://stray.example")]);
        assert!(
            Resolved::resolve(&layers)
                .unwrap()
                .write_conflict()
                .is_none()
        );
        layers.flags.insert(Key::Context, "production".to_owned());
        let resolved = Resolved::resolve(&layers).unwrap();
        let conflict = resolved.write_conflict().unwrap().to_string();
        assert!(conflict.contains("https://tm.example/"), "{conflict}");
        assert!(conflict.contains("https://stray.example"), "{conflict}");
        assert!(conflict.contains("variable MULTI_TENANT_URL"), "{conflict}");

        // The same server in another spelling is no conflict, and a typed server is no stray.
        let mut same = layers.clone();
        same.variables.insert(
            "MULTI_TENANT_URL".to_owned(),
            "https://TM.example".to_owned(),
        );
        assert!(Resolved::resolve(&same).unwrap().write_conflict().is_none());
        layers
            .flags
            .insert(Key::Server, "https://typed.example".to_owned());
        assert!(
            Resolved::resolve(&layers)
                .unwrap()
                .write_conflict()
                .is_none()
        );
    }

    #[test]
    fn a_stray_url_is_not_sent_the_key_of_the_context() {
        let layers = input(&[("MULTI_TENANT_URL", "https://stray.example")]);
        let resolved = Resolved::resolve(&layers).unwrap();
        assert!(resolved.api_key().is_none());
        assert!(
            resolved.warnings()[0]
                .message
                .contains("https://stray.example")
        );

        let layers = input(&[
            ("MULTI_TENANT_URL", "https://stray.example"),
            ("MULTI_TENANT_SERVICE_API_KEY", "hunter2"),
        ]);
        let resolved = Resolved::resolve(&layers).unwrap();
        assert!(resolved.api_key().is_some());
        assert!(resolved.warnings().is_empty());

        let layers = input(&[("MULTI_TENANT_URL", "https://tm.staging.example/")]);
        assert!(Resolved::resolve(&layers).unwrap().api_key().is_some());
    }

    #[test]
    fn a_redis_from_a_variable_inherits_nothing_from_the_context() {
        let layers = input(&[("LERIANCTL_REDIS_HOST", "elsewhere")]);
        let redis = Resolved::resolve(&layers)
            .unwrap()
            .redis()
            .unwrap()
            .unwrap();
        assert_eq!(redis.port.value, 6379);
        assert_eq!((redis.tls.value, redis.password), (false, None));
        let redis = Resolved::resolve(&input(&[]))
            .unwrap()
            .event_redis()
            .unwrap()
            .unwrap();
        assert_eq!((redis.port.value, redis.tls.value), (6380, true));
    }

    #[test]
    fn secrets_are_redacted_wherever_they_come_from() {
        let mut layers = input(&[
            ("LERIANCTL_API_KEY", "hunter2"),
            ("MULTI_TENANT_SERVICE_API_KEY", "hunter3"),
            ("MULTI_TENANT_REDIS_PASSWORD", "hunter4"),
            ("MULTI_TENANT_URL", "https://user:hunter5@tm.example"),
        ]);
        layers.env_files.push((
            "pod.env".into(),
            "MULTI_TENANT_SERVICE_API_KEY=hunter6".to_owned(),
        ));
        let resolved = Resolved::resolve(&layers).unwrap();
        let entries = serde_json::to_string(&resolved.entries()).unwrap();
        let said = format!("{entries}{resolved:?}{:?}", resolved.findings());
        assert!(!said.contains("hunter"), "{said}");
        assert!(said.contains("must not hold a user"), "{said}");
    }

    #[test]
    fn plain_http_needs_an_opt_in_beyond_this_machine() {
        for (url, allow, fine) in [
            ("http://localhost:4003", None, true),
            ("http://127.0.0.1:4003", None, true),
            ("http://tm.example", None, false),
            ("http://tm.example", Some("false"), false),
            ("http://tm.example", Some("true"), true),
            ("http://tm.example", Some("yes"), false),
            ("https://tm.example", None, true),
        ] {
            let mut layers = input(&[("MULTI_TENANT_URL", url)]);
            if let Some(allow) = allow {
                let name = "MULTI_TENANT_ALLOW_INSECURE_HTTP".to_owned();
                layers.variables.insert(name, allow.to_owned());
            }
            let resolved = Resolved::resolve(&layers).unwrap();
            assert_eq!(resolved.server().is_ok(), fine, "{url} {allow:?}");
        }
    }

    #[test]
    fn malformed_variables_say_what_a_product_would_do() {
        let layers = input(&[("MULTI_TENANT_CACHE_TTL_SEC", "30s")]);
        let problem = Resolved::resolve(&layers).unwrap().cache_ttl().unwrap_err();
        for part in ["`30s`", "MULTI_TENANT_CACHE_TTL_SEC", "whole number"] {
            assert!(problem.message.contains(part), "{problem}");
        }
        assert!(problem.hint.unwrap().contains("never expires"));
    }

    #[test]
    fn a_missing_context_is_named_with_the_one_that_was_meant() {
        let mut layers = input(&[]);
        layers.flags.insert(Key::Context, "prodction".to_owned());
        let problems = Resolved::resolve(&layers).unwrap_err();
        assert_eq!(
            problems[0].hint.as_deref(),
            Some("did you mean `production`?")
        );
    }

    #[test]
    fn every_setting_without_a_default_is_optional_for_its_reader() {
        // `always` relies on it.
        let resolved = Resolved::resolve(&ConfigInput::default()).unwrap();
        for setting in SETTINGS {
            assert!(resolved.check(setting.key).is_ok(), "{}", setting.name);
        }
        assert!(resolved.redis().unwrap().is_none() && resolved.server().unwrap().is_none());
        assert!(resolved.findings().is_empty());
    }

    #[test]
    fn variables_without_effect_are_noticed() {
        let mut layers = input(&[
            ("LERIANCTL_CONTXT", "production"),
            ("LERIANCTL_COMPLETE", "bash"),
            ("LERIANCTL_SERVER_MASTER_KEY", "x"),
            ("LERIANCTL_SERVER_REGISTRY_ULR", "x"),
            ("LERIANCTL_SOMETHING_OF_MINE", "x"),
        ]);
        let text = "TERM=dumb\nCI=true\nLERIANCTL_OUTPUT=json\nLERIANCTL_SERVER=https://x\n";
        layers.env_files.push(("pod.env".into(), text.to_owned()));
        let resolved = Resolved::resolve(&layers).unwrap();
        let said: Vec<_> = resolved
            .warnings()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(said[0].contains("api-key"), "{said:?}");
        assert!(said[1].contains("LERIANCTL_CONTXT"), "{said:?}");
        assert!(
            said[2].contains("LERIANCTL_SERVER_REGISTRY_ULR"),
            "{said:?}"
        );
        let hint = resolved.warnings()[2].hint.as_deref();
        assert_eq!(hint, Some("did you mean LERIANCTL_SERVER_REGISTRY_URL?"));
        assert!(said[3].contains("LERIANCTL_OUTPUT") && said[3].contains("pod.env line 3"));
        assert_eq!(resolved.output().unwrap().value, "table");
        assert!(!resolved.no_input());
    }

    #[test]
    fn colour_follows_the_conventions() {
        use crate::config::ColorChoice::{Always, Auto, Never};
        for (variables, expected) in [
            (&[][..], Auto),
            (&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")][..], Never),
            (&[("NO_COLOR", ""), ("CLICOLOR_FORCE", "1")][..], Always),
            (&[("CLICOLOR_FORCE", "0"), ("TERM", "dumb")][..], Never),
            (&[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")][..], Always),
            (&[("TERM", "xterm")][..], Auto),
        ] {
            let resolved = Resolved::resolve(&input(variables)).unwrap();
            assert_eq!(resolved.color().unwrap().value, expected, "{variables:?}");
        }
    }
}
