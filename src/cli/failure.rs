//! Failures: kind → exit status, code, message, causes and hints.

use serde_json::{Value, json};

use crate::output::Tone;

/// What a script can do about a failure; decides the exit status, nothing else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bug or unclassified: 1.
    Internal,
    /// Flags, arguments, config file, malformed input: 2.
    Usage,
    /// No credentials, refused, expired: 4.
    Auth,
    /// The named thing does not exist: 5.
    NotFound,
    /// Exists with another spec, foreign ownership, wrong state, plan changed: 6.
    Conflict,
    /// Network, 5xx, 429, breaker open; nothing was changed: 7.
    Unavailable,
    /// `--timeout` passed: 8.
    Deadline,
    /// Several targets, some failed: 9.
    Partial,
    /// The command ran and the answer is no, where there is no report to say so: 3.
    Verdict,
    /// Confirmation needed but impossible, or declined: 10.
    Refused,
    /// This server lacks the extension: 11.
    Unsupported,
    /// Ctrl-C: 130.
    Interrupted,
    /// TERM: 143.
    Terminated,
}

impl Kind {
    /// Returns the exit status, which is part of the interface.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Verdict => 3,
            Self::Auth => 4,
            Self::NotFound => 5,
            Self::Conflict => 6,
            Self::Unavailable => 7,
            Self::Deadline => 8,
            Self::Partial => 9,
            Self::Refused => 10,
            Self::Unsupported => 11,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// Returns true when the same call may succeed later without a change.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable | Self::Deadline)
    }
}

/// A failure with everything that a person or a script needs to act on it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Decides the exit status.
    pub kind: Kind,
    /// Stable code, `noun.reason`; has a page for `lerianctl explain`.
    pub code: &'static str,
    /// One sentence, names the thing in backticks.
    pub message: String,
    /// What led to it, outermost first.
    pub causes: Vec<String>,
    /// What to do next.
    pub hints: Vec<Hint>,
    /// Request id of the server, when one answered.
    pub request_id: Option<String>,
    /// Operation that goes on.
    pub operation_id: Option<String>,
}

/// What to do next: a sentence, and the command when there is one.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Hint {
    /// A sentence.
    pub text: String,
    /// A command that can be run as it is.
    pub command: Option<String>,
}

impl Failure {
    /// Builds a failure without causes and hints. Tokens and passwords of URLs in the message are
    /// not repeated.
    pub fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            code,
            message: super::redact::tokens(&message.into()).into_owned(),
            causes: Vec::new(),
            hints: Vec::new(),
            request_id: None,
            operation_id: None,
        }
    }

    /// Adds a cause.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers pass errors that they are done with"
    )]
    pub fn cause(mut self, cause: impl ToString) -> Self {
        let cause = cause.to_string();
        self.causes.push(super::redact::tokens(&cause).into_owned());
        self
    }

    /// Adds a hint without a command.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(Hint {
            text: text.into(),
            command: None,
        });
        self
    }

    /// Adds a hint with a command that can be run as it is.
    #[must_use]
    pub fn hint_command(mut self, text: impl Into<String>, command: impl Into<String>) -> Self {
        self.hints.push(Hint {
            text: text.into(),
            command: Some(command.into()),
        });
        self
    }

    /// Adds the request id of the server's answer.
    #[must_use]
    pub fn request(mut self, id: Option<String>) -> Self {
        self.request_id = id;
        self
    }

    /// Adds the operation that goes on.
    #[must_use]
    pub fn operation(mut self, id: impl Into<String>) -> Self {
        self.operation_id = Some(id.into());
        self
    }

    /// Returns the failure for a person: what, why, what next; without a final line feed.
    pub fn human(&self, color: bool) -> String {
        let mut lines = vec![format!(
            "{} {}",
            Tone::Bad.paint(&format!("error[{}]:", self.code), color),
            crate::output::view::clean(&self.message)
        )];
        for cause in &self.causes {
            lines.push(format!(
                "  {} {}",
                Tone::Dim.paint("cause:", color),
                crate::output::view::clean(cause)
            ));
        }
        if let Some(id) = &self.request_id {
            lines.push(format!(
                "  {} {}",
                Tone::Dim.paint("request:", color),
                crate::output::view::one_line(id)
            ));
        }
        for hint in &self.hints {
            let mut line = format!(
                "  {} {}",
                Tone::Strong.paint("hint:", color),
                crate::output::view::clean(&hint.text)
            );
            if let Some(command) = &hint.command {
                line.push_str(": `");
                line.push_str(&crate::output::view::one_line(command));
                line.push('`');
            }
            lines.push(line);
        }
        lines.join("\n")
    }

    /// Returns the error document.
    pub fn document(&self, target: &Value) -> Value {
        crate::output::document::wrap(
            "Error",
            json!({ "error": {
                "code": self.code,
                "exitStatus": self.kind.exit_status(),
                "message": self.message,
                "causes": self.causes,
                "hints": self.hints,
                "target": target,
                "retryable": self.kind.is_retryable(),
                "requestId": self.request_id,
                "operationId": self.operation_id,
            }}),
        )
    }
}
