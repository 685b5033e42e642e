//! Stage 3: what is there now. A path is looked at (stat, read, hash) and described.
//!
//! ```text
//! view/     where bytes come from: a directory tree, or projections of /proc
//! look      stat -> read -> hash -> cells; unchanged ones stop here
//! redact    which contents are secret, and what is shown in their place
//! kinds/    what it is, one small file a kind
//! meaning/  what a change of contents means, one small file a syntax
//! packages  which files a package of the host owns
//! regions   the named parts of an ELF file
//! ```
#![forbid(unsafe_code)]

use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::collect::InodeId;

pub mod inventory;
pub mod kinds;
pub mod look;
pub mod meaning;
pub mod packages;
pub mod redact;
pub mod regions;
pub mod view;

pub use look::{Examined, Known, Look, LookOptions, Looker, Renamed};
pub use packages::{Packaged, Packages};
pub use redact::{RedactError, Redaction, Redactor};
pub use regions::{Region, Regions};

/// What the file system says of an object, without its contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Sort of object.
    pub file_type: FileType,
    /// Permission bits including set-id and sticky (`st_mode & 0o7777`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes as the file system reports it.
    pub size: u64,
    /// Last content change, nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
    /// Last inode change, nanoseconds since the Unix epoch.
    pub ctime_ns: i64,
    /// `st_dev`.
    pub dev: u64,
    /// `st_ino`.
    pub ino: u64,
    /// Number of hard links.
    pub nlink: u64,
    /// Device number of a device node.
    pub rdev: u64,
}

/// Sort of file-system object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileType {
    /// Regular file, or a projection of `/proc`.
    File,
    /// Directory, or one process.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Block device.
    BlockDevice,
    /// Character device.
    CharDevice,
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
}

/// The state of one path, as read just now.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each stored and shown by its own name")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Absolute path.
    pub path: PathBuf,
    /// Kernel identity, for events.
    pub id: InodeId,
    /// Metadata at the time of reading.
    pub meta: Meta,
    /// What goes into the R channel, at most 2^cap bytes: the contents, the digest of a large file, the encrypted
    /// stream of a redacted one, the target of a symbolic link, or the metadata record of everything else.
    pub cells: Bytes,
    /// Length of the contents in bytes (may exceed `cells.len()` for a digest).
    pub len: u64,
    /// BLAKE3 of the contents; keyed when redacted, so that it cannot be used to guess a secret.
    pub content_hash: [u8; 32],
    /// `false`: `cells` is a digest of a file too large for its block.
    pub exact: bool,
    /// `true`: contents are secret and `cells` is a keyed stream.
    pub redacted: bool,
    /// `true`: the file is larger than [`LookOptions::full_hash_max`], so `content_hash` covers its size and its samples
    /// only; a change between two samples is seen by its time stamps alone.
    pub partial_hash: bool,
    /// `false`: a time stamp was so close to the reading that a later change could carry the same one. Look again a
    /// little later.
    pub settled: bool,
    /// Its named parts, if it is of a sort that has any and `cells` are its very bytes.
    pub regions: Option<Regions>,
    /// Why the contents could not be verified (permission, I/O error, changed while read), if so.
    pub unverified: Option<String>,
    /// What it is.
    pub semantics: Semantics,
}

/// What an artifact is and what that means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Semantics {
    /// Name of the kind, such as `systemd_unit`; its G code is [`kinds::Kind::code`].
    pub kind: kinds::Kind,
    /// A few words.
    pub title: String,
    /// At most 240 characters.
    pub summary: String,
    /// At most 8.
    pub tags: Vec<String>,
    /// What an operator should think of it.
    pub risk: Risk,
    /// Who says so.
    pub source: SemanticsSource,
    /// Which model gave title, summary and tags, when one did. Boxed: most artifacts are described by rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<Box<Answered>>,
}

/// Where the words of a model come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Name of the model, as the server was asked for it.
    pub model: String,
    /// Version of the question ([`crate::enrich::PROMPT_VERSION`]).
    pub prompt_version: u32,
    /// When, nanoseconds since the Unix epoch.
    pub at_ns: i64,
    /// The risk level by rules alone. The model may have raised it, and its next answer must start from here.
    pub rules_risk: u8,
    /// So many of the tags, the first ones, are by rules.
    pub rules_tags: u8,
}

/// A risk with its reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Risk {
    /// 0 none, 1 low, 2 medium, 3 high, 4 critical.
    pub level: u8,
    /// Why, in words.
    pub reasons: Vec<String>,
}

impl Risk {
    /// The levels in words.
    pub const WORDS: [&'static str; 5] = ["none", "low", "medium", "high", "critical"];

    /// The level in a word.
    pub fn word(&self) -> &'static str {
        Self::WORDS[usize::from(self.level).min(Self::WORDS.len() - 1)]
    }
}

/// Who described an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SemanticsSource {
    /// Rules in this program.
    Heuristic,
    /// A language model for title, summary and tags; the risk is that of the rules, or higher.
    Llm,
}
