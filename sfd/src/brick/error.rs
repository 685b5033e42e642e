//! What can go wrong with a brick. Every error names the file.

use std::io;
use std::path::{Path, PathBuf};

use super::format::FormatError;
use crate::fold::{FoldError, LayoutError};

/// Why a brick could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BrickError {
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was being done, an infinitive.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not a brick, or not one that this version reads.
    #[error("{}: {source}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// SQLite refused.
    #[error("catalog {}: {source}", .path.display())]
    Catalog {
        /// The catalog.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The catalog is damaged. A new baseline replaces it.
    #[error("catalog {} is damaged ({detail}); start again from a new baseline", .path.display())]
    CatalogCorrupt {
        /// The catalog.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The catalog was written by a newer version.
    #[error("catalog {} has schema {found}, this version knows up to {known}; use a newer sfd", .path.display())]
    CatalogNewer {
        /// The catalog.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema known here.
        known: i64,
    },
    /// There is no catalog: a brick was never finished, or somebody removed it.
    #[error("there is no catalog {}; start again from a new baseline", .path.display())]
    CatalogMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Another process writes this brick.
    #[error("brick {} is written by another process; stop that first", .path.display())]
    Locked {
        /// The brick.
        path: PathBuf,
    },
    /// The file became shorter than its header says while in use.
    #[error("brick {} has {found} bytes instead of {expected}; somebody truncated it", .path.display())]
    Truncated {
        /// The brick.
        path: PathBuf,
        /// Bytes there should be.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// A page of the file could not be had while it was in use.
    #[error(
        "a part of brick {} could not be read or written: somebody truncated it, or its disk is full or broken",
        .path.display()
    )]
    PageLost {
        /// The brick.
        path: PathBuf,
    },
    /// The name of a file in use is gone, or is that of another file.
    #[error("{} was removed or replaced while in use", .path.display())]
    Replaced {
        /// The brick, its catalog or the catalog's log.
        path: PathBuf,
    },
    /// A plan does not fit the brick. Nothing was changed.
    #[error("brick {}: {source}", .path.display())]
    Fold {
        /// The brick.
        path: PathBuf,
        /// Which step.
        source: FoldError,
    },
    /// Blocks do not fit the brick. Nothing was changed.
    #[error("brick {}: {source}", .path.display())]
    Layout {
        /// The brick.
        path: PathBuf,
        /// Which block.
        source: LayoutError,
    },
    /// An earlier commit failed half-way. [`LiveBrick::open`](super::LiveBrick::open) heals the brick.
    #[error("an earlier write to brick {} failed; it must be opened again", .path.display())]
    NeedsReopen {
        /// The brick.
        path: PathBuf,
    },
    /// The caller asked for something that cannot be. Nothing was changed.
    #[error("brick {}: {detail}", .path.display())]
    Invalid {
        /// The brick.
        path: PathBuf,
        /// What.
        detail: String,
    },
}

impl BrickError {
    /// Whether a new baseline ([`LiveBrick::create`](super::LiveBrick::create)) is the way out.
    pub fn needs_baseline(&self) -> bool {
        matches!(self, Self::CatalogCorrupt { .. } | Self::CatalogMissing { .. })
    }

    pub(crate) fn invalid(path: &Path, detail: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_owned(), detail: detail.into() }
    }

    /// Sorts SQLite's errors: damage has its own way out.
    pub(crate) fn sqlite(path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, TypeMismatch, Unknown};
        let path = path.to_owned();
        match source.sqlite_error_code() {
            // No code: a value of another type or none where there must be one. Unknown: the statements are fixed, so
            // one that is wrong means that the schema is not ours any more.
            None | Some(DatabaseCorrupt | NotADatabase | TypeMismatch | Unknown) => {
                Self::CatalogCorrupt { path, detail: source.to_string() }
            }
            _ => Self::Catalog { path, source },
        }
    }
}

/// Why the bytes of an artifact cannot be given back.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The brick has no such path.
    #[error("{path}: not in this brick")]
    NotFound {
        /// The path, lossy.
        path: String,
    },
    /// The cells are a digest of a file too large for its block.
    #[error("{path}: too large, the brick keeps only a digest ({len} bytes; fold with --exact to keep all)")]
    Digest {
        /// The path, lossy.
        path: String,
        /// Length of the contents in bytes.
        len: u64,
    },
    /// The contents are secret.
    #[error("{path}: redacted, its contents are not in the brick")]
    Redacted {
        /// The path, lossy.
        path: String,
    },
    /// The contents could not be verified against the source.
    #[error("{path}: not verified ({reason}), the brick may not hold its present contents")]
    Unverified {
        /// The path, lossy.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The bytes in the brick are not those that were folded.
    #[error("{path}: the brick is damaged here (cells {start}..{end} do not match the content hash)")]
    Damaged {
        /// The path, lossy.
        path: String,
        /// First cell.
        start: u64,
        /// One past the last cell.
        end: u64,
    },
    /// It has no such part, or several.
    #[error("{path}: section {section}: {what}")]
    Section {
        /// The path, lossy.
        path: String,
        /// The part that was asked for.
        section: String,
        /// What there is instead.
        what: String,
    },
    /// The brick could not be read.
    #[error(transparent)]
    Brick(#[from] BrickError),
}

/// Adds the file and what was being done to an I/O error.
pub(crate) trait IoContext<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, BrickError>;
}

impl<T, E: Into<io::Error>> IoContext<T> for Result<T, E> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, BrickError> {
        self.map_err(|source| BrickError::Io { action, path: path.to_owned(), source: source.into() })
    }
}
