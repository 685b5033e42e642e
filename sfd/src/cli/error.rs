//! Errors of commands and the exit codes they map to.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::agent::AgentError;
use crate::artifact::RedactError;
use crate::brick::BrickError;

/// Exit codes: a contract that scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The answer is no: verification failed, the bytes are not in the brick.
    No = 1,
    /// The command line or configuration is wrong.
    Usage = 2,
    /// Not permitted.
    NotPermitted = 3,
    /// Input or output failed.
    Io = 4,
    /// Interrupted.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed: one line that names the object and the way out.
#[derive(Debug)]
pub struct CliError {
    /// Exit code.
    pub exit: Exit,
    message: String,
    broken_pipe: bool,
}

impl CliError {
    fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), broken_pipe: false }
    }

    /// Exit code 2.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Exit code 1.
    pub fn no(message: impl fmt::Display) -> Self {
        Self::new(Exit::No, message)
    }

    /// Exit code 3 or 4, by the error.
    pub fn io(object: impl fmt::Display, error: &io::Error) -> Self {
        Self {
            broken_pipe: error.kind() == io::ErrorKind::BrokenPipe,
            ..Self::new(exit_of(error), format!("{object}: {error}"))
        }
    }

    /// As [`Self::io`] for a path.
    pub fn path(path: &Path, error: &io::Error) -> Self {
        Self::io(path.display(), error)
    }

    /// Whether standard output was closed by its reader.
    pub fn is_broken_pipe(&self) -> bool {
        self.broken_pipe
    }
}

fn exit_of(error: &io::Error) -> Exit {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::NotPermitted,
        _ => Exit::Io,
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line, whatever a file name or a library's message holds.
        for c in self.message.chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        Ok(())
    }
}

impl std::error::Error for CliError {}

impl From<AgentError> for CliError {
    fn from(error: AgentError) -> Self {
        let exit = match &error {
            AgentError::Refused { .. } | AgentError::Redact(RedactError::Glob(_)) => Exit::Usage,
            _ if error.is_permission() => Exit::NotPermitted,
            _ => Exit::Io,
        };
        Self::new(exit, error)
    }
}

impl From<BrickError> for CliError {
    fn from(error: BrickError) -> Self {
        let exit = match &error {
            BrickError::Io { source, .. } => exit_of(source),
            _ => Exit::Io,
        };
        Self::new(exit, error)
    }
}
