//! The config file: contexts, each line remembered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::{Key, SETTINGS};
use super::problem::{Problem, Warning, did_you_mean, shown};
use super::reference::{Content, SecretReference};
use crate::secret::Secret;

/// The text of a config file, with what the file system says about who can touch it.
#[derive(Clone)]
pub struct ConfigText {
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// Why a program named in the file must not be run: others could have written it.
    pub writable: Option<String>,
    /// Why a secret must not stand in the file itself: others can read it.
    pub readable: Option<String>,
}

impl std::fmt::Debug for ConfigText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigText")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A parsed config file; what is wrong with it is kept, so that one bad context spoils no other.
#[derive(Debug, Clone, Default)]
pub struct ConfigFile {
    /// The file.
    pub path: PathBuf,
    /// Line and name of the current context.
    pub current: Option<(usize, String)>,
    /// Contexts by name.
    pub contexts: BTreeMap<String, Context>,
    /// Oddities, such as unknown keys.
    pub warnings: Vec<Warning>,
    /// What makes the whole file unusable.
    pub problems: Vec<Problem>,
}

/// A named deployment.
#[derive(Debug, Clone)]
pub struct Context {
    /// Its name.
    pub name: String,
    /// Line of its table.
    pub line: usize,
    /// What makes this context unusable.
    pub problems: Vec<Problem>,
    pub(super) values: BTreeMap<Key, (usize, Content)>,
}

impl Context {
    /// Returns true when both contexts say the same, wherever they stand.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let said = |context: &Self| -> Vec<(Key, Content)> {
            let values = context.values.iter();
            values
                .map(|(key, (_, content))| (*key, content.clone()))
                .collect()
        };
        self.problems.is_empty() && other.problems.is_empty() && said(self) == said(other)
    }

    /// Returns the text of a setting as it may be shown.
    pub fn shown(&self, key: Key) -> Option<String> {
        self.values.get(&key).map(|(_, content)| content.shown())
    }
}

/// What a setting looks like in TOML.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Number,
    Boolean,
    Secret,
    File,
}

pub(super) fn form(key: Key) -> Form {
    match key {
        Key::AllowInsecureHttp | Key::Protected | Key::RedisTls | Key::EventRedisTls => {
            Form::Boolean
        }
        Key::RedisPort | Key::EventRedisPort | Key::RedisDatabase => Form::Number,
        Key::RedisCaCert | Key::EventRedisCaCert => Form::File,
        key if key.is_file() => Form::File,
        key if key.setting().secret => Form::Secret,
        _ => Form::Text,
    }
}

/// Returns true for a name that needs no quoting in TOML, in a shell or in a message.
pub(super) fn is_context_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

impl ConfigFile {
    /// Reads the text of a config file; `home` is what a leading `~/` stands for.
    pub fn parse(source: &ConfigText, home: Option<&Path>) -> Self {
        let mut reader = Reader {
            source,
            home,
            file: Self {
                path: source.path.clone(),
                ..Self::default()
            },
        };
        match DeTable::parse(&source.text) {
            Ok(table) => reader.root(table.get_ref()),
            // Not the error's own display: that quotes the line, which may hold a secret.
            Err(error) => {
                let line = reader.line(error.span().map_or(0, |span| span.start));
                let message = error.message().lines().next().unwrap_or_default();
                let problem = Problem::new(
                    "config.syntax",
                    format!(
                        "the config file {} is not valid TOML at line {line}: {}",
                        source.path.display(),
                        shown(message)
                    ),
                );
                reader.file.problems.push(problem);
            }
        }
        reader.file
    }
}

struct Reader<'a> {
    source: &'a ConfigText,
    home: Option<&'a Path>,
    file: ConfigFile,
}

impl Reader<'_> {
    fn line(&self, offset: usize) -> usize {
        let before = self.source.text.get(..offset);
        1 + before.map_or(0, |text| text.matches('\n').count())
    }

    fn place(&self, line: usize) -> String {
        format!("{} line {line}", self.source.path.display())
    }

    fn invalid(&self, line: usize, what: &str, rule: &str) -> Problem {
        Problem::new(
            "config.invalid_value",
            format!("{what} {rule} ({})", self.place(line)),
        )
    }

    fn unknown(&mut self, line: usize, key: &str, inside: &str, known: &[&str]) {
        let message = format!(
            "unknown key `{}` in {inside} ({})",
            shown(key),
            self.place(line)
        );
        let hint =
            did_you_mean(key, known.iter().copied()).map(|word| format!("did you mean `{word}`?"));
        self.file.warnings.push(Warning { message, hint });
    }

    fn root(&mut self, table: &DeTable<'_>) {
        let known = ["version", "current-context", "context"];
        let mut version = None;
        for (key, value) in table {
            let line = self.line(key.span().start);
            match key.get_ref().as_ref() {
                "version" => {
                    let number = value.get_ref().as_integer();
                    version = Some((line, number.map(|n| n.as_str().to_owned())));
                }
                "current-context" => {
                    if let Some(name) = value.get_ref().as_str() {
                        self.file.current = Some((line, name.to_owned()));
                        continue;
                    }
                    let problem = self.invalid(line, "`current-context`", "must be a string");
                    self.file.problems.push(problem);
                }
                "context" => self.contexts(line, value),
                other => self.unknown(line, other, "the config file", &known),
            }
        }
        let problem = match version {
            Some((_, Some(number))) if number == "1" => return,
            Some((line, _)) => self
                .invalid(
                    line,
                    "`version`",
                    "must be 1: this lerianctl knows no other",
                )
                .hint("a newer lerianctl may have written this file"),
            None => Problem::new(
                "config.invalid_value",
                format!(
                    "the config file {} must begin with `version = 1`",
                    self.source.path.display()
                ),
            ),
        };
        self.file.problems.push(problem);
    }

    fn contexts(&mut self, line: usize, value: &Spanned<DeValue<'_>>) {
        let Some(table) = value.get_ref().as_table() else {
            let problem = self.invalid(line, "`context`", "must be a table of contexts");
            self.file.problems.push(problem);
            return;
        };
        for (key, value) in table {
            let line = self.line(key.span().start);
            let name = key.get_ref().as_ref();
            let mut context = Context {
                name: name.to_owned(),
                line,
                problems: Vec::new(),
                values: BTreeMap::new(),
            };
            if !is_context_name(name) {
                let problem = self.invalid(
                    line,
                    &format!("the context name `{}`", shown(name)),
                    "must be 1 to 64 letters, digits, `-` or `_`",
                );
                self.file.problems.push(problem);
                continue;
            }
            if let Some(table) = value.get_ref().as_table() {
                self.context(&mut context, table, &[]);
            } else {
                let problem = self.invalid(line, &format!("context `{name}`"), "must be a table");
                context.problems.push(problem);
            }
            self.file.contexts.insert(name.to_owned(), context);
        }
    }

    fn context(&mut self, context: &mut Context, table: &DeTable<'_>, path: &[&str]) {
        for (key, value) in table {
            let line = self.line(key.span().start);
            let word = key.get_ref().as_ref();
            let full: Vec<&str> = path.iter().copied().chain([word]).collect();
            let exact = SETTINGS
                .iter()
                .find(|setting| setting.context == Some(full.as_slice()));
            let below = SETTINGS.iter().any(|setting| {
                setting
                    .context
                    .is_some_and(|known| known.len() > full.len() && known.starts_with(&full))
            });
            if let Some(setting) = exact {
                match self.content(setting.key, line, value) {
                    Ok(found) => {
                        context.values.insert(setting.key, (line, found));
                    }
                    Err(rule) => {
                        let what = format!("`{}` of context `{}`", full.join("."), context.name);
                        let problem = self.invalid(line, &what, &rule);
                        context.problems.push(problem);
                    }
                }
            } else if below {
                if let Some(table) = value.get_ref().as_table() {
                    self.context(context, table, &full);
                } else {
                    let what = format!("`{word}` of context `{}`", context.name);
                    let problem = self.invalid(line, &what, "must be a table");
                    context.problems.push(problem);
                }
            } else {
                let mut known: Vec<&str> = SETTINGS
                    .iter()
                    .filter_map(|setting| setting.context?.strip_prefix(path)?.first().copied())
                    .collect();
                known.dedup();
                let inside = match path {
                    [] => format!("context `{}`", context.name),
                    path => format!("`{}` of context `{}`", path.join("."), context.name),
                };
                self.unknown(line, word, &inside, &known);
            }
        }
    }

    fn content(
        &mut self,
        key: Key,
        line: usize,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Content, String> {
        let value = value.get_ref();
        match form(key) {
            Form::Text => match value.as_str() {
                Some(text) if !text.trim().is_empty() => Ok(Content::Text(text.to_owned())),
                Some(_) => Err("must not be empty".to_owned()),
                None => Err("must be a string".to_owned()),
            },
            Form::Number => value
                .as_integer()
                .map(|number| Content::Text(number.as_str().to_owned()))
                .ok_or_else(|| "must be a number".to_owned()),
            Form::Boolean => value
                .as_bool()
                .map(|yes| Content::Text(yes.to_string()))
                .ok_or_else(|| "must be true or false".to_owned()),
            Form::File => match value.as_str() {
                Some(text) if !text.is_empty() => Ok(Content::File(self.expand(text)?)),
                _ => Err("must be the path of a file".to_owned()),
            },
            Form::Secret => self.secret(line, value).map(Content::Secret),
        }
    }

    fn secret(&mut self, line: usize, value: &DeValue<'_>) -> Result<SecretReference, String> {
        if let Some(text) = value.as_str() {
            // Until it is known to be private, the text is a secret that leaked, not a value.
            return match &self.source.readable {
                Some(reason) => Err(format!(
                    "is a secret in a file that others can read: {reason}; run `chmod 600 {}`, or name its place with {FORMS}",
                    self.source.path.display()
                )),
                None if text.is_empty() => Err("must not be empty".to_owned()),
                None => Ok(SecretReference::Inline(Secret::new(text))),
            };
        }
        let Some(table) = value.as_table() else {
            return Err(format!("must be {FORMS}"));
        };
        let mut found = None;
        for (key, value) in table {
            let value = value.get_ref();
            let text = value.as_str().filter(|text| !text.is_empty());
            let reference = match (key.get_ref().as_ref(), text) {
                ("env", Some(name)) => SecretReference::Environment(name.to_owned()),
                ("file", Some(path)) => SecretReference::File(self.expand(path)?),
                ("keyring", Some(entry)) => SecretReference::Keyring(entry.to_owned()),
                ("command", None) => SecretReference::Command {
                    argv: arguments(value)?,
                    refused: self.source.writable.clone(),
                },
                ("env" | "file" | "keyring", None) => {
                    return Err(format!("needs text in `{}`", key.get_ref()));
                }
                ("command", Some(_)) => {
                    return Err(
                        "needs a list in `command`, such as [\"op\", \"read\", \"…\"]: no shell is involved"
                            .to_owned(),
                    );
                }
                (other, _) => {
                    self.unknown(
                        line,
                        other,
                        "a secret",
                        &["env", "file", "keyring", "command"],
                    );
                    continue;
                }
            };
            if found.replace(reference).is_some() {
                return Err("names more than one place".to_owned());
            }
        }
        found.ok_or_else(|| format!("must be {FORMS}"))
    }

    fn expand(&self, text: &str) -> Result<PathBuf, String> {
        if let Some(rest) = text.strip_prefix("~/") {
            return match self.home {
                Some(home) => Ok(home.join(rest)),
                None => Err("begins with `~/` and there is no home folder".to_owned()),
            };
        }
        let folder = self.source.path.parent().unwrap_or(Path::new(""));
        Ok(folder.join(text))
    }
}

const FORMS: &str = "{ env = \"NAME\" }, { file = \"PATH\" }, { keyring = \"ENTRY\" } or { command = [\"PROGRAM\", \"ARGUMENT\"] }";

fn arguments(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let argv: Option<Vec<String>> = value.as_array().and_then(|items| {
        items
            .iter()
            .map(|item| item.get_ref().as_str().map(str::to_owned))
            .collect()
    });
    argv.filter(|argv| argv.first().is_some_and(|program| !program.is_empty()))
        .ok_or_else(|| "needs a list of strings in `command`: program and arguments".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ConfigFile {
        let source = ConfigText {
            path: "/home/me/config.toml".into(),
            text: text.to_owned(),
            writable: None,
            readable: None,
        };
        ConfigFile::parse(&source, Some(Path::new("/home/me")))
    }

    #[test]
    fn a_whole_file_is_understood() {
        let file = parse(
            r#"version = 1
current-context = "staging"

[context.staging]
server = "https://tm.staging.example"
api-key = { keyring = "lerianctl/staging" }
redis = { host = "redis.staging.example", port = 6379, tls = true, password = { file = "~/.secrets/redis" } }

[context.production]
server = "https://tm.example"
api-key = { command = ["vault", "kv", "get"] }
protected = true
"#,
        );
        assert!(file.problems.is_empty(), "{:?}", file.problems);
        assert!(file.warnings.is_empty(), "{:?}", file.warnings);
        assert_eq!(file.current, Some((2, "staging".to_owned())));
        let staging = &file.contexts["staging"];
        assert_eq!(staging.line, 4);
        assert_eq!(
            staging.values[&Key::RedisPassword],
            (
                7,
                Content::Secret(SecretReference::File("/home/me/.secrets/redis".into()))
            )
        );
        assert_eq!(
            file.contexts["production"].shown(Key::ApiKey).unwrap(),
            "command vault"
        );
    }

    #[test]
    fn unknown_keys_warn_with_the_word_that_was_meant() {
        let file = parse(
            "version = 1\n[context.a]\nsever = \"https://x\"\nredis = { hots = \"x\" }\n[contxt.b]\n",
        );
        let hints: Vec<_> = file.warnings.iter().map(|w| w.hint.as_deref()).collect();
        assert_eq!(
            hints,
            [
                Some("did you mean `host`?"),
                Some("did you mean `server`?"),
                Some("did you mean `context`?"),
            ]
        );
        assert!(file.warnings[1].message.contains("line 3"));
    }

    #[test]
    fn one_bad_context_spoils_no_other() {
        let file =
            parse("version = 1\n[context.a]\nserver = 5\n[context.b]\nserver = \"https://b\"\n");
        assert!(file.problems.is_empty());
        assert!(file.contexts["a"].problems[0].message.contains("line 3"));
        assert!(file.contexts["b"].problems.is_empty());
    }

    #[test]
    fn a_broken_file_does_not_leak_its_secrets() {
        for text in [
            "version = 1\n[context.a]\napi-key = \"hunter2",
            "version = 1\n[context.a]\napi-key = hunter2",
            "version = 1\n[context.a]\napi-key = [\"hunter2\"]",
            "version = 1\n[context.a]\napi-key = { command = \"hunter2\" }",
        ] {
            let file = parse(text);
            let said = format!("{file:?}");
            assert!(!file.problems.is_empty() || !file.contexts["a"].problems.is_empty());
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn an_inline_secret_needs_a_private_file() {
        let text = "version = 1\n[context.a]\napi-key = \"hunter2\"\n";
        assert!(parse(text).contexts["a"].problems.is_empty());
        let source = ConfigText {
            path: "c.toml".into(),
            text: text.to_owned(),
            writable: None,
            readable: Some("its mode is 644".to_owned()),
        };
        let file = ConfigFile::parse(&source, None);
        let problem = &file.contexts["a"].problems[0];
        assert!(problem.message.contains("chmod 600"), "{problem}");
        assert!(!format!("{file:?}").contains("hunter2"));
    }

    #[test]
    fn versions_we_do_not_know_are_refused() {
        for text in [
            "",
            "version = 2",
            "version = \"1\"",
            "[context.a]\nserver = \"https://x\"",
        ] {
            assert_eq!(parse(text).problems.len(), 1, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_stumble(text in "(version = 1\n)?(\\[context\\.[a-z\"]{0,3}\\]\n)?(server|api-key|redis|port|[a-z.]{0,4}) ?= ?(\\{[^}]{0,20}\\}|[^\n]{0,20})\n.{0,30}") {
            let file = parse(&text);
            for context in file.contexts.values() {
                let _ = context.shown(Key::ApiKey);
            }
        }

        #[test]
        fn what_is_written_is_read_back(server in "https://[a-z]{1,9}(/[a-z]{0,5})?", path in "[^\0]{1,20}", name in "[a-zA-Z0-9_-]{1,20}") {
            let new = crate::config::edit::NewContext {
                server: Some(server.clone()),
                api_key: Some(crate::config::edit::KeyPlace::Environment(path.clone())),
                ..Default::default()
            };
            let text = crate::config::edit::add_context("# ours\n", &name, &new, false).unwrap();
            let file = parse(&text);
            proptest::prop_assert!(file.problems.is_empty() && file.warnings.is_empty(), "{}", text);
            let context = &file.contexts[&name];
            proptest::prop_assert_eq!(&context.values[&Key::Server].1, &Content::Text(server));
            let expected = Content::Secret(SecretReference::Environment(path));
            proptest::prop_assert_eq!(&context.values[&Key::ApiKey].1, &expected);
        }
    }
}
