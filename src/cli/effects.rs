//! What every command does to the world: drives consent, the target line and the docs.

/// Effect of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Changes something on this machine only, such as the config file.
    Local,
    /// Changes a deployment; reversible, and done without asking.
    Write,
    /// Changes a deployment; reversible, but felt by its users: asks y/N.
    WriteAsked,
    /// Cannot be undone: asks for the tenant's slug.
    Destructive,
}

/// Every command path with its effect. A test fails for a command that is not here.
pub const EFFECTS: &[(&str, Effect)] = &[
    ("auth login", Effect::Local),
    ("auth logout", Effect::Local),
    ("auth status", Effect::Read),
    ("audit export", Effect::Read),
    ("audit head", Effect::Read),
    ("audit list", Effect::Read),
    ("audit verify", Effect::Read),
    ("cache flush", Effect::WriteAsked),
    ("cache list", Effect::Read),
    ("completion", Effect::Read),
    ("config explain", Effect::Read),
    ("config init", Effect::Local),
    ("config list", Effect::Read),
    ("config use", Effect::Local),
    ("config validate", Effect::Read),
    ("db list", Effect::Read),
    ("db provision", Effect::Write),
    ("db verify", Effect::Read),
    ("dev down", Effect::Local),
    ("dev env", Effect::Read),
    ("dev reset", Effect::Local),
    ("dev sample", Effect::Local),
    ("dev status", Effect::Read),
    ("dev up", Effect::Local),
    ("docs", Effect::Read),
    ("env check", Effect::Read),
    ("env explain", Effect::Read),
    ("env render", Effect::Read),
    ("event tail", Effect::Read),
    ("explain", Effect::Read),
    ("isolation canary", Effect::WriteAsked),
    ("isolation check", Effect::Read),
    ("isolation diff", Effect::Read),
    ("isolation explain", Effect::Read),
    ("isolation fix", Effect::WriteAsked),
    ("isolation list", Effect::Read),
    ("isolation show", Effect::Read),
    ("isolation verify-report", Effect::Read),
    ("key create", Effect::Write),
    ("key list", Effect::Read),
    ("key revoke", Effect::WriteAsked),
    ("key rotate", Effect::Write),
    ("key show", Effect::Read),
    ("man", Effect::Read),
    ("operation list", Effect::Read),
    ("operation show", Effect::Read),
    ("operation wait", Effect::Read),
    ("schema", Effect::Read),
    ("server backup", Effect::Local),
    ("server export", Effect::Local),
    ("server import", Effect::Local),
    ("server migrate", Effect::Local),
    ("server rekey", Effect::WriteAsked),
    ("server restore", Effect::Local),
    ("server start", Effect::Local),
    ("service add", Effect::Write),
    ("service list", Effect::Read),
    ("service reactivate", Effect::Write),
    ("service remove", Effect::Destructive),
    ("service suspend", Effect::WriteAsked),
    ("tenant create", Effect::Write),
    ("tenant list", Effect::Read),
    ("tenant purge", Effect::Destructive),
    ("tenant reactivate", Effect::Write),
    ("tenant rotate", Effect::WriteAsked),
    ("tenant show", Effect::Read),
    ("tenant suspend", Effect::WriteAsked),
    ("tenant update", Effect::Write),
    ("token inspect", Effect::Read),
    ("token mint", Effect::Read),
    ("version", Effect::Read),
];

/// Returns the effect of the command `path`, for example `tenant purge`.
pub fn of(path: &str) -> Option<Effect> {
    EFFECTS
        .iter()
        .find(|(command, _)| *command == path)
        .map(|(_, effect)| *effect)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        for sub in command
            .get_subcommands()
            .filter(|sub| sub.get_name() != "help")
        {
            let path = format!("{path} {}", sub.get_name());
            if sub.has_subcommands() {
                leaves(sub, &path, found);
            } else {
                found.push(path.trim().to_owned());
            }
        }
    }

    #[test]
    fn every_command_is_classified_and_every_class_is_a_command() {
        let mut found = Vec::new();
        leaves(&crate::cli::command(), "", &mut found);
        found.sort();
        let listed: Vec<&str> = EFFECTS.iter().map(|(path, _)| *path).collect();
        let missing: Vec<_> = found.iter().filter(|path| of(path).is_none()).collect();
        assert!(missing.is_empty(), "not classified: {missing:?}");
        let gone: Vec<_> = listed
            .iter()
            .filter(|path| !found.iter().any(|known| known == *path))
            .collect();
        assert!(gone.is_empty(), "classified, but no command: {gone:?}");
    }
}
