//! Plan → show → confirm, `--yes` or refuse: the only prompt.

use std::io::BufRead as _;

use clap::Args;
use dialoguer::Password;
use dialoguer::console::Term;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::sync::oneshot;

use super::effects::{self, Effect};
use super::failure::{Failure, Kind};
use super::invocation::Invocation;
use crate::contract::admin::Plan;
use crate::output::{Tone, View};
use crate::secret::Secret;

/// Flags of every command that changes a deployment.
#[derive(Debug, Clone, Default, Args)]
pub struct Consent {
    /// Show what would be done and change nothing; status 6 when it could not be done
    #[arg(long)]
    pub dry_run: bool,

    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,

    /// Refuse unless the plan still has this hash, as printed by `--dry-run`
    #[arg(long, value_name = "HASH")]
    pub expect_plan: Option<String>,

    /// Name of the context, for a script that changes a protected one
    #[arg(long, value_name = "NAME")]
    pub confirm_context: Option<String>,
}

/// What is to be approved.
#[derive(Debug)]
pub struct Question<'a> {
    /// Command path, for example `tenant purge`.
    pub command: &'a str,
    /// What happens, as a question without its question mark: `Purge tenant acme`.
    pub text: String,
    /// What must be typed for a destructive command, and given with `--confirm` by a script.
    pub word: &'a str,
    /// `--confirm` as given.
    pub confirmed: Option<&'a str>,
    /// The plan to show.
    pub plan: Option<&'a Plan>,
}

/// Writes a plan for a person.
pub fn show_plan(out: &mut View, plan: &Plan) {
    for step in &plan.steps {
        out.plain("  ")
            .plain(&step.action)
            .plain("  ")
            .paint(Tone::Strong, &step.target)
            .line();
    }
    for event in &plan.events {
        out.plain("  publish event  ")
            .paint(Tone::Strong, event)
            .line();
    }
    for warning in &plan.warnings {
        out.plain("  ")
            .paint(Tone::Warn, "warning:")
            .plain(" ")
            .plain(warning)
            .line();
    }
}

impl Invocation {
    /// Refuses when `--expect-plan` was given and names another plan.
    pub fn expect_plan(&self, consent: &Consent, plan: &Plan) -> Result<(), Failure> {
        match &consent.expect_plan {
            Some(expected) if *expected != plan.hash => Err(Failure::new(
                Kind::Conflict,
                "plan.changed",
                format!("the plan is {} now, not {expected}", plan.hash),
            )
            .hint_command("look at it", format!("{} --dry-run", self.command_line))),
            _ => Ok(()),
        }
    }

    /// Returns when the operator consents; otherwise the refusal.
    pub fn approve(&self, consent: &Consent, question: &Question<'_>) -> Result<(), Failure> {
        let effect = effects::of(question.command).unwrap_or(Effect::Destructive);
        self.approve_context(consent)?;
        let asked = match effect {
            Effect::Read | Effect::Local | Effect::Write => return Ok(()),
            Effect::WriteAsked => None,
            Effect::Destructive => Some(question.word),
        };
        let confirmed = asked.is_none() || question.confirmed == asked;
        if consent.yes && confirmed {
            return Ok(());
        }
        if let (Some(given), Some(word)) = (question.confirmed, asked)
            && given != word
        {
            return Err(Failure::new(
                Kind::Refused,
                "consent.mismatch",
                format!("`--confirm {given}` does not name what would be changed, `{word}`"),
            ));
        }
        if !self.may_prompt() {
            return Err(self.refuse(question, asked));
        }
        if let Some(plan) = question.plan {
            let mut view = View::new(self.console.width, self.console.color_err);
            show_plan(&mut view, plan);
            self.console.err(view.into_text().trim_end());
        }
        match asked {
            None => self.ask_yes(&question.text),
            Some(word) => self.ask_word(&question.text, word),
        }
    }

    /// Returns when the operator consents to a change of this machine only.
    pub fn approve_local(&self, yes: bool, text: &str) -> Result<(), Failure> {
        if yes {
            return Ok(());
        }
        if !self.may_prompt() {
            return Err(Failure::new(
                Kind::Refused,
                "consent.needed",
                format!("{text}: this needs consent, and there is no terminal to ask on"),
            )
            .hint_command("consent", format!("{} --yes", self.command_line)));
        }
        self.ask_yes(text)
    }

    fn approve_context(&self, consent: &Consent) -> Result<(), Failure> {
        let Some(name) = self.protected_context()? else {
            return Ok(());
        };
        if consent.confirm_context.as_deref() == Some(name.as_str()) {
            return Ok(());
        }
        if !self.may_prompt() || consent.confirm_context.is_some() {
            return Err(Failure::new(
                Kind::Refused,
                "consent.context",
                format!("context `{name}` is protected, and this command would change it"),
            )
            .hint_command(
                "say so on purpose",
                format!("{} --confirm-context {name}", self.command_line),
            ));
        }
        self.ask_word(&format!("Context {name} is protected"), &name)
    }

    fn refuse(&self, question: &Question<'_>, word: Option<&str>) -> Failure {
        let extra = word.map_or(String::new(), |word| format!(" --confirm {word}"));
        Failure::new(
            Kind::Refused,
            "consent.needed",
            format!(
                "{}: this needs consent, and there is no terminal to ask on",
                question.text
            ),
        )
        .hint_command(
            "look at the plan first",
            format!("{} --dry-run", self.command_line),
        )
        .hint_command("consent", format!("{} --yes{extra}", self.command_line))
    }

    fn ask_yes(&self, text: &str) -> Result<(), Failure> {
        let answer = self.read_line(&format!("{text}? [y/N]"))?;
        if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            Ok(())
        } else {
            Err(declined())
        }
    }

    fn ask_word(&self, text: &str, word: &str) -> Result<(), Failure> {
        let answer = self.read_line(&format!("{text}. Type `{word}` to go on"))?;
        if answer.trim() == word {
            Ok(())
        } else {
            Err(declined())
        }
    }

    /// Reads a line as the terminal gives it: edited there, and ended by Ctrl-D too.
    fn read_line(&self, prompt: &str) -> Result<String, Failure> {
        let prompt = crate::output::view::one_line(prompt);
        let terminal = Term::stderr();
        terminal
            .write_str(&format!("{prompt}: "))
            .map_err(|error| ended(&error))?;
        let answered = self.typed(|| {
            let mut answer = String::new();
            let read = std::io::stdin().lock().read_line(&mut answer);
            read.map(|_| answer)
        });
        match answered {
            // What Ctrl-D ended was not entered.
            Ok(answer) if !answer.ends_with('\n') => {
                let _ = terminal.write_line("");
                Err(declined())
            }
            answered => answered,
        }
    }

    /// Waits for what `read` reads from the terminal, or a signal.
    fn typed(
        &self,
        read: impl FnOnce() -> std::io::Result<String> + Send + 'static,
    ) -> Result<String, Failure> {
        let (sender, receiver) = oneshot::channel();
        // Left where it is when a signal comes first: the program ends then.
        std::thread::spawn(move || {
            let _ = sender.send(read());
        });
        let answered = self.block_on(async {
            let answer = receiver.await.map_err(|_| declined())?;
            answer.map_err(|error| ended(&error))
        });
        match answered {
            Err(failure) if failure.kind == Kind::Interrupted => Err(interrupted()),
            answered => answered,
        }
    }

    /// Asks for a secret without showing it; only where [`Invocation::may_prompt`].
    pub fn ask_secret(&self, prompt: &str, repeat: bool) -> Result<Secret, Failure> {
        loop {
            let secret = self.typed_secret(prompt)?;
            if !repeat || self.typed_secret("Again")? == secret {
                return Ok(secret);
            }
            Term::stderr()
                .write_line("They differ; once more")
                .map_err(|error| ended(&error))?;
        }
    }

    fn typed_secret(&self, prompt: &str) -> Result<Secret, Failure> {
        let prompt = prompt.to_owned();
        let before = tcgetattr(std::io::stdin());
        let typed = self.typed(move || {
            Password::new()
                .with_prompt(prompt)
                .report(false)
                .allow_empty_password(true)
                .interact_on(&Term::stderr())
                .map_err(|dialoguer::Error::IO(error)| error)
        });
        // A signal would leave the terminal without echo.
        if let (Err(_), Ok(before)) = (&typed, before) {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &before);
            let _ = Term::stderr().write_line("");
        }
        match typed {
            // An empty line, or the end of input.
            Ok(typed) if typed.is_empty() => Err(declined()),
            typed => typed.map(Secret::new),
        }
    }
}

fn declined() -> Failure {
    Failure::new(
        Kind::Refused,
        "consent.declined",
        "declined; nothing was changed",
    )
}

/// End of input and Ctrl-C are "no".
fn ended(error: &std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::Interrupted {
        interrupted()
    } else {
        declined().cause(error)
    }
}

fn interrupted() -> Failure {
    Failure::new(
        Kind::Interrupted,
        "consent.interrupted",
        "interrupted; nothing was changed",
    )
}
