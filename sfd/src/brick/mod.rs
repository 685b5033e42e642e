//! Stage 6: the V2 Spatial Brick on disk: file format, catalog, crash safety.
//!
//! ```text
//! format    the 132-byte header and the footer, pure        index    the trailer of a sealed brick
//! catalog   SQLite: rows, leaf hashes, marks, history, earlier contents       map      memory maps; the only unsafe here
//! live      a brick that is patched in place                sealed   a brick in one file
//! reader    either of them, read by anyone                  verify   what is wrong with it
//! moment    rows and hashes at once; leaves for others      snapshot a live one sealed while it is written
//! diff      what is different between two                   export   other forms of it
//! picture   a PNG for people                                pixelrts a PNG for programs, written and read
//! readable  a file of any form with contents in it          copy     a brick as a sealed one
//! ```
//!
//! The format is described in `docs/brick-format.md`, crash safety in `docs/decisions/0005-crash-safety.md`.
#![deny(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::artifact::{FileType, Meta, Regions, Semantics, SemanticsSource};
use crate::fold::{self, Block, FirstFoldItem, FoldOp, FoldPlan, Paint};

pub mod catalog;
mod copy;
pub mod diff;
mod disk;
mod error;
pub mod export;
mod files;
pub mod format;
mod index;
pub mod live;
#[expect(unsafe_code, reason = "the one place where files are mapped into memory")]
mod map;
pub mod moment;
mod paths;
mod picture;
pub mod pixelrts;
mod pixels;
pub mod readable;
pub mod reader;
pub mod sealed;
pub mod snapshot;
pub mod verify;

pub use catalog::{
    Catalog, Found, HistoryQuery, Hit, Missing, SearchQuery, Version, VersionLimits, VersionLine,
    VersionStats,
};
pub use error::{BrickError, ExtractError};
pub use export::{ExportError, Exported};
pub(crate) use files::NewFile;
pub use live::{CommitStats, Compacted, Compaction, Kept, LiveBrick, Recovery};
pub use moment::{Leaf, Moment};
pub use pixelrts::PixelRts;
pub use readable::{Extracted, Readable};
pub use reader::{ArtifactEntry, Brick, Inspection};
pub use sealed::{SealOptions, SealedWriter};
pub use snapshot::{Keeping, Snapshot, snapshot};
pub use verify::{Finding, VerifyReport};

/// Number of an artifact in one catalog. Never reused within a brick's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ArtifactId(pub u32);

/// One artifact as the catalog keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub id: ArtifactId,
    /// Its directory; `None` for the watched root itself.
    pub parent: Option<ArtifactId>,
    /// Name in its directory, raw bytes; for the root the whole absolute path.
    pub name: Vec<u8>,
    /// Metadata when last read.
    pub meta: Meta,
    /// Kernel identity (superblock device, inode number).
    pub sb_dev: u32,
    /// Where it is.
    pub block: Block,
    /// Content length in bytes.
    pub len: u64,
    /// BLAKE3, keyed when redacted.
    pub content_hash: [u8; 32],
    /// The block holds the very bytes (or, if redacted, one cell per byte).
    pub exact: bool,
    /// Contents are secret.
    pub redacted: bool,
    /// Why it is not verified, if it is not.
    pub unverified: Option<String>,
    /// What it is.
    pub semantics: Semantics,
}

impl Row {
    /// The G and B channels of its pixels.
    pub fn paint(&self) -> Paint {
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        let described_by_llm = self.semantics.source == SemanticsSource::Llm;
        let flags = flag(self.redacted, fold::FLAG_REDACTED)
            | flag(!self.exact, fold::FLAG_DIGEST)
            | flag(self.unverified.is_some(), fold::FLAG_UNVERIFIED)
            | flag(described_by_llm, fold::FLAG_LLM);
        Paint { kind: self.semantics.kind.code(), flags: self.semantics.risk.level.min(4) << 4 | flags }
    }

    /// The step that paints it without contents, as [`LiveBrick::create`] wants rows that nobody has read yet.
    pub fn blank(&self) -> FoldOp {
        FoldOp::Fill { block: self.block, bytes: bytes::Bytes::new(), paint: self.paint() }
    }

    /// What a first fold has to know of it. What nobody has read yet is as long as the file system says.
    pub fn to_place(&self) -> FirstFoldItem<'_> {
        let len = if self.was_never_read() { self.meta.size } else { self.len };
        let is_dir = self.meta.file_type == FileType::Directory;
        FirstFoldItem { id: self.id, parent: self.parent, name: &self.name, is_dir, len }
    }

    /// Whether its contents were never read, so that nothing is known of them.
    pub fn was_never_read(&self) -> bool {
        self.content_hash == [0; 32]
    }

    /// Whether `contents` are what this row says they are. Only the whole contents of an artifact that is exact and
    /// not redacted can be checked.
    pub(crate) fn proves(&self, contents: &[u8]) -> bool {
        contents.len() as u64 == self.len && blake3::hash(contents) == self.content_hash
    }

    /// Whether its cells hold its very contents, so that [`proves`](Self::proves) applies.
    pub(crate) fn is_provable(&self) -> bool {
        self.exact && !self.redacted && self.unverified.is_none()
    }
}

/// What happened to an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Appeared.
    Created,
    /// Contents changed.
    Modified,
    /// Only mode, owner, times or links changed.
    Attributes,
    /// Name changed.
    Renamed,
    /// Disappeared.
    Deleted,
}

/// One line of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// When the change was seen, nanoseconds since the Unix epoch.
    pub at_ns: i64,
    /// Absolute path, raw bytes.
    pub path: Vec<u8>,
    /// For `Renamed`: the earlier path.
    pub from: Option<Vec<u8>>,
    /// What happened.
    pub verb: Verb,
    /// What changed, one line (`mode 0644 -> 0600`, `size 10 -> 12`).
    pub detail: String,
    /// What the change of contents means, a line each (`PermitRootLogin no -> yes`); empty where nothing is known.
    pub meaning: Vec<String>,
    /// Why an operator should care about this change, in words; what is risky about the artifact itself is in its row.
    pub reasons: Vec<String>,
    /// Who: the writers known, possibly none. JSON of [`crate::collect::Writer`]s in the catalog.
    pub writers: Vec<crate::collect::Writer>,
    /// There were, or may have been, more than are named.
    pub more_writers: bool,
    /// Some or all of it was done by somebody unknown: a kernel thread, or nobody reported it.
    pub unknown_writers: bool,
    /// Kind name at the time.
    pub kind: String,
    /// Risk level of the artifact at the time, or of the change if that is higher.
    pub risk: u8,
}

/// Everything one batch does to a brick, applied as one crash-safe step.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The curve grows to this order first (always by steps of two; nobody moves).
    pub grow_to: Option<u8>,
    /// Pixels.
    pub plan: FoldPlan,
    /// Rows inserted or replaced.
    pub upserts: Vec<Row>,
    /// Rows removed.
    pub deletes: Vec<ArtifactId>,
    /// History appended.
    pub history: Vec<HistoryRow>,
    /// The named parts of what is written; `None`: it has none (any more).
    pub regions: Vec<(ArtifactId, Option<Regions>)>,
    /// What was before the lines of `history` that tell of changed contents.
    pub versions: Vec<Version>,
    /// Artifacts that have become secret, with their paths: no earlier contents of theirs may stay.
    pub secret: Vec<(ArtifactId, Vec<u8>)>,
}
