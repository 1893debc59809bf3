//! `lerianctl completion`.

use clap::{Args, ValueEnum};
use clap_complete::env::Shells;

use crate::cli::invocation::Invocation;

/// A shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
    Elvish,
    #[value(name = "powershell")]
    PowerShell,
}

impl Shell {
    /// Every shell, with the file name of its static script.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Bash, "lerianctl.bash"),
        (Self::Zsh, "_lerianctl"),
        (Self::Fish, "lerianctl.fish"),
        (Self::Elvish, "lerianctl.elv"),
        (Self::PowerShell, "_lerianctl.ps1"),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
            Self::Elvish => "elvish",
            Self::PowerShell => "powershell",
        }
    }

    /// Returns the script that registers the completion: it calls this program for candidates.
    pub fn registration(self) -> Vec<u8> {
        let shells = Shells::builtins();
        let mut script = Vec::new();
        if let Some(shell) = shells.completer(self.name()) {
            // Writing to memory does not fail.
            let _ = shell.write_registration(
                crate::cli::COMPLETE_VARIABLE,
                "lerianctl",
                "lerianctl",
                "lerianctl",
                &mut script,
            );
        }
        script
    }
}

/// Print the completion script of a shell
///
/// The script calls lerianctl for candidates, so tenants, services and operations are completed
/// too.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  source <(lerianctl completion bash)\n  lerianctl completion zsh > ~/.zfunc/_lerianctl\n  lerianctl completion fish > ~/.config/fish/completions/lerianctl.fish"
)]
pub struct CompletionArgs {
    /// Shell
    shell: Shell,
}

/// Prints the script.
pub fn completion(run: &Invocation, args: &CompletionArgs) -> u8 {
    run.console
        .out(&String::from_utf8_lossy(&args.shell.registration()));
    0
}
