//! OpenSpec tasks: a second way in, to the same stages as everything else.
//!
//! ```text
//! job        FoundryTask JSON -> Job            foundry  foundry.yaml of a change -> Jobs by number
//! found      openspec/        -> Tasks, each pending, done, failed or waiting
//! source     what a job is about: paths, a glob, proc:, sys:
//! work       Job -> bricks, pictures, reports below the destination     report/  what reports say
//! outcome    what became of it: result, error and done files, the manifest
//! tick       the boxes of tasks.md
//! runner     all pending ones, a few at a time, each once               watch    as soon as they appear
//! install    the `foundry-v2` schema for OpenSpec's own program
//! dir        directories that nothing leads out of
//! ```
//!
//! Tasks are input from other people. A task never makes SFD execute anything, and never write outside its destination
//! and the directory that it is in; every such path is resolved by the kernel below the root of the repository, through
//! no symbolic link.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

mod dir;
mod found;
pub mod foundry;
mod install;
pub mod job;
mod outcome;
pub mod report;
mod runner;
mod source;
pub mod tick;
mod watch;
mod work;

pub use found::{Door, OpenSpec, State, Task};
pub use install::{Installed, install};
pub use job::{FoundryTask, Job, TaskType, json_schema};
pub use outcome::{BrickMade, Output, TaskResult};
pub use runner::{Ended, Event, Runner, Summary, WatchPath};
pub use watch::watch;

/// Why a task is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// What was written is not a task.
    #[error("{what}")]
    Malformed {
        /// What is wrong, and where.
        what: String,
    },
    /// Its source is not there or cannot be read.
    #[error("{what}")]
    Missing {
        /// What, and why.
        what: String,
    },
    /// A path leads out of the repository or through a symbolic link.
    #[error("{}: leads out of the root or through a symbolic link, which tasks may not", .path.display())]
    Outside {
        /// The path.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{}: {text}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Sort of error.
        kind: io::ErrorKind,
        /// What the system says.
        text: String,
    },
    /// The work failed.
    #[error("{what}")]
    Failed {
        /// What, and why.
        what: String,
    },
    /// It cannot be done yet or not here; nothing is wrong with it.
    #[error("{what}")]
    Waiting {
        /// What it waits for.
        what: String,
    },
    /// Somebody wants everything to end.
    #[error("interrupted; it begins again with the next run")]
    Stopped,
}

impl TaskError {
    fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed { what: what.into() }
    }

    fn io(path: &Path, errno: rustix::io::Errno) -> Self {
        Self::of(path, errno.into())
    }

    #[expect(clippy::needless_pass_by_value, reason = "as a mapper of errors")]
    fn of(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), kind: error.kind(), text: error.to_string() }
    }
}

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // A string takes whatever is written.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
