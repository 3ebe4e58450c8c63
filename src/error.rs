//! How a command ends: the one table of exit codes, and the error that carries a hint.
//!
//! A command returns `Ok(Exit)` when it did its work, even if what it found is bad, and a
//! [`CommandError`] when it could not. The message says what and where in one line; each hint
//! says what to do next.

use std::fmt;
use std::process::ExitCode;

/// The documented exit codes of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The work is done and nothing speaks against the result.
    Ok,
    /// Findings at or above `--fail-on`, or a leak that `verify` found.
    Findings,
    /// An archive was written, but not all evidence could be collected.
    Partial,
    /// A signal ended the run; `gather` has still closed a valid archive.
    Interrupted,
    /// The exit code of a child process (`serve BUNDLE -- command`).
    Child(u8),
}

impl Exit {
    /// The number that the shell sees.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Findings => 1,
            Self::Partial => 4,
            Self::Interrupted => 130,
            Self::Child(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command could not do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command line is wrong: exit code 2.
    Usage,
    /// The input or the cluster cannot be used at all: exit code 3.
    Unusable,
    /// An archive was not published, because something secret was still in it: exit code 4.
    Unpublished,
    /// The reader of our output went away: not an error for a command line tool, exit code 0.
    BrokenPipe,
}

/// An error for a person: what and where in one line, then hints what to do.
#[derive(Debug)]
pub struct CommandError {
    kind: ErrorKind,
    source: anyhow::Error,
    hints: Vec<String>,
}

/// What every command returns.
pub type CommandResult = Result<Exit, CommandError>;

impl CommandError {
    /// The command line is wrong (exit code 2).
    pub fn usage(source: impl Into<anyhow::Error>) -> Self {
        Self::new(ErrorKind::Usage, source.into())
    }

    /// The input or the cluster cannot be used at all (exit code 3).
    pub fn unusable(source: impl Into<anyhow::Error>) -> Self {
        Self::new(ErrorKind::Unusable, source.into())
    }

    /// What was to be published still holds a secret (exit code 4).
    pub fn unpublished(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Unpublished, anyhow::anyhow!("{message}"))
    }

    /// [`CommandError::usage`] from a message alone.
    pub fn usage_message(message: impl fmt::Display) -> Self {
        Self::usage(anyhow::anyhow!("{message}"))
    }

    /// [`CommandError::unusable`] from a message alone.
    pub fn unusable_message(message: impl fmt::Display) -> Self {
        Self::unusable(anyhow::anyhow!("{message}"))
    }

    fn new(kind: ErrorKind, source: anyhow::Error) -> Self {
        let broken_pipe = source.chain().any(|cause| {
            cause
                .downcast_ref::<std::io::Error>()
                .is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
        });
        let kind = if broken_pipe { ErrorKind::BrokenPipe } else { kind };
        Self { kind, source, hints: Vec::new() }
    }

    /// Adds the next action for the person who reads the message.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says where it went wrong, before the message.
    #[must_use]
    pub fn within(self, place: &str) -> Self {
        Self { source: self.source.context(place.to_owned()), ..self }
    }

    /// Which class of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The hints in the order in which they were added.
    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The number that the shell sees.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self.kind {
            ErrorKind::Usage => 2,
            ErrorKind::Unusable => 3,
            ErrorKind::Unpublished => 4,
            ErrorKind::BrokenPipe => 0,
        }
    }
}

impl fmt::Display for CommandError {
    /// The chain of causes in one line, without repeating what the outer message already says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = String::new();
        for cause in self.source.chain() {
            let text = cause.to_string();
            let text = text.trim();
            if text.is_empty() || said.contains(text) {
                continue;
            }
            if !said.is_empty() {
                said.push_str(": ");
            }
            said.push_str(text);
        }
        let one_line: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
        f.write_str(&one_line)
    }
}

impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        Self::unusable(error)
    }
}
