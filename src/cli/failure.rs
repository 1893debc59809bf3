//! Failures: kind → exit status, code, message, causes and hints.

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
    /// Confirmation needed but impossible, or declined: 10.
    Refused,
    /// This server lacks the extension: 11.
    Unsupported,
}

impl Kind {
    /// Returns the exit status, which is part of the interface.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Auth => 4,
            Self::NotFound => 5,
            Self::Conflict => 6,
            Self::Unavailable => 7,
            Self::Deadline => 8,
            Self::Partial => 9,
            Self::Refused => 10,
            Self::Unsupported => 11,
        }
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
    /// Builds a failure without causes and hints.
    pub fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            code,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
            request_id: None,
            operation_id: None,
        }
    }

    /// Adds a cause.
    #[must_use]
    pub fn cause(mut self, cause: impl ToString) -> Self {
        self.causes.push(cause.to_string());
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
}
